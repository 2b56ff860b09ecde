#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The Debian packages build from the tarball, lintian finds no error in them, and a program builds and runs with what is
# in them. libdynalock0.symbols names the functions of dynalock.map.
# needs: dpkg-buildpackage dh lintian pkg-config readelf c++
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
make=${MAKE:-make}
fail() {
    echo "$*"
    exit 1
}

sed -n 's/^ *\(dynalock_[a-z0-9_]*\);.*/\1/p' dynalock.map | LC_ALL=C sort >"$folder/map"
sed -n 's/^ \(dynalock_[a-z0-9_]*\)@.*/\1/p' packaging/debian/libdynalock0.symbols >"$folder/symbols"
if ! diff -u "$folder/symbols" "$folder/map"; then
    fail 'Above: packaging/debian/libdynalock0.symbols needs the lines with +, each with the version it came with:' \
        "' NAME@DYNALOCK_0 VERSION'"
fi

# The checks of it all are lintian's; what optimises, compresses or tests takes time.
export DEB_BUILD_OPTIONS='nocheck noopt noautodbgsym parallel=2'
version=$(sed -n 's/^#define DYNALOCK_VERSION "\(.*\)"$/\1/p' dynalock.h)
"$make" --no-print-directory deb TARBALL="$folder/dynalock-$version.tar.gz" DEBS="$folder/debs" >"$folder/log" 2>&1 ||
    { cat "$folder/log"; fail 'make deb fails'; }
# What was never in Debian closes no bug there.
lintian --fail-on error --suppress-tags initial-upload-closes-no-bugs "$folder"/debs/*.changes >"$folder/log" 2>&1 ||
    { cat "$folder/log"; fail 'lintian finds errors'; }

for package in libdynalock0 libdynalock-dev dynalock; do
    dpkg-deb -x "$folder/debs/${package}_$version"-*.deb "$folder/root" || fail "there is no package $package"
done
libdir=/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
tools/check-installed "$folder/root" "$libdir/pkgconfig" "$version" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
for file in bin/dynalock share/man/man1/dynalock.1.gz share/man/man3/dynalock.3.gz share/man/man7/dynalock_lock.7.gz; do
    [ -f "$folder/root/usr/$file" ] || fail "no package has /usr/$file"
done
LD_LIBRARY_PATH=$folder/root$libdir "$folder/root/usr/bin/dynalock" version >"$folder/log" 2>&1 ||
    { cat "$folder/log"; fail 'the command does not run'; }
grep -qF "$version" "$folder/log" || fail 'dynalock version names another version'
