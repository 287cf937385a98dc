//! Lookups in the DHT ([`lookups`]), and keeping it told what this node provides ([`announcer`]).
//!
//! Nothing here knows connections: the driver says what Kademlia reports and what time it is.

mod announcer;
mod lookups;
#[cfg(test)]
mod network;

use std::time::Instant;

use guildhall_protocol::Hash;
use libp2p::PeerId;
use libp2p::kad::{self, ProgressStep, QueryId, QueryResult, RecordKey};

use self::announcer::Announcer;
use self::lookups::{LookupReply, Lookups};
use crate::error::ProvideError;
use crate::providers;

pub(super) type Kad = kad::Behaviour<providers::Store>;

/// This node's part in the DHT.
pub(super) struct Dht {
    lookups: Lookups,
    announcer: Announcer,
}

impl Dht {
    /// The part of the node `local`.
    pub(super) fn new(local: PeerId, now: Instant) -> Self {
        Self { lookups: Lookups::new(local), announcer: Announcer::new(local, now) }
    }

    /// Adds a key of this node.
    pub(super) fn provide(
        &mut self,
        kad: &mut Kad,
        key: Hash,
        now: Instant,
    ) -> Result<(), ProvideError> {
        self.announcer.provide(kad, key, now)
    }

    /// Looks for the providers of a key.
    pub(super) fn find(&mut self, kad: &mut Kad, key: Hash, deadline: Instant, reply: LookupReply) {
        self.lookups.start(kad, key, deadline, reply);
    }

    /// A peer was admitted that may not have heard of our keys.
    pub(super) fn handle_admitted(&mut self, now: Instant) {
        self.announcer.handle_admitted(now);
    }

    /// A query has news.
    pub(super) fn handle_query(
        &mut self,
        kad: &mut Kad,
        id: QueryId,
        result: QueryResult,
        step: &ProgressStep,
        now: Instant,
    ) {
        match result {
            QueryResult::GetProviders(result) => {
                let complete = result.is_ok();
                if let Ok(kad::GetProvidersOk::FoundProviders { providers, .. }) = result {
                    self.lookups.handle_answer(kad, id, providers, now);
                }
                if step.last {
                    self.lookups.handle_end(id, complete);
                }
            }
            QueryResult::StartProviding(_) if step.last => self.announcer.handle_end(kad, id),
            _ => {}
        }
    }

    /// Time passed.
    pub(super) fn handle_tick(&mut self, kad: &mut Kad, now: Instant) {
        self.lookups.handle_tick(kad, now);
        self.announcer.handle_tick(kad, now);
    }
}

pub(super) fn record_key(key: Hash) -> RecordKey {
    RecordKey::new(key.as_bytes())
}
