//! Figures: samples of one measurement, and the rows of the table that they become.

use std::fmt;

use serde::Serialize;

/// What was measured, once for each repetition.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, sample: f64) {
        self.0.push(sample);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one; of an even number the mean of the two in the middle. 0 without any.
    pub(super) fn median(&self) -> f64 {
        let half = self.0.len() / 2;
        let upper = self.0.get(half).copied().unwrap_or(0.0);
        match self.0.len().is_multiple_of(2) {
            true if half > 0 => self.0.get(half - 1).map_or(upper, |lower| (lower + upper) / 2.0),
            _ => upper,
        }
    }

    /// The smallest that `share` of the samples do not exceed. 0 without any.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index among some thousand samples"
        )]
        let at = ((self.0.len() as f64 * share).ceil() as usize).saturating_sub(1);
        self.0.get(at).copied().unwrap_or(0.0)
    }

    /// These and those of `others`.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
        self.0.sort_by(f64::total_cmp);
    }

    /// The smallest and the largest.
    fn spread(&self) -> Option<(f64, f64)> {
        self.0.first().copied().zip(self.0.last().copied())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each sample as `of` says: seconds as a rate, for example.
    pub(super) fn map(&self, of: impl Fn(f64) -> f64) -> Self {
        self.0.iter().map(|sample| of(*sample)).collect()
    }

    /// `bytes` a second for each sample of seconds, in millions.
    pub(super) fn megabytes_per_second(&self, bytes: u64) -> Self {
        self.map(|seconds| bytes as f64 / seconds / 1e6)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(samples: T) -> Self {
        let mut collected = Self(samples.into_iter().collect());
        collected.0.sort_by(f64::total_cmp);
        collected
    }
}

/// The exponent of growth: the slope of the line through the logarithms of sizes and figures that misses them least,
/// by least squares. `None` for fewer than two sizes.
pub(super) fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> =
        points.iter().map(|(size, figure)| (size.ln(), figure.ln())).collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|(x, _)| *x), mean(|(_, y)| *y));
    let covariance: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance)
}

/// One figure, beside the limit or peer that was measured in the same run.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Stable name.
    pub(super) id: &'static str,
    /// What was measured.
    pub(super) what: String,
    /// Our figure: the median, where it was measured more than once.
    pub(super) ours: f64,
    /// The smallest and the largest of ours.
    pub(super) spread: Option<(f64, f64)>,
    /// What it is compared with, measured in the same run.
    pub(super) peer: Option<f64>,
    /// The smallest and the largest of the peer's.
    pub(super) peer_spread: Option<(f64, f64)>,
    /// Ours divided by the peer's.
    pub(super) ratio: Option<f64>,
    /// What it should reach.
    pub(super) goal: &'static str,
    /// Unit of `ours` and `peer`.
    pub(super) unit: &'static str,
    /// How often it was measured.
    pub(super) n: usize,
}

impl Row {
    /// A row of medians, without a peer.
    pub(super) fn of(
        id: &'static str,
        what: impl Into<String>,
        samples: &Samples,
        unit: &'static str,
    ) -> Self {
        Self {
            id,
            what: what.into(),
            ours: samples.median(),
            spread: samples.spread().filter(|_| samples.len() > 1),
            peer: None,
            peer_spread: None,
            ratio: None,
            goal: "-",
            unit,
            n: samples.len(),
        }
    }

    /// A row of a quantile, without a peer.
    pub(super) fn at(
        share: f64,
        id: &'static str,
        what: impl Into<String>,
        samples: &Samples,
        unit: &'static str,
    ) -> Self {
        Self { ours: samples.quantile(share), ..Self::of(id, what, samples, unit) }
    }

    /// Medians, or, where ours could not be measured, a row without a figure that says why.
    pub(super) fn of_measured(
        id: &'static str,
        what: impl Into<String>,
        samples: &Result<Samples, String>,
        unit: &'static str,
    ) -> Self {
        match samples {
            Ok(samples) => Self::of(id, what, samples, unit),
            Err(why) => {
                let what = format!("{} (not measured: {why})", what.into());
                Self::of(id, what, &Samples::default(), unit)
            }
        }
    }

