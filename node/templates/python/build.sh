#!/bin/sh
# Builds stage.wasm. COMPONENTIZE_PY: the command; without it the one of .venv is taken if there is one.
set -eu
cd "$(dirname "$0")"
if [ -z "${COMPONENTIZE_PY:-}" ]; then
    COMPONENTIZE_PY=componentize-py
    [ ! -x .venv/bin/componentize-py ] || COMPONENTIZE_PY=.venv/bin/componentize-py
fi
command -v "$COMPONENTIZE_PY" >/dev/null || {
    echo 'componentize-py is missing: python3 -m venv .venv && .venv/bin/pip install -r requirements.txt' >&2
    exit 1
}
# --stub-wasi: this stage has no use for WASI, and sockets would be refused. Leave it out when the contract imports `wasi_nn`
# or `package_files`: it makes traps of models and files too.
"$COMPONENTIZE_PY" --wit-path wit --world stage componentize --stub-wasi app -o stage.wasm
