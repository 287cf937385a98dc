//! What other nodes name as answers: verified like any record, measured against the question, and only then taken in.
//!
//! A node that answers is not believed in anything. What it names counts if it is a listing that its author signed, in
//! this federation, for a member; if the author's log here, and what was looked up before, have no other record in its
//! place; if nothing newer took its place; and if it is an answer at all. The rest is refused and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use guildhall_protocol::body::Listing;
use guildhall_protocol::limits::{MESSAGE_MAX_BYTES, QUERY_MAX_RESULTS, RECORD_MAX_BYTES};
use guildhall_protocol::query::Query;
use guildhall_protocol::record::Record;
use guildhall_protocol::{PublicKey, RecordId};
use guildhall_sync::Offered;
use serde_bytes::ByteBuf;

use super::here::{TOLD_MAX, is_answer};
use super::told::Got;
use crate::event::Effect;
use crate::node::Core;

/// Listings outside the followed categories that are kept in memory after a question. Further ones are not taken in.
const LOOKED_UP_MAX: usize = 10_000;

/// Those of them that one org signed: a quarter, so that no org alone takes the room of all.
const LOOKED_UP_PER_ORG_MAX: usize = 2_500;

/// Pages that one node is asked for: as many as [`TOLD_MAX`] of the longest records take, and two to spare.
const PAGES_MAX: u32 = 8;

/// A page with more bytes may lack a listing that did not fit: a node leaves 64 KiB of a message free for its frame,
/// and the next record may be of the longest.
const FULL_PAGE_BYTES: usize = MESSAGE_MAX_BYTES - 64 * 1024 - RECORD_MAX_BYTES;

/// Why a listing is refused, or not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    /// It is no record, not signed as it should be, of no member, of another federation, or no listing.
    Unverified,
    /// Its author's log has another record in its place.
    Contradicting,
    /// A newer listing took its place.
    Superseded,
    /// It is no answer to the question.
    Unrelated,
    /// It holds, but there is no room for it here.
    NoRoom,
}

/// How many listings of one answer were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    unverified: u64,
    contradicting: u64,
    superseded: u64,
    unrelated: u64,
    /// Beyond those that are looked at.
    beyond: u64,
}

impl Refused {
    #[cfg(test)]
    pub(super) fn of_lies(unverified: u64) -> Self {
        Self { unverified, ..Self::default() }
    }

    pub(super) const fn total(&self) -> u64 {
        self.unverified + self.contradicting + self.superseded + self.unrelated + self.beyond
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = [
            (self.unverified, "did not verify"),
            (self.contradicting, "contradicted their author's log"),
            (self.superseded, "had been replaced by newer ones"),
            (self.unrelated, "were no answer"),
            (self.beyond, "came on top of all that was asked for"),
        ];
        let reasons = reasons.into_iter().filter(|(count, _)| *count > 0);
        let reasons: Vec<String> =
            reasons.map(|(count, reason)| format!("{count} {reason}")).collect();
        write!(f, "{} listings ({})", self.total(), reasons.join(", "))
    }
}

impl Got {
    /// Takes note of a listing.
    fn count(&mut self, taken: Result<RecordId, Unfit>) {
        match taken {
            Ok(id) => self.listings += u64::from(self.ids.insert(id)),
            Err(Unfit::Unverified) => self.refused.unverified += 1,
            Err(Unfit::Contradicting) => self.refused.contradicting += 1,
            Err(Unfit::Superseded) => self.refused.superseded += 1,
            Err(Unfit::Unrelated) => self.refused.unrelated += 1,
            Err(Unfit::NoRoom) => self.no_room += 1,
        }
    }

    /// Whether a further page is to be asked for after one with `count` listings of `len_bytes`; `progressed` says
    /// whether it brought something.
    fn goes_on(&mut self, count: usize, len_bytes: usize, progressed: bool) -> bool {
        if count < QUERY_MAX_RESULTS && len_bytes <= FULL_PAGE_BYTES {
            return false;
        }
        let may_go_on = self.looked_at < TOLD_MAX && self.pages < PAGES_MAX;
        let goes_on = may_go_on && progressed && self.refused.total() == 0;
        self.is_cut = !goes_on;
        goes_on
    }
}

impl Core {
    /// Looks at a page of a node's answer; `true` when the next one is to be asked for.
    pub(super) fn take_page(
        &mut self,
        query: &Query,
        page: &[ByteBuf],
        got: &mut Got,
        out: &mut Vec<Effect>,
    ) -> bool {
        let (before, room) = (got.ids.len(), TOLD_MAX.saturating_sub(got.looked_at));
        for bytes in page.iter().take(room) {
            let taken = self.take_looked_up(query, bytes, out);
            got.count(taken);
        }
        got.refused.beyond += page.len().saturating_sub(room) as u64;
        got.looked_at += page.len().min(room);
        got.pages += 1;
        let len_bytes = page.iter().map(|bytes| bytes.len()).sum();
        let progressed = got.ids.len() > before;
        got.goes_on(page.len(), len_bytes, progressed)
    }

