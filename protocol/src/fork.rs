//! Proof that a key has two writers.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::body::RecordBody;
use crate::cbor::DecodeError;
use crate::hash::{FederationId, RecordId};
use crate::key::PublicKey;
use crate::record::{Record, RecordError};

/// A node shows two records of one key that cannot both be in its log. Whoever holds both can make it, and nobody can
/// who does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkProof {
    /// The federation.
    pub federation: FederationId,
    /// A record, without its body.
    pub first: ByteBuf,
    /// Another one at the same position, or one behind it that names another predecessor; without its body.
    pub second: ByteBuf,
}

/// What a proof shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forked {
    /// The key with two writers.
    pub author: PublicKey,
    /// The root of its org.
    pub root: PublicKey,
    /// The position of which there are two.
    pub seq: u64,
    /// What one of them is.
    pub first: RecordId,
    /// What the other one is.
    pub second: RecordId,
}

/// Why a proof shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFork {
    /// One of the two is no record.
    #[error("a record in it does not hold: {0}")]
    Record(#[from] RecordError),
    /// The two may be in one log.
    #[error("its two records do not contradict each other")]
    NoContradiction,
}

impl ForkProof {
    /// The proof that two records contradict each other; `None` if they do not.
    #[must_use]
    pub fn of(federation: FederationId, first: &Record, second: &Record) -> Option<Self> {
        contradiction(first, second)?;
        let bytes = |record: &Record| ByteBuf::from(record.without_body().bytes());
        Some(Self { federation, first: bytes(first), second: bytes(second) })
    }

    /// Checks both records' signatures and that they contradict each other.
    ///
    /// # Errors
    /// [`NoFork`] when it shows nothing.
    pub fn open(&self) -> Result<Forked, NoFork> {
        let (first, second) = (Record::open(&self.first)?, Record::open(&self.second)?);
        contradiction(&first, &second).ok_or(NoFork::NoContradiction)
    }
}

fn contradiction(first: &Record, second: &Record) -> Option<Forked> {
    let (header, other) = (first.header(), second.header());
    if header.author != other.author {
        return None;
    }
    let second = if header.seq == other.seq {
        second.id()
    } else if header.seq.checked_add(1) == Some(other.seq) {
        other.prev?
    } else {
        return None;
    };
    let (author, root) = (header.author, first.delegation().root);
    let forked = Forked { author, root, seq: header.seq, first: first.id(), second };
    (forked.first != forked.second).then_some(forked)
}

impl RecordBody for ForkProof {
    const TYPE: &'static str = "fork";

    fn check(&self) -> Result<(), DecodeError> {
        let why = "a record in it has a body or is none".to_owned();
        let is_bare = |bytes: &ByteBuf| !bytes.is_empty() && bytes.len() <= BARE_MAX_BYTES;
        match is_bare(&self.first) && is_bare(&self.second) {
            true => Ok(()),
            false => Err(DecodeError::Rule { what: "fork", why }),
        }
    }

    fn federation(&self) -> Option<FederationId> {
        Some(self.federation)
    }
}

/// A record without its body has a header, a delegation and two signatures: some 700 bytes.
const BARE_MAX_BYTES: usize = 4_096;
