//! Who gets which records next.
//!
//! An executor with room, unless it is overdue itself, gets, in this order: what an overdue one holds, the oldest records that wait, and when there
//! are none and it has nothing to do, the last records of the one that will take longest. Of several executors the
//! one that will be done first goes first.

use super::executor::{Executor, Part};
use super::{Action, GROWTH_MAX, LIMIT_PARTS, State, TARGET_MS};

/// Records that wait and may not go to this executor, since they failed there, that are looked through for others.
/// An executor with more failures in a row is closed.
const SKIPPED_MAX: usize = 64;

/// An executor without work takes over what another has only if that takes it this many times longer; otherwise
/// both would score it for nothing.
const WORTH_FACTOR: f64 = 1.5;

/// And longer by this much, microseconds: what sending it takes.
const WORTH_FLOOR_US: f64 = 5_000.0;

/// How many parts of equal time what is left should make at least for each executor.
const PARTS_LEFT: f64 = 2.0;

/// A part in the making: takes records as long as they fit.
struct Sizer<'a> {
    executor: &'a Executor,
    max_records: usize,
    max_bytes: usize,
    budget_us: f64,
    /// What an average record takes, where nothing was measured on this executor.
    guess_us: f64,
    records: Vec<u64>,
    len_bytes: usize,
    predicted_us: f64,
    /// The dearest record so far, and how many of its kind a call bears.
    unit_us: f64,
    units_max: f64,
}

impl Sizer<'_> {
    /// Takes the record unless it no longer fits. The first one always does.
    fn try_take(&mut self, position: u64, len_bytes: usize) -> bool {
        let record_us = self.executor.cost.record_us(len_bytes).unwrap_or(self.guess_us);
        let predicted_us = self.predicted_us + record_us;
        let total_bytes = self.len_bytes.saturating_add(len_bytes);
        if !self.records.is_empty() {
            if self.records.len() >= self.max_records
                || total_bytes > self.max_bytes
                || predicted_us > self.budget_us
            {
                return false;
            }
            if record_us > self.unit_us {
                self.unit_us = record_us;
                self.units_max = self.executor.cost.units_max(record_us);
            }
            // The exponents of a part's records are convex in their cost, so together they are at most as if all the
            // time was spent on the dearest kind.
            if predicted_us > self.unit_us * self.units_max {
                return false;
            }
        }
        self.records.push(position);
        self.len_bytes = total_bytes;
        self.predicted_us = predicted_us;
        true
    }
}

impl State {
    /// When [`State::poll`] is worth a call although nothing happened: then an executor is late or overdue, and
    /// another could help.
    #[must_use]
    pub fn next_wake_us(&self) -> Option<u64> {
        let mut wake_us = None;
        for (id, holder) in self.executors.iter().filter(|(_, holder)| holder.is_ready()) {
            let others = || self.executors.iter().filter(|(other, _)| *other != id);
            if !others().any(|(_, other)| other.has_room(self.spec.ahead_max)) {
                continue;
            }
            let is_other_idle =
                others().any(|(_, other)| other.is_ready() && other.parts.is_empty());
            let can_help = is_other_idle && self.single(*id).next().is_some();
            let late_us = holder.late_at_us().filter(|_| can_help);
            for at_us in [late_us, holder.overdue_at_us()].into_iter().flatten() {
                if at_us > self.polled_us {
                    wake_us = Some(wake_us.map_or(at_us, |earlier: u64| earlier.min(at_us)));
                }
            }
        }
        wake_us
    }

    /// Whether nothing is to be expected of those that are ready: each of them is overdue, or there is none. Somebody
    /// else should be asked then.
    #[must_use]
    pub fn is_stalled(&self, now_us: u64) -> bool {
        let mut ready = self.executors.values().filter(|known| known.is_ready());
        ready.all(|known| known.is_overdue(now_us))
    }

    /// The next part, when somebody may take one.
    pub(super) fn send(&mut self, now_us: u64) -> Option<Action> {
        let guess_us = self.guess_us();
        self.write_off(now_us);
        let mut free: Vec<(f64, u32)> = self
            .executors
            .iter()
            .filter(|(_, executor)| {
                executor.has_room(self.spec.ahead_max) && !executor.is_overdue(now_us)
            })
            .map(|(id, executor)| {
                let unit_us = executor.cost.mean_us().unwrap_or(guess_us);
                (executor.backlog_us(now_us) + unit_us, *id)
            })
            .collect();
        free.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
        for (_, id) in free {
            let is_idle = self.executors.get(&id).is_some_and(|known| known.parts.is_empty());
            let copied = self.rescue(id, now_us);
            let is_copy = copied.is_some();
            let part = copied.or_else(|| self.fresh(id));
            if let Some((records, len_bytes, predicted_us)) = part {
                return Some(self.dispatch(id, records, len_bytes, predicted_us, is_copy, now_us));
            }
            if is_idle && let Some((records, len_bytes, predicted_us)) = self.assist(id, now_us) {
                return Some(self.dispatch(id, records, len_bytes, predicted_us, true, now_us));
            }
        }
        None
    }

