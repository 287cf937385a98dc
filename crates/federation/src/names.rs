//! What members are called.
//!
//! Names are claims. An org whose name another member claims too is shown, and found, under its name and the start of
//! its root key, so that nobody can take over another one's name; the founder keeps its own. A claim that looks like
//! such a name counts as contested too, so that no name is of two members.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use guildhall_protocol::PublicKey;
use guildhall_protocol::name::OrgName;

use crate::state::Member;

/// Hex digits of the root key behind a contested name: twelve are what people can still compare. Whoever searches long
/// enough finds two keys with the same ones, so orgs that would still share a name get as many more as tell them apart.
const CONTESTED_KEY_DIGITS: RangeInclusive<usize> = 12..=36;

/// Characters of a contested name and of the key's digits together, so that with the hyphen it stays a valid name.
const CONTESTED_CHARS: usize = 38;

/// Gives every member a name of its own.
pub(crate) fn name_members(members: &mut BTreeMap<PublicKey, Member>, founder: PublicKey) {
    let mut claims: BTreeMap<OrgName, usize> = BTreeMap::new();
    for member in members.values() {
        *claims.entry(member.claimed.clone()).or_default() += 1;
    }
    let mut contested = BTreeSet::new();
    for (root, member) in members.iter_mut() {
        member.org = member.claimed.clone();
        let is_shared = claims.get(&member.claimed).is_some_and(|count| *count > 1);
        if *root != founder && (is_shared || looks_contested(&member.claimed)) {
            contested.insert(*root);
        }
    }
    for digits in CONTESTED_KEY_DIGITS {
        let mut called: BTreeMap<OrgName, usize> = BTreeMap::new();
        for (root, member) in members.iter_mut().filter(|(root, _)| contested.contains(root)) {
            member.org = contested_name(&member.claimed, root, digits);
            *called.entry(member.org.clone()).or_default() += 1;
        }
        if let Some(founder) = members.get(&founder) {
            *called.entry(founder.org.clone()).or_default() += 1;
        }
        let is_shared = |org: &OrgName| called.get(org).is_some_and(|count| *count > 1);
        contested.retain(|root| members.get(root).is_some_and(|member| is_shared(&member.org)));
        if contested.is_empty() {
            break;
        }
    }
}

/// Whether a name could be one that was given to a contested one.
fn looks_contested(claimed: &OrgName) -> bool {
    claimed.as_str().rsplit_once('-').is_some_and(|(_, key)| {
        key.len() >= *CONTESTED_KEY_DIGITS.start() && key.chars().all(|c| c.is_ascii_hexdigit())
    })
}

/// The start of a name and the start of a root key.
fn contested_name(claimed: &OrgName, root: &PublicKey, digits: usize) -> OrgName {
    let name: String = claimed.as_str().chars().take(CONTESTED_CHARS - digits).collect();
    let key: String = root.to_string().chars().take(digits).collect();
    format!("{name}-{key}").parse().unwrap_or_else(|_| claimed.clone())
}
