//! A federation in memory: many of the nodes' own [`Core`](guildhall_core::Core)s, a network and a clock, in an order that
//! follows from a seed.
//!
//! [`World`] is a second shell around the core. It carries out effects as the node does; requests and answers are encoded
//! on the way, take time, get lost, come twice or in another order; nodes are cut off, stopped, killed with what they had
//! not written yet, and have clocks of their own. The same seed gives the same run, to the last byte: [`World::trace`].
//!
//! The core's tests use it, and `guildhall-sim` runs it at size: see [`run`](crate::run) and [`scenario`].

#![expect(
    clippy::unwrap_used,
    reason = "what cannot fail in a made-up world must stop it when it does, as in a test"
)]

mod checks;
mod effects;
mod gossip;
mod life;
mod links;
pub mod orgs;
pub mod run;
pub mod scenario;
mod world;

pub use gossip::Mesh;
pub use world::{Node, Tamper, Traffic, Weather, World};
