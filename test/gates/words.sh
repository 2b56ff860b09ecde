#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Nothing in the tree depends on the machine it was written on: no path of it, no file outside the tree. Every
# source names its licence.
# needs: grep
set -eu
status=0
files=$(test/gates/files)
here=$(pwd -P)

# refuse WHAT GREP-OPTIONS...: says where it stands.
refuse() {
    what=$1
    shift
    if printf '%s\n' "$files" | tr '\n' '\0' | xargs -0 grep -nIH "$@"; then
        echo "Above: $what"
        status=1
    fi
}
if [ "${#here}" -gt 4 ]; then
    refuse 'the path of this tree' -F "$here"
fi
refuse "a path of somebody's machine" -E '(^|[^A-Za-z0-9_.$}/])/(home|root|Users|work)/[A-Za-z0-9_.-]'
refuse 'a folder outside the tree' -E '(^|[^A-Za-z0-9_-])(\.\./|/[a-z]+/)shared/'
if grep -n '"resolved": *"http' test/package-lock.json; then
    echo 'Above: test/package-lock.json names a registry'
    status=1
fi

for file in $files; do
    case $file in
    *.c | *.cpp | *.h | *.mjs | *.sh | Makefile | .clang-tidy | .clang-format | *.map)
        if ! head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0'; then
            echo "$file does not name its licence"
            status=1
        fi
        ;;
    esac
done
exit "$status"
