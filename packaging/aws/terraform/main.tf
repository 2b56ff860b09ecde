# SPDX-License-Identifier: Apache-2.0
# The table of dynalock: the same as `dynalock init` creates, unless the variables say more.

terraform {
  required_version = ">= 1.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "table_name" {
  type    = string
  default = "dynalock"
}

variable "kms_key_arn" {
  description = "The customer managed key that encrypts the table; null: a key of DynamoDB's own, at no cost"
  type        = string
  default     = null
}

variable "point_in_time_recovery" {
  description = "Continuous backups, of use for records that are kept"
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "The table cannot be deleted before this is turned off"
  type        = bool
  default     = false
}

variable "tags" {
  type    = map(string)
  default = {}
}

resource "aws_dynamodb_table" "dynalock" {
  name         = var.table_name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"
  range_key    = "name"
  tags         = var.tags

  attribute {
    name = "id"
    type = "S"
  }

  attribute {
    name = "name"
    type = "S"
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }

  dynamic "server_side_encryption" {
    for_each = var.kms_key_arn == null ? [] : [var.kms_key_arn]
    content {
      enabled     = true
      kms_key_arn = server_side_encryption.value
    }
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }

  deletion_protection_enabled = var.deletion_protection
}

output "table_name" {
  value = aws_dynamodb_table.dynalock.name
}

output "table_arn" {
  value = aws_dynamodb_table.dynalock.arn
}
