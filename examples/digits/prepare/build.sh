#!/bin/sh
# Builds prepare.wasm. PYTHON: an interpreter that has ../requirements.txt.
set -eu
cd "$(dirname "$0")"
"${PYTHON:-python3}" -m ziglang cc -target wasm32-wasi -std=c11 -Wall -Wextra -Werror \
    -Os -s -Wl,-z,stack-size=16384 -o prepare.wasm prepare.c
chmod 644 prepare.wasm # the linker makes it executable
