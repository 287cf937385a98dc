//! How records spread: taken in from gossip and pulls, put into their logs, stored, evaluated.

use std::sync::Arc;

use guildhall_catalog::{Entry, Inserted, Reviewed};
use guildhall_federation::{Change, Outsider, check_record};
use guildhall_protocol::PublicKey;
use guildhall_protocol::body::{
    Acceptance, Admission, Confirmation, Demand, ForkProof, Listing, NodeBody, RecordBody as _,
    Review, Yank,
};
use guildhall_protocol::name::{CategoryPrefix, OrgName, Reference};
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::Request;
use guildhall_sync::{Offered, Pull};
use serde_bytes::ByteBuf;

use crate::drops::Drop;
use crate::event::{Effect, GossipId, NodeView, Verdict};
use crate::keys::with_ancestors;
use crate::node::{Call, Core};

/// Logs of orgs that are not members. They are kept because a membership record may still be on its way; further ones
/// are refused, unless their own records show that their org is a member.
const STRANGER_LOGS_MAX: usize = 256;

/// Ticks between two notes that strangers' logs are refused, so that nobody fills the disk with them.
const REFUSAL_NOTE_TICKS: u64 = 60;

/// Whether the body of `record` is to be left out for a node that follows `follows`.
#[must_use]
pub fn withhold_body(record: &Record, follows: &[CategoryPrefix]) -> bool {
    match record.body_as::<Listing>() {
        Some(Ok(listing)) => {
            !listing.categories.iter().any(|category| follows.iter().any(|f| category.is_within(f)))
        }
        _ => false,
    }
}

/// Whether every node needs the body: without it, nodes would disagree on who is a member, where nodes are, what is
/// missed, and what was taken back or is thought of what they look up.
pub(crate) fn travels_whole(record: &Record) -> bool {
    let kinds = [
        Acceptance::TYPE,
        Admission::TYPE,
        Confirmation::TYPE,
        Demand::TYPE,
        ForkProof::TYPE,
        NodeBody::TYPE,
        Review::TYPE,
        Yank::TYPE,
    ];
    kinds.contains(&record.header().record_type.as_str())
}

/// Whether somebody on the way left the body out.
pub(crate) fn is_erased(record: &Record) -> bool {
    record.body().is_none() && record.without_body().bytes() == record.bytes()
}

impl Core {
    pub(crate) fn handle_gossip(
        &mut self,
        now_ms: u64,
        from: PublicKey,
        message: GossipId,
        bytes: &[u8],
        out: &mut Vec<Effect>,
    ) {
        let at = out.len();
        let verdict = match Record::open(bytes) {
            Err(error) => {
                self.drops.count(Drop::BadRecord);
                out.push(Effect::Note(format!("gossip from {from:?} is refused: {error}")));
                Verdict::Reject
            }
            Ok(record) => match self.check_unseen(&record, now_ms) {
                Err(error) => {
                    self.drops.count(Drop::BadRecord);
                    out.push(Effect::Note(format!("{:?} is not taken: {error}", record.id())));
                    Verdict::Ignore
                }
                Ok(()) if !self.has_room(&record) => {
                    self.note_refusal(out);
                    Verdict::Ignore
                }
                Ok(()) => match self.take_in(&record, Some(from), out) {
                    // Records travel whole; who left the body out keeps others from getting it.
                    Verdict::Accept if is_erased(&record) => Verdict::Ignore,
                    verdict => verdict,
                },
            },
        };
        // First, so that a hop does not wait for a disk.
        out.insert(at, Effect::Verdict { message, verdict });
    }

