#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tarball of `make dist` has all of the project's files and nothing else, with one owner and one time; unpacked, it
# makes the same tarball again. `make distcheck` builds it too, and test/gates/debian.sh does.
# needs: tar gzip cmp
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
make=${MAKE:-make}
unset SOURCE_DATE_EPOCH
version=$(sed -n 's/^#define DYNALOCK_VERSION "\(.*\)"$/\1/p' dynalock.h)
tarball=dynalock-$version.tar.gz

"$make" --no-print-directory dist TARBALL="$folder/$tarball" >"$folder/log"
test/gates/files | sed "s,^,dynalock-$version/," >"$folder/wanted"
tar -tzf "$folder/$tarball" >"$folder/names"
if ! diff -u "$folder/wanted" "$folder/names"; then
    echo 'Above: what the tarball has (+) and the tree has (-)'
    exit 1
fi
tar -tvz --numeric-owner --full-time -f "$folder/$tarball" | awk '{ print $2, $4, $5 }' | sort -u >"$folder/kinds"
if [ "$(wc -l <"$folder/kinds")" -ne 1 ] || ! grep -q '^0/0 ' "$folder/kinds"; then
    head -n 5 "$folder/kinds"
    echo 'Above: not of one time, or not of owner 0'
    exit 1
fi

# By another hand, and later.
mkdir "$folder/again"
tar -xzf "$folder/$tarball" -C "$folder/again"
chmod -R go= "$folder/again"
"$make" --no-print-directory -C "$folder/again/dynalock-$version" dist >"$folder/log"
cmp "$folder/$tarball" "$folder/again/dynalock-$version/build/$tarball"
