//! Fifteen kinds of files, each changed in a hundred ways: never a panic, never an answer that the bytes contradict.

use guildhall_protocol::facts::Facts;
use guildhall_sandbox::{Failure, examine_in_process};

use crate::sample::{self, Random};

/// Changes of each file.
const CHANGES: u64 = 100;

/// The kinds: a good sample of each under the name that it is published with.
fn kinds() -> Vec<(&'static str, Vec<u8>)> {
    let file = |name: &'static str| (name, sample::file(name).to_vec());
    vec![
        file("weights.safetensors"),
        file("weights.gguf"),
        file("linear.onnx"),
        file("branches.onnx"),
        file("table.parquet"),
        file("table.arrow"),
        file("table.arrows"),
        file("table.csv"),
        file("values.jsonl"),
        file("digits.ipynb"),
        file("numbers.npy"),
        file("numbers.npz"),
        ("picture.png", sample::png()),
        ("picture.gif", sample::gif()),
        ("module.wasm", wat::parse_str(MODULE).unwrap()),
    ]
}

const MODULE: &str = r#"(module (import "a" "b" (func)) (memory (export "memory") 1)
    (func (export "_start") (drop (i32.add (i32.const 1) (i32.const 2)))))"#;

fn examine(name: &str, bytes: &[u8]) -> Result<Facts, Failure> {
    examine_in_process(&name.parse().unwrap(), "application/octet-stream", None, bytes)
}

/// Changes a file in one of the ways that break parsers: bits, lengths, cuts, repetitions.
fn change(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    for _ in 0..=random.below(4) {
        if changed.is_empty() {
            break;
        }
        let at = random.below(changed.len());
        let end = at + random.below((changed.len() - at).min(64));
        match random.below(8) {
            0 => changed[at] ^= 1 << random.below(8),
            1 => changed[at] = 0xff,
            2 => changed[at] = 0,
            3 => changed.truncate(at),
            4 => drop(changed.drain(at..end)),
            5 => {
                let part = changed[at..end].to_vec();
                changed.splice(at..at, part);
            }
            6 => {
                let huge = [u64::MAX, 1 << 40, i64::MAX.cast_unsigned(), 1 << 31][random.below(4)];
                let len = 8.min(changed.len() - at);
                changed[at..at + len].copy_from_slice(&huge.to_le_bytes()[..len]);
            }
            _ => changed.extend(sample::noise(1 + random.below(32), random.next())),
        }
    }
    changed
}

/// What holds for any file that is accepted, whatever it is made of.
fn check_accepted(name: &str, bytes: &[u8], facts: &Facts) {
    match facts {
        Facts::Safetensors(weights) => {
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert!(header + 8 <= bytes.len() as u64, "{name}");
            assert_eq!(weights.tensors, weights.items.len() as u64, "{name}");
        }
        Facts::Gguf(weights) => {
            assert!(weights.items.iter().all(|(_, _, shape)| shape.len() <= 4), "{name}");
        }
        Facts::Onnx(onnx) => assert!(!onnx.outputs.is_empty() && onnx.opset > 0, "{name}"),
        Facts::Parquet(table) | Facts::Arrow(table) | Facts::Csv(table) => {
            assert!(table.rows.is_some(), "{name}");
        }
        Facts::JsonLines { values } => {
            let lines = std::str::from_utf8(bytes).unwrap().lines();
            let parsed = lines
                .filter(|line| !line.trim().is_empty())
                .map(|line| serde_json::from_str::<serde_json::Value>(line).map(drop));
            let parsed: Result<Vec<()>, _> = parsed.collect();
            assert_eq!(parsed.unwrap().len() as u64, *values, "{name}");
        }
        Facts::Notebook(_) | Facts::Json => {
            assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok(), "{name}");
        }
        _ => {}
    }
}

#[test]
fn changed_files_are_refused_or_still_what_they_say() {
    let kinds = kinds();
    assert_eq!(kinds.len(), 15);
    let mut refused = 0;
    for (kind, (name, bytes)) in kinds.iter().enumerate() {
        assert!(examine(name, bytes).is_ok(), "{name}");
        for round in 0..CHANGES {
            let changed = change(bytes, &mut Random(kind as u64 * CHANGES + round));
            match examine(name, &changed) {
                Ok(facts) => check_accepted(name, &changed, &facts),
                Err(Failure::RefusedFormat { file, why, offset, .. }) => {
                    assert!(file == *name && !why.is_empty());
                    assert!(offset.is_none_or(|at| at <= changed.len() as u64), "{name}: {why}");
                    refused += 1;
                }
                Err(other) => panic!("{name}: {other}"),
            }
        }
    }
    // Most changes of a small file meet something that is checked.
    assert!(refused > 700, "{refused}");
}

#[test]
fn no_file_is_accepted_when_its_end_is_missing() {
    for (name, bytes) in kinds() {
        // Lines of a table or of values are whole wherever a line ends, and a picture's or an array's data is not read.
        if name.ends_with(".csv") || name.ends_with(".jsonl") || name.ends_with(".npy") {
            continue;
        }
        for len in 1..bytes.len() {
            let found = examine(name, &bytes[..len]);
            // A stream of messages may end behind any of them, and a notebook in front of its last line break.
            let may_end =
                name == "table.arrows" || (name.ends_with(".ipynb") && len + 1 == bytes.len());
            let padding = bytes[len..].iter().all(|byte| *byte == 0);
            let is_wasm = name.ends_with(".wasm");
            assert!(
                found.is_err() || may_end || is_wasm || padding,
                "{name} cut to {len}: {found:?}"
            );
        }
    }
}

#[test]
fn noise_under_any_name_is_no_structure() {
    for (name, _) in kinds() {
        for seed in 0..CHANGES {
            let bytes = sample::noise(512, seed);
            assert!(examine(name, &bytes).is_err(), "{name} {seed}");
        }
    }
}
