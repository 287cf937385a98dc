//! When to look at which package, and what is remembered of the last look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guildhall_protocol::manifest::{FileEntry, Manifest};
use guildhall_protocol::{Hash, PackageId, PublicKey};
use tokio::time::Instant;

use crate::app::lock;

/// Time between two looks, at most: a copy that is lost unseen is missed so soon.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);

/// Before a new listing is looked at first: its package is just being published and announced. Spread over as long
/// again, so that not all nodes look at once.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Between the first looks at a package with too few copies; each lets one more org in, and the time doubles.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// After a holder has gone: a restart is no loss.
const GRACE: Duration = Duration::from_secs(15);

/// Files of a package that are remembered to ask holders about: nobody knows which of them it will be.
const PROBES_MAX: usize = 4;

/// When to look at which package.
#[derive(Debug, Default)]
pub(in crate::app) struct Schedule(Mutex<BTreeMap<PackageId, Look>>);

#[derive(Clone, Debug)]
struct Look {
    due: Instant,
    tries: u32,
    /// Nodes that held it at the last look.
    holders: BTreeSet<PublicKey>,
    known: Known,
}

/// What is known of a package without holding its manifest. A package never changes, so this is found out once.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Nothing,
    /// Its data is declared sensitive: no copy is to be made, whatever anybody lists.
    Sensitive,
    /// What a copy of it would be.
    Content {
        /// Bytes of its files.
        len_bytes: u64,
        /// Some of its files.
        files: Arc<[FileEntry]>,
    },
}

impl Known {
    /// What is kept of a manifest. Which files it is begins somewhere else at every node, so that nobody can have just
    /// those.
    pub(super) fn of(manifest: &Manifest, seed: &Hash) -> Self {
        if manifest.sensitive {
            return Self::Sensitive;
        }
        let step = manifest.files.len().div_ceil(PROBES_MAX).max(1);
        let (numbers, _) = seed.as_bytes().as_chunks::<8>();
        let number = numbers.first().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let first = usize::try_from(number % step as u64).unwrap_or(0);
        let files = manifest.files.iter().skip(first).step_by(step).cloned().collect();
        Self::Content { len_bytes: manifest.len_bytes(), files }
    }
}

/// A look that is due.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) package: PackageId,
    /// How often in a row it had too few copies.
    pub(super) tries: u32,
    pub(super) known: Known,
}

impl Schedule {
    /// A peer is gone: what it held is looked at soon.
    pub(in crate::app) fn handle_gone(&self, peer: &PublicKey) {
        let soon = Instant::now() + GRACE;
        for look in lock(&self.0).values_mut().filter(|look| look.holders.contains(peer)) {
            look.due = look.due.min(soon);
        }
    }

    /// Takes in what is to be looked after now.
    pub(super) fn refresh(&self, packages: &BTreeSet<PackageId>, me: &PublicKey) {
        let now = Instant::now();
        let mut looks = lock(&self.0);
        looks.retain(|package, _| packages.contains(package));
        for package in packages {
            let new = || Look {
                due: now + FIRST_LOOK + spread(*package, me, FIRST_LOOK),
                tries: 0,
                holders: BTreeSet::new(),
                known: Known::Nothing,
            };
            looks.entry(*package).or_insert_with(new);
        }
    }

    /// Packages whose look is due, the longest due first, so that none is passed over for ever.
    pub(super) fn next(&self, most: usize) -> Vec<Due> {
        let now = Instant::now();
        let looks = lock(&self.0);
        let due = looks.iter().filter(|(_, look)| look.due <= now);
        let mut due: Vec<_> = due.collect();
        due.sort_unstable_by_key(|(package, look)| (look.due, **package));
        let due = due.into_iter().take(most);
        due.map(|(package, look)| Due {
            package: *package,
            tries: look.tries,
            known: look.known.clone(),
        })
        .collect()
    }

    /// What is known of a package now.
    pub(super) fn learned(&self, package: PackageId, known: &Known) {
        if let Some(look) = lock(&self.0).get_mut(&package) {
            look.known = known.clone();
        }
    }

    /// A package was looked at; `few` says that it has too few copies.
    pub(super) fn looked(
        &self,
        package: PackageId,
        me: &PublicKey,
        holders: BTreeSet<PublicKey>,
        few: bool,
    ) {
        if let Some(look) = lock(&self.0).get_mut(&package) {
            let doubled = 1_u32.checked_shl(look.tries).unwrap_or(u32::MAX);
            let pause = if few { LOOK_AGAIN.saturating_mul(doubled) } else { LOOK_EVERY };
            let pause = pause.min(LOOK_EVERY);
            look.due = Instant::now() + pause / 2 + spread(package, me, pause / 2);
            look.tries = if few { look.tries.saturating_add(1) } else { 0 };
            look.holders = holders;
        }
    }
}

/// A part of `most`, another one for each package and node.
fn spread(package: PackageId, me: &PublicKey, most: Duration) -> Duration {
    let hash = Hash::of(&[package.0.as_bytes().as_slice(), me.as_bytes()].concat());
    let part = f64::from(hash.as_bytes().first().copied().unwrap_or_default()) / 256.0;
    most.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn none_is_passed_over_however_many_others_come_due_again_and_again() {
        let schedule = Schedule::default();
        let me = PublicKey::from_bytes([1; 32]);
        let packages: BTreeSet<PackageId> =
            (0..100_u8).map(|n| PackageId(Hash::of(&[n]))).collect();
        schedule.refresh(&packages, &me);
        let mut seen = BTreeSet::new();
        for _ in 0..60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            for due in schedule.next(4) {
                seen.insert(due.package);
                schedule.looked(due.package, &me, BTreeSet::new(), true);
            }
        }
        assert_eq!(seen, packages);
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_goes_brings_its_packages_forward() {
        let schedule = Schedule::default();
        let [me, holder] = [1, 2].map(|n| PublicKey::from_bytes([n; 32]));
        let package = PackageId(Hash::of(b"package"));
        schedule.refresh(&BTreeSet::from([package]), &me);
        tokio::time::advance(2 * FIRST_LOOK).await;
        assert_eq!(schedule.next(4).len(), 1);
        schedule.looked(package, &me, BTreeSet::from([holder]), false);
        tokio::time::advance(GRACE).await;
        assert!(schedule.next(4).is_empty());
        schedule.handle_gone(&holder);
        assert!(schedule.next(4).is_empty(), "it may come back");
        tokio::time::advance(GRACE).await;
        assert_eq!(schedule.next(4).len(), 1);
    }
}
