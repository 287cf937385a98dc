//! A worker in somebody's hands, and the memory promised to it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use super::super::RunWorker;
use super::super::run::{call_limits, cpu_seconds};
use super::state::{Idle, NoRoom};
use super::{BESIDE_BYTES, IDLE_CPU_SECONDS, Key, Shared, Wanted};
use crate::failure::Failure;

/// Memory promised to a worker; the promise ends when this is dropped.
#[derive(Debug)]
pub(super) struct Loan {
    key: Key,
    shared: Arc<Shared>,
    need_bytes: u64,
    /// Calls of the worker before this loan.
    calls: u64,
    born: Instant,
}

impl Loan {
    /// A promise, and the worker that waits for it, if there is one.
    pub(super) fn make(
        shared: &Arc<Shared>,
        key: Key,
    ) -> Result<(Self, Option<Idle<Key, RunWorker>>), Failure> {
        let need_bytes = key.memory_bytes.saturating_add(BESIDE_BYTES);
        let (now, mut gone) = (Instant::now(), Vec::new());
        let taken = shared.lock().state.take(&key, need_bytes, now, &mut gone);
        shared.end(gone);
        match taken {
            Ok(warm) => Ok((
                Self { key, shared: Arc::clone(shared), need_bytes, calls: 0, born: now },
                warm,
            )),
            Err(NoRoom::Now) => Err(Failure::Busy {
                why: format!("others have the memory now, and it needs {need_bytes} bytes"),
            }),
            Err(NoRoom::Ever) => Err(Failure::Unsupported {
                what: format!(
                    "it may take {need_bytes} bytes of memory, and {} are lent here",
                    shared.budget_bytes
                ),
            }),
        }
    }

    /// Makes a worker that waited ready for this loan. One that died meanwhile is none.
    pub(super) fn renew(
        &mut self,
        warm: Idle<Key, RunWorker>,
        wanted: &Wanted<'_>,
    ) -> Option<RunWorker> {
        let mut worker = warm.worker;
        let process = worker.process();
        let spawner = &self.shared.spawner;
        let threads = wanted.engine_on(spawner).map_or(1, |engine| spawner.threads_for(engine));
        if !process.is_clean() || process.allow_cpu(cpu_seconds(wanted.limits, threads)).is_err() {
            return None;
        }
        worker.set_limits(call_limits(wanted.limits, wanted.seed));
        (self.calls, self.born) = (warm.calls, warm.born);
        self.shared.lock().counts.reused += 1;
        Some(worker)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.shared.lock().state.release(self.need_bytes);
    }
}

/// A worker that somebody uses, like a [`RunWorker`]. Dropping it kills it.
#[derive(Debug)]
pub struct Lent {
    // Dead before its memory is promised to somebody else: fields end in this order.
    worker: RunWorker,
    loan: Loan,
}

impl Lent {
    pub(super) const fn new(worker: RunWorker, loan: Loan) -> Self {
        Self { worker, loan }
    }

    /// Gives it back, to be kept for the same org and package if nothing unclean happened in it.
    pub fn give_back(self) {
        let Self { mut worker, loan } = self;
        let calls = loan.calls.saturating_add(worker.calls());
        let process = worker.process();
        if !process.is_clean() || process.allow_cpu(IDLE_CPU_SECONDS).is_err() {
            drop(worker);
            loan.shared.lock().counts.unclean += 1;
            return;
        }
        let held_bytes = process.resident_bytes();
        worker.forget_calls();
        let (now, mut gone) = (Instant::now(), Vec::new());
        let idle =
            Idle { key: loan.key.clone(), worker, held_bytes, calls, born: loan.born, since: now };
        let shared = Arc::clone(&loan.shared);
        drop(loan);
        let mut inner = shared.lock();
        if inner.is_closed {
            gone.push(idle);
        } else {
            inner.state.put(idle, now, &mut gone);
        }
        drop(inner);
        shared.end(gone);
    }
}

impl Deref for Lent {
    type Target = RunWorker;

    fn deref(&self) -> &RunWorker {
        &self.worker
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut RunWorker {
        &mut self.worker
    }
}
