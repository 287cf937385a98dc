//! Ed25519 keys and signatures with a domain in front of every signed byte.
//!
//! A signature is over `guildhall` NUL, the domain's name, NUL, the format version as two big-endian bytes, then the
//! statement's bytes as they were received. Two statements of different kinds can therefore never share a signature.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::{deserialize_bytes, parse_32, serialize_bytes};

/// What every signed message starts with.
const PREFIX: &[u8] = b"guildhall\0";

/// What a signature is about. The name and version are part of the signed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain<'a> {
    /// The kind of statement, for example `delegation` or `record/release`.
    pub name: &'a str,
    /// The format version of that kind.
    pub version: u16,
}

impl Domain<'_> {
    /// The exact bytes that are signed for `statement`.
    #[must_use]
    pub fn message(&self, statement: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend_from_slice(PREFIX);
        message.extend_from_slice(self.name.as_bytes());
        message.push(0);
        message.extend_from_slice(&self.version.to_be_bytes());
        message.extend_from_slice(statement);
        message
    }
}

/// An Ed25519 public key: of an org's root, a node or a producer. Shown as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Wraps 32 bytes; whether they are a usable key shows when a signature is checked.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks `signature` over `statement` in `domain`, strictly: small-order keys and malleable forms are refused.
    ///
    /// # Errors
    /// [`BadSignature`] when it does not hold.
    pub fn verify(
        &self,
        domain: Domain<'_>,
        statement: &[u8],
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(&domain.message(statement), &signature).map_err(|_| BadSignature)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key:{}", self.to_string().get(..12).unwrap_or_default())
    }
}

impl FromStr for PublicKey {
    type Err = crate::hash::ParseHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_32(text).map(Self).ok_or(crate::hash::ParseHashError)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        serialize_bytes(&self.0, out)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        deserialize_bytes(input).map(Self)
    }
}

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Wraps 64 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The raw 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = data_encoding::HEXLOWER.encode(&self.0);
        write!(f, "sig:{}", hex.get(..12).unwrap_or_default())
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        serialize_bytes(&self.0, out)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        deserialize_bytes(input).map(Self)
    }
}

/// A secret Ed25519 key. Wiped when dropped, never printed, never serialised.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    /// Makes the key from its 32-byte seed; the caller brings the randomness.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, for the one place that writes key files.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `statement` in `domain`.
    #[must_use]
    pub fn sign(&self, domain: Domain<'_>, statement: &[u8]) -> Signature {
        Signature(self.0.sign(&domain.message(statement)).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public())
    }
}

/// The signature does not hold for this key, domain and statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct BadSignature;

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: Domain<'_> = Domain { name: "record/release", version: 1 };

    #[test]
    fn a_signature_holds_only_in_its_own_domain() {
        let key = SecretKey::from_seed(&[7; 32]);
        let signature = key.sign(RELEASE, b"body");
        assert_eq!(key.public().verify(RELEASE, b"body", &signature), Ok(()));
        for domain in [
            Domain { name: "record/listing", ..RELEASE },
            Domain { version: 2, ..RELEASE },
            Domain { name: "record/releas", version: 0x6500 },
        ] {
            assert_eq!(key.public().verify(domain, b"body", &signature), Err(BadSignature));
        }
        assert_eq!(key.public().verify(RELEASE, b"bodY", &signature), Err(BadSignature));
    }
}
