//! The logs a node holds, by author: how long, which ids, which bodies are missing, and what waits for a predecessor.
//!
//! A log comes into being with its first record. What waits in front of a gap is bounded, for each log and for all of
//! them together; what is not kept is pulled again, because [`Offered::Waiting`] names the gap either way.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use guildhall_protocol::record::{Position, Record};
use guildhall_protocol::wire::LogHead;
use guildhall_protocol::{PublicKey, RecordId};

/// Records of one log that may wait for a predecessor. Further ones are dropped; the pull that the gap causes brings
/// them again.
pub const WAITING_PER_LOG_MAX: usize = 64;

/// Records that may wait in all logs: a gap of a few in each of a thousand logs after a lossy hour. Likewise dropped.
pub const WAITING_MAX: usize = 4_096;

/// Bytes of all records that wait, as encoded: two hundred and seventy of the longest. Likewise dropped.
pub const WAITING_MAX_BYTES: usize = 16 * 1024 * 1024;

/// How often peers that should have a body are asked for it: enough for them to get it themselves after a partition,
/// few enough that the headers of categories that are not followed do not travel again and again.
pub const BODY_ASKS_MAX: u8 = 8;

/// Every log that is here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    logs: BTreeMap<PublicKey, Log>,
    records: u64,
    /// What waits in all logs.
    waiting: Waiting,
    contradictions: Vec<Contradiction>,
}

/// How much waits for predecessors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Records.
    pub records: usize,
    /// Their bytes, as encoded.
    pub len_bytes: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Log {
    /// Ids in order of position.
    ids: Vec<RecordId>,
    /// Positions whose body is not here.
    without_body: BTreeSet<u64>,
    /// Those of them of which is not known whether this node wants them, and how often others were asked in vain.
    unsettled: BTreeMap<u64, u8>,
    /// By position, each beyond the next one.
    waiting: BTreeMap<u64, Record>,
    fork: Option<Fork>,
    /// Whether it was cut where its fork is proven to be, so that what is before still belongs to it.
    is_cut: bool,
}

/// Two records of one key at one position: proof that the key has two writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The position.
    pub seq: u64,
    /// What came first.
    pub ours: RecordId,
    /// What contradicts it.
    pub theirs: RecordId,
}

/// What stopped a log: a record that contradicts what stands at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The position.
    pub seq: u64,
    /// What stands there, if it is in no log but waited for its predecessors.
    pub ours: Option<Box<Record>>,
    /// What contradicts it: another record at this position, or the next one with another predecessor.
    pub theirs: Box<Record>,
}

/// What became of an offered record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is the next of its log; these records, it first, are to be stored and evaluated.
    Appended(Vec<Record>),
    /// It was here without its body; with it, it is to be stored and evaluated.
    Filled,
    /// It was here.
    Known,
    /// Its predecessors are missing from `from_seq` on; it waits.
    Waiting {
        /// First position that is missing.
        from_seq: u64,
    },
    /// Another record stands at its place, or its predecessor is another one. The log takes nothing more.
    Forked(Fork),
}

impl Logs {
    /// Offers a record whose signatures hold.
    pub fn offer(&mut self, record: &Record) -> Offered {
        let header = record.header();
        if header.seq > 0 && !self.logs.contains_key(&header.author) {
            // Anybody can sign such records under any number of keys.
            return Offered::Waiting { from_seq: 0 };
        }
        let log = self.logs.entry(header.author).or_default();
        let waiting = &mut self.waiting;
        let len = log.len();
        let found = &mut self.contradictions;
        if let Some(fork) = log.fork.filter(|fork| !log.is_cut || header.seq >= fork.seq) {
            return Offered::Forked(fork);
        }
        if header.seq < len {
            return log.offer_known(record, waiting, found);
        }
        if header.seq > len {
            return log.offer_early(record, waiting, found);
        }
        if header.prev != log.ids.last().copied() {
            let seq = len.saturating_sub(1);
            found.push(Contradiction::to_log(seq, record));
            let theirs = header.prev.unwrap_or(record.id());
            return log.forked(seq, theirs, waiting);
        }
        let mut appended = vec![record.clone()];
        log.append(record);
        while let Some(next) = log.waiting.remove(&log.len()) {
            waiting.remove(&next);
            if next.header().prev != log.ids.last().copied() {
                // What was appended stands; the contradiction shows that the key has two writers.
                let (seq, theirs) =
                    (log.len().saturating_sub(1), next.header().prev.unwrap_or(next.id()));
                found.push(Contradiction::to_log(seq, &next));
                let _stopped = log.forked(seq, theirs, waiting);
                break;
            }
            log.append(&next);
            appended.push(next);
        }
        self.records += appended.len() as u64;
        Offered::Appended(appended)
    }