    /// Verifies a listing that another node named and lets it count: kept on disk when its log is here, else in
    /// memory until the next start.
    fn take_looked_up(
        &mut self,
        query: &Query,
        bytes: &[u8],
        out: &mut Vec<Effect>,
    ) -> Result<RecordId, Unfit> {
        let record = Record::open(bytes).map_err(|_| Unfit::Unverified)?;
        self.check_unseen(&record, self.now.ms).map_err(|_| Unfit::Unverified)?;
        let Some(Ok(listing)) = record.body_as::<Listing>() else { return Err(Unfit::Unverified) };
        let entry = self.entry_of(&record, listing).ok_or(Unfit::Unverified)?;
        if !is_answer(query, &entry) {
            return Err(Unfit::Unrelated);
        }
        let header = record.header();
        let at = self.logs.id_at(&header.author, header.seq);
        if at.is_some_and(|id| id != record.id()) || self.logs.fork_of(&header.author).is_some() {
            return Err(Unfit::Contradicting);
        }
        if self.is_superseded(&entry) {
            return Err(Unfit::Superseded);
        }
        if at.is_some() {
            if self.logs.offer(&record) == Offered::Filled {
                out.push(Effect::Store(vec![record.clone()]));
            }
            self.looked_up.forget((entry.author, entry.seq));
        } else {
            self.looked_up.try_keep((entry.author, entry.seq), entry.listing_id, entry.root)?;
        }
        self.insert_entry(&record, entry, out);
        Ok(record.id())
    }
}

/// An author, and a position in its log.
type Place = (PublicKey, u64);

/// Listings in the catalogue that are on no disk here, by their places in logs.
#[derive(Debug, Default)]
pub(crate) struct LookedUp {
    /// With the root of the org that signed them.
    places: BTreeMap<Place, (RecordId, PublicKey)>,
    ids: BTreeSet<RecordId>,
    /// How many each org signed.
    of_org: BTreeMap<PublicKey, usize>,
}

impl LookedUp {
    pub(super) fn contains(&self, id: &RecordId) -> bool {
        self.ids.contains(id)
    }

    fn try_keep(&mut self, place: Place, id: RecordId, root: PublicKey) -> Result<(), Unfit> {
        match self.places.get(&place) {
            Some((known, _)) if *known == id => return Ok(()),
            // Its author signed two; the first one stays, as in a log.
            Some(_) => return Err(Unfit::Contradicting),
            None => {}
        }
        let of_org = self.of_org.get(&root).copied().unwrap_or_default();
        if self.places.len() >= LOOKED_UP_MAX || of_org >= LOOKED_UP_PER_ORG_MAX {
            return Err(Unfit::NoRoom);
        }
        self.of_org.insert(root, of_org + 1);
        self.places.insert(place, (id, root));
        self.ids.insert(id);
        Ok(())
    }

    /// A listing is on disk now.
    pub(crate) fn forget(&mut self, place: Place) {
        if let Some((id, root)) = self.places.remove(&place) {
            self.ids.remove(&id);
            if let Some(count) = self.of_org.get_mut(&root) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// An org is gone, and with it what it listed.
    pub(crate) fn forget_org(&mut self, root: &PublicKey) {
        if self.of_org.remove(root).is_some() {
            self.places.retain(|_, (_, of)| of != root);
            self.ids = self.places.values().map(|(id, _)| *id).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::{Hash, SecretKey};

    use super::*;

    fn key(number: u8) -> PublicKey {
        SecretKey::from_seed(&[number; 32]).public()
    }

    fn id(org: u8, seq: u64) -> RecordId {
        RecordId(Hash::of(&[&[org], seq.to_le_bytes().as_slice()].concat()))
    }

    fn fill(kept: &mut LookedUp, org: u8, count: u64) -> u64 {
        let is_kept = |seq: &u64| kept.try_keep((key(org), *seq), id(org, *seq), key(org)).is_ok();
        (0..count).filter(is_kept).count() as u64
    }

    #[test]
    fn no_org_alone_takes_the_room_of_all() {
        let mut kept = LookedUp::default();
        let per_org = LOOKED_UP_PER_ORG_MAX as u64;
        assert_eq!(fill(&mut kept, 1, per_org + 500), per_org);
        assert_eq!(fill(&mut kept, 2, 100), 100);
        assert_eq!((3..9).map(|org| fill(&mut kept, org, per_org)).sum::<u64>(), 3 * per_org - 100);
        assert_eq!(kept.places.len(), LOOKED_UP_MAX);
        kept.forget_org(&key(1));
        assert_eq!(fill(&mut kept, 9, 10), 10, "there is room again");
        assert!(!kept.contains(&id(1, 0)) && kept.contains(&id(9, 0)));
    }

    #[test]
    fn a_place_in_a_log_has_one_listing_until_it_is_on_disk() {
        let mut kept = LookedUp::default();
        let place = (key(1), 5);
        assert_eq!(kept.try_keep(place, id(1, 5), key(1)), Ok(()));
        assert_eq!(kept.try_keep(place, id(1, 5), key(1)), Ok(()), "the same again");
        assert_eq!(kept.try_keep(place, id(1, 6), key(1)), Err(Unfit::Contradicting));
        kept.forget(place);
        assert!(!kept.contains(&id(1, 5)));
        assert_eq!(kept.of_org.get(&key(1)), Some(&0));
    }
}
