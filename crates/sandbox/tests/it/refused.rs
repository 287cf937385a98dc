//! Files that must not pass: what executes when it is read, what is two things at once, what lies about itself.

use guildhall_protocol::manifest::Kind;
use guildhall_sandbox::{Failure, examine_in_process};

use crate::sample::{
    field, file, gguf, gguf_head, gguf_text, gif, number, onnx, png, safetensors, tar, zip,
};

/// Calls `os.system` when it is loaded, in protocol 0.
const OLD_PICKLE: &[u8] = b"cos\nsystem\n(S'id'\ntR.";

/// The same in protocol 4.
const PICKLE: &[u8] = b"\x80\x04\x95\x16\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.";

/// A file that must be refused, and a word of the reason.
struct Sample {
    name: &'static str,
    bytes: Vec<u8>,
    why: &'static str,
}

fn sample(name: &'static str, bytes: impl Into<Vec<u8>>, why: &'static str) -> Sample {
    Sample { name, bytes: bytes.into(), why }
}

fn with(bytes: &[u8], appended: &[u8]) -> Vec<u8> {
    [bytes, appended].concat()
}

fn executing() -> Vec<Sample> {
    let torch = zip(&[("archive/data.pkl", PICKLE), ("archive/version", b"3\n")]);
    let script = zip(&[("m/code/__torch__.py", b"pass"), ("m/constants.pkl", b"\x80\x02).")]);
    let keras = zip(&[("config.json", b"{}"), ("model.weights.h5", b"\x89HDF\r\n\x1a\n")]);
    let objects = b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (1,), }";
    let mut objects = objects.to_vec();
    objects.resize(128, b' ');
    vec![
        sample("a.bin", OLD_PICKLE, "pickle"),
        sample("b.bin", &b"(S'id'\nios\nsystem\n."[..], "pickle"),
        sample("c.bin", &b"(cos\nsystem\nS'id'\no."[..], "pickle"),
        sample("d.txt", &b"(lp0\nI1\naI2\na."[..], "pickle"),
        sample("e.bin", &b"cos\nsystem\nq\x00(X\x02\0\0\0idtR."[..], "pickle"),
        sample("f.bin", &b"\x80\x02cos\nsystem\n(U\x02idtR."[..], "pickle"),
        sample("g.bin", &b"\x80\x03cos\nsystem\nC\x02id\x85R."[..], "pickle"),
        sample("h.bin", PICKLE, "pickle"),
        sample("i.bin", &b"\x80\x05\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."[..], "pickle"),
        sample("broken.bin", &PICKLE[..PICKLE.len() - 1], "pickle"),
        sample("behind.bin", with(PICKLE, &[0; 4096]), "pickle"),
        sample(
            "torch.bin",
            with(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80\x02M\xe9\x03."),
            "pickle",
        ),
        sample("model.pkl", &b"anything"[..], ".pkl"),
        sample("model.PICKLE", &b"anything"[..], ".pickle"),
        sample("model.joblib", &b"x\x9c\x63\0\0"[..], ".joblib"),
        sample("model.joblib.gz", &b"\x1f\x8b\x08\0"[..], ".joblib"),
        sample("model.pkl.bz2", &b"BZh91AY&SY"[..], ".pkl"),
        sample("model.pkl.xz", &b"\xfd7zXZ\0"[..], ".pkl"),
        sample("model.pt.7z", &b"7z\xbc\xaf\x27\x1c\0\x04"[..], ".pt"),
        sample("model.dill", &b"anything"[..], ".dill"),
        sample("model.pth", torch.clone(), ".pth"),
        sample("pytorch_model.bin", torch.clone(), "PyTorch"),
        sample("script.bin", script, "PyTorch"),
        sample("prefixed.bin", with(b"\0\0\0\0", &torch), "zip archive is hidden"),
        sample("inside.zip", zip(&[("a/model.pkl", b"x")]), "a/model.pkl"),
        sample("renamed.zip", zip(&[("weights", PICKLE)]), "weights"),
        sample(
            "old.tar",
            tar(&[("sys_info", b""), ("pickle", PICKLE), ("storages", b"")]),
            "pickle",
        ),
        sample("wrapped.tar", tar(&[("readme", b"x"), ("weights", PICKLE)]), "pickle"),
        sample("model.keras", keras.clone(), ".keras"),
        sample("model.zip", keras, "Keras"),
        sample("model.h5", &b"anything"[..], ".h5"),
        sample("weights.bin", &b"\x89HDF\r\n\x1a\n\0"[..], "HDF5"),
        sample("late.bin", with(&[0; 512], b"\x89HDF\r\n\x1a\n\0"), "HDF5"),
        sample("saved_model.pb", &b"\x08\x01"[..], "saved_model.pb"),
        sample("objects.npy", objects.clone(), "objects"),
        sample("objects.npz", zip(&[("a.npy", &objects)]), "objects"),
        sample("table.rds", &b"\x1f\x8b\x08"[..], ".rds"),
        sample("table.bin", &b"RDX3\nX\n"[..], "R file"),
        sample("program", &b"\x7fELF\x02\x01\x01\0"[..], "Linux"),
        sample("program.bin", windows_program(), "Windows"),
        sample("apple.bin", &b"\xcf\xfa\xed\xfe\x07\0\0\x01"[..], "macOS"),
        sample("tool.jar", zip(&[("META-INF/MANIFEST.MF", b"")]), ".jar"),
        sample("java.zip", zip(&[("META-INF/MANIFEST.MF", b""), ("A.class", b"")]), "Java"),
    ]
}

