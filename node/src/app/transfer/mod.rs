//! Content on its way between nodes: who may have it, sharing its parts out among them, checking each part as it
//! arrives, and serving others.
//!
//! ```text
//! holders   who may have a package, and a stream to one of them
//! line      one such stream: requests out, replies in, nobody waited for long
//! download  the files of a package being fetched: what is where, what is whole, what comes next
//! base      what another version of a file has already
//! lane      one holder at work: asks, checks, stores
//! progress  how far it is, for people who watch
//! uplink    whose turn it is to be sent something
//! whole     a manifest, whose length nobody knows before it comes
//! proof     whether a node has what it says it has
//! serve     what members ask of this node
//! ```
//!
//! What to ask of whom is decided in [`guildhall_sync::download`]. Nothing that a holder says is believed: lists of
//! hashes are checked against the blob's hash, and each group of 16 KiB against its list, before it is kept.

mod base;
mod download;
mod holders;
mod lane;
mod line;
mod progress;
mod proof;
mod serve;
mod uplink;
mod whole;

pub(super) use download::Download;
pub(super) use holders::Turns;
pub(super) use progress::{Progress, Transfers, Watched};
pub(super) use uplink::{Limits, Uplink};
