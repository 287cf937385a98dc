//! Blobs that must stay although they belong to no package yet.
//!
//! Whoever says that a blob is here, or is about to need it, takes it *before* looking, so that a sweep cannot take it
//! between. Work that takes long [holds](Leases::hold) its blobs until it ends; what came and belongs to nothing yet is
//! kept for an hour more, because the client may still be sending the rest, or asking the person something.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use guildhall_protocol::Hash;

use super::lock;

/// How long a blob without a package is kept: a person may think about a question in the middle of a publication.
const LEASE: Duration = Duration::from_secs(60 * 60);

/// Leases that are kept before old ones are looked for.
const TIDY_FROM: usize = 65_536;

/// Leases, by blob. Bounded by the blobs that can come in an hour and those of work under way, 100 bytes each.
#[derive(Debug, Default)]
pub(super) struct Leases(Arc<Mutex<Map>>);

#[derive(Debug, Default)]
struct Map {
    since: BTreeMap<Hash, Instant>,
    /// How many hold each.
    held: BTreeMap<Hash, usize>,
}

/// Keeps some blobs while it lives, and for an hour more.
#[derive(Debug)]
#[must_use = "blobs are held while this lives"]
pub(super) struct Hold {
    map: Arc<Mutex<Map>>,
    hashes: Vec<Hash>,
}

impl Leases {
    /// Keeps a blob for a while.
    pub(super) fn mark(&self, hash: Hash) {
        lock(&self.0).mark(hash);
    }

    /// Keeps blobs until the answer is dropped.
    pub(super) fn hold(&self, hashes: impl IntoIterator<Item = Hash>) -> Hold {
        let hashes: Vec<Hash> = hashes.into_iter().collect();
        let mut map = lock(&self.0);
        for hash in &hashes {
            *map.held.entry(*hash).or_default() += 1;
        }
        Hold { map: Arc::clone(&self.0), hashes }
    }

    /// Whether a blob is kept still.
    pub(super) fn has(&self, hash: &Hash) -> bool {
        let map = lock(&self.0);
        let is_fresh = |since: &Instant| since.elapsed() < LEASE;
        map.held.contains_key(hash) || map.since.get(hash).is_some_and(is_fresh)
    }
}

impl Map {
    fn mark(&mut self, hash: Hash) {
        if self.since.len() >= TIDY_FROM {
            self.since.retain(|_, since| since.elapsed() < LEASE);
        }
        self.since.insert(hash, Instant::now());
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut map = lock(&self.map);
        for hash in &self.hashes {
            if let Some(count) = map.held.get_mut(hash) {
                *count -= 1;
                if *count == 0 {
                    map.held.remove(hash);
                }
            }
            map.mark(*hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_kept_while_somebody_holds_it_and_for_some_time_after() {
        let leases = Leases::default();
        let [marked, held] = ["marked", "held"].map(|text| Hash::of(text.as_bytes()));
        assert!(!leases.has(&marked) && !leases.has(&held));
        leases.mark(marked);
        let first = leases.hold([held]);
        let second = leases.hold([held]);
        drop(first);
        assert!(leases.has(&marked) && leases.has(&held));
        assert_eq!(lock(&leases.0).held.get(&held), Some(&1));
        drop(second);
        assert!(lock(&leases.0).held.is_empty());
        assert!(leases.has(&held), "for an hour more");
    }
}
