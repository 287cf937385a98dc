//! Which blobs were sent for batches that are not written yet, and whether they are still there.
//!
//! A batch's blobs are sent before it is queued. Until it is written, a batch before it may remove one of them, or a
//! sweep may take it for one that nothing needs. The first is noticed here, the second does not happen: what is on its
//! way is not listed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use guildhall_protocol::Hash;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sent(Mutex<BTreeMap<Hash, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    tickets: usize,
    /// Counts beginnings and ends of removals.
    removals: u64,
    /// It arrived, and no removal has begun or ended since its sending began.
    is_there: bool,
}

impl Sent {
    /// Before sending.
    pub(super) fn begin(self: &Arc<Self>, hash: &Hash) -> Ticket {
        let mut entries = self.entries();
        let entry = entries.entry(*hash).or_default();
        entry.tickets = entry.tickets.saturating_add(1);
        Ticket { sent: Arc::clone(self), hash: *hash, removals: entry.removals }
    }

    /// At the beginning of a removal, and at its end. In between, what is sent may arrive before it or after it.
    pub(super) fn gone(&self, hash: &Hash) {
        if let Some(entry) = self.entries().get_mut(hash) {
            entry.removals = entry.removals.saturating_add(1);
            entry.is_there = false;
        }
    }

    /// Whether it need not be sent again. Asked by the thread that removes.
    pub(super) fn is_there(&self, hash: &Hash) -> bool {
        self.entries().get(hash).is_some_and(|entry| entry.is_there)
    }

    /// Whether somebody is at it.
    pub(super) fn is_known(&self, hash: &Hash) -> bool {
        self.entries().contains_key(hash)
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Hash, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the batch, until it is written or gone.
#[derive(Debug)]
pub(super) struct Ticket {
    sent: Arc<Sent>,
    hash: Hash,
    removals: u64,
}

impl Ticket {
    /// It was sent whole, and seen there.
    pub(super) fn arrived(&self) {
        if let Some(entry) = self.sent.entries().get_mut(&self.hash) {
            entry.is_there |= entry.removals == self.removals;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut entries = self.sent.entries();
        if let Some(entry) = entries.get_mut(&self.hash) {
            entry.tickets = entry.tickets.saturating_sub(1);
            if entry.tickets == 0 {
                entries.remove(&self.hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use guildhall_protocol::Hash;

    use super::Sent;

    #[test]
    fn what_is_removed_while_it_is_sent_or_after_has_to_be_sent_again() {
        let (sent, hash) = (Arc::new(Sent::default()), Hash::of(b"x"));
        let first = sent.begin(&hash);
        assert!(!sent.is_there(&hash), "it is on its way");
        first.arrived();
        assert!(sent.is_there(&hash));
        sent.gone(&hash);
        assert!(!sent.is_there(&hash), "removed after it arrived");

        let second = sent.begin(&hash);
        sent.gone(&hash);
        second.arrived();
        assert!(!sent.is_there(&hash), "the removal ended while it was sent");

        let third = sent.begin(&hash);
        third.arrived();
        assert!(sent.is_there(&hash));
        drop((first, second));
        assert!(sent.is_known(&hash));
        drop(third);
        assert!(!sent.is_known(&hash) && !sent.is_there(&hash));
    }
}
