//! How long this node has heard nothing from another org, and what follows: after a day it says so in every answer,
//! after a week it executes no code of others, because what was taken back since then would be executed too.
//!
//! Another org is heard when a comparison of logs with one of its nodes ends: then everything that it has is known here
//! or on its way. Records that merely arrive do not count, nor do nodes of the own org, which may be cut off together
//! with this one. An org that is alone in its federation waits for nobody.
//!
//! The wall's clock has no say while the node is up: an age counts ticks and what the shell says that no tick counted
//! ([`Event::Missed`](crate::Event::Missed)). So no clock that is set makes a node stale, or fresh.

use guildhall_protocol::api::Stale;
use guildhall_protocol::{PackageId, PublicKey};

use crate::node::Core;

/// From when on every answer says that the node is stale: a day, within which any node that is up has compared its logs
/// thousands of times.
pub const STALE_AFTER_MS: u64 = 24 * 60 * 60 * 1_000;

/// From when on others' code is not executed: a week, which leaves a keeper the time to repair a connection.
pub const REFUSE_AFTER_MS: u64 = 7 * STALE_AFTER_MS;

/// What one tick counts, milliseconds.
const TICK_MS: u64 = 1_000;

/// Time as the node lived it, and when another org was last heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Freshness {
    /// Time since the start, milliseconds.
    steady_ms: u64,
    /// What `steady_ms` was when the silence was `silence_ms` long.
    at_ms: u64,
    silence_ms: u64,
}

impl Freshness {
    /// Time since the start that no setting of a clock changes, milliseconds; to within a tick.
    pub(crate) const fn steady_ms(&self) -> u64 {
        self.steady_ms
    }

    pub(crate) const fn handle_tick(&mut self) {
        self.handle_missed(TICK_MS);
    }

    /// Time passed that no tick counted.
    pub(crate) const fn handle_missed(&mut self, ms: u64) {
        self.steady_ms = self.steady_ms.saturating_add(ms);
    }

    /// The silence is this long now.
    pub(crate) const fn set_silence(&mut self, silence_ms: u64) {
        (self.at_ms, self.silence_ms) = (self.steady_ms, silence_ms);
    }

    const fn silence_ms(&self) -> u64 {
        self.silence_ms.saturating_add(self.steady_ms.saturating_sub(self.at_ms))
    }
}

/// This node heard nothing from another org for so long that it executes no code of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has heard nothing from another org for {} days, so it executes only code of its own org", silence_ms / STALE_AFTER_MS)]
pub struct TooStale {
    /// For how long, milliseconds.
    pub silence_ms: u64,
}

impl Core {
    /// A comparison of logs with a peer ended.
    pub(crate) fn heard_from(&mut self, peer: &PublicKey) {
        self.heard = Some(self.now);
        let root = self.authority(peer).map(|authority| authority.root);
        if root.is_some_and(|root| root != self.me.root) {
            self.fresh.set_silence(0);
        }
    }

    /// To be called at each tick.
    pub(crate) fn tick_fresh(&mut self) {
        self.fresh.handle_tick();
        if !self.has_others() {
            self.fresh.set_silence(0);
        }
    }

    /// For how long nothing was heard from another org, milliseconds; 0 in a federation of one.
    #[must_use]
    pub const fn silence_ms(&self) -> u64 {
        self.fresh.silence_ms()
    }

    /// Takes up a silence that began before the start.
    pub const fn restore_silence(&mut self, silence_ms: u64) {
        self.fresh.set_silence(silence_ms);
    }

    /// What every answer says of a node that has heard nothing for too long.
    #[must_use]
    pub fn stale(&self) -> Option<Stale> {
        let silence_ms = self.silence_ms();
        (silence_ms >= STALE_AFTER_MS && self.has_others()).then_some(Stale {
            heard_s: silence_ms / 1_000,
            refuses: silence_ms >= REFUSE_AFTER_MS,
        })
    }

    /// Whether code of these packages may be executed at a node that is as stale as this one. Those that the node's own
    /// org listed always may.
    ///
    /// # Errors
    /// [`TooStale`].
    pub fn check_fresh(&self, packages: &[PackageId]) -> Result<(), TooStale> {
        let is_stale = self.stale().is_some_and(|stale| stale.refuses);
        if is_stale && !packages.iter().all(|package| self.is_own(*package)) {
            return Err(TooStale { silence_ms: self.silence_ms() });
        }
        Ok(())
    }

    fn is_own(&self, package: PackageId) -> bool {
        self.catalog.of_package(package).any(|brief| brief.root() == Some(self.me.root))
    }

    fn has_others(&self) -> bool {
        self.federation.members().any(|(root, _)| *root != self.me.root)
    }
}
