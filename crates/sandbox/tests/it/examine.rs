//! Examination in real workers: what passes in one place passes in the other, and a worker outlives what it refuses.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};

use guildhall_protocol::facts::Facts;
use guildhall_protocol::manifest::Kind;
use guildhall_sandbox::{Failure, InspectLimits, Inspection, examine_in_process};

use crate::package::{Package, any_bytes, floats, model, spawner};
use crate::sample;

const OPAQUE: &str = "application/octet-stream";

fn open(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn inspect(package: &Package) -> Result<Inspection, Failure> {
    spawner().inspect(&package.files(), &InspectLimits::default())
}

#[test]
fn a_worker_says_what_the_parsers_say_about_every_format() {
    let mut examiner = spawner().examiner();
    for (name, bytes, _) in sample::FILES {
        let name = name.parse().unwrap();
        let found = examiner.examine(&name, OPAQUE, None, open(bytes));
        assert_eq!(found, examine_in_process(&name, OPAQUE, None, bytes), "{name}");
        assert!(found.is_ok());
        // Half of it is another matter, and the same worker goes on.
        let half = &bytes[..bytes.len() / 2];
        let found = examiner.examine(&name, OPAQUE, Some(Kind::Data), open(half));
        assert_eq!(found, examine_in_process(&name, OPAQUE, Some(Kind::Data), half), "{name}");
    }
    let facts = spawner().examine(&"a.txt".parse().unwrap(), OPAQUE, None, open(b"hello")).unwrap();
    assert_eq!(facts, Facts::Text);
}

#[test]
fn a_header_that_claims_gigabytes_takes_no_memory() {
    let mut examiner = spawner().examiner();
    let arrow = b"\xff\xff\xff\xff\xf8\xff\xff\x7f".to_vec();
    let list =
        [b"PAR1".as_slice(), &[0x15, 2, 0x19, 0xfc, 255, 255, 255, 255, 15, 9, 0, 0, 0], b"PAR1"];
    for (name, bytes) in [
        ("a.safetensors", (1_u64 << 42).to_le_bytes().to_vec()),
        ("b.gguf", [sample::gguf_head(3, 0, 1), (1_u64 << 42).to_le_bytes().to_vec()].concat()),
        ("c.arrows", arrow),
        ("d.parquet", list.concat()),
        ("e.parquet", [b"PAR1".as_slice(), &u32::MAX.to_le_bytes(), b"PAR1"].concat()),
        ("f.onnx", vec![0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    ] {
        let failure =
            examiner.examine(&name.parse().unwrap(), OPAQUE, None, open(&bytes)).unwrap_err();
        assert!(matches!(failure, Failure::RefusedFormat { .. }), "{failure}");
    }
    // A file with a hole of eight gigabytes is as long as it says, and is passed over.
    let header = r#"{"a":{"dtype":"U8","shape":[8589934592],"data_offsets":[0,8589934592]}}"#;
    let header = sample::safetensors(header, 0);
    let file = open(&header);
    file.set_len(header.len() as u64 + (8 << 30)).unwrap();
    match examiner.examine(&"hole.safetensors".parse().unwrap(), OPAQUE, None, file) {
        Ok(Facts::Safetensors(weights)) => assert_eq!(weights.parameters, 8 << 30),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ten_thousand_small_files_are_checked_in_one_worker() {
    let mut files: Vec<(String, Vec<u8>)> =
        (0..9_990_u64).map(|at| (format!("files/{at:05}.bin"), sample::noise(64, at))).collect();
    files.extend((0..10).map(|at| (format!("tables/{at}.csv"), b"a,b\n1,2\n".to_vec())));
    let named: Vec<_> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let found = inspect(&Package::of_files(&named)).unwrap();
    assert_eq!((found.files, found.facts.len()), (10_000, 10));
    assert_eq!(found.facts[0].0.as_str(), "tables/0.csv");
    let each_us = found.wall_us / 10_000;
    println!("{each_us} us a file");
}

#[test]
fn an_inspection_says_what_the_files_say() {
    let found = inspect(&model()).unwrap();
    let names: Vec<_> =
        found.facts.iter().map(|(name, facts)| (name.as_str(), facts.format())).collect();
    assert_eq!(names, [("model.onnx", "ONNX")]);
    let data = Package::of_files(&[("a.csv", b"a\n1\n"), ("b.bin", b"\0\xff"), ("c.txt", b"c")]);
    assert_eq!(inspect(&data).unwrap().facts.len(), 1);
}

#[test]
fn what_the_manifest_names_may_be_of_any_format_and_nothing_else() {
    let module = fs::read(format!("{}/prepare/prepare.wasm", crate::package::DIGITS)).unwrap();
    let files: [(&str, &[u8]); 3] =
        [("stage.wasm", &module), ("1.in.csv", b"ragged,\n1\n"), ("1.out.f32", b"\0\0\0\xff")];
    let of = |package: Package| package.with_command("stage.wasm", any_bytes(), floats(64));
    let unnamed = of(Package::of_files(&files));
    match inspect(&unnamed).unwrap_err() {
        Failure::RefusedFormat { file, .. } => assert_eq!(file, "1.in.csv"),
        other => panic!("{other:?}"),
    }
    let named = of(Package::of_files(&files)).with_tests(&[("1", "1.in.csv", "1.out.f32")], 0.0);
    assert!(inspect(&named).is_ok());
    let extra = of(Package::of_files(&[files[0], files[2]]));
    match inspect(&extra).unwrap_err() {
        failure @ Failure::RefusedFormat { .. } => {
            assert!(failure.to_string().contains("no place in a package of kind algorithm"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_beside_a_graph_belong_to_it() {
    let with = |weights: &str| {
        let files = [("m/external.onnx", sample::file("external.onnx")), (weights, &[0, 255][..])];
        let mut package = Package::of_files(&files);
        package.manifest.kind = Kind::Model;
        inspect(&package)
    };
    assert!(with("m/external.onnx.data").is_ok());
    assert!(with("external.onnx.data").is_err());
    assert!(with("a/weights").is_err());
}

#[test]
fn a_file_that_is_gone_or_changed_is_told_apart_from_a_broken_one() {
    let package = Package::of_files(&[("a.json", b"[1]")]);
    package.spoil("a.json", |bytes| bytes.push(b']'));
    assert!(matches!(inspect(&package).unwrap_err(), Failure::FileMismatch { .. }));
}
