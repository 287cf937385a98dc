//! What to announce, pull and repair: the logs a node holds, and which part of whose log to ask for next.
//!
//! [`Logs`] keeps every log whole: a record enters only behind its predecessor. [`Schedule`] compares what peers have
//! with what is here and names the next pulls. [`download`] shares the parts of files out among their holders,
//! [`replicate`] says who keeps copies, [`reconcile`] finds where two nodes' sets differ. All are pure; the records and the bytes themselves live in the store.

pub mod download;
mod logs;
pub mod reconcile;
pub mod replicate;
mod schedule;

pub use logs::{
    BODY_ASKS_MAX, Contradiction, Fork, Logs, Offered, WAITING_MAX, WAITING_MAX_BYTES,
    WAITING_PER_LOG_MAX, Waiting,
};
pub use schedule::{PULLS_PER_PEER_MAX, Pull, Schedule};
