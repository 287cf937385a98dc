#!/bin/sh
# Builds stage.wasm. PYTHON: an interpreter that has ziglang; without it the one of .venv is taken if there is one.
set -eu
cd "$(dirname "$0")"
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
fi
"$PYTHON" -c 'import ziglang' 2>/dev/null || {
    echo 'ziglang is missing: python3 -m venv .venv && .venv/bin/pip install -r requirements.txt' >&2
    exit 1
}
# The stack is set because this compiler takes 16 MiB otherwise, and memory counts.
"$PYTHON" -m ziglang build-exe stage.zig -target wasm32-wasi -O ReleaseSmall \
    -fstrip --stack 65536 -femit-bin=stage.wasm
chmod 644 stage.wasm # the linker makes it executable
