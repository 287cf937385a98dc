//! Files that people publish. None of them may be refused, and what is said about them must be so.

use guildhall_protocol::facts::Facts;
use guildhall_protocol::interface::{Dim, ElementType};
use guildhall_protocol::manifest::Kind;
use guildhall_sandbox::{Failure, examine_in_process};

use crate::package::DIGITS;
use crate::sample;

/// A file of the examples.
fn digits(name: &str) -> Vec<u8> {
    std::fs::read(format!("{DIGITS}/{name}")).unwrap()
}

pub(crate) fn examine(name: &str, bytes: &[u8]) -> Result<Facts, Failure> {
    examine_in_process(&name.parse().unwrap(), "application/octet-stream", None, bytes)
}

/// Name, bytes, and what they turn out to be.
fn samples() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut samples: Vec<(&str, Vec<u8>, &str)> = sample::FILES
        .iter()
        .map(|(name, bytes, format)| (*name, bytes.to_vec(), *format))
        .collect();
    samples.extend([
        ("model.onnx", digits("model/model.onnx"), "ONNX"),
        ("prepare.wasm", digits("prepare/prepare.wasm"), "Wasm"),
        ("labels.csv", digits("images/labels.csv"), "CSV"),
        ("reference.csv", digits("images/reference.csv"), "CSV"),
        ("0000.pgm", digits("images/images/0000.pgm"), "opaque"),
        ("1.out.json", digits("model/tests/1.out.json"), "JSON"),
        ("1.in.f32", digits("model/tests/1.in.f32"), "opaque"),
        ("prepare.c", digits("prepare/prepare.c"), "text"),
        ("build.sh", digits("prepare/build.sh"), "text"),
        ("guild.toml", digits("model/guild.toml"), "text"),
        ("README.md", digits("README.md"), "text"),
        ("train.py", digits("train.py"), "text"),
    ]);
    let texts: [(&str, &str, &str); 29] = [
        ("LICENSE", "Permission is hereby granted, free of charge.\n", "text"),
        ("NOTICE", "c\nd\n.", "text"),
        (".gitignore", "config\nbuild\n.env\n", "text"),
        ("empty", "", "text"),
        ("pdf.txt", "%PDF- is how PDF files begin.\n", "text"),
        ("lisp.txt", "(if\nfoo\nbar", "text"),
        ("poem", "N.\n", "text"),
        ("words", "I\u{2019}m \u{4f60}\u{597d} \u{1f600}\n", "text"),
        ("config.yaml", "a: [1, 2]\nb: \"c\"\n", "text"),
        ("page.html", "<html><script>1</script></html>", "text"),
        ("drawing.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "text"),
        ("vocab.txt", "[PAD]\n[UNK]\n.\n", "text"),
        ("merges.txt", "#version: 0.2\n. .\n", "text"),
        ("one.csv", "a\n1\n", "CSV"),
        ("quoted.csv", "a,\"b, c\"\r\n\"1\n2\",\"say \"\"hi\"\"\"\r\n", "CSV"),
        ("bom.csv", "\u{feff}a,b\n1,\n", "CSV"),
        ("header.csv", "a,b,c\n", "CSV"),
        ("blank.csv", "a,b\n\n1,2\n\n", "CSV"),
        ("cats.csv", "cat,dog\n2,3\n.,x\n", "CSV"),
        ("tabs.tsv", "a\tb\n1,5\t2\n", "CSV"),
        ("config.json", "{\"a\": [1, -2.5e3, null], \"b\": {}}\n", "JSON"),
        ("number.json", "17", "JSON"),
        ("escapes.json", r#"["\u00e9\ud83d\ude00\n\"\\"]"#, "JSON"),
        ("twice.json", "{\"a\": 1, \"a\": 2}", "JSON"),
        ("none.jsonl", "", "JSON lines"),
        ("lines.jsonl", "{}\r\n[]\r\n\r\n1", "JSON lines"),
        ("bare.ipynb", r#"{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[]}"#, "notebook"),
        ("tiny.wat", "(module)", "text"),
        ("add.wasm", "\0asm\u{1}\0\0\0", "Wasm"),
    ];
    samples.extend(
        texts.into_iter().map(|(name, text, format)| (name, text.as_bytes().to_vec(), format)),
    );
    samples.extend([
        ("component.wasm", wat::parse_str("(component)").unwrap(), "Wasm"),
        ("latin.bin", b"caf\xe9".to_vec(), "opaque"),
        ("noise.bin", sample::noise(10_000, 1), "opaque"),
        ("zeros.bin", vec![0; 5_000], "opaque"),
        ("mz.bin", [b"MZ".as_slice(), &sample::noise(5_000, 2)].concat(), "opaque"),
        ("almost.bin", b"\x80\x04\x95\x10".to_vec(), "opaque"),
        ("picture.png", sample::png(), "opaque"),
        ("picture.gif", sample::gif(), "opaque"),
        ("photo.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\xff\xd9".to_vec(), "opaque"),
        ("files.zip", sample::zip(&[("a.txt", b"hello"), ("b/c.csv", b"a\n1\n")]), "opaque"),
        ("letter.docx", sample::zip(&[("word/document.xml", b"<w/>")]), "opaque"),
        ("files.tar", sample::tar(&[("a.txt", b"hello"), ("b.bin", b"\x80\x02")]), "opaque"),
        ("data.csv.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03K\xe2\x02\0".to_vec(), "opaque"),
        (
            "weights",
            sample::safetensors(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, 2),
            "safetensors",
        ),
        ("weights.gguf", sample::gguf(&[("a", 0, &[8])], 32), "GGUF"),
    ]);
    samples
}

#[test]
fn none_of_the_good_samples_is_refused() {
    let samples = samples();
    assert!(samples.len() >= 60, "{}", samples.len());
    for (name, bytes, format) in samples {
        match examine(name, &bytes) {
            Ok(facts) => assert_eq!(facts.format(), format, "{name}"),
            Err(failure) => panic!("{failure}"),
        }
    }
}

#[test]
fn every_file_of_the_examples_has_its_place() {
    let folders =
        [("images", Kind::Data), ("prepare", Kind::Algorithm), ("pipeline", Kind::Pipeline)];
    for (folder, kind) in folders {
        let package = crate::package::example(folder);
        for entry in &package.manifest.files {
            let bytes = digits(&format!("{folder}/{}", entry.name));
            // Test vectors need the manifest that names them; whole packages are another test's matter.
            if !entry.name.as_str().ends_with(".f32") {
                let found = examine_in_process(&entry.name, &entry.media_type, Some(kind), &bytes);
                assert!(found.is_ok(), "{found:?}");
            }
        }
    }
}

#[test]
fn a_table_tells_its_columns_and_rows_in_every_format() {
    use ElementType::{Bool, F32, F64, I64, Text, U8};
    let wide = [I64, U8, F32, Bool, Text, Text, Text, Text];
    for name in [
        "table.parquet",
        "groups.parquet",
        "old.parquet",
        "table.feather",
        "table.arrow",
        "table.arrows",
    ] {
        let facts = examine(name, sample::file(name)).unwrap();
        let (Facts::Parquet(table) | Facts::Arrow(table)) = facts else { panic!("{name}") };
        let types: Vec<_> = table.columns.iter().map(|column| column.dtype).collect();
        assert_eq!((types.as_slice(), table.rows), (wide.as_slice(), Some(3)), "{name}");
        assert_eq!(table.columns[6].name, "tags");
    }
    let Facts::Parquet(empty) = examine("e.parquet", sample::file("empty.parquet")).unwrap() else {
        panic!();
    };
    assert_eq!((empty.columns.len(), empty.rows), (8, Some(0)));
    let Facts::Csv(table) = examine("t.csv", sample::file("table.csv")).unwrap() else { panic!() };
    let types: Vec<_> = table.columns.iter().map(|column| column.dtype).collect();
    assert_eq!((types.as_slice(), table.rows), ([I64, F64, Bool, Text].as_slice(), Some(3)));
}

#[test]
fn a_graph_tells_what_goes_in_and_comes_out() {
    let Facts::Onnx(linear) = examine("m.onnx", sample::file("linear.onnx")).unwrap() else {
        panic!();
    };
    assert_eq!((linear.opset, linear.nodes, linear.parameters), (17, 2, 10));
    assert_eq!(linear.producer, "make.py");
    assert_eq!(linear.inputs.len(), 1, "a weight among the inputs is none");
    let tensor = linear.inputs[0].tensor.as_ref().unwrap();
    assert_eq!(tensor.dims, [Dim::Named("batch".into()), Dim::Fixed(4)]);
    assert_eq!((linear.inputs[0].name.as_str(), tensor.dtype), ("x", ElementType::F32));
    assert_eq!((linear.outputs[0].name.as_str(), linear.external.len()), ("y", 0));
    let Facts::Onnx(external) = examine("m.onnx", sample::file("external.onnx")).unwrap() else {
        panic!();
    };
    assert_eq!(
        (external.external, external.parameters),
        (vec!["external.onnx.data".to_owned()], 10)
    );
    let Facts::Onnx(branches) = examine("m.onnx", sample::file("branches.onnx")).unwrap() else {
        panic!();
    };
    assert_eq!((branches.nodes, branches.parameters), (3, 16));
    assert_eq!(branches.outputs[0].tensor, None, "a tensor without a shape has no type of ours");
    let Facts::Onnx(digits) = examine("m.onnx", &digits("model/model.onnx")).unwrap() else {
        panic!();
    };
    assert_eq!((digits.inputs.len(), digits.inputs[0].name.as_str()), (1, "X"));
}

#[test]
fn weights_and_notebooks_and_modules_tell_what_they_are() {
    let Facts::Safetensors(weights) = examine("w", sample::file("weights.safetensors")).unwrap()
    else {
        panic!();
    };
    assert_eq!((weights.tensors, weights.parameters), (3, 132));
    assert!(weights.items.contains(&("a.weight".into(), "F32".into(), vec![4, 32])));
    let Facts::Gguf(weights) = examine("w", sample::file("weights.gguf")).unwrap() else {
        panic!()
    };
    assert_eq!((weights.tensors, weights.parameters), (2, 256));
    assert_eq!(weights.architecture.as_deref(), Some("llama"));
    assert_eq!(weights.dtypes, [("F32".to_owned(), 1), ("Q8_0".to_owned(), 1)]);
    let Facts::Notebook(notebook) = examine("d.ipynb", sample::file("digits.ipynb")).unwrap()
    else {
        panic!();
    };
    assert_eq!((notebook.code_cells, notebook.text_cells, notebook.nbformat.0), (1, 1, 4));
    assert_eq!(notebook.title.as_deref(), Some("Digits"));
    assert_eq!(notebook.language.as_deref(), Some("python"));
    let Facts::Wasm(module) = examine("p.wasm", &digits("prepare/prepare.wasm")).unwrap() else {
        panic!();
    };
    assert!(!module.component && module.exports.contains(&"_start".to_owned()));
    assert!(module.imports[0].starts_with("wasi_snapshot_preview1 "));
}
