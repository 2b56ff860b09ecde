#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# needs: cppcheck
set -eu
# What is suppressed: that system headers are not looked into, and that a public function or a member of a
# public structure has no user within the library; a check that takes what a loop begins with for what holds in all
# its rounds; and that another version of cppcheck has no use for one of these.
test/gates/files | grep -E '^[^/]*\.c$|^(command|examples|fuzz|test)/.*\.c$' | cppcheck --quiet --std=c11 -I. -Itest \
    --enable=warning,style,performance,portability --inline-suppr --error-exitcode=1 \
    --suppress=missingInclude --suppress=missingIncludeSystem --suppress=unusedStructMember \
    --suppress=knownConditionTrueFalse --suppress=unmatchedSuppression --file-list=-
