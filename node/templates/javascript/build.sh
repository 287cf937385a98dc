#!/bin/sh
# Builds stage.wasm, as package.json says.
set -eu
cd "$(dirname "$0")"
[ -d node_modules ] || {
    echo 'the tools are missing: npm install' >&2
    exit 1
}
npm run --silent build
