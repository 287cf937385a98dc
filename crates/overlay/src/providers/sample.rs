//! Whom an answer names when there are more holders than it has room for.
//!
//! The orgs take turns, so that one with many nodes cannot fill an answer while there are others. Where the turns begin
//! changes with every answer, so that several answers together name many holders.

use super::Held;

/// At most `max` of the holders, who are in order of their orgs.
pub(super) fn sample<'a>(held: &[&'a Held], max: usize, turn: u64) -> Vec<&'a Held> {
    if held.len() <= max {
        return held.to_vec();
    }
    let orgs: Vec<&[&Held]> = held.chunk_by(|a, b| a.org == b.org).collect();
    let longest = orgs.iter().map(|org| org.len()).max().unwrap_or_default();
    let (first_org, first_node) = (mixed(turn), mixed(!turn));
    let mut found = Vec::with_capacity(max);
    for round in 0..longest {
        for nth in 0..orgs.len() {
            let org = orgs[at(first_org, nth, orgs.len())];
            if round < org.len() {
                found.push(org[at(first_node, round, org.len())]);
            }
            if found.len() == max {
                return found;
            }
        }
    }
    found
}

/// The place `nth` after the first one, in a round of `len`.
fn at(first: u64, nth: usize, len: usize) -> usize {
    (usize::try_from(first % len as u64).unwrap_or_default() + nth) % len
}

/// A number's bits, spread over all of a word: the output function of SplitMix64
/// (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use guildhall_protocol::PublicKey;

    use super::*;

    fn key(n: usize) -> PublicKey {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        PublicKey::from_bytes(bytes)
    }

    /// Holders of several orgs, each with so many nodes.
    fn holders(orgs: &[usize]) -> Vec<Held> {
        let now = Instant::now();
        let nodes = orgs.iter().enumerate().flat_map(|(org, count)| {
            (0..*count).map(move |node| (key(org), key(1_000_000 * (org + 1) + node)))
        });
        nodes.map(|(org, provider)| Held { org, provider, expires: now }).collect()
    }

    fn named(held: &[Held], max: usize, turn: u64) -> Vec<&Held> {
        let found = sample(&held.iter().collect::<Vec<_>>(), max, turn);
        let distinct: BTreeSet<_> = found.iter().map(|held| held.provider).collect();
        assert_eq!(distinct.len(), found.len(), "nobody is named twice");
        found
    }

    #[test]
    fn everybody_is_named_while_there_is_room() {
        assert_eq!(named(&holders(&[1, 2, 17]), 20, 5).len(), 20);
        assert_eq!(named(&holders(&[]), 20, 5).len(), 0);
    }

    #[test]
    fn an_org_with_many_nodes_leaves_every_other_one_its_place() {
        let held = holders(&[1, 500, 3, 2]);
        for turn in 0..100 {
            let found = named(&held, 20, turn);
            let of = |org| found.iter().filter(|held| held.org == key(org)).count();
            assert_eq!([of(0), of(1), of(2), of(3)], [1, 14, 3, 2]);
        }
    }

    #[test]
    fn several_answers_together_name_most_holders() {
        for orgs in [vec![320], vec![1; 320], vec![8; 40]] {
            let held = holders(&orgs);
            let answers = (0..64).flat_map(|turn| named(&held, 20, turn));
            let all: BTreeSet<_> = answers.map(|held| held.provider).collect();
            assert!(all.len() >= 300, "{} of 320 in {} orgs", all.len(), orgs.len());
        }
    }
}
