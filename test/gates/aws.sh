#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The CloudFormation template and the Terraform module make the table that the library makes; the policies allow what
# README.md says, and no more.
# needs: node
set -eu
exec tools/node packaging/aws/check.mjs
