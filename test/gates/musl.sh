#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The library compiles with musl's headers, without a warning. Those of its dependencies are this system's; nothing
# else of it is seen. It is not linked: Debian has no libcurl for musl.
# needs: musl-gcc cc pkg-config
set -eu
pkg_config=${PKG_CONFIG:-pkg-config}
compiler=${CC:-cc}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/curl" "$folder/openssl"

# The headers that transport.c, sigv4.c and json_*.c see, of their dependencies alone.
# shellcheck disable=SC2046 # several flags
"$compiler" -M -I. $($pkg_config --cflags libcurl libcrypto jansson) transport.c sigv4.c json_*.c | tr ' ' '\n' |
    grep -E '/((curl|openssl)/[a-z0-9_-]+|jansson[a-z_]*)\.h$' | sort -u | while IFS= read -r header; do
    case $header in
    */curl/*) ln -s "$header" "$folder/curl/" ;;
    */openssl/*) ln -s "$header" "$folder/openssl/" ;;
    *) ln -s "$header" "$folder/" ;;
    esac
done

status=0
flags="-std=c11 -O2 -fPIC -fvisibility=hidden -pthread -I. -isystem $folder
    -Wall -Wextra -Wshadow -Wconversion -Wpedantic -Wstrict-prototypes -Wmissing-prototypes -Werror"
# shellcheck disable=SC2086 # several flags
test/gates/files | grep '^[^/]*\.c$' | xargs -n 1 -P 2 musl-gcc $flags -c -o /dev/null || status=1
if echo '#include <features.h>' | musl-gcc -E -dM - | grep __GLIBC__; then
    echo 'This is not musl'
    status=1
fi
exit "$status"
