//! Keys of the DHT. Only hints are stored there: which node says it has something.

use guildhall_protocol::limits::CATEGORY_SHARDS;
use guildhall_protocol::name::{Category, CategoryPrefix};
use guildhall_protocol::{FederationId, Hash, PackageId, PublicKey};

/// Shards in which one node provides a category. Two dozen nodes that stand close to one key keep everybody else from
/// being asked for it; with three keys it takes three times as many, and a lookup asks all shards anyway.
const CATEGORY_COPIES: usize = 3;

/// How far apart a node's shards are: no multiple of it below [`CATEGORY_COPIES`] is one of the number of shards, so they
/// differ.
const SHARD_STEP: usize = 5;

/// The key under which holders of a shard of a category are found.
#[must_use]
pub fn shard_key(federation: FederationId, category: &CategoryPrefix, shard: u8) -> Hash {
    let mut bytes = b"guildhall/category\0".to_vec();
    bytes.extend_from_slice(federation.0.as_bytes());
    bytes.push(shard);
    bytes.extend_from_slice(category.as_str().as_bytes());
    Hash::of(&bytes)
}

/// The keys of every shard of a category.
#[must_use]
pub fn category_keys(federation: FederationId, category: &CategoryPrefix) -> Vec<Hash> {
    (0..CATEGORY_SHARDS).map(|shard| shard_key(federation, category, shard)).collect()
}

/// The key under which holders of a package are found.
#[must_use]
pub fn package_key(federation: FederationId, package: PackageId) -> Hash {
    let mut bytes = b"guildhall/package\0".to_vec();
    bytes.extend_from_slice(federation.0.as_bytes());
    bytes.extend_from_slice(package.0.as_bytes());
    Hash::of(&bytes)
}

/// The shards in which a node provides a category: spreads a hot category's holders evenly. They lie at unrelated places
/// of the DHT, and whoever wants to hide the only holder of a category has to surround each of them.
pub(crate) fn shards_of(node: PublicKey) -> [u8; CATEGORY_COPIES] {
    let first = node.as_bytes().first().copied().unwrap_or_default() % CATEGORY_SHARDS;
    let nth = |nth: usize| (usize::from(first) + nth * SHARD_STEP) % usize::from(CATEGORY_SHARDS);
    std::array::from_fn(|copy| u8::try_from(nth(copy)).unwrap_or_default())
}

/// The keys under which a node is found as a holder of a category.
pub(crate) fn holder_keys(
    federation: FederationId,
    node: PublicKey,
    category: &CategoryPrefix,
) -> [Hash; CATEGORY_COPIES] {
    shards_of(node).map(|shard| shard_key(federation, category, shard))
}

/// A category and every category above it: a holder of `vision/ocr` is found under `vision` too.
pub(crate) fn with_ancestors(category: &Category) -> Vec<CategoryPrefix> {
    let text = category.as_str();
    let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]);
    ends.filter_map(|end| text.get(..end)?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_node_provides_a_category_in_three_different_shards_and_nodes_spread_over_all() {
        let mut used = [0_u32; CATEGORY_SHARDS as usize];
        for first in 0..=u8::MAX {
            let shards = shards_of(PublicKey::from_bytes([first; 32]));
            assert_eq!(BTreeSet::from(shards).len(), CATEGORY_COPIES, "{shards:?}");
            shards.iter().for_each(|shard| used[usize::from(*shard)] += 1);
        }
        assert!(used.iter().all(|count| *count == used[0]), "evenly: {used:?}");
    }

    #[test]
    fn whoever_looks_a_category_up_asks_under_every_key_of_every_holder() {
        let (federation, category) = (FederationId(Hash::of(b"f")), "vision/ocr".parse().unwrap());
        let asked = category_keys(federation, &category);
        for first in 0..CATEGORY_SHARDS {
            let node = PublicKey::from_bytes([first; 32]);
            assert!(holder_keys(federation, node, &category).iter().all(|key| asked.contains(key)));
        }
    }
}
