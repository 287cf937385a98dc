//! Where tests make the file system fail. Outside tests this is nothing.

use std::io;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(test)]
use std::sync::{Arc, Mutex};

/// Asked before every operation on files that changes something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    #[cfg(test)]
    plan: Arc<Plan>,
}

#[cfg(test)]
#[derive(Debug, Default)]
struct Plan {
    done: AtomicU64,
    /// From the first of these operations to before the second, all fail with this kind.
    failing: Mutex<Option<(std::ops::Range<u64>, io::ErrorKind)>>,
}

impl Faults {
    /// Fails if a test wants this operation to fail.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests have another")]
    #[inline]
    pub(crate) fn step(&self) -> io::Result<()> {
        Ok(())
    }

    /// Counts the operation, and fails if it was chosen.
    #[cfg(test)]
    pub(crate) fn step(&self) -> io::Result<()> {
        let number = self.plan.done.fetch_add(1, Ordering::SeqCst);
        match &*self.plan.failing.lock().expect("lock") {
            Some((range, kind)) if range.contains(&number) => Err((*kind).into()),
            _ => Ok(()),
        }
    }

    /// How many operations there were.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.plan.done.load(Ordering::SeqCst)
    }

    /// Chooses which operations fail.
    #[cfg(test)]
    pub(crate) fn fail(&self, range: std::ops::Range<u64>, kind: io::ErrorKind) {
        *self.plan.failing.lock().expect("lock") = Some((range, kind));
    }

    /// Nothing fails any more.
    #[cfg(test)]
    pub(crate) fn heal(&self) {
        *self.plan.failing.lock().expect("lock") = None;
    }
}
