//! Who is in the federation: admission, delegation and what a peer may claim to be.
//!
//! [`State`] is a fold over membership records. The same logs give the same members in whatever order their records
//! were mixed, so nodes that have seen the same agree without asking anyone. Nothing here does IO or knows the time;
//! callers pass `now_ms`.
//!
//! Left to others: keeping the records (the sync crate has the logs), and what members may do with content.

mod names;
mod standing;
mod state;

pub use standing::{Authority, Outsider, check_delegation, check_record};
pub use state::{Change, JoinError, Joining, Member, State};
