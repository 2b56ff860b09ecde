#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is installed can be compiled against, is the same under DESTDIR, names no folder of the build, and goes
# away again.
# needs: pkg-config nm
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
make=${MAKE:-make}
for step in install installcheck; do
    $make --no-print-directory "$step" prefix="$folder/usr" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
done
$make --no-print-directory install prefix="$folder/usr" DESTDIR="$folder/stage" >/dev/null
diff -r "$folder/usr" "$folder/stage$folder/usr"
$make --no-print-directory installcheck prefix="$folder/usr" DESTDIR="$folder/stage" >/dev/null
if grep -rF "$(pwd -P)" "$folder/usr/lib/pkgconfig" "$folder/usr/include"; then
    exit 1
fi
$make --no-print-directory uninstall prefix="$folder/usr" >/dev/null
if find "$folder/usr" ! -type d | grep .; then
    echo 'uninstall leaves these behind'
    exit 1
fi
$make --no-print-directory all >/dev/null # dynalock.pc for its usual prefix again
