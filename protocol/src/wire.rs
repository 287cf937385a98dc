//! Messages between nodes: requests and their responses, blob requests, and the frames of a job.
//!
//! Requests and responses are one CBOR item each, at most [`MESSAGE_MAX_BYTES`] long. Blob and job streams carry
//! frames: a length as 4 big-endian bytes, then one CBOR item of that many bytes, at most [`FRAME_MAX_BYTES`]. After a
//! [`BlobReply`] content follows bare.

mod compare;
mod job;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::cbor::{self, DecodeError};
use crate::hash::{FederationId, Hash};
use crate::key::PublicKey;
use crate::limits::{FRAME_MAX_BYTES, MESSAGE_MAX_BYTES};
use crate::name::OrgName;
use crate::query::Query;
use crate::statement::Signed;

pub use self::compare::{
    CELL_BYTES, CELLS_PER_PAGE, COMPARE_CELLS_MAX, Cells, Compare, CompareKey, CompareSet,
    FIND_MAX, FindElements, SHORT_ID_BYTES,
};
pub use self::job::{
    ExecutorFrame, JobFailure, JobInput, JobSpec, JobStage, Lease, OfferRequest, PART_MAX_RECORDS,
    PartEnd, PartFrame, PartRecords, PortValue, RecordEnd, RecordFrame, RecordResult,
    RequesterFrame, ResultsFrame,
};

/// Logs in one [`Response::Heads`]. Each takes 47 to 55 bytes, so that a page is less than half of a message.
pub const HEADS_PER_PAGE: usize = 8_192;

/// What one node asks another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Request {
    /// First request on a connection, in both directions: who is there, by whose authority.
    Hello(Hello),
    /// An org that holds an invite asks to come in: its node's log so far, acceptance last.
    Join {
        /// Records, oldest first.
        records: Vec<ByteBuf>,
    },
    /// Which logs are there, and how long are they? A page; the next one is asked for with the last author of this one.
    Heads {
        /// Only logs of authors behind this one, by the bytes of their keys; all when there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<PublicKey>,
    },
    /// Cells of a set, to find out where it differs from the asking node's.
    Compare(Compare),
    /// Which elements of a set have these short ids?
    FindElements(FindElements),
    /// The records of one log from a position on; bodies only where they are wanted.
    Pull {
        /// Whose log.
        author: PublicKey,
        /// First position wanted.
        from_seq: u64,
    },
    /// Listings that a query finds at the other node. Free text is never sent.
    Query(Box<Query>),
    /// Would the other node execute this?
    Offer(Box<OfferRequest>),
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Response {
    /// To `Hello`.
    Hello(Hello),
    /// To `Join`: the federation's founding. The records that prove who else is a member are pulled next.
    Joined {
        /// The federation's founding.
        founding: Signed,
    },
    /// To `Heads`: at most [`HEADS_PER_PAGE`], by author. Fewer than that are the last.
    Heads(Vec<LogHead>),
    /// To `Compare`.
    Cells(Cells),
    /// To `FindElements`: those that are there, one behind the other, in the form that
    /// [`CompareSet`] says.
    Elements(ByteBuf),
    /// To `Pull`: as many as fit one message, oldest first.
    Records {
        /// Records; a body that the other node does not follow is left out.
        records: Vec<ByteBuf>,
    },
    /// To `Query`: listing records, best first, to be verified and ranked by the asking node.
    Found {
        /// Listing records.
        listings: Vec<ByteBuf>,
    },
    /// To `Offer`.
    Lease(Lease),
    /// The request was understood and not granted.
    Refused(Refusal),
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The federation the node is in.
    pub federation: FederationId,
    /// Its [`Delegation`](crate::statement::Delegation): the org's root for the node's key.
    pub delegation: Signed,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// What time it is there, milliseconds since 1970; so that a clock that stands wrong is noticed. Nothing is decided
    /// by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_ms: Option<u64>,
}

/// How long a log is at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// Whose log.
    pub author: PublicKey,
    /// How many records, without a gap from the first.
    pub len: u64,
}

/// Why a request was not granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind of reason.
    pub reason: Reason,
    /// In words, for a person at the other side.
    pub detail: String,
    /// When asking again is worth it, milliseconds from now; only where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Kinds of reasons to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The asking node is not an admitted member.
    NotAdmitted,
    /// The node lends no hardware, or not to this org.
    NotLent,
    /// The node cannot do it: an engine or memory is missing.
    Unable,
    /// Every slot is taken; try again later or elsewhere. Who asks again in time keeps its place in the queue.
    Busy,
    /// Every slot is taken, and the run waited as long as its limits let it.
    QueueTimeout,
    /// What this org may use of the node is used up for now.
    Quota,
    /// The node finishes what it has and takes no more.
    Draining,
    /// The invite is unknown, expired or used, or the name is taken.
    BadInvite,
    /// The request breaks a rule.
    Invalid,
    /// The node has nothing of that name.
    Unknown,
}

