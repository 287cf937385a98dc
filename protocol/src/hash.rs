//! BLAKE3 hashes and the ids made from them.
//!
//! In CBOR an id is a byte string of 32 bytes, in JSON and on the command line 64 lowercase hex digits, for packages
//! with `b3:` in front.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of a BLAKE3 hash, bytes.
pub const HASH_BYTES: usize = 32;

/// A BLAKE3 hash of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; HASH_BYTES]);

impl Hash {
    /// Hashes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Wraps 32 bytes that already are a hash.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    /// The raw 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// 64 lowercase hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }
}

impl From<blake3::Hash> for Hash {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_hex().get(..12).unwrap_or_default())
    }
}

impl FromStr for Hash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_32(text).map(Self).ok_or(ParseHashError)
    }
}

/// The text is not 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hex digits")]
pub struct ParseHashError;

/// Decodes 64 hex digits.
pub(crate) fn parse_32(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// Serialises fixed-size bytes: a byte string in binary formats, hex in readable ones.
pub(crate) fn serialize_bytes<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
    if out.is_human_readable() {
        out.serialize_str(&data_encoding::HEXLOWER.encode(bytes))
    } else {
        out.serialize_bytes(bytes)
    }
}

/// The reverse of [`serialize_bytes`] for exactly `N` bytes.
pub(crate) fn deserialize_bytes<'de, const N: usize, D: Deserializer<'de>>(
    input: D,
) -> Result<[u8; N], D::Error> {
    use serde::de::Error as _;
    let bytes = if input.is_human_readable() {
        let text = String::deserialize(input)?;
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(D::Error::custom)?
    } else {
        serde_bytes::ByteBuf::deserialize(input)?.into_vec()
    };
    bytes.try_into().map_err(|bytes: Vec<u8>| {
        D::Error::custom(format_args!("expected {N} bytes, found {}", bytes.len()))
    })
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        serialize_bytes(&self.0, out)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        deserialize_bytes(input).map(Self)
    }
}

/// Declares a newtype over [`Hash`] with its own meaning.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub crate::hash::Hash);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::hash::ParseHashError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id! {
    /// Identifies a record: the hash of its header's bytes.
    RecordId
}
id! {
    /// Identifies a federation: the hash of its founding statement's bytes.
    FederationId
}
id! {
    /// Identifies one run of a pipeline: chosen at random by the requester's node.
    RunId
}

/// Identifies a package: the hash of its manifest's bytes. Shown as `b3:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(pub Hash);

impl PackageId {
    /// What stands before the hex digits.
    pub const PREFIX: &'static str = "b3:";
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0)
    }
}

impl fmt::Debug for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", Self::PREFIX, self.0)
    }
}

impl FromStr for PackageId {
    type Err = ParsePackageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix(Self::PREFIX).ok_or(ParsePackageIdError)?;
        hex.parse().map(Self).map_err(|_| ParsePackageIdError)
    }
}

/// The text is not `b3:` and 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a package id is `b3:` followed by 64 hex digits")]
pub struct ParsePackageIdError;

impl Serialize for PackageId {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if out.is_human_readable() { out.collect_str(self) } else { self.0.serialize(out) }
    }
}

impl<'de> Deserialize<'de> for PackageId {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if input.is_human_readable() {
            String::deserialize(input)?.parse().map_err(D::Error::custom)
        } else {
            Hash::deserialize(input).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_id_reads_what_it_prints() {
        let id = PackageId(Hash::of(b"manifest"));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("b3:12".parse::<PackageId>(), Err(ParsePackageIdError));
        assert!(id.0.to_hex().parse::<PackageId>().is_err(), "the prefix is required");
    }
}
