#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The library can be made one file: no static name or macro of one .c file clashes with another's. It is compiled
# as a project does that has taken it in: plain `cc -c`.
# needs: pkg-config
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
pkg_config=${PKG_CONFIG:-pkg-config}
flags="-I. $($pkg_config --cflags libcurl libcrypto jansson)"
status=0
sources=$(test/gates/files | grep '^[^/]*\.c$')

# What a file asks of the system's headers must stand ahead of the first of them.
for source in $sources internal.h; do
    grep -hE '^ *# *define _[A-Z0-9_]+_SOURCE\b' "$source" || :
done | sed 's/ *define/define/; s/^ *//' | sort -u >"$folder/all.c"
for source in $sources; do
    printf '#include "%s"\n' "$source"
done >>"$folder/all.c"
# shellcheck disable=SC2086 # several flags
${CC:-cc} $flags -Wall -Wextra -Wshadow -Wpedantic -Werror -c -o "$folder/all.o" "$folder/all.c" || status=1

for source in $sources; do
    # shellcheck disable=SC2086
    ${CC:-cc} $flags -Werror -c -o "$folder/one.o" "$source" || status=1
done
exit "$status"
