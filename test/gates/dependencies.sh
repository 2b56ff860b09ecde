#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# All that the library uses of libcurl, OpenSSL and jansson stands in dependencies.tsv, and is in the oldest versions
# supported, or within an #if that asks for the version. The branches for old versions compile with today's libraries
# too.
# needs: cc pkg-config nm awk
set -eu
export LC_ALL=C
table=test/gates/dependencies.tsv
pkg_config=${PKG_CONFIG:-pkg-config}
compiler=${CC:-cc}
flags=$($pkg_config --cflags libcurl libcrypto jansson)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0

# One file after the other, without comments.
code() {
    sed -e 's,/\*.*\*/,,g' -e '/^ *\/\*/,/\*\//d' "$@"
}
# words PATTERN: each of what matches, once.
words() {
    grep -oE "$1" | tr -d '(' | sort -u || :
}

# used LIBRARY HEADERS PATTERN FILE...: the names of the library's headers that match and stand in the files. What
# is a function has a parenthesis after it.
used() {
    library=$1 headers=$2 pattern=$3
    shift 3
    for header in $headers; do
        echo "#include <$header>"
    done >"$folder/include.c"
    # shellcheck disable=SC2086 # several flags
    { "$compiler" $flags -E "$folder/include.c" && "$compiler" $flags -E -dM "$folder/include.c"; } |
        words '\b[A-Za-z_][A-Za-z0-9_]*' >"$folder/declared"
    cat "$@" >"$folder/$library.code"
    code "$@" | words "$pattern" >"$folder/named"
    comm -12 "$folder/declared" "$folder/named" | sed "s/^/$library	/" >>"$folder/used"
}
used libcurl curl/curl.h '\b(curl_[a-z_]+\(|CURL[A-Z]*_[A-Za-z0-9_]+)' transport.c http.c easy.c
used libcrypto 'openssl/core_names.h openssl/err.h openssl/evp.h openssl/hmac.h' \
    '\b((EVP|ERR|OPENSSL|CRYPTO|OSSL|HMAC|SHA|RAND)[A-Za-z0-9_]*\(|OSSL_[A-Z_]+)' sigv4.c
used jansson jansson.h '\b(json_[a-z0-9_]+\(|json_error_[a-z]+_[a-z_]+|JSON_[A-Z_]+)' json_*.c

# What is imported too: macros hide some of it.
old="-DDLK_TRANSPORT_OLD_CURL -DDLK_SIGV4_OPENSSL_1_1"
for file in transport sigv4; do
    # shellcheck disable=SC2086
    "$compiler" -std=c11 -I. $flags $old -Wall -Wextra -Werror -c -o "$folder/$file.o" $file.c || status=1
done
nm -u build/release/libdynalock.a "$folder"/*.o | awk 'NF == 2 { print $2 }' | sort -u >"$folder/imported"
imported() {
    grep -E "$2" "$folder/imported" | sed "s/^/$1	/" >>"$folder/used" || { echo "Nothing of $1 is imported"; status=1; }
}
imported libcurl '^curl_'
imported libcrypto '^(EVP|ERR|OPENSSL|CRYPTO|OSSL|HMAC|SHA|RAND)'
imported jansson '^json_'

awk -F '\t' '
function fault(text) { print text; bad = 1 }
function number(version,    part) { split(version, part, "."); return part[1] * 1000000 + part[2] * 1000 + part[3] }
# The value of the macro at that version. OpenSSL before 3.0 has another form, and needs no guard here.
function value(library, version,    part) {
    split(version, part, ".")
    return sprintf(library == "libcrypto" ? "0x%x%02x00%02x0" : "0x%02x%02x%02x", part[1], part[2], part[3])
}
# Whether what encloses the line asks for the version, itself or by a macro that was defined as 1 within such an #if.
function guarded(macro, least,    i) {
    for (i = 1; i <= depth; i++) {
        if (match(within[i], macro " >= 0x[0-9a-f]+") &&
            substr(within[i], RSTART + length(macro) + 4, RLENGTH - length(macro) - 4) >= least) {
            return 1
        }
    }
    return 0
}
function follow(line,    word) {
    if (line ~ /^ *# *if/) {
        sub(/^ *# *if(def|ndef)? */, "", line)
        within[++depth] = line in meaning ? meaning[line] : line
    } else if (line ~ /^ *# *el/) {
        within[depth] = ""
    } else if (line ~ /^ *# *endif/) {
        depth--
    } else if (depth > 0 && line ~ /^ *# *define [A-Z0-9_]+ 1$/) {
        split(line, word, " ")
        meaning[word[2]] = within[depth]
    }
}
FILENAME ~ /\.tsv$/ {
    if ($0 ~ /^#/) next
    if (NF != 4) fault("Not four fields: " $0)
    if ($2 == "oldest supported") { oldest[$1] = $3; next }
    if (($1, $2) in version) fault($2 " stands twice in the table")
    version[$1, $2] = $3
    guard[$1, $2] = $4
    if (($4 != "-") != (number($3) > number(oldest[$1])))
        fault($2 " of " $1 " " $3 (($4 == "-") ? " needs a guard" : " needs no guard") ": " oldest[$1] " is supported")
    next
}
FILENAME ~ /used$/ {
    seen[$1, $2] = 1
    if (!(($1, $2) in version)) fault($2 " of " $1 " does not stand in the table: since when is it there?")
    next
}
FNR == 1 { library = FILENAME; sub(/.*\//, "", library); sub(/\.code$/, "", library); depth = 0; split("", meaning) }
{
    follow($0)
    gsub(/\/\*.*\*\//, "")
    line = $0
    while (match(line, /[A-Za-z_][A-Za-z0-9_]*/)) {
        name = substr(line, RSTART, RLENGTH)
        line = substr(line, RSTART + RLENGTH)
        if (!((library, name) in version)) continue
        seen[library, name] = 1
        macro = guard[library, name]
        if (macro != "-" && !guarded(macro, value(library, version[library, name])))
            fault(name " of " library " " version[library, name] " is used without asking " macro " for it")
    }
}
END {
    for (key in version) {
        split(key, part, SUBSEP)
        if (!(key in seen)) fault(part[2] " of " part[1] " stands in the table, but is not used")
    }
    exit bad
}' "$table" "$folder/used" "$folder/libcurl.code" "$folder/libcrypto.code" "$folder/jansson.code" || status=1
exit "$status"