    /// Of two executors that have a record, an overdue one no longer counts, so that a third may have it when the
    /// other falls silent too. What it says later is welcome still.
    fn write_off(&mut self, now_us: u64) {
        for (id, holder) in self.executors.iter().filter(|(_, holder)| holder.is_overdue(now_us)) {
            for part in &holder.parts {
                for position in part.rest() {
                    let record = self.window.record(*position);
                    if record.is_some_and(|record| record.holders.len() > 1) {
                        self.window.release(*position, *id, part.id);
                    }
                }
            }
        }
    }

    fn dispatch(
        &mut self,
        id: u32,
        records: Vec<u64>,
        len_bytes: usize,
        predicted_us: f64,
        is_copy: bool,
        now_us: u64,
    ) -> Action {
        let part = self.next_part;
        self.next_part = self.next_part.saturating_add(1);
        for position in &records {
            self.window.dispatch(*position, id, part);
        }
        if let Some(executor) = self.executors.get_mut(&id) {
            if executor.parts.is_empty() {
                executor.active_us = now_us;
            }
            executor.since.get_or_insert((now_us, executor.scored));
            executor.parts.push_back(Part {
                id: part,
                records: records.clone(),
                len_bytes,
                next: 0,
                predicted_us,
                is_copy,
                lost: 0,
            });
        }
        Action::Send { executor: id, part, records }
    }

    /// Records that wait, the oldest first.
    fn fresh(&self, id: u32) -> Option<(Vec<u64>, usize, f64)> {
        let mut sizer = self.sizer(id, self.records_fair(id))?;
        let mut skipped = 0;
        for position in
            self.window.returned.iter().copied().chain(self.window.high..self.window.known())
        {
            if !self.may_have(id, position) {
                skipped += 1;
                if skipped > SKIPPED_MAX {
                    break;
                }
                continue;
            }
            let len_bytes = self.window.record(position)?.len_bytes;
            let open = self.window.open + sizer.records.len() + 1;
            let extra_bytes = (sizer.len_bytes.saturating_add(len_bytes))
                .saturating_add(self.outputs.predicted_bytes(open));
            if !self.window.has_room_for(position, extra_bytes) {
                break;
            }
            if !sizer.try_take(position, len_bytes) {
                break;
            }
        }
        Self::finish(sizer)
    }

    /// What an overdue executor holds, the oldest first.
    fn rescue(&self, id: u32, now_us: u64) -> Option<(Vec<u64>, usize, f64)> {
        let overdue = self
            .executors
            .iter()
            .filter(|(other, known)| **other != id && known.is_overdue(now_us));
        let oldest = overdue.filter_map(|(other, _)| {
            let first = self.single(*other).find(|position| self.may_have(id, *position))?;
            Some((first, *other))
        });
        let (_, holder) = oldest.min()?;
        self.copy(id, self.single(holder), usize::MAX)
    }

    /// What waits at the executor that will take longest: the last of it, so that it meets the helper half-way, or all
    /// of it if nothing came from it for too long.
    fn assist(&self, id: u32, now_us: u64) -> Option<(Vec<u64>, usize, f64)> {
        let guess_us = self.guess_us();
        let own_us = self.executors.get(&id)?.cost.mean_us().unwrap_or(guess_us);
        let others =
            self.executors.iter().filter(|(other, known)| **other != id && known.is_ready());
        let longest = others.filter_map(|(other, known)| {
            let last =
                self.single(*other).filter(|position| self.may_have(id, *position)).last()?;
            let behind = known.parts.iter().rev().take_while(|part| !part.rest().contains(&last));
            let behind_us: f64 = behind.map(Part::rest_us).sum();
            let mut left_us = known.backlog_us(now_us) - behind_us;
            let is_late = known.late_at_us().is_some_and(|late_us| late_us <= now_us);
            if is_late {
                // What took that long may take as long again.
                left_us = left_us.max(now_us.saturating_sub(known.active_us) as f64);
            }
            let is_worth = left_us > WORTH_FACTOR * own_us + WORTH_FLOOR_US;
            is_worth.then_some((left_us, *other, is_late))
        });
        let (left_us, holder, is_late) =
            longest.max_by(|left, right| left.0.total_cmp(&right.0))?;
        let holder_us =
            self.executors.get(&holder).and_then(|known| known.cost.mean_us()).unwrap_or(guess_us);
        let records: Vec<_> =
            self.single(holder).filter(|position| self.may_have(id, *position)).collect();
        if is_late {
            return self.copy_late(id, holder, &records);
        }
        let share = (left_us / (holder_us + own_us)) as usize;
        let mut part = self.copy(id, records.into_iter().rev(), share)?;
        part.0.sort_unstable();
        Some(part)
    }