fn windows_program() -> Vec<u8> {
    let mut bytes = vec![0; 256];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes
}

fn two_things() -> Vec<Sample> {
    let archive = zip(&[("a.txt", b"hello")]);
    let whole = file("weights.safetensors");
    vec![
        sample("p.png", with(&png(), &archive), "zip archive is hidden"),
        sample("q.png", with(&png(), b"<?php"), "follow the end"),
        sample("r.gif", &b"GIF89a=1;/*\0\0*/alert(1)//"[..], "GIF"),
        sample("s.gif", with(&gif(), OLD_PICKLE), "follow the end"),
        sample("t.safetensors", with(whole, PICKLE), "follow the header"),
        sample("u.safetensors", with(whole, &archive), "zip archive is hidden"),
        sample("v.onnx", with(file("linear.onnx"), PICKLE), "none of ONNX"),
        sample("w.onnx", with(file("linear.onnx"), b"\0\0\0\0"), "none of ONNX"),
        sample("x.gguf", with(file("weights.gguf"), &[0; 64]), "follow the last"),
        sample("y.pdf", with(b"%PDF-1.7\n%%EOF\n", &archive), "zip archive is hidden"),
        sample("z.parquet", with(file("table.parquet"), &archive), "zip archive is hidden"),
        sample("a.onnx", archive, "begins like an archive"),
        sample("b.png", &b"\xff\xd8\xff\xe0"[..], "begins like a JPEG"),
        sample("c.wasm", with(b"\0asm\x01\0\0\0", b"PK"), "WebAssembly"),
        sample("d.arrows", with(file("table.arrows"), b"more"), "follow the end"),
    ]
}

