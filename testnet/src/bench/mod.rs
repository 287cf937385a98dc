//! Measurements of whole processes. Every row says how often it was measured; nothing here is a test.

mod jobs;
mod spread;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::network::NetworkError;

/// One figure, beside the limit or peer that was measured in the same run.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Stable name.
    pub(crate) id: &'static str,
    /// What was measured.
    pub(crate) what: String,
    /// Our figure.
    pub(crate) ours: f64,
    /// What it is compared with, measured in the same run.
    pub(crate) peer: Option<f64>,
    /// Ours divided by the peer's.
    pub(crate) ratio: Option<f64>,
    /// What it should reach.
    pub(crate) goal: &'static str,
    /// Unit of `ours` and `peer`.
    pub(crate) unit: &'static str,
    /// How often it was measured.
    pub(crate) n: usize,
}

impl Row {
    fn with_peer(mut self, peer: f64) -> Self {
        self.ratio = (peer > 0.0).then(|| self.ours / peer);
        self.peer = Some(peer);
        self
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
        write!(
            f,
            "| {} | {} | {:.3} | {} | {} | {} | {} | {} |",
            self.id,
            self.what,
            self.ours,
            optional(self.peer),
            optional(self.ratio),
            self.goal,
            self.unit,
            self.n
        )
    }
}

/// Runs the measurements, or only the one with this id.
pub(crate) async fn run(
    program: &Path,
    only: Option<&str>,
    nodes: usize,
) -> Result<Vec<Row>, NetworkError> {
    let wanted = |id: &str| only.is_none_or(|only| only.eq_ignore_ascii_case(id));
    let mut rows = Vec::new();
    if wanted("P6") {
        rows.extend(spread::run(program, nodes).await?);
    }
    if wanted("P9") || wanted("P16") {
        rows.extend(jobs::run(program).await?.into_iter().filter(|row| wanted(row.id)));
    }
    Ok(rows)
}

/// The value below which `share` of the samples lie, milliseconds.
fn quantile_ms(samples: &mut [Duration], share: f64) -> f64 {
    samples.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index among some hundred samples"
    )]
    let at = ((samples.len() as f64 - 1.0) * share).ceil() as usize;
    samples.get(at).map_or(0.0, |sample| sample.as_secs_f64() * 1000.0)
}
