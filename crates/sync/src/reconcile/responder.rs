//! The side that answers. It keeps the cells of the comparisons that are open, one for each peer and set, and nothing of
//! the sets themselves.
//!
//! Opening a comparison goes once over the whole set, and so does finding elements. Both are therefore rationed: for
//! each peer by time, and over all peers by elements. A refused peer tries again later; it need not fall back to pages.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::PublicKey;
use guildhall_protocol::wire::{
    CELL_BYTES, CELLS_PER_PAGE, COMPARE_CELLS_MAX, Cells, Compare, CompareKey, CompareSet,
    FIND_MAX, FindElements, Reason, Refusal, SHORT_ID_BYTES,
};
use serde_bytes::ByteBuf;

use super::cells::{Keyed, Table};
use super::{ELEMENTS_MAX, Element, Elements, PAGES_MAX};

/// Comparisons that are open, 208 KiB each: thirteen megabytes. A further one is refused until one has ended.
pub const SESSIONS_MAX: usize = 64;

/// How long a comparison stays open, milliseconds: a dozen requests over the slowest link.
pub const SESSION_LIFE_MS: u64 = 20_000;

/// A peer may open a comparison of one set this often, milliseconds: three times as often as nodes compare. In between
/// it is refused.
pub const OPEN_EVERY_MS: u64 = 5_000;

/// Elements that are gone over in each millisecond, over all peers and in the long run, twice for each comparison: about
/// a tenth of a processor.
pub const ELEMENTS_PER_MS: u64 = 500;

/// How far that may be exceeded for a while, milliseconds: a dozen peers that compare 100,000 elements at once. Whoever
/// opens a comparison beyond it is refused until then.
pub const AHEAD_MAX_MS: u64 = 5_000;

/// The furthest that the largest set takes it ahead. More than this means that the clock was set back, and counts as
/// nothing.
const FURTHEST_MS: u64 = AHEAD_MAX_MS + 2 * (ELEMENTS_MAX as u64) / ELEMENTS_PER_MS;

/// The comparisons that peers have open here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Responder {
    sessions: BTreeMap<(PublicKey, CompareSet), Session>,
    /// When what was gone over for comparisons is worth its time.
    free_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    key: CompareKey,
    opened_ms: u64,
    /// As sent.
    cells: Vec<u8>,
    pages: u32,
    /// Whether elements were asked for.
    has_found: bool,
}

/// Why a request of a comparison is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Too many or too large comparisons, or too soon after the peer's last one.
    #[error("too many comparisons; try again in {retry_after_ms} ms")]
    Busy {
        /// When asking again is worth it, milliseconds from now.
        retry_after_ms: u64,
    },
    /// No comparison with this key is open for the peer, or it has had its requests.
    #[error("no comparison with this key is open")]
    NotOpen,
    /// Cells or short ids that no comparison has, or another set.
    #[error("the request breaks a rule of comparisons")]
    Invalid,
    /// The set here has more than [`ELEMENTS_MAX`] elements.
    #[error("the set is too large to be compared in cells")]
    TooLarge,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (reason, retry_after_ms) = match refused {
            Refused::Busy { retry_after_ms } => (Reason::Busy, Some(retry_after_ms)),
            Refused::NotOpen => (Reason::Unknown, None),
            Refused::Invalid => (Reason::Invalid, None),
            Refused::TooLarge => (Reason::Unable, None),
        };
        Self { retry_after_ms, ..Self::new(reason, refused.to_string()) }
    }
}

