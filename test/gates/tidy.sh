#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# clang-tidy has nothing to say about the library, the command and the examples; .clang-tidy has the checks.
# needs: clang-tidy
set -eu
flags="-std=gnu11 -I. $(${PKG_CONFIG:-pkg-config} --cflags libcurl libcrypto jansson)"
status=0
# shellcheck disable=SC2086 # several flags
test/gates/files | grep -E '^([^/]*|command/.*|examples/.*)\.c$' |
    xargs -P 2 -I '{}' clang-tidy --quiet --warnings-as-errors='*' '{}' -- $flags 2>/dev/null || status=1
exit "$status"