    pub(super) fn with_goal(mut self, goal: &'static str) -> Self {
        self.goal = goal;
        self
    }

    pub(super) fn with_peer(mut self, peer: f64) -> Self {
        self.ratio = (peer > 0.0 && self.n > 0).then(|| self.ours / peer);
        self.peer = Some(peer);
        self
    }

    /// Beside the same quantile of a peer's, or, where the peer could not be measured, with why not.
    pub(super) fn beside_at(self, share: f64, peer: &Result<Samples, String>) -> Self {
        let at = peer.as_ref().ok().filter(|samples| !samples.is_empty());
        let at = at.map(|samples| samples.quantile(share));
        let row = self.beside(peer);
        match at {
            Some(at) => row.with_peer(at),
            None => row,
        }
    }

    /// Beside a peer's median, or, where the peer could not be measured, with why not.
    pub(super) fn beside(mut self, peer: &Result<Samples, String>) -> Self {
        match peer {
            Ok(samples) if !samples.is_empty() => {
                self.peer_spread = samples.spread().filter(|_| samples.len() > 1);
                self.with_peer(samples.median())
            }
            Ok(_) => self,
            Err(why) => {
                self.what.push_str(&format!(" ({why})"));
                self
            }
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
        let spread = |of: Option<(f64, f64)>| match of {
            Some((low, high)) => format!("{low:.3} to {high:.3}"),
            _ => "-".to_owned(),
        };
        // What was never measured has no figure; 0 would be one.
        let ours = optional((self.n > 0).then_some(self.ours));
        write!(
            f,
            "| {} | {} | {ours} | {} | {} | {} | {} | {} | {} | {} |",
            self.id,
            self.what,
            spread(self.spread),
            optional(self.peer),
            spread(self.peer_spread),
            optional(self.ratio),
            self.goal,
            self.unit,
            self.n
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_however_samples_come() {
        let of = |samples: &[f64]| samples.iter().copied().collect::<Samples>().median();
        assert!(of(&[]).abs() < f64::EPSILON);
        assert!((of(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((of(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_quantile_is_a_sample_that_its_share_does_not_exceed() {
        let samples: Samples = (1..=100).rev().map(f64::from).collect();
        let at = |share| samples.quantile(share);
        assert!((at(0.5) - 50.0).abs() < f64::EPSILON);
        assert!((at(0.99) - 99.0).abs() < f64::EPSILON);
        assert!((at(1.0) - 100.0).abs() < f64::EPSILON);
        assert!((at(0.0) - 1.0).abs() < f64::EPSILON);
        assert!(Samples::default().quantile(0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_row_that_was_not_measured_shows_no_figure_and_says_why() {
        let row = Row::of_measured("P0", "something", &Err("no engine".to_owned()), "s");
        let row = row.beside(&Ok([2.0].into_iter().collect()));
        assert_eq!(
            row.to_string(),
            "| P0 | something (not measured: no engine) | - | - | 2.000 | - | - | - | s | 0 |"
        );
    }

    #[test]
    fn the_exponent_of_a_power_is_its_power() {
        let points: Vec<(f64, f64)> =
            [1.0, 10.0, 100.0].map(|size: f64| (size, 7.0 * size.powf(1.5))).to_vec();
        assert!((exponent(&points).unwrap() - 1.5).abs() < 1e-9);
        assert_eq!(exponent(&points[..1]), None);
    }

    #[test]
    fn a_peer_that_could_not_be_measured_is_named_with_the_reason() {
        let samples: Samples = [2.0].into_iter().collect();
        let row = Row::of("P0", "something", &samples, "s");
        let row = row.beside(&Err("no peer: not on PATH".to_owned()));
        assert_eq!(
            row.to_string(),
            "| P0 | something (no peer: not on PATH) | 2.000 | - | - | - | - | - | s | 1 |"
        );
    }
}
