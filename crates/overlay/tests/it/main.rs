//! Overlays on loopback, talking over real connections.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests have no task group; the runtime ends their tasks"
)]

mod support;

mod admission;
mod carriers;
mod dht;
mod gossip;
mod hostile;
mod lifecycle;
mod requests;
mod streams;
