//! The records between the first one that is not delivered and the last one that is known.
//!
//! ```text
//!        delivered     |  dispatched: in flight, with a result, or returned  |  read ahead  |  not read
//!                    next                                                   high          known
//! ```
//!
//! A returned record is one that was dispatched and has neither a result nor anybody who works on it. Nothing is kept
//! of what is delivered.

use std::collections::{BTreeSet, VecDeque};

use super::{READ_AHEAD_BYTES, READ_AHEAD_RECORDS, WINDOW_BYTES, WINDOW_RECORDS};

/// How a record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Came,
    Failed,
}

/// One record that is not delivered.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) len_bytes: usize,
    /// Executors and the parts in which they have it.
    pub(super) holders: Vec<(u32, u64)>,
    /// Executors whose own trouble it failed by.
    pub(super) failed_on: Vec<u32>,
    pub(super) ended: Option<Ended>,
    pub(super) output_bytes: usize,
}

/// All records that are not delivered.
#[derive(Clone, Debug)]
pub(super) struct Window {
    records: VecDeque<Record>,
    /// Position of the first one that is not delivered.
    pub(super) next: u64,
    /// Position after the last one that was ever dispatched.
    pub(super) high: u64,
    /// Records before `high` that wait for an executor.
    pub(super) returned: BTreeSet<u64>,
    /// Bytes of inputs from `high` on.
    pub(super) ahead_bytes: usize,
    /// Bytes of inputs before `high` that have no result.
    pub(super) open_bytes: usize,
    /// How many these are.
    pub(super) open: usize,
    /// Bytes of results that are not delivered.
    pub(super) kept_bytes: usize,
}

impl Window {
    pub(super) fn new(first: u64) -> Self {
        Self {
            records: VecDeque::new(),
            next: first,
            high: first,
            returned: BTreeSet::new(),
            ahead_bytes: 0,
            open_bytes: 0,
            open: 0,
            kept_bytes: 0,
        }
    }

    /// Position of the next input.
    pub(super) fn known(&self) -> u64 {
        self.next.saturating_add(self.records.len() as u64)
    }

    /// Records that were read and not dispatched.
    pub(super) fn ahead(&self) -> u64 {
        self.known().saturating_sub(self.high)
    }

    pub(super) fn has_room_to_read(&self) -> bool {
        self.ahead() < READ_AHEAD_RECORDS && self.ahead_bytes < READ_AHEAD_BYTES
    }

    pub(super) fn push(&mut self, len_bytes: usize) {
        self.ahead_bytes = self.ahead_bytes.saturating_add(len_bytes);
        self.records.push_back(Record { len_bytes, ..Record::default() });
    }

    /// `None` for what is delivered or not known.
    pub(super) fn record(&self, position: u64) -> Option<&Record> {
        let at = usize::try_from(position.checked_sub(self.next)?).ok()?;
        self.records.get(at)
    }

    pub(super) fn record_mut(&mut self, position: u64) -> Option<&mut Record> {
        let at = usize::try_from(position.checked_sub(self.next)?).ok()?;
        self.records.get_mut(at)
    }

    /// Whether a record may be dispatched although `extra_bytes` more would be held. What was dispatched before may
    /// be again, and the first one always may: all others wait for it.
    pub(super) fn has_room_for(&self, position: u64, extra_bytes: usize) -> bool {
        position < self.high
            || position == self.next
            || (position - self.next < WINDOW_RECORDS
                && self.open_bytes.saturating_add(self.kept_bytes).saturating_add(extra_bytes)
                    <= WINDOW_BYTES)
    }

    /// An executor gets a record.
    pub(super) fn dispatch(&mut self, position: u64, executor: u32, part: u64) {
        let is_new = position >= self.high;
        let Some(record) = self.record_mut(position) else { return };
        record.holders.push((executor, part));
        let len_bytes = record.len_bytes;
        self.returned.remove(&position);
        if is_new {
            self.high = position + 1;
            self.ahead_bytes = self.ahead_bytes.saturating_sub(len_bytes);
            self.open_bytes = self.open_bytes.saturating_add(len_bytes);
            self.open += 1;
        }
    }

    /// An executor no longer has a record in this part. It waits again when nobody else has it.
    pub(super) fn release(&mut self, position: u64, executor: u32, part: u64) {
        let Some(record) = self.record_mut(position) else { return };
        record.holders.retain(|holder| *holder != (executor, part));
        if record.ended.is_none() && record.holders.is_empty() {
            self.returned.insert(position);
        }
    }

    /// A record has its result; nobody needs to work on it.
    pub(super) fn end(&mut self, position: u64, ended: Ended, output_bytes: usize) {
        let Some(record) = self.record_mut(position) else { return };
        record.ended = Some(ended);
        record.output_bytes = output_bytes;
        record.failed_on = Vec::new();
        record.holders = Vec::new();
        let len_bytes = record.len_bytes;
        // One that was written off may come from there all the same, while it waits for another.
        self.returned.remove(&position);
        self.open_bytes = self.open_bytes.saturating_sub(len_bytes);
        self.open = self.open.saturating_sub(1);
        self.kept_bytes = self.kept_bytes.saturating_add(output_bytes);
    }

    /// The next record in order, when it has its result.
    pub(super) fn deliver(&mut self) -> Option<u64> {
        self.records.front()?.ended?;
        let record = self.records.pop_front()?;
        let position = self.next;
        self.next += 1;
        self.kept_bytes = self.kept_bytes.saturating_sub(record.output_bytes);
        Some(position)
    }

    /// Checks what must always hold.
    pub(super) fn check_invariants(&self) -> Result<(), &'static str> {
        if self.next > self.high || self.high > self.known() {
            return Err("positions are out of order");
        }
        if self.high - self.next > WINDOW_RECORDS || self.ahead() > READ_AHEAD_RECORDS {
            return Err("too many records are known");
        }
        let (mut open, mut open_bytes, mut ahead_bytes, mut kept_bytes) = (0, 0, 0, 0);
        for (position, record) in (self.next..).zip(&self.records) {
            let waits = record.ended.is_none() && record.holders.is_empty();
            if position >= self.high {
                ahead_bytes += record.len_bytes;
                if !waits {
                    return Err("a record that was not dispatched is with somebody");
                }
            } else if record.ended.is_none() {
                open += 1;
                open_bytes += record.len_bytes;
            } else if !record.holders.is_empty() {
                return Err("somebody works on a record that has its result");
            }
            kept_bytes += record.output_bytes;
            if (waits && position < self.high) != self.returned.contains(&position) {
                return Err("the returned records are not those that wait");
            }
        }
        let counted = (self.open, self.open_bytes, self.ahead_bytes, self.kept_bytes);
        if counted != (open, open_bytes, ahead_bytes, kept_bytes) {
            return Err("sums are wrong");
        }
        Ok(())
    }
}
