//! What comes from executors: results, failures, and that a part is over.

use super::executor::Phase;
use super::window::Ended;
use super::{
    Accepted, Ending, FAILED_IN_A_ROW_MAX, FAULTS_IN_A_ROW_MAX, FRUITLESS_MAX, Fault,
    OVERTAKEN_MAX, Outcome, RETRIES_MAX, State, Violation,
};

impl State {
    /// A record of an executor's first part came or failed. Of an executor that was closed everything is a duplicate.
    ///
    /// # Errors
    /// [`Violation`]: not its part, or not in order.
    pub fn handle_result(
        &mut self,
        executor: u32,
        part: u64,
        record: u64,
        outcome: Outcome,
        output_bytes: usize,
        now_us: u64,
    ) -> Result<Accepted, Violation> {
        if self.is_closed(executor)? {
            return Ok(Accepted::Duplicate);
        }
        self.expect_first(executor, part)?;
        let Some(known) = self.executors.get_mut(&executor) else {
            return Err(Violation::UnknownExecutor { executor });
        };
        let Some(first) = known.parts.front_mut() else {
            return Err(Violation::UnknownPart { executor, part });
        };
        match first.rest().first() {
            None => return Err(Violation::TooMany { part, record }),
            Some(expected) if *expected != record => {
                return Err(Violation::RecordOutOfOrder { part, expected: *expected, record });
            }
            Some(_) => first.next += 1,
        }
        known.active_us = now_us;
        let is_fault = outcome == Outcome::Failed { fault: Fault::Executor };
        known.faults = if is_fault { known.faults.saturating_add(1) } else { 0 };
        let accepted = self.accept(executor, part, record, outcome, output_bytes);
        if accepted == Accepted::Duplicate {
            self.note_lost(executor);
        }
        if is_fault {
            self.close_if_faulty(executor);
        }
        Ok(accepted)
    }

    /// A part is over after `wall_us` in the engine. What it did not touch goes back.
    ///
    /// # Errors
    /// [`Violation`]: not its first part, or too many parts in a row without any result.
    pub fn handle_part_over(
        &mut self,
        executor: u32,
        part: u64,
        wall_us: u64,
        now_us: u64,
    ) -> Result<(), Violation> {
        if self.is_closed(executor)? {
            return Ok(());
        }
        self.expect_first(executor, part)?;
        let Some(known) = self.executors.get_mut(&executor) else {
            return Err(Violation::UnknownExecutor { executor });
        };
        let Some(first) = known.parts.pop_front() else {
            return Err(Violation::UnknownPart { executor, part });
        };
        known.active_us = now_us;
        known.parts_over = known.parts_over.saturating_add(1);
        known.wall_us = known.wall_us.saturating_add(wall_us);
        let share = first.next as f64 / first.records.len().max(1) as f64;
        known.cost.learn(first.next, (first.len_bytes as f64 * share) as usize, wall_us);
        known.largest = known.largest.max(first.next);
        if !first.is_copy {
            let was_overtaken = first.lost * 2 >= first.records.len();
            known.overtaken = if was_overtaken { known.overtaken.saturating_add(1) } else { 0 };
        }
        known.fruitless = if first.next == 0 { known.fruitless.saturating_add(1) } else { 0 };
        let is_fruitless = known.fruitless >= FRUITLESS_MAX;
        let is_overtaken = known.overtaken >= OVERTAKEN_MAX;
        for position in first.rest() {
            self.window.release(*position, executor, part);
        }
        if is_overtaken && self.has_other(executor) {
            self.close(executor);
        }
        if is_fruitless { Err(Violation::NoProgress { executor }) } else { Ok(()) }
    }

    fn is_closed(&self, executor: u32) -> Result<bool, Violation> {
        match self.executors.get(&executor).map(|known| known.phase) {
            Some(Phase::Ready) => Ok(false),
            Some(Phase::Closed) => Ok(true),
            Some(Phase::Gone) | None => Err(Violation::UnknownExecutor { executor }),
        }
    }

    fn expect_first(&self, executor: u32, part: u64) -> Result<(), Violation> {
        let known = self.executors.get(&executor);
        let first = known.and_then(|known| Some((known.position_of(part)?, known.parts.front()?)));
        match first {
            None => Err(Violation::UnknownPart { executor, part }),
            Some((0, _)) => Ok(()),
            Some((_, first)) => Err(Violation::PartOutOfOrder { expected: first.id, part }),
        }
    }

    fn accept(
        &mut self,
        executor: u32,
        part: u64,
        position: u64,
        outcome: Outcome,
        output_bytes: usize,
    ) -> Accepted {
        let Some(record) = self.window.record_mut(position) else { return Accepted::Duplicate };
        if record.ended.is_some() {
            return Accepted::Duplicate;
        }
        let ended = match outcome {
            Outcome::Came => Ended::Came,
            Outcome::Failed { fault: Fault::Record } => Ended::Failed,
            Outcome::Failed { fault: Fault::Executor } => {
                record.failed_on.push(executor);
                let is_elsewhere = record.holders.iter().any(|holder| *holder != (executor, part));
                if is_elsewhere || record.failed_on.len() <= RETRIES_MAX {
                    self.window.release(position, executor, part);
                    return Accepted::Retry;
                }
                Ended::Failed
            }
        };
        self.window.end(position, ended, output_bytes);
        self.count(executor, position, ended, output_bytes);
        Accepted::Keep
    }

    fn count(&mut self, executor: u32, position: u64, ended: Ended, output_bytes: usize) {
        if let Some(known) = self.executors.get_mut(&executor) {
            known.scored = known.scored.saturating_add(1);
        }
        if ended == Ended::Came {
            self.outputs.learn(output_bytes);
            self.came = self.came.saturating_add(1);
            self.failed_in_a_row = 0;
            return;
        }
        self.failed = self.failed.saturating_add(1);
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        if self.failed_in_a_row >= FAILED_IN_A_ROW_MAX && self.ending == Ending::Running {
            self.ending = Ending::Broken(position);
        }
    }

    /// Somebody else was faster with a record of this executor's first part.
    fn note_lost(&mut self, executor: u32) {
        let known = self.executors.get_mut(&executor);
        if let Some(first) = known.and_then(|known| known.parts.front_mut()) {
            first.lost += 1;
        }
    }

    fn close_if_faulty(&mut self, executor: u32) {
        let known = self.executors.get(&executor);
        let is_faulty =
            known.is_some_and(|known| known.is_ready() && known.faults >= FAULTS_IN_A_ROW_MAX);
        if is_faulty && self.has_other(executor) {
            self.close(executor);
        }
    }
}
