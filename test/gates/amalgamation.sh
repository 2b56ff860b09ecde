#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The library as two files: the same sources make the same bytes; gcc and clang, each on its own and included into
# another file, find nothing to warn of; only public names are global; a program that has nothing but the two files
# is built and runs.
# needs: pkg-config nm gcc clang
set -eu
export LC_ALL=C
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
dependencies=$(${PKG_CONFIG:-pkg-config} --cflags libcurl libcrypto jansson)
warnings='-Wall -Wextra -Wshadow -Wconversion -Wpedantic -Werror'
status=0

# Neither the locale nor the folder, nor what a folder held before, makes a difference.
mkdir "$folder/again"
echo old >"$folder/again/dynalock.c"
tools/amalgamate "$folder/once"
(cd "$folder" && LC_ALL=C.UTF-8 "$OLDPWD/tools/amalgamate" again)
diff -r "$folder/once" "$folder/again"
cmp dynalock.h "$folder/once/dynalock.h"
if grep -n '^ *# *include "' "$folder/once/dynalock.c" | grep -v '"dynalock\.h"$' ||
    [ "$(grep -c '^ *# *include "' "$folder/once/dynalock.c")" != 1 ]; then
    echo 'dynalock.c must include dynalock.h, once, and no other file of ours'
    status=1
fi
if grep -m 1 '^ *#' "$folder/once/dynalock.c" | grep -v '^#ifndef _GNU_SOURCE$'; then
    echo 'dynalock.c must define _GNU_SOURCE first'
    status=1
fi
version=$(sed -n 's/^#define DYNALOCK_VERSION "\(.*\)"/\1/p' dynalock.h)
head -n 5 "$folder/once/dynalock.c" | grep -qF "dynalock $version:" || { echo 'No version at the head'; status=1; }

cd "$folder/once"
cat >included.c <<'PROGRAM'
#define DYNALOCK_API static
#include "dynalock.c"

int main(void)
{
    return dynalock_version()[0] == '\0';
}
PROGRAM
for compiler in gcc clang; do
    for file in dynalock.c included.c; do
        for optimisation in -O0 -O2; do
            # shellcheck disable=SC2086 # several flags
            $compiler -std=c11 $warnings $optimisation $dependencies -c -o "$compiler-$file.o" "$file" || status=1
        done
    done
done

# globals FILE: the names it gives to others.
globals() { nm -g --defined-only "$1" | awk 'NF == 3 { print $3 }' | sort; }

tr '\n' ' ' <dynalock.h | grep -oE 'DYNALOCK_API [^;(]*\(' | grep -oE 'dynalock_[a-z0-9_]+\($' | tr -d '(' |
    sort >public
echo main >only-main
for compiler in gcc clang; do
    globals "$compiler-dynalock.c.o" | diff public - || { echo "Above: global names, $compiler"; status=1; }
    globals "$compiler-included.c.o" | diff only-main - || { echo "Above: global names, $compiler"; status=1; }
done

# As a user does it who has nothing but the two files.
mkdir "$folder/project"
cp dynalock.c dynalock.h "$folder/project/"
cd "$folder/project"
cat >program.c <<'PROGRAM'
#include "dynalock.h"
#include <stdio.h>

int main(void)
{
    dynalock_options options = {
        .region = "us-east-1",
        .endpoint = "http://127.0.0.1:9", /* nobody listens there */
        .access_key_id = "key",
        .secret_access_key = "secret",
        .max_attempts = 1,
    };
    dynalock_store *store;
    dynalock_error error;
    if (dynalock_open("table", "partition", &options, &store, &error) != 0) {
        return 1;
    }
    int code = dynalock_put(store, "key", dynalock_bytes("value", 5), NULL, &error);
    printf("%s: %s\n", dynalock_version(), error.message);
    return dynalock_close(store) != 0 || code != DYNALOCK_ERR_NETWORK;
}
PROGRAM
# shellcheck disable=SC2086
${CC:-cc} -c dynalock.c $dependencies
${CC:-cc} -c program.c
# shellcheck disable=SC2046 # several flags
${CC:-cc} -o program program.o dynalock.o $(${PKG_CONFIG:-pkg-config} --libs-only-L libcurl libcrypto jansson) \
    -lcurl -lcrypto -ljansson -pthread
./program >output || { echo "The program ended with $?: $(cat output)"; status=1; }
grep -qF "$version: " output || { echo "The program printed: $(cat output)"; status=1; }
exit "$status"