    pub(crate) fn handle_pulled(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        (author, for_bodies): (PublicKey, bool),
        records: &[ByteBuf],
        out: &mut Vec<Effect>,
    ) {
        let before = self.logs.len_of(&author);
        let mut next_seq = None;
        for bytes in records {
            match Record::open(bytes) {
                Ok(record) if record.header().author == author => {
                    if let Err(error) = self.check_unseen(&record, now_ms) {
                        self.drops.count(Drop::BadRecord);
                        out.push(Effect::Note(format!("{:?} is not taken: {error}", record.id())));
                        break;
                    }
                    if !self.has_room(&record) && !self.brings_in(&record, records) {
                        self.note_refusal(out);
                        break;
                    }
                    self.take_in(&record, None, out);
                    if for_bodies {
                        self.handle_body_answer(peer, &record);
                        next_seq = next_seq.max(Some(record.header().seq.saturating_add(1)));
                    }
                }
                Ok(_) => {
                    self.drops.count(Drop::BadRecord);
                    out.push(Effect::Note(format!("{peer:?} sent a record of another log")));
                    break;
                }
                Err(error) => {
                    self.drops.count(Drop::BadRecord);
                    out.push(Effect::Note(format!("a record from {peer:?} is refused: {error}")));
                    break;
                }
            }
        }
        if for_bodies {
            self.schedule.handle_bodies(peer, author, next_seq);
        } else {
            self.schedule.handle_pulled(peer, author, self.logs.len_of(&author) > before);
        }
    }

    /// Whether a record may be taken now. One whose header is in its log was seen in time.
    pub(crate) fn check_unseen(&self, record: &Record, now_ms: u64) -> Result<(), Outsider> {
        let header = record.header();
        if self.logs.id_at(&header.author, header.seq) == Some(record.id()) {
            return Ok(());
        }
        check_record(record, now_ms)
    }

    /// A record of ours is on disk: it enters its log and spreads.
    pub(crate) fn handle_wrote(&mut self, record: Record, out: &mut Vec<Effect>) {
        match self.logs.offer(&record) {
            Offered::Appended(_) => {
                self.evaluate(&record, out);
                out.push(Effect::Publish(Box::new(record)));
            }
            other => {
                out.push(Effect::Note(format!("our own record did not fit its log: {other:?}")))
            }
        }
    }

    /// Puts a verified record into its log, and what follows from that.
    fn take_in(
        &mut self,
        record: &Record,
        from: Option<PublicKey>,
        out: &mut Vec<Effect>,
    ) -> Verdict {
        if travels_whole(record) && record.body().is_none() {
            let (id, kind) = (record.id(), &record.header().record_type);
            self.drops.count(Drop::BadRecord);
            out.push(Effect::Note(format!("{id:?} is not taken: a `{kind}` record has its body")));
            return Verdict::Ignore;
        }
        let mine = record.delegation().root == self.me.root;
        let kept = if !mine && withhold_body(record, &self.settings.follows) {
            record.without_body()
        } else {
            record.clone()
        };
        let offered = self.logs.offer(&kept);
        let mut contradicted = Vec::new();
        self.prove_forks(&mut contradicted);
        if !is_erased(record) && is_erased(&kept) {
            // The body was seen here, and is not wanted.
            self.logs.settle(&record.header().author, record.header().seq);
        }
        let verdict = self.follow_up(record, kept, offered, from, out);
        // Last, when what they contradict is on its way to the disk.
        out.append(&mut contradicted);
        verdict
    }

    /// What follows from what became of a record that was offered to its log.
    fn follow_up(
        &mut self,
        record: &Record,
        kept: Record,
        offered: Offered,
        from: Option<PublicKey>,
        out: &mut Vec<Effect>,
    ) -> Verdict {
        match offered {
            Offered::Appended(records) => {
                self.handle_news(record);
                records.iter().skip(1).for_each(|record| self.handle_news(record));
                out.push(Effect::Store(records.clone()));
                records.iter().for_each(|record| self.evaluate(record, out));
                Verdict::Accept
            }
            Offered::Filled => {
                out.push(Effect::Store(vec![kept.clone()]));
                self.evaluate(&kept, out);
                Verdict::Accept
            }
            Offered::Known => Verdict::Ignore,
            Offered::Waiting { .. } => {
                let header = record.header();
                if let Some(peer) = from.filter(|peer| self.peers.contains_key(peer)) {
                    self.schedule.handle_glimpse(peer, header.author, header.seq.saturating_add(1));
                }
                Verdict::Ignore
            }
            // Those who still have it have not heard of the proof yet.
            Offered::Forked(_) if self.is_quarantined(&record.header().author) => Verdict::Ignore,
            Offered::Forked(fork) => {
                let author = record.header().author;
                out.push(Effect::Note(format!(
                    "{author:?} has two records at position {}: {:?} and {:?}; its log stops there",
                    fork.seq, fork.ours, fork.theirs
                )));
                Verdict::Ignore
            }
        }
    }

