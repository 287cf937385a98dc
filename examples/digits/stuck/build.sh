#!/bin/sh
# Builds stuck.wasm. PYTHON: an interpreter that has ../requirements.txt.
# -fno-finite-loops: without it the compiler may assume that the endless loop ends.
set -eu
cd "$(dirname "$0")"
"${PYTHON:-python3}" -m ziglang cc -target wasm32-wasi -std=c11 -Wall -Wextra -Werror \
    -Os -s -fno-finite-loops -Wl,-z,stack-size=16384 -o stuck.wasm stuck.c
chmod 644 stuck.wasm # the linker makes it executable
