#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every script whose first line names a shell passes shellcheck.
# needs: shellcheck
set -eu
test/gates/files | while IFS= read -r file; do
    if head -n 1 "$file" | grep -qE '^#!.*[/ ](ba|da)?sh( |$)'; then
        printf '%s\n' "$file"
    fi
done | xargs shellcheck
