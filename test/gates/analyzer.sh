#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# gcc's own analysis of paths finds nothing in the library and the command. Without optimisation: what gcc 12 sees in inlined code
# is mostly not there.
# needs: gcc
set -eu
flags="-std=gnu11 -I. -O0 -pthread $(${PKG_CONFIG:-pkg-config} --cflags libcurl libcrypto jansson)"
# shellcheck disable=SC2086 # several flags
test/gates/files | grep -E '^(command/)?[^/]*\.c$' | xargs -n 1 -P 2 gcc $flags -fanalyzer -Werror -c -o /dev/null
