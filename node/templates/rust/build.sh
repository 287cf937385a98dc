#!/bin/sh
# Builds stage.wasm. It needs the target once: rustup target add wasm32-wasip1
set -eu
cd "$(dirname "$0")"
# The linker would take 1 MiB for the stack, and memory counts.
RUSTFLAGS="-C link-arg=-zstack-size=65536" \
    cargo build --quiet --release --target wasm32-wasip1 --target-dir target
cp target/wasm32-wasip1/release/stage.wasm stage.wasm
chmod 644 stage.wasm # the linker makes it executable
