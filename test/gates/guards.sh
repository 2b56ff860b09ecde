#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each patch of test/guards applies to the tree as it is, and compiles; the programs that it names are there. What the
# tests say without a guard is shown by `make guards`.
# needs: pkg-config patch gcc xargs
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
flags="-std=c11 -fsyntax-only -pthread $(${PKG_CONFIG:-pkg-config} --cflags libcurl libcrypto jansson)"
export folder flags

# shellcheck disable=SC2016 # for the shell of each patch
find test/guards -name '*.patch' | LC_ALL=C sort | xargs -n 1 -P 2 sh -c '
    name=$(basename "$1" .patch)
    tree=$folder/$name
    fail() { echo "test/guards/$name.patch: $1"; exit 1; }
    mkdir "$tree"
    cp ./*.h "$tree/"
    files=$(sed -n "s,^--- a/,,p" "$1")
    for file in $files; do cp "$file" "$tree/"; done
    patch -s -f -F 0 -p1 -d "$tree" <"$1" || fail "does not apply"
    for file in $files; do
        ${CC:-gcc} $flags "$tree/$file" 2>"$tree/log" || { head -n 3 "$tree/log"; fail "does not compile"; }
    done
    programs=$(sed -n "2s/^tests: //p" "$1")
    [ -n "$programs" ] || fail "names no tests in its second line"
    for program in $programs; do
        [ -f "test/$program.c" ] || fail "there is no test/$program.c"
    done
    rm -r "$tree"
' sh
