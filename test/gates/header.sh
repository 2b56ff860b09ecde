#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: header.sh COMPILER
# dynalock.h compiles alone, twice, as C99, C11 and as C++ of several years, without a warning; its three numbers
# are the version in words.
# needs: sed
set -eu
compiler=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/use.c" <<'PROGRAM'
#include <dynalock.h>
#include <dynalock.h>
int use(void);
int use(void)
{
    dynalock_value value = dynalock_bytes("x", 1);
    return value.kind + dynalock_none().kind + dynalock_json(value.json).kind +
           dynalock_attribute(value.json).kind;
}
PROGRAM
cp "$folder/use.c" "$folder/use.cpp"
warnings='-Wall -Wextra -Wshadow -Wconversion -Wpedantic -Wundef -Werror'
# Not in a system folder: the header's own warnings count.
cp dynalock.h "$folder/"
for standard in c99 c11 c17; do
    # shellcheck disable=SC2086 # several flags
    "$compiler" -std=$standard $warnings -Wstrict-prototypes -I"$folder" -fsyntax-only "$folder/use.c"
done
for standard in c++98 c++11 c++17; do
    more='-Wold-style-cast -Wzero-as-null-pointer-constant'
    if [ $standard = c++98 ]; then
        # It has no long long, and int64_t may be one.
        more=-Wno-long-long
    fi
    # shellcheck disable=SC2086
    "$compiler" -x c++ -std=$standard $warnings $more -I"$folder" -fsyntax-only "$folder/use.cpp"
done
number() { sed -n "s/^#define DYNALOCK_VERSION_$1 //p" dynalock.h; }
grep -q "^#define DYNALOCK_VERSION \"$(number MAJOR).$(number MINOR).$(number PATCH)\"$" dynalock.h ||
    { echo 'DYNALOCK_VERSION is not what its three numbers say'; exit 1; }
if grep '^#include' dynalock.h | grep -v '<std\(bool\|def\|int\)\.h>'; then
    echo 'dynalock.h includes more than it says'
    exit 1
fi
