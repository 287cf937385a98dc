//! The logs a node holds, by author: how long, which ids, which bodies are missing, and what waits for a predecessor.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::record::{Position, Record};
use guildhall_protocol::wire::LogHead;
use guildhall_protocol::{PublicKey, RecordId};

/// Records of one log that may wait for a predecessor. Further ones are dropped; the pull that the gap causes brings
/// them again.
pub const WAITING_PER_LOG_MAX: usize = 64;

/// Every log that is here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    logs: BTreeMap<PublicKey, Log>,
    records: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Log {
    /// Ids in order of position.
    ids: Vec<RecordId>,
    /// Positions whose body is not here.
    without_body: BTreeSet<u64>,
    waiting: BTreeMap<u64, Record>,
    fork: Option<Fork>,
}

/// Two records of one key at one position: proof that the key has two writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The position.
    pub seq: u64,
    /// What is here.
    pub ours: RecordId,
    /// What was offered.
    pub theirs: RecordId,
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
        let log = self.logs.entry(header.author).or_default();
        let len = log.len();
        if let Some(fork) = log.fork {
            return Offered::Forked(fork);
        }
        if header.seq < len {
            return log.offer_known(record);
        }
        if header.seq > len {
            if log.waiting.len() < WAITING_PER_LOG_MAX {
                log.waiting.insert(header.seq, record.clone());
            }
            return Offered::Waiting { from_seq: len };
        }
        if header.prev != log.ids.last().copied() {
            return log.forked(len.saturating_sub(1), header.prev.unwrap_or(record.id()));
        }
        let mut appended = vec![record.clone()];
        log.append(record);
        while let Some(next) = log.waiting.remove(&log.len()) {
            if next.header().prev != log.ids.last().copied() {
                break;
            }
            log.append(&next);
            appended.push(next);
        }
        self.records += appended.len() as u64;
        Offered::Appended(appended)
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
        let heads =
            self.logs.iter().map(|(author, log)| LogHead { author: *author, len: log.len() });
        heads.filter(|head| head.len > 0).collect()
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

    /// Positions of this author's log whose bodies are not here.
    #[must_use]
    pub fn without_body(&self, author: &PublicKey) -> Vec<u64> {
        self.logs
            .get(author)
            .map(|log| log.without_body.iter().copied().collect())
            .unwrap_or_default()
    }
}

impl Log {
    fn len(&self) -> u64 {
        self.ids.len() as u64
    }

    fn append(&mut self, record: &Record) {
        if record.body().is_none() {
            self.without_body.insert(self.len());
        }
        self.ids.push(record.id());
    }

    fn offer_known(&mut self, record: &Record) -> Offered {
        let seq = record.header().seq;
        let at = usize::try_from(seq).ok().and_then(|at| self.ids.get(at).copied());
        if at != Some(record.id()) {
            return self.forked(seq, record.id());
        }
        if record.body().is_some() && self.without_body.remove(&seq) {
            return Offered::Filled;
        }
        Offered::Known
    }

    fn forked(&mut self, seq: u64, theirs: RecordId) -> Offered {
        let at = usize::try_from(seq).unwrap_or(usize::MAX);
        let fork = Fork { seq, ours: self.ids.get(at).copied().unwrap_or(theirs), theirs };
        self.fork = Some(fork);
        self.waiting.clear();
        Offered::Forked(fork)
    }
}
