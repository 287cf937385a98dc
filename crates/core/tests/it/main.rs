//! Nodes in memory: what a federation's cores decide together, message by message, out of a seed.

#![expect(
    clippy::unwrap_used,
    reason = "a test may panic, and its shared parts are not tests to clippy"
)]

mod asking;
mod bounds;
mod cells;
mod chaos;
mod demand;
mod finding;
mod fixture;
mod forks;
mod fresh;
mod garbage;
mod joining;
mod leases;
mod lies;
mod links;
mod spreading;
mod trust;
mod union;
