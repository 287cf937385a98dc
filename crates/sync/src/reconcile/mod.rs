//! Where the set of another node differs from ours, at a cost that follows the difference and not the size.
//!
//! Two roles. The [`Initiator`] draws a key and asks; the [`Responder`] sums its set up in cells under that key and
//! serves as many of them as are asked for ([`cells`] says what they are). The initiator subtracts its own cells and
//! reads the difference out ([`peel`]): short ids of elements that only one side has. Ours are found among our own;
//! theirs are guessed where they are near to what we have (a log that grew), and otherwise asked for by their short ids.
//!
//! The first answer carries sixteen cells, enough for nine differences, and a byte each of 160 later ones, which tell how
//! much the sets differ, so that the second request asks for about as many cells as it takes. A comparison therefore
//! takes one request where little differs, two or three otherwise, and one more for elements that nobody could guess.
//!
//! Pure: randomness and time are arguments. Requests and answers are matched, repeated and given up by the caller, who
//! also compares by pages where this gives up ([`Failure`]) or the peer does not know the request.
//!
//! What a peer can do: it can say that it has less or more than it has, as with any other form of comparison; what it
//! names is pulled and verified as ever. It cannot make the other side hold or do more than the constants here say.
//! Everybody's elements are public, but the key is not until the comparison begins, so that no third node can publish
//! elements whose short ids collide.

mod cells;
mod initiator;
mod peel;
mod responder;

use guildhall_protocol::wire::{CompareSet, LogHead};
use guildhall_protocol::{Hash, PublicKey, RecordId};

use crate::logs::Logs;

pub use self::initiator::{Difference, Failure, Initiator, PAGES_MAX, Step};
pub use self::responder::{
    AHEAD_MAX_MS, ELEMENTS_PER_MS, OPEN_EVERY_MS, Refused, Responder, SESSION_LIFE_MS, SESSIONS_MAX,
};

/// Elements of a set that is compared so. Summing up takes a node some 0.2 s for as many; larger sets are compared by
/// pages, or in parts.
pub const ELEMENTS_MAX: usize = 1 << 20;

/// Lengths on either side of ours that are tried for a log that differs, before the peer is asked: one that grew by more
/// costs a request. With as many differences as there are cells that makes a million hashes, 0.1 s.
const NEIGHBOURS: u64 = 32;

/// A member of a compared set.
pub trait Element: Copy {
    /// The set it belongs to.
    const SET: CompareSet;

    /// What it is sent and hashed as; all of one set are equally long, and none is empty.
    type Bytes: AsRef<[u8]> + Default;

    /// As [`CompareSet`] says.
    fn to_bytes(&self) -> Self::Bytes;

    /// The reverse of [`to_bytes`](Self::to_bytes); `None` for bytes that are none of these.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;

    /// What the other side is likely to have where we have this.
    fn neighbours(&self) -> impl Iterator<Item = Self>;
}

/// One side's set.
pub trait Elements {
    /// Its members.
    type Element: Element;

    /// What is here, each element once, in any order.
    fn held(&self) -> impl Iterator<Item = Self::Element>;

    /// What is known not to be here and may be elsewhere. Differences are looked for among these before the peer is
    /// asked to name them.
    fn missing(&self) -> impl Iterator<Item = Self::Element> {
        std::iter::empty()
    }
}

/// The heads of all logs.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a>(pub &'a Logs);

impl Elements for Heads<'_> {
    type Element = LogHead;

    fn held(&self) -> impl Iterator<Item = LogHead> {
        self.0.heads_after(None)
    }
}

/// Bytes of a [`LogHead`] as an element.
const HEAD_BYTES: usize = 40;

/// A head as bytes.
#[derive(Clone, Copy, Debug)]
pub struct HeadBytes([u8; HEAD_BYTES]);

impl Default for HeadBytes {
    fn default() -> Self {
        Self([0; HEAD_BYTES])
    }
}

impl AsRef<[u8]> for HeadBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Element for LogHead {
    const SET: CompareSet = CompareSet::Heads;

    type Bytes = HeadBytes;

    fn to_bytes(&self) -> HeadBytes {
        let mut bytes = [0; HEAD_BYTES];
        let (author, len) = bytes.split_at_mut(32);
        author.copy_from_slice(self.author.as_bytes());
        len.copy_from_slice(&self.len.to_be_bytes());
        HeadBytes(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (author, len) = bytes.split_first_chunk::<32>()?;
        let len = u64::from_be_bytes(len.try_into().ok()?);
        Some(Self { author: PublicKey::from_bytes(*author), len })
    }

    /// The same log, somewhat longer or shorter.
    fn neighbours(&self) -> impl Iterator<Item = Self> {
        let Self { author, len } = *self;
        let longer = (1..=NEIGHBOURS).filter_map(move |by| len.checked_add(by));
        let shorter = (1..=NEIGHBOURS).filter_map(move |by| len.checked_sub(by));
        longer.chain(shorter).map(move |len| Self { author, len })
    }
}

impl Element for RecordId {
    const SET: CompareSet = CompareSet::Bodies;

    type Bytes = [u8; 32];

    fn to_bytes(&self) -> [u8; 32] {
        *self.0.as_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Hash::from_bytes(bytes.try_into().ok()?)))
    }

    /// Ids are hashes: none is near to another one.
    fn neighbours(&self) -> impl Iterator<Item = Self> {
        std::iter::empty()
    }
}
