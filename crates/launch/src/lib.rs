//! Starts and stops real node processes on this machine: for the demo, the test network and the end-to-end tests.
//!
//! [`init`] makes a home, [`Node::start`] runs `guild up` in it and returns when the node is ready. Nodes listen on
//! loopback and on ports that the system picks, so any number of them runs side by side and after each other.
//!
//! Nobody outlives its launcher: a dropped [`Node`] is killed with its workers. Each node is the head of a process group
//! of its own, so that Ctrl-C in a terminal reaches the launcher alone, which then stops the nodes in good order.
//!
//! [`converge`] waits until something holds. It is the only place that sleeps.

mod converge;
mod error;
mod init;
mod log;
mod node;

pub use converge::{NotConverged, NotYet, converge};
pub use error::Error;
pub use init::{Init, init};
pub use node::{LOG_FILE, Node, Options, Ready};
