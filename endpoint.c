/* SPDX-License-Identifier: Apache-2.0 */
/* What a service is called in a region, by the rules and partitions that AWS's SDKs share. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

struct endpoint_partition {
    char prefix[12]; /* of its regions: then come a word, a hyphen, and digits */
    char global[20]; /* a region of another form; "": none */
    char suffix[20], dual_suffix[32];
};

/* All of them have FIPS and dual-stack endpoints. */
static const struct endpoint_partition endpoint_partitions[] = {
    {"cn-", "aws-cn-global", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
    {"eusc-de-", "", "amazonaws.eu", "api.amazonwebservices.eu"},
    {"us-iso-", "aws-iso-global", "c2s.ic.gov", "api.aws.ic.gov"},
    {"us-isob-", "aws-iso-b-global", "sc2s.sgov.gov", "api.aws.scloud"},
    {"eu-isoe-", "aws-iso-e-global", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
    {"us-isof-", "aws-iso-f-global", "csp.hci.ic.gov", "api.aws.hci.ic.gov"},
    {"us-gov-", "aws-us-gov-global", "amazonaws.com", "api.aws"},
};

/* Also that of a region nobody has heard of. */
static const struct endpoint_partition endpoint_aws = {"", "", "amazonaws.com", "api.aws"};

static bool endpoint_is_region(const char *region, const struct endpoint_partition *partition)
{
    static const char digits[] = "0123456789";
    size_t length = strlen(partition->prefix);
    if (partition->global[0] != '\0' && strcmp(region, partition->global) == 0) {
        return true;
    }
    if (strncmp(region, partition->prefix, length) != 0) {
        return false;
    }
    const char *word = region + length;
    const char *hyphen = strchr(word, '-');
    return hyphen != NULL && hyphen > word && hyphen[1] != '\0' &&
           hyphen[1 + strspn(hyphen + 1, digits)] == '\0';
}

static const struct endpoint_partition *endpoint_partition_of(const char *region)
{
    for (size_t i = 0; i < sizeof endpoint_partitions / sizeof *endpoint_partitions; i++) {
        if (endpoint_is_region(region, &endpoint_partitions[i])) {
            return &endpoint_partitions[i];
        }
    }
    return &endpoint_aws;
}

static bool endpoint_is_label(const char *text)
{
    size_t length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-");
    return length >= 1 && length <= 63 && text[length] == '\0' && text[0] != '-' &&
           text[length - 1] != '-';
}

/* "fips-us-east-1", "us-east-1-fips" and their like: us-east-1, by its FIPS endpoint. */
static bool endpoint_is_pseudo(const char *region)
{
    size_t length = strlen(region);
    return strncmp(region, "fips-", 5) == 0 ||
           (length >= 5 && strcmp(region + length - 5, "-fips") == 0);
}

static void endpoint_cut_pseudo(char *region)
{
    char *prefix = strstr(region, "fips-"), *suffix = strstr(region, "-fips");
    char *cut = suffix != NULL && (prefix == NULL || suffix < prefix) ? suffix : prefix;
    char *rest = cut + 5;
    if (cut == prefix && strncmp(rest, "dkr-", 4) == 0) {
        rest += 4;
    } else if (cut == prefix && strncmp(rest, "prod-", 5) == 0) {
        rest += 5;
    }
    memmove(cut, rest, strlen(rest) + 1);
}

int dlk_endpoint_region(const char *name, char region[DLK_REGION_SIZE], bool *fips,
                        dynalock_error *error)
{
    char text[DLK_REGION_SIZE + 16];
    int length = snprintf(text, sizeof text, "%s", name);
    bool fits = length >= 0 && (size_t)length < sizeof text;
    if (fits && endpoint_is_pseudo(text)) {
        *fips = true;
        if (strcmp(text, "fips-aws-global") == 0 || strcmp(text, "aws-fips") == 0) {
            memcpy(text, "us-east-1", sizeof "us-east-1");
        } else {
            endpoint_cut_pseudo(text);
        }
    }
    if (!fits || !endpoint_is_label(text)) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG, "\"%.80s\" is not the name of a region", name);
    }
    memcpy(region, text, strlen(text) + 1);
    return 0;
}

static int endpoint_local(bool fips, bool dual_stack, char *url, size_t size, dynalock_error *error)
{
    if (fips || dual_stack) {
        return dlk_fail(error, DYNALOCK_ERR_CONFIG, "the region \"local\" has no %s endpoint",
                        fips ? "FIPS" : "dual-stack");
    }
    (void)snprintf(url, size, "http://localhost:8000/");
    return 0;
}

int dlk_endpoint_make(const char *service, const char *region, bool fips, bool dual_stack,
                      char *url, size_t size, dynalock_error *error)
{
    const struct endpoint_partition *partition = endpoint_partition_of(region);
    int length;
    if (strcmp(service, "dynamodb") == 0 && strcmp(region, "local") == 0) {
        return endpoint_local(fips, dual_stack, url, size, error);
    }
    if (strcmp(service, "sts") == 0 && strcmp(region, "aws-global") == 0 && !fips && !dual_stack) {
        length = snprintf(url, size, "https://sts.amazonaws.com/");
    } else {
        /* All plain endpoints of the government's partition are FIPS endpoints. */
        bool plain = !fips || (!dual_stack && strcmp(partition->prefix, "us-gov-") == 0);
        length = snprintf(url, size, "https://%s%s.%s.%s/", service, plain ? "" : "-fips", region,
                          dual_stack ? partition->dual_suffix : partition->suffix);
    }
    return length > 0 && (size_t)length < size
               ? 0
               : dlk_fail(error, DYNALOCK_ERR_CONFIG, "the endpoint of \"%.80s\" is too long",
                          region);
}
