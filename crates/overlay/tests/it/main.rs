//! Overlays on loopback, talking over real TCP connections.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

mod admission;
mod dht;
mod gossip;
mod hostile;
mod lifecycle;
mod requests;
mod streams;