fn lying_weights() -> Vec<Sample> {
    let of = |header: &str, data_bytes| safetensors(header, data_bytes);
    let tensor = |name: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{to}]}}"#, to - from)
    };
    let many: Vec<String> = (0..65_537).map(|at| tensor(&format!("{at:x}"), 0, 0)).collect();
    let head = [gguf_head(3, 0, 1), gguf_text("a")].concat();
    let inner = [9_u32.to_le_bytes().as_slice(), &1_u64.to_le_bytes()].concat();
    let nested = [head.clone(), 9_u32.to_le_bytes().to_vec(), inner.repeat(8)].concat();
    let alignment = [gguf_head(3, 0, 1), gguf_text("general.alignment")].concat();
    vec![
        sample(
            "overlap.safetensors",
            of(&format!("{{{},{}}}", tensor("a", 0, 4), tensor("b", 2, 6)), 6),
            "overlaps",
        ),
        sample(
            "hole.safetensors",
            of(&format!("{{{},{}}}", tensor("a", 0, 2), tensor("b", 4, 6)), 6),
            "hole",
        ),
        sample("start.safetensors", of(&format!("{{{}}}", tensor("a", 1, 3)), 3), "hole"),
        sample("beyond.safetensors", of(&format!("{{{}}}", tensor("a", 0, 9)), 3), "take 9 bytes"),
        sample("rest.safetensors", of(&format!("{{{}}}", tensor("a", 0, 2)), 5), "5 bytes follow"),
        sample(
            "twice.safetensors",
            of(&format!("{{{},{}}}", tensor("a", 0, 2), tensor("a", 0, 2)), 2),
            "twice",
        ),
        sample(
            "dtype.safetensors",
            of(r#"{"a":{"dtype":"PY","shape":[1],"data_offsets":[0,1]}}"#, 1),
            "unknown type",
        ),
        sample(
            "shape.safetensors",
            of(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}"#, 4),
            "takes 12",
        ),
        sample(
            "large.safetensors",
            of(r#"{"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,0]}}"#, 0),
            "too large",
        ),
        sample(
            "field.safetensors",
            of(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}"#, 1),
            "unknown field",
        ),
        sample("meta.safetensors", of(r#"{"__metadata__":{"a":1}}"#, 0), "header"),
        sample("deep.safetensors", of(&format!("{{\"a\":{}", "[".repeat(1000)), 0), "header"),
        sample("bloat.safetensors", of(&format!("{{}}{}", " ".repeat(5 << 20)), 0), "at most"),
        sample("claims.safetensors", (1_u64 << 40).to_le_bytes(), "at most"),
        sample("short.safetensors", 100_u64.to_le_bytes(), "ends before"),
        sample("many.safetensors", of(&format!("{{{}}}", many.join(",")), 0), "header"),
        sample("version.gguf", gguf_head(1, 0, 0), "version 1"),
        sample("tensors.gguf", gguf_head(3, u64::MAX, 0), "tensors"),
        sample("settings.gguf", gguf_head(3, 0, u64::MAX), "settings"),
        sample("text.gguf", with(&gguf_head(3, 0, 1), &u64::MAX.to_le_bytes()), "at most"),
        sample("nested.gguf", nested, "nested"),
        sample(
            "array.gguf",
            with(&head, &[9, 0, 0, 0, 8, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]),
            "elements",
        ),
        sample("type.gguf", with(&head, &99_u32.to_le_bytes()), "unknown type"),
        sample("align.gguf", with(&alignment, &[4, 0, 0, 0, 3, 0, 0, 0]), "alignment"),
        sample("overlap.gguf", gguf(&[("a", 0, &[16]), ("b", 32, &[8])], 96), "overlaps"),
        sample("outside.gguf", gguf(&[("a", 0, &[16])], 32), "beyond"),
        sample("odd.gguf", gguf(&[("a", 4, &[1])], 32), "not aligned"),
        sample("twice.gguf", gguf(&[("a", 0, &[8]), ("a", 32, &[8])], 64), "twice"),
        sample("huge.gguf", gguf(&[("a", 0, &[u64::MAX, 4])], 32), "too large"),
    ]
}

fn tensor(name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    field(5, &[field(8, name.as_bytes()), parts.concat()].concat())
}

fn lying_graphs() -> Vec<Sample> {
    let external = |location: &str| {
        let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
        onnx(&[tensor("w", &[number(2, 1), number(14, 1), field(13, &entry)])])
    };
    let attribute = |content: &[u8]| field(1, &field(5, content));
    let mut nested = Vec::new();
    for _ in 0..40 {
        nested = attribute(&field(6, &nested));
    }
    let huge = [vec![0x08], vec![0xff; 8], vec![0x3f]].concat();
    vec![
        sample(
            "bomb.onnx",
            onnx(&[tensor("w", &[number(1, 16_000), number(1, 16_000), number(2, 1)])]),
            "takes 256000000",
        ),
        sample("huge.onnx", onnx(&[tensor("w", &[huge.clone(), huge, number(2, 1)])]), "too large"),
        sample(
            "raw.onnx",
            onnx(&[tensor("w", &[number(1, 3), number(2, 1), field(9, &[0; 8])])]),
            "8 bytes",
        ),
        sample("type.onnx", onnx(&[tensor("w", &[number(2, 99)])]), "unknown type"),
        sample("up.onnx", external("../../etc/passwd"), "../../etc/passwd"),
        sample("root.onnx", external("/etc/passwd"), "/etc/passwd"),
        sample("windows.onnx", external("C:\\secret"), "C:"),
        sample(
            "twice.onnx",
            onnx(&[
                tensor("w", &[number(2, 1), field(4, &[0; 4])]),
                tensor("w", &[number(2, 1), field(4, &[0; 4])]),
            ]),
            "two weights",
        ),
        sample("pickled.onnx", onnx(&[attribute(&field(4, PICKLE))]), "pickle"),
        sample("python.onnx", onnx(&[field(1, &field(4, b"PyOp"))]), "calls Python"),
        sample("nested.onnx", onnx(&[nested]), "nested"),
        sample("empty.onnx", Vec::new(), "no graph"),
        sample(
            "ends.onnx",
            [number(1, 7), field(7, b""), field(8, &number(2, 14))].concat(),
            "no output",
        ),
        sample(
            "opset.onnx",
            [number(1, 7), field(7, &field(12, &field(1, b"y")))].concat(),
            "operator set",
        ),
        sample("graphs.onnx", [onnx(&[]), field(7, b"")].concat(), "twice"),
        sample("cut.onnx", &file("linear.onnx")[..100], "ends"),
        sample("text.onnx", &b"this is a model, really"[..], "no type"),
    ]
}

fn lying_tables() -> Vec<Sample> {
    let parquet = file("table.parquet");
    let footer = |len: u32| [b"PAR1".as_slice(), &len.to_le_bytes(), b"PAR1"].concat();
    let list =
        [b"PAR1".as_slice(), &[0x15, 0x02, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let list = with(&list, &[9, 0, 0, 0, b'P', b'A', b'R', b'1']);
    let arrow = file("table.arrow");
    let mut moved = arrow.to_vec();
    // The last block's offset stands in the footer; another number there points into nowhere.
    let at = moved.len() - 10 - footer_len(&moved);
    for byte in &mut moved[at..at + 80] {
        *byte ^= 0x55;
    }
    vec![
        sample("long.parquet", footer(u32::MAX), "at most"),
        sample("longer.parquet", footer(1 << 20), "longer than the file"),
        sample("none.parquet", &b"PAR1PAR1"[..], "end like Parquet"),
        sample("list.parquet", list, "longer than its file"),
        sample("cut.parquet", &parquet[..parquet.len() - 5], "end like Parquet"),
        sample("moved.parquet", with(b"PAR1", &parquet[500..]), "outside the file"),
        sample("secret.parquet", &b"PARE\0\0\0\0PARE"[..], "begin like Parquet"),
        sample("cut.arrow", &arrow[..arrow.len() - 3], "end like Arrow"),
        sample("moved.arrow", moved, "outside"),
        sample("long.arrows", &b"\xff\xff\xff\xff\xf8\xff\xff\x7f"[..], "at most"),
        sample("none.arrows", Vec::new(), "no schema"),
        sample("ragged.csv", &b"a,b\n1,2\n3\n"[..], "line 3"),
        sample("same.csv", &b"a,a\n1,2\n"[..], "twice"),
        sample("unnamed.csv", &b",a\n0,1\n"[..], "no name"),
        sample("latin.csv", &b"a\ncaf\xe9\n"[..], "UTF-8"),
        sample("open.csv", &b"a\n\"never closed"[..], "quote"),
        sample("long.csv", with(b"a\n", &vec![b'x'; 2 << 20]), "longer"),
        sample("binary.csv", &b"a\n\0\n"[..], "zero byte"),
        sample("deep.json", "[".repeat(100_000), "nested"),
        sample("rest.json", &b"{} {}"[..], "follows"),
        sample("cut.json", &b"{\"a\": [1"[..], "does not end"),
        sample("latin.json", &b"\"caf\xe9\""[..], "UTF-8"),
        sample("nan.json", &b"[NaN]"[..], "value"),
        sample("two.jsonl", &b"{}\n{} {}\n"[..], "line 2"),
        sample("old.ipynb", &br#"{"nbformat":3,"nbformat_minor":0,"metadata":{},"cells":[]}"#[..], "format 3"),
        sample("cell.ipynb", &br#"{"nbformat":4,"nbformat_minor":0,"metadata":{},"cells":[{"cell_type":"shell","metadata":{},"source":""}]}"#[..], "shell"),
        sample("list.ipynb", &b"[]"[..], "notebook"),
        sample("cut.wasm", &b"\0asm\x01\0\0\0\x01\xff\xff"[..], "WebAssembly"),
    ]
}

fn footer_len(arrow: &[u8]) -> usize {
    let at = arrow.len() - 10;
    u32::from_le_bytes(arrow[at..at + 4].try_into().unwrap()) as usize
}

#[test]
fn every_hostile_sample_is_refused_with_its_name_and_a_reason() {
    let samples: Vec<Sample> =
        [executing(), two_things(), lying_weights(), lying_graphs(), lying_tables()]
            .into_iter()
            .flatten()
            .collect();
    assert!(samples.len() >= 60, "{}", samples.len());
    let mut wrong: Vec<String> = vec![];
    for Sample { name, bytes, why: wanted } in samples {
        let found =
            examine_in_process(&name.parse().unwrap(), "application/octet-stream", None, &bytes);
        match found {
            Err(failure @ Failure::RefusedFormat { .. }) => {
                let text = failure.to_string();
                let (_, why) = text.split_once(": ").unwrap();
                assert!(text.starts_with(&format!("file `{name}` is refused")), "{text}");
                if !why.contains(wanted) {
                    wrong.push(format!("{text} does not say `{wanted}`"));
                }
                assert!(!text.contains('\n') && failure.is_fault_of_package());
                assert!(failure.help().is_some_and(|help| !help.is_empty()), "{text}");
            }
            other => wrong.push(format!("{name}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_format_has_its_place_in_some_kinds_only() {
    let archive = zip(&[("a.txt", b"hello")]);
    let seven: &[u8] = b"7z\xbc\xaf\x27\x1c\0\x04rest of it";
    let lite: &[u8] = b"\x1c\0\0\0TFL3rest of it";
    let cases: [(&str, &[u8], &[Kind]); 9] = [
        ("files.zip", &archive, &[Kind::Data]),
        ("files.7z", seven, &[Kind::Data]),
        ("model.tflite", lite, &[Kind::Data]),
        ("weights.bin", b"\0\x01\x02\xff", &[Kind::Data, Kind::Notebook]),
        ("loader.py", b"import os\n", &[Kind::Algorithm, Kind::Notebook]),
        ("run", b"#!/bin/sh\nrm -r /\n", &[Kind::Algorithm, Kind::Notebook]),
        ("README.md", b"# Hello\n", &Kind::ALL),
        ("table.parquet", file("table.parquet"), &[Kind::Data, Kind::Notebook]),
        (
            "model.onnx",
            file("linear.onnx"),
            &[Kind::Algorithm, Kind::Model, Kind::Data, Kind::Notebook],
        ),
    ];
    for (name, bytes, allowed) in cases {
        for kind in Kind::ALL {
            let name = name.parse().unwrap();
            let found = examine_in_process(&name, "application/octet-stream", Some(kind), bytes);
            assert_eq!(found.is_ok(), allowed.contains(&kind), "{name} in {kind}: {found:?}");
            if let Err(failure) = found {
                assert!(failure.help().is_some(), "{failure}");
            }
        }
    }
}

#[test]
fn text_of_another_encoding_is_bytes_in_data_and_refused_where_people_read_it() {
    let name = "notes.txt".parse().unwrap();
    for (kind, is_taken) in [(None, true), (Some(Kind::Data), true), (Some(Kind::Model), false)] {
        let found = examine_in_process(&name, "text/plain", kind, b"caf\xe9");
        assert_eq!(found.is_ok(), is_taken, "{found:?}");
    }
}

#[test]
fn a_name_and_a_media_type_must_agree() {
    let examine = |name: &str, media_type: &str, bytes: &[u8]| {
        examine_in_process(&name.parse().unwrap(), media_type, None, bytes)
    };
    for (name, media_type, bytes) in [
        ("a.png", "text/csv", b"a\n1\n".as_slice()),
        ("a.csv", "application/json", b"{}"),
        ("a.png", "image/jpeg", b"\xff\xd8\xff"),
        ("a.pgm", "image/x-portable-graymap", b"GIF89a"),
        ("picture.png", "image/png", b"no picture"),
    ] {
        assert!(
            matches!(examine(name, media_type, bytes), Err(Failure::RefusedFormat { .. })),
            "{name}"
        );
    }
    for (name, media_type, bytes) in [
        ("a.py", "text/x-python", b"1\n".as_slice()),
        (
            "a.ipynb",
            "application/json",
            br#"{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[]}"#,
        ),
        ("a.csv", "text/plain", b"a\n1\n"),
        ("a.toml", "application/toml", b"a = 1\n"),
        ("a.sh", "application/x-sh", b"true\n"),
        ("a.rs", "text/rust", b"fn a() {}\n"),
        ("drawing.svg", "image/svg+xml", b"<svg/>"),
        ("a", "text/csv", b"a\n1\n"),
    ] {
        assert!(examine(name, media_type, bytes).is_ok(), "{name} {media_type}");
    }
}
