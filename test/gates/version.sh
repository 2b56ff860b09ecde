#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# make stops where another file disagrees with dynalock.h about the version, and names that file.
# needs: sed
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
make=${MAKE:-make}
tools/check-version
# check FILE: what make says of the copies, once FILE (the header's numbers where it is dynalock.h) is another version's.
check() {
    mkdir -p "$folder/$1/pkg-config" "$folder/$1/tools"
    for file in Makefile dynalock.h dynalock.map CHANGELOG.md pkg-config/dynalock.pc.in tools/check-version; do
        cp "$file" "$folder/$1/$file"
    done
    if [ -f "$1" ]; then
        sed -e 's/^\(#define DYNALOCK_VERSION_MINOR\) .*/\1 99/' -e 's/^DYNALOCK_.* {/DYNALOCK_99 {/' \
            -e 's/^## .*/## 99.0.0/' -e 's/^Version: .*/Version: 99.0.0/' "$1" >"$folder/$1/$1"
    fi
    $make --no-print-directory -C "$folder/$1" all >"$folder/log" 2>&1
}
for other in dynalock.h dynalock.map CHANGELOG.md pkg-config/dynalock.pc.in; do
    if check "$other"; then
        echo "make goes on though $other has another version"
        exit 1
    fi
    grep -q "^$other disagrees" "$folder/log" || { cat "$folder/log"; exit 1; }
done
check nothing-changed 2>/dev/null || :
if grep 'disagrees' "$folder/log"; then
    exit 1
fi
