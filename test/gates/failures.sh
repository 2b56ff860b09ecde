#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each function that the library calls is made fail by the tests (test/support_fail.h), or stands in failures.txt with
# the reason why not.
# needs: nm awk
set -eu
export LC_ALL=C
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0

# Of the static library, which is as it was written: what a compiler makes of the rest is its own.
nm -u build/release/libdynalock.a | awk '$1 == "U" { sub(/@.*/, "", $2); print $2 }' |
    grep -vE '^(dynalock|dlk)_|^_' | sort -u >"$folder/called"
sed -n 's,^/\* wrap: *\(.*\) \*/$,\1,p' test/support_fail.h | tr ' ' '\n' | sort -u >"$folder/failing"
grep -v '^#' test/gates/failures.txt | tr ' ' '\n' | sort -u >"$folder/others"
sort -u "$folder/failing" "$folder/others" >"$folder/known"

if comm -23 "$folder/called" "$folder/known" | grep .; then
    echo 'These are called by the library: support_fail.c has to make them fail, or failures.txt to say why not'
    status=1
fi
if comm -12 "$folder/failing" "$folder/others" | grep .; then
    echo 'These are in failures.txt, and made fail all the same'
    status=1
fi
if comm -13 "$folder/called" "$folder/known" | grep .; then
    echo 'These are made fail, or in failures.txt, and not called'
    status=1
fi
[ -s "$folder/called" ] || { echo 'The library calls nothing: is it built?'; status=1; }
exit "$status"
