//! What a node decides, in one place: `handle(now, event) -> effects`.
//!
//! [`Core`] composes federation (who may speak), sync (whose records are missing), catalog (what is listed) and
//! pipeline's leases (who may execute here). It holds no socket, file, clock or randomness: the node's shell feeds it
//! events and carries out its effects, and a simulator can do the same. The same events give the same effects.
//!
//! The way of a record through it: bytes come by gossip or a pull (`spread.rs`), their signatures are checked, the log
//! takes them behind their predecessor, they are stored, and evaluated into members, nodes or listings.
//!
//! Foreign bytes only ever enter through [`Record::open`](guildhall_protocol::record::Record::open); what a stranger
//! sends can be refused but not crash the fold.

mod agree;
mod bodies;
mod cells;
mod compare;
mod demand;
mod drops;
mod event;
mod find;
mod forks;
mod fresh;
mod identity;
mod keys;
mod lend;
mod links;
mod load;
mod membership;
mod moment;
mod node;
mod read;
mod reindex;
mod spread;

pub use agree::{ClockView, Disagreeing};
pub use event::{
    CallId, Effect, Event, Found, GossipId, NodeAsked, NodeView, PageFault, QueriesServed, ReplyId,
    Verdict,
};
pub use fresh::{REFUSE_AFTER_MS, STALE_AFTER_MS, TooStale};
pub use identity::{DelegatedKey, Identity};
pub use keys::{category_keys, package_key, shard_key};
pub use lend::NotNow;
pub use membership::InviteDraft;
pub use node::{Core, Settings};
pub use spread::withhold_body;