    /// Takes a record that was in the log before, with its body, by its id alone. Says whether it is the next one; if not,
    /// the record itself has to be offered.
    pub fn restore(&mut self, author: &PublicKey, seq: u64, id: RecordId) -> bool {
        let Some(log) = self.logs.get_mut(author) else { return false };
        let is_next = log.fork.is_none() && log.len() == seq && log.waiting.is_empty();
        if is_next {
            log.ids.push(id);
            self.records += 1;
        }
        is_next
    }

    /// What stopped logs since this was last asked.
    pub fn take_contradictions(&mut self) -> Vec<Contradiction> {
        std::mem::take(&mut self.contradictions)
    }

    /// A fork is proven: the log ends before it, for everybody who hears of it. Nothing changes when it ends earlier.
    /// Says whether it did.
    pub fn cut(&mut self, author: PublicKey, fork: Fork) -> bool {
        let log = self.logs.entry(author).or_default();
        if log.is_cut && log.fork.is_some_and(|known| known.seq <= fork.seq) {
            return false;
        }
        (log.fork, log.is_cut) = (Some(fork), true);
        let before = log.ids.len();
        log.ids.truncate(usize::try_from(fork.seq).unwrap_or(usize::MAX));
        self.records -= (before - log.ids.len()) as u64;
        log.without_body.split_off(&fork.seq);
        log.unsettled.split_off(&fork.seq);
        for record in log.waiting.split_off(&fork.seq).values() {
            self.waiting.remove(record);
        }
        true
    }

    /// Whether a log takes a record at this position, as far as forks go.
    #[must_use]
    pub fn is_open_at(&self, author: &PublicKey, seq: u64) -> bool {
        let Some(log) = self.logs.get(author) else { return true };
        log.fork.is_none_or(|fork| log.is_cut && seq < fork.seq)
    }

    /// Where the next record of `author` stands.
    #[must_use]
    pub fn next_position(&self, author: &PublicKey) -> Position {
        let log = self.logs.get(author);
        Position { seq: log.map_or(0, Log::len), prev: log.and_then(|log| log.ids.last().copied()) }
    }

    /// How many records of `author` are here.
    #[must_use]
    pub fn len_of(&self, author: &PublicKey) -> u64 {
        self.logs.get(author).map_or(0, Log::len)
    }

    /// Every log and its length, by author.
    #[must_use]
    pub fn heads(&self) -> Vec<LogHead> {
        self.heads_after(None).collect()
    }

    /// The logs of the authors behind `after`, or of all, and their lengths, by author.
    pub fn heads_after(&self, after: Option<PublicKey>) -> impl Iterator<Item = LogHead> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let logs = self.logs.range((from, Bound::Unbounded));
        let heads = logs.map(|(author, log)| LogHead { author: *author, len: log.len() });
        heads.filter(|head| head.len > 0)
    }

    /// The id at a position.
    #[must_use]
    pub fn id_at(&self, author: &PublicKey, seq: u64) -> Option<RecordId> {
        self.logs.get(author)?.ids.get(usize::try_from(seq).ok()?).copied()
    }

    /// The fork of this author's log, if one was seen.
    #[must_use]
    pub fn fork_of(&self, author: &PublicKey) -> Option<Fork> {
        self.logs.get(author)?.fork
    }

    /// Records in all logs.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// What waits for predecessors.
    #[must_use]
    pub const fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Records whose bodies are not here, and those of them of which is not known whether this node wants them.
    #[must_use]
    pub fn bodiless(&self) -> (u64, u64) {
        self.logs.values().fold((0, 0), |(all, unsettled), log| {
            (all + log.without_body.len() as u64, unsettled + log.unsettled.len() as u64)
        })
    }

    /// Positions of this author's log whose bodies are not here.
    #[must_use]
    pub fn without_body(&self, author: &PublicKey) -> Vec<u64> {
        self.logs
            .get(author)
            .map(|log| log.without_body.iter().copied().collect())
            .unwrap_or_default()
    }
}

/// What follows on bodies that are not here.
impl Logs {
    /// The body at a position is none that this node keeps, by what it or its author said.
    pub fn settle(&mut self, author: &PublicKey, seq: u64) {
        if let Some(log) = self.logs.get_mut(author) {
            log.unsettled.remove(&seq);
        }
    }

