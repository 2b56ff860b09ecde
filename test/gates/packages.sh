#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# find_package(dynalock) of CMake finds what is installed, also where it was moved to and with each folder elsewhere; a
# program builds and runs with both targets; a version that does not serve is refused. All packages are of the header's
# version.
# needs: cmake pkg-config readelf
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
top=$(pwd -P)
make=${MAKE:-make}
fail() {
    echo "$*"
    exit 1
}
quietly() {
    "$@" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
}

number() { sed -n "s/^#define DYNALOCK_VERSION_$1 \([0-9]*\)$/\1/p" dynalock.h; }
major=$(number MAJOR)
minor=$(number MINOR)
patch=$(number PATCH)
version=$major.$minor.$patch
series=$major.$minor
[ "$major" -eq 0 ] || series=$major

# ---- All are of one version ----

# of WHERE VERSION
of() { [ "$2" = "$version" ] || fail "$1 is of version $2, dynalock.h of $version"; }
of packaging/debian/changelog "$(sed -n '1s/^dynalock (\(.*\)-[^-]*) .*/\1/p' packaging/debian/changelog)"
of packaging/vcpkg/vcpkg.json "$(sed -n 's/^ *"version": "\(.*\)",*$/\1/p' packaging/vcpkg/vcpkg.json)"

# ---- CMake: which version serves for which ----

cat >"$folder/versions.cmake" <<'END'
cmake_minimum_required(VERSION 3.12)
foreach(wanted IN LISTS serves refuses)
    find_package(dynalock ${wanted} CONFIG QUIET PATHS "${folder}" NO_DEFAULT_PATH)
    if(wanted IN_LIST refuses AND dynalock_FOUND OR wanted IN_LIST serves AND NOT dynalock_FOUND)
        message(SEND_ERROR "dynalock ${dynalock_CONSIDERED_VERSIONS} for ${wanted}: ${dynalock_FOUND}")
    endif()
endforeach()
END
mkdir "$folder/version"
: >"$folder/version/dynalockConfig.cmake"
# versions VERSION SERVES REFUSES
versions() {
    sed "s/@version@/$1/" packaging/cmake/dynalockConfigVersion.cmake.in >"$folder/version/dynalockConfigVersion.cmake"
    quietly cmake -Dfolder="$folder/version" -Dserves="$2" -Drefuses="$3" -P "$folder/versions.cmake"
}
versions 0.1.0 '0.1;0.1.0;0.1...<1;0.0...0.1.0' '0.0;0.2;1;0.1.1;0.0...<0.1.0;0.2...1'
versions 0.3.2 '0.3;0.3.1;0.1...0.4' '0;0.2;0.3.3;0.4;0.1...0.3.1'
versions 1.4.2 '1;1.2;1.4.1;1.0...<2' '0.4;1.5;1.4.3;2;14'

# ---- CMake: the targets ----

mkdir "$folder/program"
cat >"$folder/program/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.12)
project(program C)
find_package(dynalock $series CONFIG REQUIRED COMPONENTS shared static)
foreach(kind shared static)
    add_executable(\${kind} $top/test/consumer.c)
    set_target_properties(\${kind} PROPERTIES C_STANDARD 99)
endforeach()
target_link_libraries(shared dynalock::dynalock)
target_link_libraries(static dynalock::dynalock_static)
END

# try NAME CMAKE-OPTION...
try() {
    name=$1
    shift
    quietly cmake -S "$folder/program" -B "$folder/$name" "$@"
    quietly cmake --build "$folder/$name"
    quietly "$folder/$name/shared"
    quietly "$folder/$name/static"
    readelf -d "$folder/$name/shared" | grep -q 'NEEDED.*libdynalock\.so' || fail 'dynalock::dynalock is not shared'
    ! readelf -d "$folder/$name/static" | grep 'NEEDED.*dynalock' || fail 'dynalock::dynalock_static is not static'
}

quietly "$make" install prefix="$folder/first"
mv "$folder/first" "$folder/second place"
! grep -rF "$top" "$folder/second place/lib/cmake" || fail 'Above: names a folder of the build'
quietly cmake -Dfolder="$folder/second place" -Dserves= -Drefuses="$major.$((minor + 1));$((major + 1))" \
    -P "$folder/versions.cmake"
try moved "-DCMAKE_PREFIX_PATH=$folder/second place"
grep -qF "dynalock_DIR:PATH=$folder/second place/lib/cmake/dynalock" "$folder/moved/CMakeCache.txt" ||
    fail "CMake found another dynalock: $(grep dynalock_DIR "$folder/moved/CMakeCache.txt")"

set -- prefix=/opt/one libdir=/opt/two/lib64 includedir=/opt/one/include/dynalock-0 cmakedir=/opt/three DESTDIR="$folder/odd"
quietly "$make" install "$@"
try odd -Ddynalock_DIR="$folder/odd/opt/three"

# A component that is not there is missed.
rm "$folder/odd/opt/two/lib64/libdynalock.a"
if cmake -S "$folder/program" -B "$folder/odd" >"$folder/log" 2>&1; then
    fail 'There is no static library, and CMake found one'
fi
tr -s ' \n' ' ' <"$folder/log" | grep -qF 'component static cannot be used' || { cat "$folder/log"; exit 1; }
quietly "$make" uninstall "$@"
! find "$folder/odd/opt" ! -type d | grep . || fail 'Above: left behind by make uninstall'
