//! Waiting until something holds.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// Wait after the first look. Most things that are waited for are there within some of these.
const WAIT_FIRST: Duration = Duration::from_millis(20);

/// Longest wait between two looks: what takes longer than some of these is not measured finer.
const WAIT_LONGEST: Duration = Duration::from_millis(200);

/// What was seen instead of what is waited for. Every error becomes one, so `?` works in a predicate.
#[derive(Debug)]
pub struct NotYet(String);

impl NotYet {
    /// Says what was seen.
    pub fn saw(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl<E: std::error::Error> From<E> for NotYet {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Something that was waited for did not come to hold.
#[derive(Debug, thiserror::Error)]
#[error("{expected} within {} s: {seen}", waited.as_secs_f64())]
pub struct NotConverged {
    /// What was waited for.
    pub expected: String,
    /// What was seen last.
    pub seen: String,
    /// How long it was waited for.
    pub waited: Duration,
}

/// Looks until `predicate` yields something, at most until `deadline` from now. A look under way at the deadline is
/// given up. `what` is what should come to hold, in words.
///
/// # Errors
/// [`NotConverged`] with what the last finished look saw.
pub async fn converge<T>(
    deadline: Duration,
    what: &str,
    mut predicate: impl AsyncFnMut() -> Result<T, NotYet>,
) -> Result<T, NotConverged> {
    let until = Instant::now() + deadline;
    let mut wait = WAIT_FIRST;
    let mut seen = NotYet::saw("nothing; the first look did not end");
    loop {
        match timeout_at(until, predicate()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(not_yet)) => seen = not_yet,
            Err(_) => break,
        }
        if Instant::now() + wait >= until {
            break;
        }
        sleep(wait).await;
        wait = (wait * 2).min(WAIT_LONGEST);
    }
    Err(NotConverged { expected: what.to_owned(), seen: seen.to_string(), waited: deadline })
}

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_looks_again_until_it_holds() {
        let mut looks = 0;
        let found = converge(Duration::from_secs(60), "five looks", async || {
            looks += 1;
            if looks == 5 { Ok("there") } else { Err(NotYet::saw(looks.to_string())) }
        });
        assert_eq!(found.await.ok(), Some("there"));
        assert_eq!(looks, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_at_the_deadline_and_says_what_it_saw_last() {
        let begun = Instant::now();
        let deadline = Duration::from_secs(2);
        let seen = converge::<()>(deadline, "a miracle", async || Err(NotYet::saw("rain"))).await;
        let error = seen.expect_err("it never holds");
        assert_eq!(error.to_string(), "a miracle within 2 s: rain");
        assert!(begun.elapsed() <= deadline, "{:?}", begun.elapsed());
        assert!(begun.elapsed() + WAIT_LONGEST >= deadline, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_without_end_is_given_up() {
        let deadline = Duration::from_secs(1);
        let seen = converge::<()>(deadline, "an end", async || std::future::pending().await).await;
        assert!(seen.is_err_and(|error| error.seen.contains("first look")));
    }
}
