//! What became of a call's records so far, where both the engine and the alarm find it.
//!
//! Nothing interrupts a guest or a graph from within: checks in every loop cost more than some loops. When a call's time
//! is over, the alarm takes what is there, tells the node, and ends the process. So whoever takes the results first
//! speaks for the call, and the other has nothing to say any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Outputs;
use crate::failure::Failure;
use crate::worker::Alarm;

/// Each record's end.
pub(crate) type Results = Vec<Result<Outputs, Failure>>;

/// What is said when the time is over: the records that have an end, or why there is none.
type LastWords = dyn Fn(Result<Results, Failure>) + Send + Sync;

/// The records of one call.
#[derive(Clone)]
pub(crate) struct Progress {
    shared: Arc<Shared>,
}

struct Shared {
    results: Mutex<Option<Results>>,
    /// Whether several records are being scored at once, so that none of them can be blamed alone.
    is_together: AtomicBool,
    last_words: Box<LastWords>,
}

/// The one deadline of a call. Dropping it takes the alarm back.
pub(crate) struct Deadline<'a> {
    alarm: &'a Alarm,
    started: Instant,
}

impl Progress {
    /// A call of which nothing is known yet. The last words end the process.
    pub(crate) fn new(
        last_words: impl Fn(Result<Results, Failure>) + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            results: Mutex::new(Some(Vec::new())),
            is_together: AtomicBool::new(false),
            last_words: Box::new(last_words),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A call that nobody cuts off, for measurements and tests in one process.
    pub(crate) fn patient() -> Self {
        Self::new(|_| {})
    }

    /// Starts the call's time.
    pub(crate) fn deadline<'a>(&self, alarm: &'a Alarm, limit_ms: u64) -> Deadline<'a> {
        let (progress, started) = (self.clone(), Instant::now());
        alarm.arm(Duration::from_millis(limit_ms), move || progress.cut_off(started, limit_ms));
        Deadline { alarm, started }
    }

    /// The next record's end.
    pub(crate) fn push(&self, result: Result<Outputs, Failure>) {
        if let Some(results) = self.lock().as_mut() {
            results.push(result);
        }
    }

    /// Whether what is scored from now on is several records at once.
    pub(crate) fn score_together(&self, is_together: bool) {
        self.shared.is_together.store(is_together, Ordering::SeqCst);
    }

    /// All that there is, when the engine has done its part. Does not return when the time was over first: the process
    /// is about to end then.
    pub(crate) fn finish(&self) -> Results {
        let taken = self.lock().take();
        match taken {
            Some(results) => results,
            None => loop {
                std::thread::park();
            },
        }
    }

    fn cut_off(&self, started: Instant, limit_ms: u64) {
        let Some(mut results) = self.lock().take() else { return };
        let stopped_after_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let timeout = Failure::Timeout { limit_ms, stopped_after_ms };
        let is_together = self.shared.is_together.load(Ordering::SeqCst);
        let said = match (is_together, results.is_empty()) {
            (true, true) => Err(timeout),
            (true, false) => Ok(results),
            (false, _) => {
                results.push(Err(timeout));
                Ok(results)
            }
        };
        (self.shared.last_words)(said);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Results>> {
        self.shared.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deadline<'_> {
    /// When the call began.
    pub(crate) const fn started(&self) -> Instant {
        self.started
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        self.alarm.disarm();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn outputs() -> Outputs {
        Outputs { values: Vec::new(), metrics: Vec::new(), memory_peak_bytes: None }
    }

    /// How many records have an end and whether the last one ran out of time, as the last words say.
    fn cut_off(done: usize, is_together: bool) -> Option<(usize, bool)> {
        let (sender, words) = mpsc::sync_channel(1);
        let progress = Progress::new(move |said| {
            let is_late =
                |end: &Result<Outputs, Failure>| matches!(end, Err(Failure::Timeout { .. }));
            let said = said.ok().map(|ends| (ends.len(), ends.last().is_some_and(is_late)));
            sender.send(said).unwrap();
        });
        (0..done).for_each(|_| progress.push(Ok(outputs())));
        progress.score_together(is_together);
        let alarm = Alarm::start().unwrap();
        let _deadline = progress.deadline(&alarm, 1);
        words.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn a_record_alone_is_blamed_and_several_together_are_not() {
        assert_eq!(cut_off(2, false), Some((3, true)));
        assert_eq!(cut_off(0, false), Some((1, true)));
        assert_eq!(cut_off(2, true), Some((2, false)), "what is done counts");
        assert_eq!(cut_off(0, true), None, "the call failed, and no record of it");
    }

    #[test]
    fn who_is_done_in_time_is_not_cut_off() {
        let (sender, words) = mpsc::sync_channel(1);
        let progress = Progress::new(move |_| sender.send(()).unwrap());
        let alarm = Alarm::start().unwrap();
        let deadline = progress.deadline(&alarm, 50);
        progress.push(Ok(outputs()));
        assert_eq!(progress.finish().len(), 1);
        assert!(words.recv_timeout(Duration::from_millis(200)).is_err());
        drop(deadline);
    }
}
