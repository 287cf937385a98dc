# Every routine, by name. `just --list` shows them.

# Format, lint, test: what must hold before a commit.
default: fmt lint test

fmt:
    cargo fmt --all

lint:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

test:
    cargo test --workspace --locked

# Three organisations on this machine do the whole job.
demo:
    cargo run --release --locked -- demo

# Rewrite the golden vectors after a change of format that was meant.
bless:
    GUILDHALL_BLESS=1 cargo test -p guildhall-protocol --test golden

# A million images of the catalogue as a power cut can leave it, and every storage operation failing once.
crash-images:
    GUILDHALL_CRASH_IMAGES=1000000 cargo test --release -p guildhall-store --lib crash
    GUILDHALL_FAULT_STEP=1 cargo test --release -p guildhall-store --lib faults

# What continuous integration does.
ci:
    .ci/run
