#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is installed can be compiled against and runs, also staged and in folders of any name; it names no folder of
# the build, and all of it goes away again.
# needs: pkg-config readelf c++
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
make="${MAKE:-make} --no-print-directory"
# quietly TARGET VARIABLE...: make, whose words show when it fails.
quietly() {
    $make "$@" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
}
# nothing_left FOLDER
nothing_left() {
    if find "$1" ! -type d | grep .; then
        echo 'uninstall leaves these behind'
        exit 1
    fi
}

usual="prefix=$folder/usr"
quietly install "$usual"
quietly installcheck "$usual"
quietly install PREFIX="$folder/usr" DESTDIR="$folder/stage"
diff -r "$folder/usr" "$folder/stage$folder/usr"
if grep -rF "$(pwd -P)" "$folder/usr/lib/pkgconfig" "$folder/usr/include"; then
    exit 1
fi
quietly uninstall "$usual"
nothing_left "$folder/usr"

# Staged, each folder elsewhere.
set -- prefix=/opt/one exec_prefix=/opt/two libdir=/opt/two/lib64 includedir=/opt/one/include/dynalock-0 \
    pkgconfigdir=/opt/three DESTDIR="$folder/odd"
quietly install "$@"
quietly installcheck "$@"
for file in two/lib64/libdynalock.a two/lib64/libdynalock.so one/include/dynalock-0/dynalock.h three/dynalock.pc; do
    [ -f "$folder/odd/opt/$file" ] || { echo "there is no $file"; exit 1; }
done
if grep -F "$folder" "$folder/odd/opt/three/dynalock.pc"; then
    echo 'dynalock.pc names DESTDIR'
    exit 1
fi
quietly uninstall "$@"
nothing_left "$folder/odd"
