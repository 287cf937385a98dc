#!/bin/sh
# Builds stage.wasm. PYTHON: an interpreter that has ziglang (pip install ziglang).
set -eu
cd "$(dirname "$0")"
# The stack is set because this compiler takes 16 MiB otherwise, and memory counts.
"${PYTHON:-python3}" -m ziglang cc -target wasm32-wasi -std=c11 -Wall -Wextra -Werror \
    -Os -s -Wl,-z,stack-size=65536 -o stage.wasm stage.c
chmod 644 stage.wasm # the linker makes it executable
