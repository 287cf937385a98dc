#!/bin/sh
# Builds stage.wasm. PYTHON: an interpreter that has ziglang (pip install -r requirements.txt).
set -eu
cd "$(dirname "$0")"
# The stack is set because this compiler takes 16 MiB otherwise, and memory counts.
"${PYTHON:-python3}" -m ziglang build-exe stage.zig -target wasm32-wasi -O ReleaseSmall \
    -fstrip --stack 65536 -femit-bin=stage.wasm
chmod 644 stage.wasm # the linker makes it executable
