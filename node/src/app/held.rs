//! Why a package is here: what the store's rows of packages say, and how that changes.
//!
//! A row means that every file of the package is here. Its payload is one small CBOR map. A stronger reason replaces a
//! weaker one and never the other way round, but for a pin that a person takes away.

use std::sync::Arc;

use guildhall_protocol::api::KeptFor;
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::{PackageId, cbor};
use guildhall_store::{Batch, WriteError};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::App;
use super::fetch::{FetchError, Purpose};
use crate::clock;

/// Longest row, bytes: four times what it has, for fields to come.
const ROW_MAX_BYTES: usize = 256;

/// How old the time of last use may become before it is written again, milliseconds: a write an hour and package.
const TOUCH_EVERY_MS: u64 = 60 * 60 * 1000;

/// What a row of packages says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// Why it is here.
    pub(super) reason: KeptFor,
    /// Why it would be here without a pin.
    pub(super) unpinned: KeptFor,
    /// When it was last fetched or run, milliseconds since 1970.
    pub(super) used_ms: u64,
}

impl Held {
    pub(super) const fn new(reason: KeptFor, now_ms: u64) -> Self {
        Self { reason, unpinned: reason, used_ms: now_ms }
    }

    /// The row once there is another reason.
    fn also(self, reason: KeptFor, now_ms: u64) -> Self {
        // Reasons are ordered, the strongest first; a pin stands beside the others.
        let unpinned = match reason {
            KeptFor::Pinned => self.unpinned,
            other => self.unpinned.min(other),
        };
        let is_pinned = self.reason == KeptFor::Pinned || reason == KeptFor::Pinned;
        let reason = if is_pinned { KeptFor::Pinned } else { unpinned };
        Self { reason, unpinned, used_ms: now_ms }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        cbor::decode(bytes, ROW_MAX_BYTES).ok()
    }
}

impl App {
    /// What is known of a package that is here in full. A row that cannot be read counts as a cached package's.
    pub(super) fn held(&self, package: PackageId) -> Option<Held> {
        match self.store.package(&package) {
            Ok(Some(bytes)) => {
                Some(Held::decode(&bytes).unwrap_or_else(|| Held::new(KeptFor::Cached, 0)))
            }
            Ok(None) => None,
            Err(error) => {
                warn!(%error, %package, "why a package is kept is not known");
                Some(Held::new(KeptFor::Pinned, 0))
            }
        }
    }

    /// Writes a batch, and that a package is here in full for one more reason; from then on members may fetch it.
    pub(super) async fn hold_package(
        self: &Arc<Self>,
        mut batch: Batch,
        package: PackageId,
        manifest: &Manifest,
        reason: KeptFor,
    ) -> Result<(), WriteError> {
        let _alone = self.holding.lock().await;
        let now_ms = clock::now_ms();
        let held = match self.held(package) {
            Some(held) => held.also(reason, now_ms),
            None => Held::new(reason, now_ms),
        };
        batch.put_package(package, cbor::encode(&held));
        self.store.commit(batch).await?;
        self.share(package, manifest).await;
        Ok(())
    }

    /// Notes that a package was used.
    pub(super) async fn touch(
        self: &Arc<Self>,
        package: PackageId,
        purpose: Purpose,
    ) -> Result<(), FetchError> {
        let _alone = self.holding.lock().await;
        let Some(held) = self.held(package) else { return Ok(()) };
        let now_ms = clock::now_ms();
        let touched = held.also(purpose.kept_for(), now_ms);
        let is_old = now_ms.saturating_sub(held.used_ms) > TOUCH_EVERY_MS;
        if is_old || touched.reason != held.reason {
            let mut batch = Batch::new();
            batch.put_package(package, cbor::encode(&touched));
            self.store.commit(batch).await?;
        }
        Ok(())
    }

    /// Keeps a package whatever happens, or no longer. `false` when it is not here in full.
    pub(super) async fn pin(&self, package: PackageId, pinned: bool) -> Result<bool, WriteError> {
        let _alone = self.holding.lock().await;
        let Some(held) = self.held(package) else { return Ok(false) };
        let reason = if pinned { KeptFor::Pinned } else { held.unpinned };
        let mut batch = Batch::new();
        batch.put_package(package, cbor::encode(&Held { reason, ..held }));
        self.store.commit(batch).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stronger_reason_wins_and_a_pin_gives_way_to_the_reason_before_it() {
        let cached = Held::new(KeptFor::Cached, 1);
        let replica = cached.also(KeptFor::Replica, 2);
        assert_eq!((replica.reason, replica.used_ms), (KeptFor::Replica, 2));
        assert_eq!(replica.also(KeptFor::Cached, 3).reason, KeptFor::Replica);
        let pinned = replica.also(KeptFor::Pinned, 4);
        assert_eq!((pinned.reason, pinned.unpinned), (KeptFor::Pinned, KeptFor::Replica));
        let published = pinned.also(KeptFor::Published, 5);
        assert_eq!((published.reason, published.unpinned), (KeptFor::Pinned, KeptFor::Published));
        let bytes = cbor::encode(&published);
        assert!(bytes.len() * 4 <= ROW_MAX_BYTES);
        assert_eq!(Held::decode(&bytes), Some(published));
        assert_eq!(Held::decode(b""), None);
    }
}