    /// Lets a record that is in its log count: as a membership record, a node's description or a listing.
    pub(crate) fn evaluate(&mut self, record: &Record, out: &mut Vec<Effect>) {
        if self.federation.handle_record(record) == Change::Members {
            self.members_changed(out);
        }
        let root = record.delegation().root;
        self.roots.insert(record.header().author, root);
        if self.is_stranger(&root) {
            self.strangers.insert(record.header().author);
        }
        if self.federation.member(&root).is_none() {
            if !self.outsiders.keep(record) {
                self.drops.count(Drop::StrangersRecord);
                out.push(Effect::Note(format!("{:?} of a stranger is not looked at", record.id())));
            }
            return;
        }
        if let Some(Ok(body)) = record.body_as::<NodeBody>() {
            self.evaluate_node(record, body, out);
        } else if let Some(Ok(listing)) = record.body_as::<Listing>() {
            self.evaluate_listing(record, listing, out);
        } else if let Some(Ok(yank)) = record.body_as::<Yank>() {
            self.evaluate_yank(record, yank, out);
        } else if let Some(Ok(review)) = record.body_as::<Review>() {
            self.evaluate_review(record, review, out);
        } else if let Some(Ok(demand)) = record.body_as::<Demand>() {
            self.evaluate_demand(record, &demand, out);
        } else if let Some(Ok(proof)) = record.body_as::<ForkProof>() {
            self.evaluate_fork(record, &proof, out);
        }
    }

    fn evaluate_node(&mut self, record: &Record, body: NodeBody, out: &mut Vec<Effect>) {
        let header = record.header();
        if self.is_quarantined(&header.author) {
            return;
        }
        let known = self.nodes.get(&header.author);
        if body.federation != self.federation.id() || known.is_some_and(|k| k.seq > header.seq) {
            return;
        }
        if header.author != self.me.node.public() {
            out.push(Effect::SetKnown { peer: header.author, addresses: body.addresses.clone() });
        }
        let view = NodeView { root: record.delegation().root, seq: header.seq, body };
        if self.nodes.insert(header.author, view).is_none() {
            self.links.handle_nodes();
        }
    }

    pub(crate) fn evaluate_listing(
        &mut self,
        record: &Record,
        listing: Listing,
        out: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.entry_of(record, listing) else { return };
        // It is on disk now, if it was not before.
        self.looked_up.forget((entry.author, entry.seq));
        self.insert_entry(record, entry, out);
    }

    /// A listing as the catalogue keeps it, if its org is a member and it is meant for this federation.
    pub(crate) fn entry_of(&self, record: &Record, listing: Listing) -> Option<Entry> {
        let root = record.delegation().root;
        let member = self.federation.member(&root)?;
        let header = record.header();
        if self.is_quarantined(&header.author) {
            return None;
        }
        (listing.federation == self.federation.id()).then(|| Entry {
            org: member.org.clone(),
            root,
            listing: Arc::new(listing),
            listing_id: record.id(),
            author: header.author,
            seq: header.seq,
            time_ms: header.time_ms,
        })
    }

    /// Puts a verified listing into the catalogue.
    pub(crate) fn insert_entry(&mut self, record: &Record, entry: Entry, out: &mut Vec<Effect>) {
        // An org's own listings are kept whatever it follows, and perhaps by nobody else.
        let is_kept = entry.root == self.me.root || !withhold_body(record, &self.settings.follows);
        let categories = entry.listing.categories.clone();
        let is_logged = self.logs.id_at(&entry.author, entry.seq) == Some(entry.listing_id);
        let org = entry.org.clone();
        if self.catalog.insert(entry, is_logged) == Inserted::Full {
            self.note_full(&org, out);
        }
        if is_kept {
            for category in categories.iter().flat_map(with_ancestors) {
                self.provide_category(&category, out);
            }
        }
    }