impl Responder {
    /// A peer asks for cells of `ours`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn handle_compare<S: Elements>(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        asked: &Compare,
        ours: &S,
    ) -> Result<Cells, Refused> {
        let end = asked.from.checked_add(asked.count).ok_or(Refused::Invalid)?;
        let is_page = (1..=CELLS_PER_PAGE).contains(&asked.count);
        if asked.set != S::Element::SET || !is_page || end > COMPARE_CELLS_MAX {
            return Err(Refused::Invalid);
        }
        self.sessions.retain(|_, session| session.is_alive(now_ms));
        let probes = match asked.from {
            0 => self.open(now_ms, peer, asked, ours)?,
            _ => Vec::new(),
        };
        let session = self.session(peer, asked.set, asked.key)?;
        if session.pages >= PAGES_MAX {
            return Err(Refused::NotOpen);
        }
        session.pages += 1;
        let at = |cell: u32| usize::try_from(cell).ok()?.checked_mul(CELL_BYTES);
        let bytes = at(asked.from).zip(at(end)).and_then(|(from, to)| session.cells.get(from..to));
        let cells = ByteBuf::from(bytes.ok_or(Refused::Invalid)?);
        Ok(Cells { cells, probes: ByteBuf::from(probes) })
    }

    /// A peer asks which elements of `ours` have some short ids. Those that are not there (any more) are left out.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn handle_find<S: Elements>(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        asked: &FindElements,
        ours: &S,
    ) -> Result<ByteBuf, Refused> {
        let (short_ids, rest) = asked.short_ids.as_chunks::<SHORT_ID_BYTES>();
        let is_count = (1..=FIND_MAX).contains(&short_ids.len()) && rest.is_empty();
        if asked.set != S::Element::SET || !is_count {
            return Err(Refused::Invalid);
        }
        self.sessions.retain(|_, session| session.is_alive(now_ms));
        let session = self.session(peer, asked.set, asked.key)?;
        if std::mem::replace(&mut session.has_found, true) {
            return Err(Refused::NotOpen);
        }
        let mut short_ids: BTreeSet<u64> =
            short_ids.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
        let keyed = Keyed::new(asked.key);
        let mut found = Vec::new();
        for element in ours.held().take(ELEMENTS_MAX) {
            let bytes = element.to_bytes();
            // Each short id is answered once, so that the answer is as long as the request allows.
            if short_ids.remove(&keyed.short_id(bytes.as_ref())) {
                found.extend_from_slice(bytes.as_ref());
            }
            if short_ids.is_empty() {
                break;
            }
        }
        Ok(ByteBuf::from(found))
    }

    /// Comparisons that are open; those whose time is over count until the next request.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Bytes of cells that are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.sessions.values().map(|session| session.cells.len()).sum()
    }

    /// Sums the set up. Answers the probes.
    fn open<S: Elements>(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        asked: &Compare,
        ours: &S,
    ) -> Result<Vec<u8>, Refused> {
        let slot = (peer, asked.set);
        let busy = |retry_after_ms| Err(Refused::Busy { retry_after_ms });
        if let Some(earlier) = self.sessions.get(&slot) {
            let age_ms = now_ms.saturating_sub(earlier.opened_ms);
            if age_ms < OPEN_EVERY_MS {
                return busy(OPEN_EVERY_MS - age_ms);
            }
        } else if self.sessions.len() >= SESSIONS_MAX {
            let oldest = self.sessions.values().map(|session| session.opened_ms).min();
            let age_ms = now_ms.saturating_sub(oldest.unwrap_or(now_ms));
            return busy(SESSION_LIFE_MS.saturating_sub(age_ms));
        }
        let ahead_ms = match self.free_ms.saturating_sub(now_ms) {
            ahead_ms if ahead_ms <= FURTHEST_MS => ahead_ms,
            _ => 0,
        };
        if ahead_ms > AHEAD_MAX_MS {
            return busy(ahead_ms - AHEAD_MAX_MS);
        }
        let mut gone_over: u64 = 0;
        let elements = ours.held().inspect(|_| gone_over += 1).map(|element| element.to_bytes());
        let table = Table::of(&Keyed::new(asked.key), elements, ELEMENTS_MAX);
        // Once now, once when elements are asked for; a set that is too large is given up on the way.
        self.free_ms = now_ms.saturating_add(ahead_ms + 2 * gone_over / ELEMENTS_PER_MS);
        let table = table.ok_or(Refused::TooLarge)?;
        let cells = table.to_bytes();
        let session =
            Session { key: asked.key, opened_ms: now_ms, cells, pages: 0, has_found: false };
        self.sessions.insert(slot, session);
        Ok(table.probes())
    }

    fn session(
        &mut self,
        peer: PublicKey,
        set: CompareSet,
        key: CompareKey,
    ) -> Result<&mut Session, Refused> {
        let session = self.sessions.get_mut(&(peer, set));
        session.filter(|session| session.key == key).ok_or(Refused::NotOpen)
    }
}

impl Session {
    /// A clock that was set back ends a comparison, too.
    fn is_alive(&self, now_ms: u64) -> bool {
        now_ms.checked_sub(self.opened_ms).is_some_and(|age_ms| age_ms < SESSION_LIFE_MS)
    }
}
