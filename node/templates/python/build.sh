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
# --stub-wasi: a stage has no sockets and no files, so the component must not ask for them.
"$COMPONENTIZE_PY" --wit-path wit --world stage componentize --stub-wasi app -o stage.wasm
