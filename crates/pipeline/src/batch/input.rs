//! What comes from the caller's own side: input records, executors that come and go.

use super::executor::{Executor, Phase};
use super::{EXECUTORS_MAX, InputError, State};

impl State {
    /// Whether the next input record should be handed in now.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !self.input_ended && self.window.has_room_to_read()
    }

    /// The next record exists and has this length. Returns its position. The caller keeps its bytes until the record
    /// is delivered or, where it can read them again, as long as it likes.
    ///
    /// # Errors
    /// [`InputError`]; all of them are mistakes on this side.
    pub fn handle_input(&mut self, len_bytes: usize) -> Result<u64, InputError> {
        let record = self.window.known();
        if self.input_ended {
            return Err(InputError::Ended { record });
        }
        if !self.window.has_room_to_read() {
            return Err(InputError::Full { record });
        }
        self.window.push(len_bytes);
        self.input_ended = self.spec.records == Some(self.window.known());
        Ok(record)
    }

    /// No further input follows. What was handed in is all there is, also where more was announced.
    pub fn handle_input_end(&mut self) {
        self.input_ended = true;
    }

    /// An executor may take parts. One that was closed stays closed until it is gone.
    pub fn handle_ready(&mut self, executor: u32, _now_us: u64) {
        if let Some(known) = self.executors.get_mut(&executor) {
            if known.phase == Phase::Gone {
                known.revive(self.limit_us);
            }
            return;
        }
        if self.executors.len() >= EXECUTORS_MAX {
            let gone = self.executors.iter().find(|(_, known)| known.phase == Phase::Gone);
            let Some(gone) = gone.map(|(id, _)| *id) else {
                self.closing.insert(executor);
                return;
            };
            self.executors.remove(&gone);
        }
        self.executors.insert(executor, Executor::new(self.limit_us));
    }

    /// An executor left, fell silent or was given up. What it has goes back; what it scored stays.
    pub fn handle_gone(&mut self, executor: u32, _now_us: u64) {
        self.drop_parts(executor, Phase::Gone);
        self.closing.remove(&executor);
    }
}
