#!/bin/sh
# Builds stage.wasm. COMPONENTIZE_PY: another command than componentize-py (pip install -r requirements.txt).
set -eu
cd "$(dirname "$0")"
# --stub-wasi: a stage has no sockets and no files, so the component must not ask for them.
"${COMPONENTIZE_PY:-componentize-py}" --wit-path wit --world stage \
    componentize --stub-wasi app -o stage.wasm
