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

# A federation of a thousand nodes in virtual time; some minutes.
sim:
    cargo run --release --locked -p guildhall-sim -- --nodes 1000 --seed 7

# Every named partition with 200 seeds.
partitions:
    cargo run --release --locked -p guildhall-sim -- --scenario all --seeds 200

# What docs/scale.md says, anew.
scale:
    cargo run --release --locked -p guildhall-sim -- growth --seed 7 --svg docs/scale.svg

# What docs say of the DHT under attack, and how long a lookup takes: 200 nodes in one process; three minutes.
dht:
    GUILDHALL_DHT_NODES=155 GUILDHALL_DHT_ASKERS=100 cargo test -p guildhall-overlay --lib network::attacks -- --include-ignored --nocapture --test-threads 1
    GUILDHALL_DHT_NODES=200 cargo test -p guildhall-overlay --lib network::hops -- --nocapture

# For a night and a machine with much memory: three thousand nodes.
nightly-sim:
    cargo run --release --locked -p guildhall-sim -- --nodes 3000 --records 50 --seed 7

# What continuous integration does.
ci:
    .ci/run
