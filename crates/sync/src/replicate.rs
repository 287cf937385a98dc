//! Who keeps a copy of which package.
//!
//! A listing says how many orgs should hold its package, the producer's own among them. Every node that follows the
//! listing decides for itself, from who holds the package now and who could. The orgs that could are put in an order
//! that follows from the package and their root keys alone, so that all nodes agree on it without a word: the first
//! ones fetch what is lacking, and the last ones let go of what is too much. A node that should fetch and does not is
//! overtaken: each look that finds too few copies lets one more org in.

use std::collections::BTreeSet;

use guildhall_protocol::{Hash, PackageId, PublicKey};

/// What a node knows about a package when it looks at it. Orgs are named by their root keys.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The package.
    pub package: PackageId,
    /// Orgs that should hold it.
    pub target: u8,
    /// The looking node's org.
    pub me: PublicKey,
    /// The producer's org.
    pub producer: PublicKey,
    /// Whether this node holds it, as a copy for the federation.
    pub is_replica_here: bool,
    /// Orgs that were found to hold it, this one among them if it does.
    pub holders: &'a BTreeSet<PublicKey>,
    /// Orgs with a node in reach that follows the listing, this one among them.
    pub candidates: &'a BTreeSet<PublicKey>,
    /// How many times in a row too few copies were found before.
    pub tries: u32,
}

/// What a node does about a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: there are enough copies, or it is others' turn.
    Leave,
    /// Too few copies, and it is this node's turn to fetch one.
    Fetch,
    /// More copies than wanted, and this node's is one of those to go.
    Drop,
}

/// Decides about one package.
#[must_use]
pub fn decide(view: &View<'_>) -> Decision {
    let target = usize::from(view.target);
    let lacking = target.saturating_sub(view.holders.len());
    if lacking > 0 {
        let could = |org: &&PublicKey| !view.holders.contains(*org);
        let turns = lacking.saturating_add(usize::try_from(view.tries).unwrap_or(usize::MAX));
        let mut waiting: Vec<&PublicKey> = view.candidates.iter().filter(could).collect();
        waiting.sort_by_key(|org| rank(view.package, org));
        let is_my_turn = waiting.iter().take(turns).any(|org| **org == view.me);
        return if is_my_turn { Decision::Fetch } else { Decision::Leave };
    }
    let surplus = view.holders.len().saturating_sub(target);
    if surplus == 0 || !view.is_replica_here || view.me == view.producer {
        return Decision::Leave;
    }
    // Whoever has it for another reason cannot be told to let go, and nobody can see why a copy is there: only copies
    // that would go by rank among all holders but the producer do.
    let mut others: Vec<&PublicKey> =
        view.holders.iter().filter(|org| **org != view.producer).collect();
    others.sort_by_key(|org| std::cmp::Reverse(rank(view.package, org)));
    let is_last = others.iter().take(surplus).any(|org| **org == view.me);
    if is_last { Decision::Drop } else { Decision::Leave }
}

/// An org's place in the order for a package; lower comes first. Spread evenly by the hash, and nobody can choose a key
/// that comes first for many packages.
fn rank(package: PackageId, org: &PublicKey) -> Hash {
    let mut bytes = b"guildhall/replica\0".to_vec();
    bytes.extend_from_slice(package.0.as_bytes());
    bytes.extend_from_slice(org.as_bytes());
    Hash::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    fn package(n: u8) -> PackageId {
        PackageId(Hash::of(&[n]))
    }

    /// Every org looks, all fetch or drop what they decided, until nothing changes. Returns who holds it.
    fn settle(
        package: PackageId,
        target: u8,
        start: &[u8],
        candidates: &[u8],
        lazy: &[u8],
    ) -> (BTreeSet<PublicKey>, u32) {
        let producer = org(0);
        let mut holders: BTreeSet<PublicKey> = start.iter().map(|n| org(*n)).collect();
        let candidates: BTreeSet<PublicKey> = candidates.iter().map(|n| org(*n)).collect();
        let lazy: BTreeSet<PublicKey> = lazy.iter().map(|n| org(*n)).collect();
        let (mut tries, mut moved) = (0, 0);
        for _ in 0..50 {
            let before = holders.clone();
            for me in &candidates {
                let view = View {
                    package,
                    target,
                    me: *me,
                    producer,
                    is_replica_here: before.contains(me),
                    holders: &before,
                    candidates: &candidates,
                    tries,
                };
                match decide(&view) {
                    Decision::Fetch if !lazy.contains(me) => {
                        moved += 1;
                        holders.insert(*me);
                    }
                    Decision::Drop => {
                        holders.remove(me);
                    }
                    _ => {}
                }
            }
            tries = if holders.len() < usize::from(target) { tries + 1 } else { 0 };
        }
        (holders, moved)
    }

    #[test]
    fn as_many_orgs_as_wanted_fetch_a_copy_and_no_more() {
        for n in 0..20 {
            let (holders, moved) = settle(package(n), 3, &[0], &[1, 2, 3, 4, 5, 6], &[]);
            assert_eq!(holders.len(), 3, "{holders:?}");
            assert_eq!(moved, 2, "nobody fetched in vain");
            assert!(holders.contains(&org(0)));
        }
    }

    #[test]
    fn copies_spread_over_orgs_from_package_to_package() {
        let mut seen = BTreeSet::new();
        for n in 0..40 {
            seen.extend(settle(package(n), 2, &[0], &[1, 2, 3, 4], &[]).0);
        }
        assert_eq!(seen.len(), 5, "everybody holds some");
    }

    #[test]
    fn a_lost_copy_is_replaced_also_when_the_next_in_order_does_nothing() {
        for n in 0..20 {
            let (holders, _) = settle(package(n), 3, &[0, 1], &[1, 2, 3, 4, 5], &[2, 3, 4]);
            assert_eq!(holders, BTreeSet::from([org(0), org(1), org(5)]));
        }
    }

    #[test]
    fn the_producers_own_copy_may_be_the_lost_one() {
        let (holders, _) = settle(package(1), 3, &[1, 2], &[1, 2, 3], &[]);
        assert_eq!(holders.len(), 3);
    }

    #[test]
    fn surplus_copies_go_and_the_last_wanted_ones_stay() {
        for n in 0..20 {
            let (holders, _) = settle(package(n), 3, &[0, 1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], &[]);
            assert_eq!(holders.len(), 3, "{holders:?}");
            assert!(holders.contains(&org(0)));
        }
    }

    #[test]
    fn too_few_orgs_hold_what_they_can_and_a_target_of_one_moves_nothing() {
        assert_eq!(settle(package(1), 9, &[0], &[1, 2], &[]).0.len(), 3);
        assert_eq!(settle(package(1), 1, &[0], &[1, 2], &[]), (BTreeSet::from([org(0)]), 0));
        assert_eq!(settle(package(1), 0, &[0], &[1, 2], &[]).1, 0);
    }

    #[test]
    fn a_copy_that_is_here_for_another_reason_is_not_let_go() {
        let holders: BTreeSet<_> = (0..6).map(org).collect();
        for n in 1..6 {
            let view = View {
                package: package(1),
                target: 1,
                me: org(n),
                producer: org(0),
                is_replica_here: false,
                holders: &holders,
                candidates: &holders,
                tries: 0,
            };
            assert_eq!(decide(&view), Decision::Leave);
        }
    }
}
