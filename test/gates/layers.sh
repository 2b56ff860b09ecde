#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One dependency per file: libcurl behind easy.h, jansson in json_*.c, OpenSSL in sigv4.c; the header has none.
# needs: grep
set -eu
status=0
# only PATTERN ALLOWED...: no file but those of the shell patterns ALLOWED includes what PATTERN matches.
only() {
    pattern=$1
    shift
    for file in *.c *.h; do
        allowed=no
        for each; do
            # shellcheck disable=SC2254 # a pattern it is
            case $file in $each) allowed=yes ;; esac
        done
        if [ "$allowed" = no ] && grep -nHE "^ *# *include *[<\"]$pattern" "$file"; then
            echo "$file must not include that"
            status=1
        fi
    done
}
only 'curl/' 'easy.h'
only 'easy.h' 'easy.c' 'transport.c' 'http.c'
only 'jansson' 'json_*.c'
only 'openssl/' 'sigv4.c'
# The command knows the library by its header alone; version.c asks libcurl and OpenSSL for theirs.
if grep -nHE '^ *# *include *[<"](curl/|openssl/|(internal|lock|providers|sigv4|easy)\.h)' command/*.[ch] |
    grep -vE '^command/version\.c:.*[<"](curl/curl|openssl/)'; then
    echo 'The command must not include that'
    status=1
fi
for file in *.c *.h; do
    lines=$(wc -l <"$file")
    if [ "$lines" -gt 1200 ]; then
        echo "$file has $lines lines: it has two subjects"
        status=1
    fi
done
if grep -nE '\b(v?f?printf|f?puts|putchar|perror|_?exit|abort|raise|syslog)\(' -- *.c; then
    echo 'The library neither prints nor ends the program'
    status=1
fi
exit "$status"
