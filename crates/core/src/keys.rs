//! Keys of the DHT. Only hints are stored there: which node says it has something.

use guildhall_protocol::limits::CATEGORY_SHARDS;
use guildhall_protocol::name::{Category, CategoryPrefix};
use guildhall_protocol::{FederationId, Hash, PackageId, PublicKey};

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

/// The shard in which a node provides a category: spreads a hot category's holders evenly.
pub(crate) fn shard_of(node: PublicKey) -> u8 {
    node.as_bytes().first().copied().unwrap_or_default() % CATEGORY_SHARDS
}

/// A category and every category above it: a holder of `vision/ocr` is found under `vision` too.
pub(crate) fn with_ancestors(category: &Category) -> Vec<CategoryPrefix> {
    let text = category.as_str();
    let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]);
    ends.filter_map(|end| text.get(..end)?.parse().ok()).collect()
}
