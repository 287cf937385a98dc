//! What comes out of a run: a line of JSON for each record, in order, written to blobs as it arrives.
//!
//! The lines go into *segments*. A segment that is cut is a blob that the run's state names, so a run that is
//! interrupted goes on behind its last segment; what was written since is computed again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guildhall_protocol::Hash;
use guildhall_protocol::api::{OutputLine, OutputValue, RecordFailure};
use guildhall_protocol::interface::{Port, Prediction, PredictionValue};
use guildhall_protocol::values;
use guildhall_protocol::wire::{JobFailure, RecordEnd};
use guildhall_store::{Batch, BlobError, BlobWriter, Store, WriteError};
use serde::{Deserialize, Serialize};

use super::super::App;
use super::super::leases::Hold;

/// Most bytes of outputs that one segment takes; a run keeps as many segments as it has.
const SEGMENT_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// How long a segment grows before it is cut, at first: what a killed node has to compute again, at most.
const SEGMENT_TIME: Duration = Duration::from_secs(10);

/// Segments after which they grow twice as long, and so on: a day's run has some hundred of them.
const SEGMENTS_PER_STEP: u32 = 32;

/// What has come out of a run so far, over all its starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tally {
    /// The segments, in order.
    pub(super) segments: Vec<Hash>,
    /// Records in them.
    pub(super) records: u64,
    /// Of those, records without a value.
    pub(super) failed: u64,
    /// The first of them.
    pub(super) first_failure: Option<JobFailure>,
    /// Records whose right answer is known, and those that have it.
    compared: u64,
    right: u64,
}

/// The outputs of one run.
pub(super) struct Outputs {
    app: Arc<App>,
    names: Vec<String>,
    ports: Vec<Port>,
    labels: BTreeMap<String, String>,
    /// What is in segments.
    kept: Tally,
    /// What is there with the segment that is being written.
    now: Tally,
    writer: Option<BlobWriter>,
    written_bytes: u64,
    since: Instant,
    /// Until the run's state names them.
    stay: Vec<Hold>,
}

impl Outputs {
    pub(super) fn new(
        app: &Arc<App>,
        names: Vec<String>,
        ports: Vec<Port>,
        labels: BTreeMap<String, String>,
        kept: Tally,
    ) -> Self {
        Self {
            app: Arc::clone(app),
            names,
            ports,
            labels,
            now: kept.clone(),
            kept,
            writer: None,
            written_bytes: 0,
            since: Instant::now(),
            stay: Vec::new(),
        }
    }

    /// Takes the next record.
    pub(super) fn deliver(&mut self, index: u64, end: &RecordEnd) -> Result<(), OutputError> {
        let name = usize::try_from(index).ok().and_then(|at| self.names.get(at)).cloned();
        let line =
            OutputLine { index, name: name.unwrap_or_default(), value: readable(&self.ports, end) };
        self.now.records += 1;
        if let RecordEnd::Failed(failure) = end {
            self.now.failed += 1;
            self.now.first_failure.get_or_insert_with(|| failure.clone());
        }
        if let (Some(label), OutputValue::Predictions(predictions)) =
            (self.labels.get(&line.name), &line.value)
        {
            self.now.compared += 1;
            self.now.right += u64::from(predicts(predictions, label));
        }
        // Every field is a number, a text or a list of them: JSON can hold it.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        self.written_bytes = self.written_bytes.saturating_add(text.len() as u64);
        self.writer(&self.app.store.clone())?.write_all(&text)?;
        Ok(())
    }

    fn writer(&mut self, store: &Store) -> Result<&mut BlobWriter, BlobError> {
        match &mut self.writer {
            Some(writer) => Ok(writer),
            none => Ok(none.insert(store.blob_writer(None, u64::MAX)?)),
        }
    }

    /// Whether the segment is long or old enough to be cut.
    pub(super) fn is_due(&self) -> bool {
        let steps = u32::try_from(self.kept.segments.len()).unwrap_or(u32::MAX) / SEGMENTS_PER_STEP;
        let time = SEGMENT_TIME.saturating_mul(1_u32.checked_shl(steps.min(8)).unwrap_or(u32::MAX));
        self.writer.is_some()
            && (self.written_bytes >= SEGMENT_MAX_BYTES || self.since.elapsed() >= time)
    }

    /// Puts what was written since the last cut on disk, and returns what is there now.
    pub(super) async fn cut(&mut self) -> Result<&Tally, OutputError> {
        if let Some(writer) = self.writer.take() {
            let staged = tokio::task::block_in_place(|| writer.finish())?;
            let hash = staged.hash();
            self.stay.push(self.app.leases.hold([hash]));
            let mut batch = Batch::new();
            batch.add_blob(staged);
            self.app.store.commit(batch).await?;
            self.now.segments.push(hash);
            self.kept = self.now.clone();
        }
        (self.written_bytes, self.since) = (0, Instant::now());
        Ok(&self.kept)
    }

    /// What came out so far, with what is not on disk yet.
    pub(super) const fn now(&self) -> &Tally {
        &self.now
    }
}

impl Tally {
    /// The share of records whose predicted class is the right one; `None` when nothing says what is right.
    pub(super) fn accuracy(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts of records are far below 2^52")]
        let share = self.right as f64 / self.compared as f64;
        (self.compared > 0).then_some(share)
    }
}

/// A record's end as people and programs read it.
pub(super) fn readable(ports: &[Port], end: &RecordEnd) -> OutputValue {
    match end {
        RecordEnd::Values(values) => values::to_output(ports, values),
        other => OutputValue::Failed(record_failure(other)),
    }
}

/// Why a record has no values.
pub(super) fn record_failure(end: &RecordEnd) -> RecordFailure {
    match end {
        RecordEnd::Failed(failure) => RecordFailure {
            stage: failure.stage,
            cause: failure.cause.clone(),
            message: failure.detail.clone(),
        },
        _ => RecordFailure {
            stage: 0,
            cause: "internal".to_owned(),
            message: "this node does not know how the record ended".to_owned(),
        },
    }
}

/// Whether the most confident prediction is `label`; without confidences the first one counts.
fn predicts(predictions: &[Prediction], label: &str) -> bool {
    let confidence = |prediction: &Prediction| prediction.confidence.unwrap_or_default();
    let best = predictions
        .iter()
        .reduce(|best, next| if confidence(next) > confidence(best) { next } else { best });
    best.is_some_and(|best| matches!(&best.value, PredictionValue::Class(class) if class == label))
}

/// Why outputs are not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Commit(#[from] WriteError),
}
