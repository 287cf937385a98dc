//! Times of single queries.

use std::time::{Duration, Instant};

use super::Failed;
use crate::bench::figures::Samples;

/// How often each query is asked and counted, after once for nothing: the middle one of its times stands for it.
const ROUNDS: usize = 3;

/// How long one round may take. A peer that needs longer is asked the first queries only.
const ROUND_MAX: Duration = Duration::from_secs(6);

/// Microseconds of each query, in the order of the queries; of the first ones, when they take too long.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Vec<f64>);

impl Times {
    /// Asks all of `queries`.
    pub(super) fn of<Q>(
        queries: &[Q],
        mut ask: impl FnMut(&Q) -> Result<(), Failed>,
    ) -> Result<Self, Failed> {
        let mut rounds: Vec<Vec<f64>> = Vec::new();
        let mut count = queries.len();
        for _ in 0..=ROUNDS {
            let since = Instant::now();
            let mut times = Vec::with_capacity(count);
            for query in queries.iter().take(count) {
                let start = Instant::now();
                ask(query)?;
                times.push(start.elapsed().as_secs_f64() * 1e6);
                if since.elapsed() > ROUND_MAX {
                    break;
                }
            }
            count = times.len();
            rounds.push(times);
        }
        let of_query = |at: usize| {
            let counted = rounds.iter().skip(1).filter_map(|round| round.get(at).copied());
            counted.collect::<Samples>().median()
        };
        Ok(Self((0..count).map(of_query).collect()))
    }

    /// Those of the queries that `other` was asked too.
    pub(super) fn beside(&self, other: &Self) -> Self {
        Self(self.0.iter().take(other.0.len()).copied().collect())
    }

    pub(super) fn samples(&self) -> Samples {
        self.0.iter().copied().collect()
    }

    /// The time that one in a hundred is beyond.
    pub(super) fn p99(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() * 99 / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }
}

impl FromIterator<f64> for Times {
    fn from_iter<T: IntoIterator<Item = f64>>(times: T) -> Self {
        Self(times.into_iter().collect())
    }
}
