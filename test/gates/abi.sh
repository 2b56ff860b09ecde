#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Programs that were built with the library as test/abi has it go on working with this one: no function, structure or
# number that they know has changed. What was added stands there, too.
# needs: abidw abidiff pkg-config
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0

tools/abi "$folder"
if ! diff -u test/abi/numbers "$folder/numbers"; then
    echo 'Above: what test/abi/numbers (-) and dynalock.h (+) say of its constants'
    status=1
fi
# Sizes are those of 64 bits.
if [ "$(getconf LONG_BIT)" = 64 ] &&
    ! abidiff --harmless --no-architecture test/abi/libdynalock.abi.xml "$folder/libdynalock.abi.xml"; then
    echo 'Above: what has changed since test/abi/libdynalock.abi.xml was written'
    status=1
fi
if [ "$status" -ne 0 ]; then
    echo 'What was removed or changed breaks programs: it needs another soname, and so another DYNALOCK_VERSION_MAJOR.'
    echo 'Where something was only added, or a reserved member put to use, make abi writes down how it is now.'
fi
exit "$status"
