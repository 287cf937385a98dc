//! Signed statements that stand outside any log: delegations and a federation's founding.
//!
//! A statement is kept as the bytes that were signed. Its type is decoded from them after the signature was checked.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cbor::{self, DecodeError};
use crate::hash::{FederationId, Hash};
use crate::key::{BadSignature, Domain, PublicKey, SecretKey, Signature};
use crate::limits::RECORD_MAX_BYTES;
use crate::name::OrgName;

/// A type that is signed by itself, in a domain of its own.
pub trait Statement: Serialize + DeserializeOwned {
    /// The domain of its signatures.
    const DOMAIN: Domain<'static>;

    /// The key that must have signed it.
    fn signer(&self) -> PublicKey;
}

/// The bytes of a statement and the signature over exactly these bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The statement, CBOR.
    #[serde(with = "serde_bytes")]
    pub statement: Vec<u8>,
    /// Over the statement in its type's domain.
    pub signature: Signature,
}

impl Signed {
    /// Signs `statement` with `key`, which should be the key it names.
    #[must_use]
    pub fn new<T: Statement>(statement: &T, key: &SecretKey) -> Self {
        let statement = cbor::encode(statement);
        let signature = key.sign(T::DOMAIN, &statement);
        Self { statement, signature }
    }

    /// Decodes the statement and checks that the key it names has signed it.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn open<T: Statement>(&self) -> Result<T, StatementError> {
        let statement: T = cbor::decode(&self.statement, RECORD_MAX_BYTES)?;
        statement.signer().verify(T::DOMAIN, &self.statement, &self.signature)?;
        Ok(statement)
    }

    /// The same without the signature, for a statement that was opened before and kept since.
    ///
    /// # Errors
    /// [`StatementError::Decode`].
    pub(crate) fn open_kept<T: Statement>(&self) -> Result<T, StatementError> {
        Ok(cbor::decode(&self.statement, RECORD_MAX_BYTES)?)
    }

    /// Hash of the statement's bytes.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&self.statement)
    }
}

/// Why a statement was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not readable as this statement.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Readable, but not signed by the key that it names.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// What a delegated key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Run a node: admit orgs, describe the node, execute jobs.
    Node,
    /// Publish content.
    Producer,
}

/// An org's root key lets another key act for the org until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// The org's root key; it signs.
    pub root: PublicKey,
    /// The key that may act.
    pub key: PublicKey,
    /// As what.
    pub role: Role,
    /// When it was made, milliseconds since 1970.
    pub issued_ms: u64,
    /// First moment at which it no longer holds, milliseconds since 1970.
    pub expires_ms: u64,
}

impl Statement for Delegation {
    const DOMAIN: Domain<'static> = Domain { name: "delegation", version: 1 };

    fn signer(&self) -> PublicKey {
        self.root
    }
}

/// The first statement of a federation; the federation's id is its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// What people call the federation.
    pub name: String,
    /// Root key of the founding org, its first member; it signs.
    pub root: PublicKey,
    /// Name of the founding org.
    pub org: OrgName,
    /// Orgs that must admit a new one.
    pub admit: u8,
    /// Orgs that must agree to a removal or a change of policy.
    pub change: u8,
    /// When, milliseconds since 1970.
    pub time_ms: u64,
    /// Makes two foundings of one org differ.
    pub nonce: Hash,
}

impl Statement for Founding {
    const DOMAIN: Domain<'static> = Domain { name: "founding", version: 1 };

    fn signer(&self) -> PublicKey {
        self.root
    }
}

impl Founding {
    /// The id of the federation that this signed founding makes.
    #[must_use]
    pub fn id(signed: &Signed) -> FederationId {
        FederationId(signed.hash())
    }
}

/// What an invite's key says about the org that uses it. Part of an acceptance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteUse {
    /// The invite's key; it signs.
    pub invite: PublicKey,
    /// The federation joined.
    pub federation: FederationId,
    /// Root key of the org that joins.
    pub root: PublicKey,
    /// Name the org takes.
    pub org: OrgName,
}

impl Statement for InviteUse {
    const DOMAIN: Domain<'static> = Domain { name: "invite-use", version: 1 };

    fn signer(&self) -> PublicKey {
        self.invite
    }
}
