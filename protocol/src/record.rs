//! Records: anything signed and replicated, in a log per key.
//!
//! ```text
//! record = { "header": bytes, "signature": 64 bytes, "delegation": bytes, "body": body }
//! header = { "author": key, "root": key, "seq": uint, "prev": id | null, "type": text, "version": uint,
//!            "time_ms": uint, "body": hash }                                    signed, verbatim
//! body   = { "public": bytes } | { "sealed": bytes } | "erased"
//! ```
//!
//! The signature covers the header's bytes in the domain `record/` + type with the header's version; the header names
//! the hash of the body's bytes; the record's id is the hash of the header's bytes. A body can therefore be left out
//! (`erased`) and the log stays whole. The delegation is a [`Signed`] [`Delegation`] to the author by the root that the
//! header names: anybody may delegate to a key that they saw, so the author says for whom it speaks. The envelope and
//! the delegation's wrapping have exactly one form, because no signature covers them.

use serde::{Deserialize, Serialize};

use crate::cbor::{self, DecodeError};
use crate::hash::{Hash, RecordId};
use crate::interface::is_identifier;
use crate::key::{BadSignature, Domain, PublicKey, SecretKey, Signature};
use crate::limits::{DELEGATION_MAX_LIFE_MS, RECORD_MAX_BYTES};
use crate::statement::{Delegation, Role, Signed, StatementError};

/// The signed part of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The delegated key whose log this is.
    pub author: PublicKey,
    /// Root key of the org that it speaks for.
    pub root: PublicKey,
    /// Position in the log, from 0 without gaps.
    pub seq: u64,
    /// The record before; `null` exactly at 0.
    pub prev: Option<RecordId>,
    /// Type of the body, 1 to 64 of A-Z, a-z, 0-9, `_`, `-`, `.`; unknown ones are stored and relayed, never evaluated.
    #[serde(rename = "type")]
    pub record_type: String,
    /// Format version of the body.
    pub version: u16,
    /// The author's clock, milliseconds since 1970. Never orders anything.
    pub time_ms: u64,
    /// Hash of the body's bytes.
    pub body: Hash,
}

/// A record's content, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Readable by all who get it.
    Public(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Readable by its recipients only.
    Sealed(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Left out or removed; the header still proves that it was there.
    Erased,
}

/// The envelope on the wire. Everything in it is a claim until [`Record::open`] has checked it.
#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(with = "serde_bytes")]
    header: Vec<u8>,
    signature: Signature,
    #[serde(with = "serde_bytes")]
    delegation: Vec<u8>,
    body: Content,
}

/// A record whose signatures hold, with the bytes it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    bytes: Vec<u8>,
    id: RecordId,
    header: Header,
    delegation: Delegation,
    content: Content,
}

impl Record {
    /// Checks size, form, signature, delegation and body of `bytes`.
    ///
    /// Whether the delegation's root is a member, has expired, or the sequence fits a log is for others to decide.
    ///
    /// # Errors
    /// [`RecordError`] with the first thing that does not hold.
    pub fn open(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::read(bytes, true)
    }

    /// The same without the signatures, for bytes that this node opened before and has kept since where nobody else
    /// writes. It takes a twentieth of the time.
    ///
    /// # Errors
    /// [`RecordError`] with the first thing that does not hold.
    pub fn open_kept(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::read(bytes, false)
    }

    fn read(bytes: &[u8], verify: bool) -> Result<Self, RecordError> {
        let envelope: Envelope = cbor::decode_exact(bytes, RECORD_MAX_BYTES)?;
        let header: Header = cbor::decode(&envelope.header, RECORD_MAX_BYTES)?;
        if (header.seq == 0) != header.prev.is_none() {
            return Err(RecordError::Position { seq: header.seq });
        }
        if !is_identifier(&header.record_type) {
            let why = "it has 1 to 64 of letters, digits, `_`, `-`, `.`".into();
            return Err(RecordError::Form(DecodeError::Rule { what: "record type", why }));
        }
        let domain = record_domain(&header.record_type);
        let domain = Domain { name: &domain, version: header.version };
        if verify {
            header.author.verify(domain, &envelope.header, &envelope.signature)?;
        }

        let signed: Signed = cbor::decode_exact(&envelope.delegation, RECORD_MAX_BYTES)?;
        let delegation: Result<Delegation, _> =
            if verify { signed.open() } else { signed.open_kept() };
        let delegation = delegation.map_err(RecordError::Delegation)?;
        check_delegation(&delegation, &header)?;

        if let Content::Public(body) | Content::Sealed(body) = &envelope.body
            && Hash::of(body) != header.body
        {
            return Err(RecordError::Body);
        }
        let id = RecordId(Hash::of(&envelope.header));
        Ok(Self { bytes: bytes.to_vec(), id, header, delegation, content: envelope.body })
    }

