//! Nodes in memory: what a federation's cores decide together, message by message, out of a seed.

mod chaos;
mod finding;
mod fixture;
mod garbage;
mod joining;
mod leases;
mod spreading;
mod trust;
mod world;
