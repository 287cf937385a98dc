#!/bin/sh
# Builds stage.wasm. GO: the command of Go 1.21 or later; without it the one of .venv is taken if there is one.
set -eu
cd "$(dirname "$0")"
if [ -z "${GO:-}" ]; then
    GO=go
    [ ! -x .venv/bin/go ] || GO=.venv/bin/go
fi
GOOS=wasip1 GOARCH=wasm "$GO" build -trimpath -ldflags="-s -w" -o stage.wasm .
chmod 644 stage.wasm # the linker makes it executable
