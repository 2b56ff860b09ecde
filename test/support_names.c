/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "support_names.h"

#include <dlfcn.h>
#include <netdb.h>
#include <stddef.h>
#include <string.h>

static const char *names_taken;
static bool (*names_look_up)(void);

void names_take(const char *name, bool (*look_up)(void))
{
    names_taken = name;
    names_look_up = look_up;
}

__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **found)
{
    __typeof__(getaddrinfo) *ask = NULL;
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&ask, &symbol, sizeof ask);
    if (node && names_taken && strcmp(node, names_taken) == 0) {
        if (!names_look_up()) {
            return EAI_AGAIN;
        }
        node = "127.0.0.1";
    }
    return ask(node, service, hints, found);
}
