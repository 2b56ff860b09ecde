#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The manual pages: mandoc has nothing to say of them; what they name is there, and what is there they name.
#
# - Each function of dynalock.h stands in the NAME of one page, and its prototype in that page's SYNOPSIS, word for
#   word; so do the types of callbacks. The shared library exports the same functions.
# - Each constant of dynalock.h and each member of its structures stands in some page.
# - No page names a function, a type, a constant, a page or an option that does not exist.
# - Examples: in sections 3 and 7 every literal block of EXAMPLES is C99. One with `int main` is a program, and is
#   linked with the shared library; one without is a file of its own, which is compiled. Each page of section 3 has a
#   program.
# - The command: dynalock(1) and what `dynalock --help` prints name the same subcommands and options.
# needs: mandoc nm cc pkg-config
set -eu
export LC_ALL=C
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0
shared=build/release/libdynalock.so
command=build/release/dynalock

wrong() {
    echo "$*"
    status=1
}

# same WHAT FILE FILE
same() {
    diff -u "$2" "$3" >"$folder/difference" || { cat "$folder/difference"; wrong "Above: $1"; }
}

# only WHAT FILE FILE: what is in the first and not in the second is wrong.
only() {
    comm -23 "$2" "$3" >"$folder/difference"
    if [ -s "$folder/difference" ]; then
        cat "$folder/difference"
        wrong "Above: $1"
    fi
}

# Each line in order, and once.
in_order() {
    sort -u "$@"
}

# One space between words, none at the signs.
normalise() {
    sed -E 's/[[:space:]]+/ /g; s/ ?([*(),]) ?/\1/g; s/^ //; s/ $//'
}

names() {
    grep -ohE "$1" "$2" | in_order
}

# ---- Layout ----

# Whether another manual is installed here says nothing of the page. Our own are looked for below.
mandoc -T lint -W style man/*.[137] >"$folder/lint" 2>"$folder/lint_errors" ||
    [ $? -lt 5 ] || { cat "$folder/lint_errors"; wrong 'mandoc could not do its work'; }
if grep -vE 'STYLE: referenced manual not found' "$folder/lint"; then
    wrong 'Above: what mandoc has to say'
fi

# ---- The header: one statement a line, without comments ----

sed '/^#/d' dynalock.h | tr '\n' ' ' | sed -E 's,/\*([^*]|\*+[^*/])*\*+/, ,g' >"$folder/bare"
tr ';{}' '\n' <"$folder/bare" | normalise >"$folder/statements"
sed -n 's/^DYNALOCK_API //p' "$folder/statements" | in_order >"$folder/exported"
{
    cat "$folder/exported"
    grep -E '^static inline |^typedef [a-z ]*\(\*dynalock_' "$folder/statements"
} | in_order >"$folder/prototypes"
# name_of: of a prototype
name_of() { sed -E 's/\(.*//; s/.*[ *]//'; }
name_of <"$folder/exported" | in_order >"$folder/exported_names"
grep -v '^typedef' "$folder/prototypes" | name_of | in_order >"$folder/functions"
[ -s "$folder/functions" ] || wrong 'No function found in the header'

names 'dynalock_[a-z0-9_]+' "$folder/bare" >"$folder/identifiers"
{ names '(DYNALOCK_[A-Z0-9_]+)' "$folder/bare"; sed -n 's/^#define \([A-Z_]*\).*/\1/p' dynalock.h; } |
    grep -v '^DYNALOCK_H$' | in_order >"$folder/constants"
grep -oE 'typedef struct dynalock_[a-z_]+ \{[^}]*' "$folder/bare" | sed 's/.*{//' | tr ';' '\n' |
    sed -nE 's/(\[[^]]*\])? *$//; s/.*[ *]([a-z_0-9]+)$/\1/p' | grep -v '^reserved' | in_order >"$folder/members"

nm -D --defined-only "$shared" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | in_order >"$folder/library"
same 'what the header and the library name' "$folder/exported_names" "$folder/library"

# ---- The pages ----