    /// A peer that should have the body at a position left it out. After [`BODY_ASKS_MAX`] times it is taken for one
    /// that this node does not keep.
    pub fn asked_in_vain(&mut self, author: &PublicKey, seq: u64) {
        let Some(log) = self.logs.get_mut(author) else { return };
        if let Some(asks) = log.unsettled.get_mut(&seq) {
            *asks += 1;
            if *asks >= BODY_ASKS_MAX {
                log.unsettled.remove(&seq);
            }
        }
    }

    /// The first position from `from_seq` on whose body may have to be asked for.
    #[must_use]
    pub fn next_unsettled(&self, author: &PublicKey, from_seq: u64) -> Option<u64> {
        self.logs.get(author)?.unsettled.range(from_seq..).next().map(|(seq, _)| *seq)
    }

    /// Authors of whom some bodies may have to be asked for.
    pub fn unsettled_authors(&self) -> impl Iterator<Item = &PublicKey> {
        self.logs.iter().filter(|(_, log)| !log.unsettled.is_empty()).map(|(author, _)| author)
    }
}

impl Log {
    fn len(&self) -> u64 {
        self.ids.len() as u64
    }

    fn append(&mut self, record: &Record) {
        if record.body().is_none() {
            self.without_body.insert(self.len());
            self.unsettled.insert(self.len(), 0);
        }
        self.ids.push(record.id());
    }

    /// Takes in a record whose predecessors are missing. One with its body is not replaced by one without.
    fn offer_early(
        &mut self,
        record: &Record,
        waiting: &mut Waiting,
        found: &mut Vec<Contradiction>,
    ) -> Offered {
        let seq = record.header().seq;
        match self.waiting.get(&seq) {
            Some(early) if early.id() != record.id() => {
                let fork = Fork { seq, ours: early.id(), theirs: record.id() };
                let (ours, theirs) = (Some(Box::new(early.clone())), Box::new(record.clone()));
                found.push(Contradiction { seq, ours, theirs });
                return self.stop(fork, waiting);
            }
            Some(early) if early.body().is_some() || record.body().is_none() => {}
            None if self.waiting.len() >= WAITING_PER_LOG_MAX => {}
            early => {
                let mut then = *waiting;
                if let Some(early) = early {
                    then.remove(early);
                }
                then.add(record);
                if then.is_allowed() {
                    *waiting = then;
                    self.waiting.insert(seq, record.clone());
                }
            }
        }
        Offered::Waiting { from_seq: self.len() }
    }

    fn offer_known(
        &mut self,
        record: &Record,
        waiting: &mut Waiting,
        found: &mut Vec<Contradiction>,
    ) -> Offered {
        let seq = record.header().seq;
        let at = usize::try_from(seq).ok().and_then(|at| self.ids.get(at).copied());
        if at != Some(record.id()) {
            found.push(Contradiction::to_log(seq, record));
            return self.forked(seq, record.id(), waiting);
        }
        if record.body().is_some() && self.without_body.remove(&seq) {
            self.unsettled.remove(&seq);
            return Offered::Filled;
        }
        Offered::Known
    }

    fn forked(&mut self, seq: u64, theirs: RecordId, waiting: &mut Waiting) -> Offered {
        let at = usize::try_from(seq).unwrap_or(usize::MAX);
        let ours = self.ids.get(at).copied().unwrap_or(theirs);
        self.stop(Fork { seq, ours, theirs }, waiting)
    }

    fn stop(&mut self, fork: Fork, waiting: &mut Waiting) -> Offered {
        (self.fork, self.is_cut) = (Some(fork), false);
        std::mem::take(&mut self.waiting).values().for_each(|record| waiting.remove(record));
        Offered::Forked(fork)
    }
}

impl Contradiction {
    fn to_log(seq: u64, theirs: &Record) -> Self {
        Self { seq, ours: None, theirs: Box::new(theirs.clone()) }
    }
}

impl Waiting {
    fn add(&mut self, record: &Record) {
        self.records += 1;
        self.len_bytes += record.bytes().len();
    }

    fn remove(&mut self, record: &Record) {
        self.records -= 1;
        self.len_bytes -= record.bytes().len();
    }

    const fn is_allowed(self) -> bool {
        self.records <= WAITING_MAX && self.len_bytes <= WAITING_MAX_BYTES
    }
}
