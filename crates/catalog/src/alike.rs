//! Names that could be taken for another producer's.
//!
//! The same name at another org is nothing unusual, and says whose it is. What is pointed out is a name that only looks
//! like another one, and the same or a similar name at an org whose own name looks like the other's.

use std::collections::BTreeSet;

use guildhall_protocol::confusable::{resembles, skeletons};
use guildhall_protocol::name::{OrgName, PackageName, Reference};
use guildhall_protocol::{Hash, PublicKey};

use crate::catalog::Catalog;

/// Names sharing a skeleton that are looked at: as many as somebody likes can be made, and one is enough to warn.
const LOOKED_AT_MAX: usize = 256;

/// Names by the start of their skeletons' hashes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skeletons(BTreeSet<(u64, u32)>);

impl Skeletons {
    pub(crate) fn add(&mut self, name: &str, number: u32) {
        self.0.extend(skeletons(name).iter().map(|skeleton| (key(skeleton), number)));
    }

    fn sharing(&self, name: &str) -> BTreeSet<u32> {
        let keys = skeletons(name).into_iter().map(|skeleton| key(&skeleton));
        let numbers = keys.flat_map(|key| self.0.range((key, 0)..=(key, u32::MAX)));
        numbers.map(|(_, number)| *number).take(LOOKED_AT_MAX).collect()
    }
}

fn key(skeleton: &str) -> u64 {
    let hash = Hash::of(skeleton.as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

impl Catalog {
    /// The oldest name of another producer, listed before `time_ms`, that `org/name` of the org of `root` could be taken
    /// for. Times are what the producers' clocks said.
    #[must_use]
    pub fn alike(
        &self,
        root: &PublicKey,
        org: &OrgName,
        name: &PackageName,
        time_ms: u64,
    ) -> Option<Reference> {
        let sharing = self.skeletons.sharing(name.as_str()).into_iter();
        let others = sharing.filter_map(|number| {
            let (other_org, other) = self.names.get(number)?;
            let is_alike = resembles(name.as_str(), other)
                && (name.as_str() != other
                    || (org != other_org && resembles(org.as_str(), other_org.as_str())));
            let rows = self.names.rows(number).iter().filter_map(|row| self.row(*row));
            let of_others = rows.filter(|row| self.roots.value(row.root) != Some(root));
            let since = of_others.map(|row| row.time_ms).min()?;
            (is_alike && since < time_ms).then_some((since, other_org, other))
        });
        let (_, org, other) = others.min()?;
        Some(Reference::Named { org: org.clone(), name: other.parse().ok()?, version: None })
    }
}
