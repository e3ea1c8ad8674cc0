#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
exec "${PYTHON3:-python3}" "${MICA_SRCDIR:-.}/tests/lint/lint.py" --format
