#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The model of the lock's protocol holds, each variant without a guard fails, and what must be reachable is reached;
# the functions that it and its page name are in the sources.
# needs: spin gcc
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0
grep -ohE '\b(dlk|dynalock_lock|acquire|renew|release|cleanup)_[a-z_]+' model/lock.pml docs/model.md | sort -u >"$folder/names"
while read -r name; do
    if ! grep -qE "\b$name\(" ./*.c; then
        echo "model/lock.pml or docs/model.md names $name, which is not in the sources"
        status=1
    fi
done <"$folder/names"
MODEL_BUILD=$folder model/run short || status=1
exit "$status"
