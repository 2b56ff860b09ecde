#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The header, the version script and the shared library name the same functions; all other global names of the
# static library begin with dlk_.
# needs: nm readelf
set -eu
export LC_ALL=C
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0
shared=build/release/libdynalock.so

tr '\n' ' ' <dynalock.h | grep -oE 'DYNALOCK_API [^;(]*\(' | grep -oE 'dynalock_[a-z0-9_]+\($' | tr -d '(' |
    sort >"$folder/header"
sed -n 's/^ *\(dynalock_[a-z0-9_]*\);.*/\1/p' dynalock.map | sort >"$folder/map"
nm -D --defined-only "$shared" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort >"$folder/library"
for list in map library; do
    if ! diff -u "$folder/header" "$folder/$list"; then
        echo "The $list and the header disagree: see above"
        status=1
    fi
done
if [ ! -s "$folder/header" ]; then
    echo 'No function found in the header'
    status=1
fi

nm -g --defined-only build/release/libdynalock.a | awk 'NF == 3 { print $3 }' | sort >"$folder/archive"
if grep -vE '^(dynalock|dlk)_' "$folder/archive"; then
    echo 'These names in libdynalock.a have a foreign prefix'
    status=1
fi
grep '^dynalock_' "$folder/archive" >"$folder/public" || :
if ! diff -u "$folder/header" "$folder/public"; then
    echo 'libdynalock.a and the header disagree: see above'
    status=1
fi

wanted=libdynalock.so.$(sed -n 's/^#define DYNALOCK_VERSION_MAJOR //p' dynalock.h)
readelf -d "$shared" | grep -qF "Library soname: [$wanted]" || { echo "The soname is not $wanted"; status=1; }
if readelf -d "$shared" | grep -E 'TEXTREL|RPATH|RUNPATH'; then
    status=1
fi
exit "$status"
