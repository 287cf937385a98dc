#!/bin/sh
# Builds stage.wasm. It needs Go 1.21 or later; GO names another command than go.
set -eu
cd "$(dirname "$0")"
GOOS=wasip1 GOARCH=wasm "${GO:-go}" build -trimpath -ldflags="-s -w" -o stage.wasm .
chmod 644 stage.wasm # the linker makes it executable
