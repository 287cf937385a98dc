//! Graphs as PyTorch exports them, against what onnxruntime makes of them: `make.py` beside this file wrote both down.

use guildhall_protocol::wire::PortValue;

use crate::package::patient;
use crate::sklearn::{Case, difference, limits, read};

/// How far results may be from onnxruntime's, relative to their size: deep sums in single precision, in other orders.
const TOLERANCE: f64 = 1e-4;

fn cases() -> Vec<Case> {
    read(include_bytes!("models.bin"), include_str!("expected.json"))
}

#[test]
fn what_pytorch_exports_gives_what_onnxruntime_gives() {
    let wrong: Vec<String> = cases().iter().filter_map(|case| case.wrong(TOLERANCE)).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The same texts, of which one is cut short: its record cannot be stacked with the others.
#[test]
fn records_of_different_lengths_go_through_one_call() {
    let case = cases().into_iter().find(|case| case.name == "encoder_17").unwrap();
    let mut records: Vec<_> = (0..case.rows()).map(|row| case.record(row)).collect();
    for PortValue { bytes, .. } in &mut records[1] {
        // Row 1 is masked from its sixth word on, so without those words its embedding is the same.
        bytes.truncate(5 * 8);
    }
    let mut worker = case.by_rows().start(&patient()).unwrap();
    let batch = worker.score_all(records, &limits()).unwrap();
    for (row, outputs) in batch.records.into_iter().enumerate() {
        let mut outputs = outputs.unwrap();
        if row == 1 {
            let words = outputs.iter_mut().find(|value| value.port == "last_hidden_state").unwrap();
            assert_eq!(words.bytes.len(), 5 * 16 * 4);
            // What stands at masked words is nobody's business.
            outputs.retain(|value| value.port == "sentence_embedding");
            let embedding = case.output_bytes("sentence_embedding", row);
            let numbers = |bytes: &[u8]| -> Vec<f32> {
                bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
            };
            let (found, wanted) = (numbers(&outputs[0].bytes), numbers(&embedding));
            assert!(found.iter().zip(&wanted).all(|(f, w)| (f - w).abs() < 1e-4));
        } else {
            assert_eq!(difference(&case, row, &outputs, TOLERANCE), None);
        }
    }
}
