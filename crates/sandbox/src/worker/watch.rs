//! Two small threads of a worker: one speaks up when a call's time is over, one ends the process when the node is gone.
//!
//! Neither wakes up without a reason but once after the last call, so an idle worker costs no processor time. The kernel's parent-death signal would
//! not do for the second: it fires when the *thread* that started the worker ends, and the node starts workers from a
//! pool of threads.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

/// Stack of either thread: they call nothing deep.
const STACK_BYTES: usize = 128 * 1024;

/// Exit status of a worker whose node is gone; nobody reads it.
const NODE_GONE: i32 = 3;

/// Calls something once when a deadline passes, unless it is taken back before.
#[derive(Clone, Default)]
pub(crate) struct Alarm {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    armed: Option<Armed>,
    /// When the thread looks again by itself; none when it waits to be called.
    looks_at: Option<Instant>,
}

struct Armed {
    at: Instant,
    ring: Box<dyn FnOnce() + Send>,
}

impl Alarm {
    /// Starts the thread that waits.
    pub(crate) fn start() -> io::Result<Self> {
        let alarm = Self::default();
        let shared = Arc::clone(&alarm.shared);
        thread::Builder::new().stack_size(STACK_BYTES).spawn(move || shared.wait())?;
        Ok(alarm)
    }

    /// Calls `ring` after this time, from another thread. An earlier order is forgotten.
    pub(crate) fn arm(&self, after: Duration, ring: impl FnOnce() + Send + 'static) {
        // A time beyond what the clock can say does not come.
        let order = Instant::now().checked_add(after).map(|at| Armed { at, ring: Box::new(ring) });
        let mut state = self.shared.lock();
        let at = order.as_ref().map(|order| order.at);
        // Calls follow each other within microseconds, and waking a thread costs as much: it is left asleep as long as it
        // will look in time.
        let is_late = at.is_some_and(|at| state.looks_at.is_none_or(|looks_at| at < looks_at));
        state.armed = order;
        drop(state);
        if is_late {
            self.shared.changed.notify_one();
        }
    }

    /// Takes the order back.
    pub(crate) fn disarm(&self) {
        self.shared.lock().armed = None;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.armed.as_ref().map(|order| order.at) {
                None => {
                    state.looks_at = None;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(at) if at <= now => {
                    if let Some(order) = state.armed.take() {
                        (order.ring)();
                    }
                }
                Some(at) => {
                    state.looks_at = Some(at);
                    let waited = self.changed.wait_timeout(state, at - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

/// Ends the process as soon as the other end of `socket` is gone, whatever the other threads do.
pub(super) fn end_with(socket: UnixStream) -> io::Result<()> {
    let until_gone = move || {
        loop {
            let mut watched = [PollFd::new(&socket, PollFlags::RDHUP)];
            match poll(&mut watched, None) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => std::process::exit(NODE_GONE),
            }
        }
    };
    thread::Builder::new().stack_size(STACK_BYTES).spawn(until_gone).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_alarm_rings_once_for_the_last_order_only() {
        let alarm = Alarm::start().unwrap();
        let (sender, rung) = mpsc::sync_channel(16);
        for order in [1, 2] {
            let sender = sender.clone();
            let after = Duration::from_millis(if order == 1 { 60_000 } else { 1 });
            alarm.arm(after, move || sender.send(order).unwrap());
        }
        assert_eq!(rung.recv_timeout(Duration::from_secs(60)), Ok(2));
        alarm.arm(Duration::from_millis(60_000), move || sender.send(3).unwrap());
        alarm.disarm();
        assert_eq!(
            rung.recv_timeout(Duration::from_secs(60)),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