/// What a blob stream is asked for. Requests may follow each other without waiting; answers come in their order.
///
/// Nothing that comes back has to be believed: [`tree`](crate::tree) says how each part is checked against the blob's
/// hash. Where a blob has no list (one piece) or no hashes of groups (one group), none are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlobRequest {
    /// How long is a blob, and which CVs do its pieces have?
    List {
        /// The blob.
        hash: Hash,
    },
    /// A piece of a blob, or parts of it.
    Piece {
        /// The blob.
        hash: Hash,
        /// Number of the piece, from 0.
        piece: u64,
        /// What of it.
        part: PiecePart,
    },
    /// Whole blobs of one group each, at most [`BATCH_MAX_BLOBS`].
    Batch {
        /// The blobs.
        hashes: Vec<Hash>,
    },
}

/// What of a piece is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PiecePart {
    /// The CVs of its groups, then all its bytes.
    Whole,
    /// The CVs of its groups.
    Hashes,
    /// The bytes of some groups.
    Groups {
        /// Number of the first one in the piece.
        first: u32,
        /// How many.
        count: u32,
    },
}

/// The answer to a [`BlobRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlobReply {
    /// To `List`: the CVs of the pieces follow bare, 32 bytes each.
    List {
        /// Length of the blob, bytes.
        len_bytes: u64,
    },
    /// To `Piece`: what was asked for follows bare.
    Piece,
    /// To `Batch`: the bytes of the blobs that are here follow bare, in the order of the request.
    Batch {
        /// Length of each blob that was asked for, bytes; `None` for one that is not here.
        lens: Vec<Option<u32>>,
    },
    /// It is not here, or not for the asking node.
    Missing,
}

/// Blobs in one [`BlobRequest::Batch`]: a request of some 9 KiB for at most a piece of content.
pub const BATCH_MAX_BLOBS: usize = 256;

/// Longest frame on a blob stream, either way, bytes: a batch's request, and room for fields to come.
pub const BLOB_FRAME_MAX_BYTES: usize = 16 * 1024;

/// What a person carries from one org to another to bring it in. Written as `guild-invite:` and the base32 of its CBOR
/// with the first four bytes of that CBOR's BLAKE3 behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The federation.
    pub federation: FederationId,
    /// Its name, for the person.
    pub name: String,
    /// The inviting org, for the person.
    pub org: OrgName,
    /// The admission that waits for a key.
    pub admission: crate::hash::RecordId,
    /// Seed of the invite's key.
    pub seed: Hash,
    /// Where the inviting node listens; each ends in its peer id.
    pub addresses: Vec<String>,
    /// First moment at which it is too late, milliseconds since 1970.
    pub expires_ms: u64,
}

impl Invite {
    const PREFIX: &'static str = "guild-invite:";
    const DAMAGED: &'static str = "it is cut short or has a wrong letter";
    /// Longest invite, bytes of CBOR: sixteen long addresses and the rest.
    const MAX_BYTES: usize = 8 * 1024;
    /// Bytes of hash behind the invite: one mistyped letter in four thousand million stays unseen.
    const CHECK_BYTES: usize = 4;

    /// The string that people pass on.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = cbor::encode(self);
        bytes.extend_from_slice(&Self::check_of(&bytes));
        let text = data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
        format!("{}{text}", Self::PREFIX)
    }

    /// Reads what [`to_text`](Self::to_text) wrote; white space around it is ignored.
    ///
    /// # Errors
    /// [`DecodeError`] when the text is no invite or was cut.
    pub fn from_text(text: &str) -> Result<Self, DecodeError> {
        let rule = |why: &str| DecodeError::Rule { what: "invite", why: why.into() };
        let body = text
            .trim()
            .strip_prefix(Self::PREFIX)
            .ok_or_else(|| rule("it starts with `guild-invite:`"))?;
        let bytes = data_encoding::BASE32_NOPAD
            .decode(body.to_ascii_uppercase().as_bytes())
            .map_err(|_| rule(Self::DAMAGED))?;
        match bytes.split_last_chunk::<{ Self::CHECK_BYTES }>() {
            Some((bytes, check)) if *check == Self::check_of(bytes) => {
                cbor::decode(bytes, Self::MAX_BYTES)
            }
            _ => Err(rule(Self::DAMAGED)),
        }
    }

    fn check_of(bytes: &[u8]) -> [u8; Self::CHECK_BYTES] {
        Hash::of(bytes).as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

/// Decodes a request or a response.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_message<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    cbor::decode(bytes, MESSAGE_MAX_BYTES)
}

/// Decodes the content of a frame.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_frame<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    cbor::decode(bytes, FRAME_MAX_BYTES)
}

impl Refusal {
    /// A refusal in words.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), retry_after_ms: None }
    }
}
