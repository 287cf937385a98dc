//! Batches: every record once and in order whatever executors do, calls under the producer's limit whatever records
//! cost, all executors busy, and the rules one by one.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod network;
mod rules;
mod spread;
