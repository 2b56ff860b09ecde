/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzzer on what is kept of earlier runs, and on all beginnings of it, without libFuzzer and with any compiler: on
 * the files named, else on those of fuzz/corpus/ and the program's name. Says so in TAP.
 */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BEGINNINGS = 64 }; /* of an input, evenly spread */

static size_t replay_inputs;

/* Of exactly that size, so that a sanitizer sees each read past its end. */
static void replay_bytes(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size);
    if (size > 0) {
        if (copy == NULL) {
            abort();
        }
        memcpy(copy, data, size);
    }
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    replay_inputs++;
}

static uint8_t *replay_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    long length = ftell(file);
    rewind(file);
    uint8_t *data = length < 0 ? NULL : malloc((size_t)length + 1);
    if (data == NULL || fread(data, 1, (size_t)length, file) != (size_t)length) {
        perror(path);
        exit(1);
    }
    (void)fclose(file);
    *size = (size_t)length;
    return data;
}

static void replay_file(const char *path)
{
    size_t size;
    uint8_t *data = replay_read(path, &size);
    size_t step = size / BEGINNINGS + 1;
    for (size_t beginning = 0; beginning < size; beginning += step) {
        replay_bytes(data, beginning);
    }
    replay_bytes(data, size);
    free(data);
}

static void replay_folder(const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0) {
        perror(folder);
        exit(1);
    }
    for (int i = 0; i < count; i++) {
        char path[512];
        int length = snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && length > 0 && (size_t)length < sizeof path) {
            replay_file(path);
        }
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash == NULL ? argv[0] : slash + 1;

    (void)printf("1..1\n");
    (void)fflush(stdout);
    for (int i = 1; i < argc; i++) {
        replay_file(argv[i]);
    }
    if (argc == 1) {
        char folder[256];
        (void)snprintf(folder, sizeof folder, "fuzz/corpus/%s", name);
        replay_folder(folder);
    }
    (void)printf("%sok 1 - %s: %zu inputs\n", replay_inputs > 0 ? "" : "not ", name, replay_inputs);
    return replay_inputs > 0 ? 0 : 1;
}
