#!/bin/sh
# Builds stage.wasm. It needs the packages of package.json once: npm install
set -eu
cd "$(dirname "$0")"
npm run --silent build
