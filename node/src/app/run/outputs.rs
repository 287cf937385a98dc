//! What comes out of a run: a line of JSON for each record, written to a blob as it arrives.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use guildhall_protocol::api::{OutputLine, OutputValue};
use guildhall_protocol::interface::{PortType, Prediction, PredictionValue};
use guildhall_store::{BlobError, BlobWriter, StagedBlob, Store};

/// Most bytes of outputs that a run keeps.
const OUTPUTS_MAX_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// The outputs of one run, over all its attempts.
pub(super) struct Outputs {
    writer: BlobWriter,
    names: Vec<String>,
    output_type: PortType,
    labels: BTreeMap<String, String>,
    compared: u64,
    right: u64,
}

impl Outputs {
    pub(super) fn new(
        store: &Store,
        names: Vec<String>,
        output_type: PortType,
        labels: BTreeMap<String, String>,
    ) -> Result<Self, BlobError> {
        let writer = store.blob_writer(None, OUTPUTS_MAX_BYTES)?;
        Ok(Self { writer, names, output_type, labels, compared: 0, right: 0 })
    }

    /// Takes the next record.
    pub(super) fn deliver(&mut self, index: u64, value: &[u8]) -> Result<(), BlobError> {
        let name = usize::try_from(index).ok().and_then(|at| self.names.get(at)).cloned();
        let line =
            OutputLine { index, name: name.unwrap_or_default(), value: self.readable(value) };
        if let (Some(label), OutputValue::Predictions(predictions)) =
            (self.labels.get(&line.name), &line.value)
        {
            self.compared += 1;
            self.right += u64::from(predicts(predictions, label));
        }
        // Every field is a number, a text or a list of them: JSON can hold it.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        self.writer.write_all(&text)
    }

    /// The share of records whose predicted class is the right one; `None` when nothing says what is right.
    pub(super) fn accuracy(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts of records are far below 2^52")]
        let share = self.right as f64 / self.compared as f64;
        (self.compared > 0).then_some(share)
    }

    /// Ends the outputs.
    pub(super) fn finish(self) -> Result<StagedBlob, BlobError> {
        self.writer.finish()
    }

    fn readable(&self, value: &[u8]) -> OutputValue {
        let text = || std::str::from_utf8(value).ok().map(str::to_owned);
        let readable = match self.output_type {
            PortType::Prediction(_) => {
                serde_json::from_slice::<Vec<Prediction>>(value).ok().map(OutputValue::Predictions)
            }
            PortType::Text | PortType::Json(_) | PortType::Table(_) => {
                text().map(OutputValue::Text)
            }
            _ => None,
        };
        readable.unwrap_or_else(|| OutputValue::Base64(BASE64.encode(value)))
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