    /// Writes and signs the record that follows `prev` in the log of `key`.
    ///
    /// # Errors
    /// [`RecordError::Form`] when the record would be longer than [`RECORD_MAX_BYTES`], and whatever else
    /// [`open`](Self::open) finds wrong, for example a delegation for another key.
    pub fn write(
        key: &SecretKey,
        delegation: &Signed,
        position: Position,
        body: &Body<'_>,
        time_ms: u64,
    ) -> Result<Self, RecordError> {
        let by: Delegation = delegation.open().map_err(RecordError::Delegation)?;
        let header = cbor::encode(&Header {
            author: key.public(),
            root: by.root,
            seq: position.seq,
            prev: position.prev,
            record_type: body.record_type.to_owned(),
            version: body.version,
            time_ms,
            body: Hash::of(body.bytes),
        });
        let domain = record_domain(body.record_type);
        let signature = key.sign(Domain { name: &domain, version: body.version }, &header);
        let envelope = Envelope {
            header,
            signature,
            delegation: cbor::encode(delegation),
            body: Content::Public(body.bytes.to_vec()),
        };
        Self::open(&cbor::encode(&envelope))
    }

    /// The envelope's bytes as they came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Hash of the header's bytes.
    #[must_use]
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// The signed header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The delegation under which the author acts.
    #[must_use]
    pub const fn delegation(&self) -> &Delegation {
        &self.delegation
    }

    /// The body's bytes, if they are here and readable.
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Public(body) => Some(body),
            Content::Sealed(_) | Content::Erased => None,
        }
    }

    /// The same record without its body: what a node keeps of categories that it does not follow.
    #[must_use]
    pub fn without_body(&self) -> Self {
        if self.content == Content::Erased {
            return self.clone();
        }
        let Ok(envelope) = cbor::decode::<Envelope>(&self.bytes, RECORD_MAX_BYTES) else {
            return self.clone();
        };
        let bytes = cbor::encode(&Envelope { body: Content::Erased, ..envelope });
        Self { bytes, content: Content::Erased, ..self.clone() }
    }
}

/// Where in its log a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Position {
    /// From 0.
    pub seq: u64,
    /// Id of the record before, `None` at 0.
    pub prev: Option<RecordId>,
}

/// A body that is about to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Its type, as in the header.
    pub record_type: &'a str,
    /// Its format version.
    pub version: u16,
    /// Its bytes.
    pub bytes: &'a [u8],
}

fn record_domain(record_type: &str) -> String {
    format!("record/{record_type}")
}

fn check_delegation(delegation: &Delegation, header: &Header) -> Result<(), RecordError> {
    let life_ms = delegation.expires_ms.saturating_sub(delegation.issued_ms);
    if delegation.key != header.author {
        Err(RecordError::OtherKey)
    } else if delegation.root != header.root {
        Err(RecordError::OtherRoot)
    } else if role_for(&header.record_type).is_some_and(|role| role != delegation.role) {
        Err(RecordError::Role { record_type: header.record_type.clone(), role: delegation.role })
    } else if life_ms > DELEGATION_MAX_LIFE_MS {
        Err(RecordError::DelegationTooLong)
    } else {
        Ok(())
    }
}

/// The role that a record type needs; unknown types need none, because they are never evaluated.
fn role_for(record_type: &str) -> Option<Role> {
    match record_type {
        "admission" | "acceptance" | "confirmation" | "node" | "metrics" | "demand"
        | "attestation" | "fork" => Some(Role::Node),
        "release" | "listing" | "yank" | "review" => Some(Role::Producer),
        _ => None,
    }
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Too long, malformed, or not a record.
    #[error("the record is unreadable: {0}")]
    Form(#[from] DecodeError),
    /// The author's signature does not hold.
    #[error("the record is not signed by its author")]
    Signature(#[from] BadSignature),
    /// The delegation is unreadable or not signed by its root.
    #[error("the delegation does not hold: {0}")]
    Delegation(StatementError),
    /// The delegation is for another key.
    #[error("the author's key has no delegation")]
    OtherKey,
    /// The delegation is by another root than the one the author speaks for.
    #[error("the delegation is by another root than the one that the author names")]
    OtherRoot,
    /// The delegation's role may not write such a record.
    #[error("a key with the role {role:?} may not write a `{record_type}` record")]
    Role {
        /// The record's type.
        record_type: String,
        /// The role that its author has.
        role: Role,
    },
    /// The delegation lives longer than 90 days.
    #[error("the delegation lives longer than 90 days")]
    DelegationTooLong,
    /// `prev` and `seq` contradict each other.
    #[error("record {seq} of a log names no predecessor, or the first one names one")]
    Position {
        /// The position claimed.
        seq: u64,
    },
    /// The body's hash is not the header's.
    #[error("the body is not the one that was signed")]
    Body,
}