    /// A producer takes a version of its own back.
    pub(crate) fn evaluate_yank(&mut self, record: &Record, yank: Yank, out: &mut Vec<Effect>) {
        let root = record.delegation().root;
        let Some(org) = self.federation.member(&root).map(|member| member.org.clone()) else {
            return;
        };
        let time_ms = record.header().time_ms;
        if !self.catalog.yank(root, yank.clone(), time_ms) {
            self.drops.count(Drop::Yank);
            out.push(Effect::Note(format!("a yank of {org} is not kept: it has too many")));
            return;
        }
        let (name, version) = (yank.name.clone(), Some(yank.version.clone()));
        let reference = Reference::Named { org, name, version };
        out.push(Effect::Yanked { reference, yank: Box::new(yank), time_ms });
    }

    pub(crate) fn evaluate_review(
        &mut self,
        record: &Record,
        review: Review,
        out: &mut Vec<Effect>,
    ) {
        if review.federation != self.federation.id() {
            return;
        }
        let header = record.header();
        let taken = self.catalog.review(Reviewed {
            root: record.delegation().root,
            author: header.author,
            seq: header.seq,
            time_ms: header.time_ms,
            review,
        });
        if !taken {
            self.drops.count(Drop::Review);
            out.push(Effect::Note("a review is not kept: too many packages have some".to_owned()));
        }
    }

    /// Whether a record may be taken, because its log is here, its org is a member, or there is room for one more log
    /// of a stranger.
    fn has_room(&self, record: &Record) -> bool {
        self.strangers.len() < STRANGER_LOGS_MAX
            || !self.is_stranger(&record.delegation().root)
            || self.logs.len_of(&record.header().author) > 0
    }

    fn is_stranger(&self, root: &PublicKey) -> bool {
        *root != self.me.root && self.federation.member(root).is_none()
    }

    /// Whether the org of a record's author is a member once these records of its log are here, so that no number of
    /// strangers keeps out who was invited.
    fn brings_in(&self, record: &Record, log: &[ByteBuf]) -> bool {
        let mut then = self.federation.clone();
        for record in log.iter().filter_map(|bytes| Record::open(bytes).ok()) {
            let _change: Change = then.handle_record(&record);
        }
        then.member(&record.delegation().root).is_some()
    }

    /// Once in a while, however many are not kept.
    fn note_full(&mut self, org: &OrgName, out: &mut Vec<Effect>) {
        self.drops.count(Drop::Listing);
        let due = |at: u64| self.ticks.saturating_sub(at) >= REFUSAL_NOTE_TICKS;
        if self.full_noted_at.is_none_or(due) {
            self.full_noted_at = Some(self.ticks);
            out.push(Effect::Note(format!(
                "a listing of {org} is not kept: the org, or that version, has as many as there may be"
            )));
        }
    }

    /// Once in a while, however many are refused.
    fn note_refusal(&mut self, out: &mut Vec<Effect>) {
        self.drops.count(Drop::StrangersLog);
        let due = |at: u64| self.ticks.saturating_sub(at) >= REFUSAL_NOTE_TICKS;
        if self.refusal_noted_at.is_none_or(due) {
            self.refusal_noted_at = Some(self.ticks);
            out.push(Effect::Note(format!(
                "logs of orgs that are not members are refused: {STRANGER_LOGS_MAX} are here already"
            )));
        }
    }

    /// Whose org is not a member, now that the members are others.
    pub(crate) fn find_strangers(&mut self) {
        let authors = self.roots.iter().filter(|(_, root)| self.is_stranger(root));
        self.strangers = authors.map(|(author, _)| *author).collect();
    }

    /// Starts the pulls that are due.
    pub(crate) fn start_pulls(&mut self, out: &mut Vec<Effect>) {
        for pull in self.schedule.poll_pulls(&self.logs) {
            let request = Request::Pull { author: pull.author, from_seq: pull.from_seq };
            let Pull { peer, author, from_seq } = pull;
            let for_bodies = from_seq < self.logs.len_of(&author);
            self.call(peer, Call::Pull { peer, author, for_bodies }, request, out);
        }
    }
}
