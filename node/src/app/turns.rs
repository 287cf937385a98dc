//! One at a time fetches a package, or a large file that several packages have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guildhall_protocol::{Hash, PackageId};

use super::lock;

/// How often a copy looks whether somebody waits for what it fetches.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Packages and large files that are being fetched, or waited for. Whoever fetches a package takes its turn with that
/// first, then with its files in order, so that two never wait for each other.
pub(super) type Fetching = Mutex<BTreeMap<Work, Arc<tokio::sync::Mutex<()>>>>;

/// What one at a time does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    Package(PackageId),
    File(Hash),
}

/// The right to wait for one's turn with a package or a file. The last one that goes takes the entry with it, also when
/// its future is dropped.
pub(super) struct Turn<'a> {
    fetching: &'a Fetching,
    work: Work,
    /// Locked by whoever has the turn.
    pub(super) alone: Arc<tokio::sync::Mutex<()>>,
}

impl<'a> Turn<'a> {
    pub(super) fn at(fetching: &'a Fetching, work: Work) -> Self {
        let alone = Arc::clone(lock(fetching).entry(work).or_default());
        Self { fetching, work, alone }
    }
}

impl Turn<'_> {
    /// Whether somebody else waits for this turn, besides the map and whoever has it.
    fn is_awaited(&self) -> bool {
        Arc::strong_count(&self.alone) > 2
    }
}

/// Waits until somebody else waits for one of these turns.
pub(super) async fn awaited(turns: &[Turn<'_>]) {
    while !turns.iter().any(Turn::is_awaited) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut fetching = lock(self.fetching);
        // The map's and this one: nobody else can take one meanwhile, because that needs the map.
        if Arc::strong_count(&self.alone) == 2 {
            fetching.remove(&self.work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_fetches_a_package_and_nothing_is_left_of_those_that_gave_up() {
        let fetching = Fetching::default();
        let package = Work::File(Hash::of(b"package"));
        let first = Turn::at(&fetching, package);
        let alone = first.alone.lock().await;
        let gave_up = Turn::at(&fetching, package);
        assert!(gave_up.alone.try_lock().is_err(), "the first one fetches");
        drop(gave_up);
        assert_eq!(lock(&fetching).len(), 1, "the first one still fetches");
        let second = Turn::at(&fetching, package);
        drop(alone);
        drop(first);
        let waited = second.alone.lock().await;
        let third = Turn::at(&fetching, package);
        assert!(third.alone.try_lock().is_err(), "the second one fetches, and the third one knows");
        drop(waited);
        drop((second, third));
        assert!(lock(&fetching).is_empty());
    }
}
