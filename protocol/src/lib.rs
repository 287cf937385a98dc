//! The words Guildhall nodes exchange: ids, names, signed records, manifests, interface types, contracts, receipts and
//! wire messages, with every limit that two nodes must agree on.
//!
//! Nothing here does IO or knows the time. Bytes from outside are checked for form ([`cbor`]) before they are decoded,
//! and signed bytes are kept as they came: nothing is re-encoded to be verified.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod api;
pub mod body;
pub mod cbor;
pub mod confusable;
pub mod contract;
pub mod facts;
pub mod fit;
pub mod fork;
pub mod hash;
pub mod interface;
pub mod isolation;
pub mod key;
pub mod limits;
pub mod manifest;
pub mod name;
pub mod offer;
mod opinion;
pub mod query;
pub mod receipt;
pub mod record;
pub mod statement;
pub mod tree;
pub mod values;
pub mod vocabulary;
pub mod wire;

pub use hash::{FederationId, Hash, PackageId, RecordId, RunId};
pub use key::{PublicKey, SecretKey, Signature};