    /// The record that a late executor is at may be dear, so those behind it come first; idle executors share them.
    fn copy_late(&self, id: u32, holder: u32, records: &[u64]) -> Option<(Vec<u64>, usize, f64)> {
        let current = self.executors.get(&holder)?.parts.iter().flat_map(Part::rest).next();
        let waiting = records.iter().copied().filter(|position| Some(position) != current);
        let waiting: Vec<_> = waiting.collect();
        if waiting.is_empty() {
            return self.copy(id, records.iter().copied(), 1);
        }
        let idle = |known: &&Executor| known.is_ready() && known.parts.is_empty();
        let idle = self.executors.values().filter(idle).count();
        let share = waiting.len().div_ceil(idle.max(1));
        self.copy(id, waiting.into_iter(), share)
    }

    fn copy(
        &self,
        id: u32,
        records: impl Iterator<Item = u64>,
        max_records: usize,
    ) -> Option<(Vec<u64>, usize, f64)> {
        let mut sizer = self.sizer(id, max_records)?;
        for position in records.filter(|position| self.may_have(id, *position)) {
            if !sizer.try_take(position, self.window.record(position)?.len_bytes) {
                break;
            }
        }
        Self::finish(sizer)
    }

    fn finish(sizer: Sizer<'_>) -> Option<(Vec<u64>, usize, f64)> {
        (!sizer.records.is_empty()).then_some((sizer.records, sizer.len_bytes, sizer.predicted_us))
    }

    /// Records that nobody but this executor has, in the order in which it scores them.
    fn single(&self, id: u32) -> impl Iterator<Item = u64> {
        let parts = self.executors.get(&id).into_iter().flat_map(|known| &known.parts);
        parts.flat_map(Part::rest).copied().filter(|position| {
            self.window
                .record(*position)
                .is_some_and(|record| record.ended.is_none() && record.holders.len() == 1)
        })
    }

    /// Whether a record may go to this executor: it does not have it, and it did not fail on it while there is
    /// another one that it did not fail on.
    fn may_have(&self, id: u32, position: u64) -> bool {
        let Some(record) = self.window.record(position) else { return false };
        if record.holders.iter().any(|(holder, _)| *holder == id) {
            return false;
        }
        if record.failed_on.is_empty() || !record.failed_on.contains(&id) {
            return true;
        }
        let mut ready = self.executors.iter().filter(|(_, known)| known.is_ready());
        ready.all(|(other, _)| record.failed_on.contains(other))
    }

    fn sizer(&self, id: u32, max_records: usize) -> Option<Sizer<'_>> {
        let executor = self.executors.get(&id)?;
        let grown = executor.largest.saturating_mul(GROWTH_MAX).max(1);
        let batch_max = usize::try_from(self.spec.batch_max).unwrap_or(usize::MAX);
        let mut max_records =
            max_records.min(grown).min(batch_max).min(self.spec.part_max_records).max(1);
        let outputs_bytes = self.outputs.predicted_bytes(1).max(1);
        max_records = max_records.min((self.spec.part_max_bytes / outputs_bytes).max(1));
        Some(Sizer {
            executor,
            max_records,
            max_bytes: self.spec.part_max_bytes,
            budget_us: (TARGET_MS as f64 * 1_000.0).min(self.limit_us / LIMIT_PARTS as f64),
            guess_us: self.guess_us(),
            records: Vec::new(),
            len_bytes: 0,
            predicted_us: 0.0,
            unit_us: 0.0,
            units_max: 0.0,
        })
    }

    /// At most half of an executor's share of what is left, by its speed: parts get smaller towards the end, so that
    /// all finish together.
    fn records_fair(&self, id: u32) -> usize {
        let Some(total) = self.total() else { return usize::MAX };
        let guess_us = self.guess_us();
        let rate = |known: &Executor| 1.0 / known.cost.mean_us().unwrap_or(guess_us);
        let ready = self.executors.values().filter(|known| known.is_ready());
        let all: f64 = ready.map(rate).sum();
        let own = self.executors.get(&id).map_or(0.0, rate);
        let left =
            total.saturating_sub(self.window.high) as f64 + self.window.returned.len() as f64;
        (left * own / all.max(f64::MIN_POSITIVE) / PARTS_LEFT) as usize
    }

    /// What a record takes on an executor of which nothing is known: the average of the others, else all that a
    /// part is meant to take.
    fn guess_us(&self) -> f64 {
        let known: Vec<f64> =
            self.executors.values().filter_map(|known| known.cost.mean_us()).collect();
        if known.is_empty() {
            return TARGET_MS as f64 * 1_000.0;
        }
        known.iter().sum::<f64>() / known.len() as f64
    }
}
