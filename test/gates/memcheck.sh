#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: memcheck.sh [all]
# valgrind finds nothing in the unit tests as they are built for use: no byte is used that nobody wrote, which no
# sanitizer here would tell, and nothing leaks. Without "all" those that take it longest are left out; `make memcheck`
# has them.
# needs: valgrind xargs
set -eu
programs=$(find build/release/test -name 'unit_*' ! -name '*.*' | sort)
[ -n "$programs" ] || { echo 'build/release/test has no unit tests: run make check, or make memcheck'; exit 1; }
if [ "${1--}" != all ]; then
    programs=$(printf '%s\n' "$programs" | grep -vE '/unit_(codec|profile)$')
fi
export LOCPATH="$PWD/build/locale"
# shellcheck disable=SC2016 # the inner shell's
printf '%s\n' "$programs" | xargs -n 1 -P 2 sh -c '
    output=$(valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,possible \
        --suppressions=test/valgrind.supp "$0" 2>&1) || { printf "%s\n" "$0:" "$output"; exit 1; }'