# PAGE<tab>NAME, and PAGE<tab>PROTOTYPE
for page in man/*.3; do
    awk -v page="$(basename "$page" .3)" '
        /^\.Sh/ { section = $2 }
        section == "NAME" && /^\.Nm/ { print page "\t" $2 }' "$page"
done >"$folder/name_lines"
for page in man/*.3; do
    awk -v page="$(basename "$page" .3)" '
        /^\.Sh/ { section = $2 }
        section != "SYNOPSIS" { next }
        /^\.Ft/ { type = substr($0, 5) }
        /^\.Fo/ { text = type " " $2 "("; comma = "" }
        /^\.Fa/ { gsub(/"/, ""); text = text comma substr($0, 5); comma = "," }
        /^\.Fc/ { print page "\t" text ")" }' "$page"
done | awk -F '\t' '{ print $2 > "/dev/stdout"; print $1 }' | paste - - >"$folder/synopsis_lines"
cut -f 1 "$folder/synopsis_lines" | normalise | sort >"$folder/page_prototypes"
same 'prototypes of the header (-) and of the pages (+)' "$folder/prototypes" "$folder/page_prototypes"

cut -f 2 "$folder/name_lines" | grep -v '^dynalock$' | sort >"$folder/page_names"
same 'functions of the header (-) and in the NAME of pages (+)' "$folder/functions" "$folder/page_names"
awk -F '\t' '$2 != "dynalock" { print $2, $1 }' "$folder/name_lines" | sort >"$folder/name_at"
grep -v '^typedef' "$folder/synopsis_lines" | while IFS='	' read -r prototype page; do
    printf '%s %s\n' "$(printf '%s\n' "$prototype" | name_of)" "$page"
done | sort >"$folder/prototype_at"
same 'the page with the name (-), the page with the prototype (+)' "$folder/name_at" "$folder/prototype_at"

for page in man/*.[37]; do
    sed '/^\.Dt/d; s/\\e/\\/g; s/\\&//g; s/\\-/-/g' "$page"
done >"$folder/text"
names '[A-Za-z0-9_]+' "$folder/text" >"$folder/words"
only 'constants that no page names' "$folder/constants" "$folder/words"
only 'members of structures that no page names' "$folder/members" "$folder/words"

names 'dynalock_[a-z0-9_]+' "$folder/text" >"$folder/named"
for page in man/*.[137]; do
    basename "$page" | sed 's/\..$//'
done | in_order - "$folder/identifiers" >"$folder/known"
only 'no function, type or page' "$folder/named" "$folder/known"
sed -nE 's/^\.(It )?F[no] (dynalock_[a-z0-9_]+).*/\2/p' "$folder/text" | in_order >"$folder/called"
only 'no functions of the header' "$folder/called" "$folder/functions"
names 'DYNALOCK_[A-Z0-9_]+' "$folder/text" | grep -vE '_$' >"$folder/named"
grep -ohE 'DYNALOCK_[A-Z]+' man/dynalock.1 command/*.[ch] 2>/dev/null | in_order - "$folder/constants" >"$folder/known"
only 'no constants of the header' "$folder/named" "$folder/known"

cut -f 2 "$folder/name_lines" | sed 's/$/ 3/' >"$folder/pages"
for page in man/*.[137]; do
    basename "$page" | tr '.' ' '
done | in_order - "$folder/pages" >"$folder/known"
grep -ohE '^\.(It )?Xr dynalock[a-z_0-9]* [0-9]' man/*.[137] | sed 's/.*Xr //' | in_order >"$folder/named"
only 'references to pages that are not there' "$folder/named" "$folder/known"
for page in man/*.[137]; do
    title=$(basename "$page" | tr 'a-z.' 'A-Z ')
    grep -qx ".Dt $title" "$page" || wrong "$page has another title"
    head -n 1 "$page" | grep -qF 'SPDX-License-Identifier: Apache-2.0' || wrong "$page does not name its licence"
done

# ---- Examples ----

for page in man/*.[37]; do
    awk -v base="$folder/$(basename "$page").example" '
        /^\.Sh/ { section = $2 }
        section != "EXAMPLES" { next }
        /^\.Bd -literal/ { inside = 1; count++; file = base count ".c"; next }
        /^\.Ed/ { inside = 0; close(file); next }
        inside {
            sub(/^\\&/, "")
            gsub(/\\-/, "-"); gsub(/\\\(aq/, "\047"); gsub(/\\\(ga/, "`"); gsub(/\\\(ha/, "^"); gsub(/\\\(ti/, "~")
            gsub(/\\e/, "\\")
            print > file
        }' "$page"
    case $page in
    *.3)
        grep -lqE '^int main\(' "$folder/$(basename "$page")".example*.c 2>/dev/null ||
            wrong "$page has no program among its examples"
        ;;
    esac
done
for example in "$folder"/*.example*.c; do
    set -- -std=c99 -Wall -Wextra -Werror -I.
    name=$(basename "$example" .c)
    if grep -q '^int main(' "$example"; then
        set -- "$@" -o "$folder/$name" "$example" -Lbuild/release -ldynalock
    else
        set -- "$@" -c -o "$folder/$name" "$example"
    fi
    # shellcheck disable=SC2046,SC2086 # several flags; a compiler may come with some
    ${CC:-cc} "$@" $(if grep -q '<jansson.h>' "$example"; then ${PKG_CONFIG:-pkg-config} --cflags --libs jansson; fi) ||
        wrong "The example $name does not compile: see above"
done

# ---- The command ----

if [ -f man/dynalock.1 ] && [ -d command ]; then
    "$command" --help >"$folder/help"
    sed -nE 's/^\.Ss ([a-z]+)( .*)?$/\1/p' man/dynalock.1 | in_order >"$folder/page_subcommands"
    sed -nE 's/^  ([a-z]+) .*/\1/p' "$folder/help" | in_order >"$folder/subcommands"
    same 'subcommands of dynalock --help (-) and of dynalock(1) (+)' "$folder/subcommands" "$folder/page_subcommands"
    while read -r subcommand; do
        "$command" "$subcommand" --help >>"$folder/help"
    done <"$folder/subcommands"
    grep -oE '(^|[^a-z-])--[a-z-]+' "$folder/help" | sed 's/^[^-]*--//' | in_order >"$folder/options"
    sed 's/\\-/-/g' man/dynalock.1 | grep -oE 'Fl -[a-z-]+|[ \[]--[a-z-]+' | sed -E 's/^(Fl -|[^-]--)//' |
        in_order >"$folder/page_options"
    same 'options of --help (-) and of dynalock(1) (+)' "$folder/options" "$folder/page_options"
fi
exit "$status"
