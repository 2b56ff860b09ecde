#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: warnings.sh COMPILER
# The library, the command, the fuzzers and the examples compile without a warning, with clang also the tests: gcc's
# warnings of these are errors in the build with the address sanitizer. The library also without optimisation and with
# nothing of OpenSSL that has been deprecated since 1.1.1, and as distributions build, fortified.
# needs: pkg-config
set -eu
compiler=$1
pkg_config=${PKG_CONFIG:-pkg-config}
base="-I. -Itest -pthread -Wall -Wextra -Wshadow -Wconversion -Wpedantic -Werror"
own_flags="$base $($pkg_config --cflags libcurl libcrypto jansson)"
flags="-std=c11 $own_flags"
test_flags="-std=gnu11 $own_flags $($pkg_config --cflags cmocka)"
modern="-DOPENSSL_NO_DEPRECATED -DOPENSSL_API_COMPAT=0x10101000L -Wstrict-prototypes -Wmissing-prototypes -Wformat=2"
# clang finds all that it warns of while it reads.
case $compiler in
*clang*) compile=-fsyntax-only others='command|examples|fuzz|test' ;;
*) compile='-c -o /dev/null' others='command|examples|fuzz' ;;
esac
status=0
# shellcheck disable=SC2086 # several flags
test/gates/files | grep '^[^/]*\.c$' | xargs -n 1 -P 2 "$compiler" $flags $modern -O0 $compile || status=1
# shellcheck disable=SC2086
test/gates/files | grep '^[^/]*\.c$' | xargs -n 1 -P 2 "$compiler" $flags -O2 -D_FORTIFY_SOURCE=2 $compile || status=1
# shellcheck disable=SC2086
test/gates/files | grep -E "^($others)/.*\.c$" |
    xargs -r -n 1 -P 2 "$compiler" $test_flags -O2 $compile || status=1
# shellcheck disable=SC2086
test/gates/files | grep '^examples/.*\.cpp$' | xargs -n 1 "$compiler" -x c++ -std=c++11 $base -Wold-style-cast \
    -Wzero-as-null-pointer-constant -O2 $compile || status=1
# C++98 has no long long, and int64_t may be one.
# shellcheck disable=SC2086
"$compiler" -x c++ -std=c++98 $base -Wno-long-long $compile test/consumer.c || status=1
# shellcheck disable=SC2086
"$compiler" -std=c99 $base $compile test/consumer.c || status=1
exit "$status"
