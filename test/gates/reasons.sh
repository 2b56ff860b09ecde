#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Whatever a compiler, an analyser, a sanitizer, valgrind, shellcheck or lintian is told not to report has its reason in
# words: on the line itself or in the comment above it; for a check that .clang-tidy leaves out, at its head. In a
# script, one reason serves for all places with the same rule.
# needs: awk
set -eu
sources=$(test/gates/files | grep -E '\.(c|h|cpp|sh|supp|bash|mk)$|(^|/)Makefile$|^tools/|^model/run$|^test/run-offline$' |
    grep -vxF test/gates/reasons.sh)
# shellcheck disable=SC2086 # no name has a space
awk '
function fault() { printf "%s:%d: without a reason: %s\n", FILENAME, FNR, $0; bad = 1 }
function words(text) { gsub(/[^A-Za-z]+/, " ", text); return text ~ /[A-Za-z] [A-Za-z]/ }
function after(pattern) { return match($0, pattern) ? substr($0, RSTART + RLENGTH) : "" }

FNR == 1 { above = 0; comments = ""; split("", told) }
FILENAME == ".clang-tidy" {
    if (/^#/) comments = comments $0
    else if (match($0, /^ +-[a-z]+-[a-zA-Z0-9.-]+/) && !index(comments, substr($0, RSTART + 3, RLENGTH - 3))) fault()
    next
}
/shellcheck disable=/ {
    reason = words(after("disable=[SC0-9,]+"))
    match($0, /disable=[SC0-9,]+/)
    count = split(substr($0, RSTART + 8, RLENGTH - 8), rules, ",")
    for (i = 1; i <= count; i++) {
        if (reason) told[rules[i]] = 1
        else if (!(rules[i] in told)) fault()
    }
    next
}
/NOLINT/ && !words(after("NOLINT[A-Z]*[(][^)]*[)]")) { fault() }
/cppcheck-suppress/ && !words(after("cppcheck-suppress *[A-Za-z]+")) { fault() }
/diagnostic ignored|no_sanitize|[ =]-Wno-|--suppress-tags/ && !above && !words(after("/[*]")) { fault() }
FILENAME ~ /\.supp$/ && /^[a-z{]/ && !above { fault() }

/^ *(#|\/\*|\*|\/\/) / { above = words($0); next }
/diagnostic |^ *$/ { next } # one reason for several
FILENAME ~ /\.supp$/ && !/^}/ { next }
{ above = 0 }
END { exit bad }
' .clang-tidy $sources
