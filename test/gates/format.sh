#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every C file and header is laid out as .clang-format says; `make format` does it.
# needs: clang-format
set -eu
test/gates/files | grep -E '\.([ch]|cpp)$' | xargs clang-format --dry-run -Werror
