//! Proposals: folders as they come from a model hub, a data set, a compiler, a notebook; and what is left open.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use guildhall_client::package::{
    DraftFile, Folder, Overrides, PackageError, Proposal, Question, Source,
};
use guildhall_protocol::facts::{
    ClassifierFacts, Facts, NotebookFacts, OnnxFacts, TableFacts, TensorFacts, WasmFacts,
};
use guildhall_protocol::interface::{Column, Dim, ElementType, Interface, PortType, TensorType};
use guildhall_protocol::manifest::{Code, Kind, OnnxCode};
use tempfile::TempDir;

const CARD: &str = "---\nlicense: apache-2.0\npipeline_tag: image-classification\n\
                    tags: [digits]\nmodel-index:\n- name: Digits MLP\n  results:\n  \
                    - dataset: {name: digits}\n    metrics: [{type: accuracy, value: 98.06}]\n---\n\
                    # Digits\n\nSays which digit a picture shows. And more.\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::Builder::new().prefix("My_Model.").tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn tensor(name: &str, dtype: ElementType, dims: &[Dim]) -> TensorFacts {
    TensorFacts { name: name.into(), tensor: Some(TensorType { dtype, dims: dims.to_vec() }) }
}

fn columns(names: &[&str]) -> TableFacts {
    let column = |name: &&str| Column { name: (*name).to_owned(), dtype: ElementType::Text };
    TableFacts { columns: names.iter().map(column).collect(), rows: None }
}

/// What a worker would say of these files.
fn facts(file: &DraftFile) -> Result<Facts, String> {
    let any = || Dim::Named("n".into());
    let name = file.entry.name.as_str();
    Ok(match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "onnx" => Facts::Onnx(OnnxFacts {
            inputs: vec![tensor("X:0", ElementType::F32, &[any(), Dim::Fixed(64)])],
            outputs: vec![
                tensor("label", ElementType::I64, &[any()]),
                tensor("probabilities", ElementType::F32, &[any(), Dim::Fixed(3)]),
                TensorFacts { name: "map".into(), tensor: None },
            ],
            opset: 17,
            producer: "test".into(),
            nodes: 4,
            parameters: 1_000,
            external: Vec::new(),
            operators: Vec::new(),
            classifier: None,
            number: None,
        }),
        "wasm" if name == "full.wasm" => Facts::Wasm(WasmFacts {
            component: true,
            imports: vec!["guildhall:stage/types@0.1.0".into()],
            exports: vec!["guildhall:stage/scoring@0.1.0".into()],
        }),
        "wasm" if name == "other.wasm" => Facts::Wasm(WasmFacts {
            component: true,
            imports: Vec::new(),
            exports: vec!["wasi:cli/run@0.2.0".into()],
        }),
        "wasm" => Facts::Wasm(WasmFacts {
            component: false,
            imports: Vec::new(),
            exports: vec!["memory".into(), "_start".into()],
        }),
        "csv" if name == "labels.csv" => Facts::Csv(columns(&["file", "label"])),
        "csv" => Facts::Csv(columns(&["a", "b"])),
        "ipynb" => Facts::Notebook(NotebookFacts {
            nbformat: (4, 5),
            language: None,
            kernel: None,
            title: Some("How to read digits".into()),
            code_cells: 1,
            text_cells: 1,
        }),
        _ => return Err("the worker died".into()),
    })
}

fn propose(dir: &Path, overrides: &Overrides) -> Proposal {
    Folder::read(dir, &|_| {}).unwrap().propose(overrides, &mut facts).unwrap()
}

#[test]
fn a_folder_of_a_model_hub_needs_no_description() {
    let labels = r#"{"architectures": ["XForTokenClassification"],
                     "id2label": {"2": "two", "0": "zero", "1": "one"}}"#;
    let files = [
        ("README.md", CARD),
        ("config.json", labels),
        ("model.onnx", "x"),
        ("model.safetensors", "x"),
        (".gitattributes", "x"),
        (".git/config", "x"),
    ];
    let dir = folder(&files);
    let read = Folder::read(dir.path(), &|_| {}).unwrap();
    assert!(!read.is_described());
    let proposal = propose(dir.path(), &Overrides::default());
    assert_eq!(proposal.unsaid(), []);
    let draft = proposal.draft(&read, &Overrides::default()).unwrap();
    draft.request(false).unwrap();
    let (manifest, listing) = (draft.manifest(), draft.listing());
    assert_eq!(manifest.kind, Kind::Model);
    assert_eq!(
        (listing.name.as_str(), listing.version.to_string()),
        ("digits-mlp", "0.1.0".into())
    );
    assert_eq!(listing.categories[0].as_str(), "vision/image-classification", "the card wins");
    assert_eq!(listing.summary, "Says which digit a picture shows.");
    assert_eq!(
        (listing.keywords.as_slice(), manifest.licence.as_str()),
        (&["digits".to_owned()][..], "Apache-2.0")
    );
    assert!((listing.claims.accuracy[0].value - 0.9806).abs() < 1e-9);
    let ports: Vec<_> =
        manifest.interface.inputs.iter().chain(&manifest.interface.outputs).collect();
    let shown: Vec<_> = ports.iter().map(|p| format!("{} {}", p.name, p.port_type)).collect();
    assert_eq!(
        shown,
        ["X_0 tensor(f32, 64)", "probabilities prediction(class, 3 labels)"],
        "the index of the highest score is no port of its own"
    );
    let PortType::Prediction(prediction) = &ports[1].port_type else { panic!("{ports:?}") };
    assert_eq!(prediction.labels, ["zero", "one", "two"], "in order of number");
    let Some(Code::Onnx(code)) = &manifest.code else { panic!("no graph") };
    assert_eq!((code.inputs[0].port.as_str(), code.inputs[0].tensor.as_str()), ("X_0", "X:0"));
    let contract = manifest.contract.as_ref().unwrap();
    assert_eq!((contract.scoring_ms, contract.memory_bytes), (10_000, 257 << 20));
    assert!(proposal.warnings.iter().any(|w| w.contains("guessed")), "{:?}", proposal.warnings);
    assert_eq!(proposal.licence.unwrap().from.to_string(), "from README.md");
    assert_eq!(proposal.interface.unwrap().from.to_string(), "from model.onnx");
}

#[test]
fn without_labels_scores_stay_a_tensor() {
    let dir = folder(&[("README.md", CARD), ("model.onnx", "x")]);
    let outputs = propose(dir.path(), &Overrides::default()).interface.unwrap().value.outputs;
    let shown: Vec<_> = outputs.iter().map(|p| format!("{} {}", p.name, p.port_type)).collect();
    assert_eq!(shown, ["probabilities tensor(f32, 3)"]);
}

#[test]
fn the_proposed_text_is_a_description_that_says_the_same() {
    let dir = folder(&[("README.md", CARD), ("model.onnx", "x")]);
    let read = Folder::read(dir.path(), &|_| {}).unwrap();
    let given = Overrides { replicas: Some(2), ..Overrides::default() };
    let mut proposal = propose(dir.path(), &given);
    // Whoever knows the graph's operators may add which engine it needs.
    match &mut proposal.code.as_mut().unwrap().value {
        Code::Onnx(onnx) => onnx.engine = Some("onnxruntime".into()),
        other => panic!("{other:?}"),
    }
    let first = proposal.draft(&read, &given).unwrap();
    fs::write(dir.path().join("guild.toml"), proposal.text()).unwrap();
    let again = Folder::read(dir.path(), &|_| {}).unwrap();
    assert!(again.is_described());
    let written = again.draft(&Overrides::default()).unwrap();
    assert_eq!(first.manifest().seal().0, written.manifest().seal().0);
    assert_eq!(first.listing(), written.listing());
    let again = propose(dir.path(), &Overrides::default());
    assert_eq!(again.interface.as_ref().unwrap().from, Source::Written);
    assert_eq!(again.text(), proposal.text(), "nothing is added to what is complete");
}

#[test]
fn what_is_written_stays_as_it_is_and_only_what_lacks_is_added() {
    let written = "# mine\nname = \"own\"\nlicence = \"MIT\" # really\n";
    let dir = folder(&[("guild.toml", written), ("README.md", CARD), ("model.onnx", "x")]);
    let given = Overrides {
        licence: Some("ISC".into()),
        version: "3.0.0".parse().ok(),
        ..Overrides::default()
    };
    let proposal = propose(dir.path(), &given);
    let text = proposal.text();
    assert!(text.contains(written), "{text}");
    assert_eq!(text.matches("licence =").count(), 1, "{text}");
    assert!(text.contains("version = \"3.0.0\""), "{text}");
    let read = Folder::read(dir.path(), &|_| {}).unwrap();
    let draft = proposal.draft(&read, &given).unwrap();
    assert_eq!((draft.listing().name.as_str(), draft.manifest().licence.as_str()), ("own", "ISC"));
    let broken = folder(&[("guild.toml", "naem = \"x\"\n")]);
    let error = Folder::read(broken.path(), &|_| {}).unwrap_err();
    assert!(matches!(error, PackageError::Description { line: 1, .. }), "{error}");
}

#[test]
fn ports_without_code_are_not_given_some() {
    let port = "[[interface.inputs]]\nname = \"x\"\ntype = \"text\"\n";
    let dir = folder(&[("guild.toml", port), ("README.md", CARD), ("model.onnx", "x")]);
    let proposal = propose(dir.path(), &Overrides::default());
    assert_eq!((proposal.code, proposal.contract), (None, None));
    assert!(proposal.warnings[0].contains("no [code]"), "{:?}", proposal.warnings);
}

#[test]
fn pictures_with_labels_are_records() {
    let dir = folder(&[
        ("README.md", "Digits on paper.\n"),
        ("images/0.pgm", "P5"),
        ("images/1.pgm", "P5"),
        ("labels.csv", "file,label\n"),
        ("reference.csv", "a,b\n"),
        ("docs/a.png", "x"),
        ("docs/b.png", "x"),
    ]);
    let mut proposal = propose(dir.path(), &Overrides::default());
    assert_eq!(proposal.kind.as_ref().unwrap().value, Kind::Data);
    let keys: Vec<_> = proposal.unsaid().iter().map(|unsaid| unsaid.key).collect();
    assert_eq!(keys, ["categories"]);
    proposal.answer(Question::Category, "vision/image-classification, x/y").unwrap();
    let read = Folder::read(dir.path(), &|_| {}).unwrap();
    let draft = proposal.draft(&read, &Overrides::default()).unwrap();
    let records = draft.manifest().records.as_ref().unwrap();
    assert_eq!((records.folder.as_str(), records.port.as_str()), ("images", "image"));
    assert_eq!(records.labels.as_ref().unwrap().as_str(), "labels.csv");
    assert_eq!(draft.manifest().record_files().count(), 2);
    assert_eq!(draft.listing().categories.len(), 2);
}

#[test]
fn tables_with_the_same_columns_are_one_port_and_others_are_none() {
    let dir = folder(&[("train.csv", "a,b\n"), ("test.csv", "a,b\n")]);
    let proposal = propose(dir.path(), &Overrides::default());
    let port = &proposal.interface.unwrap().value.outputs[0];
    assert_eq!(port.port_type.to_string(), "table(2 columns)");
    assert_eq!(proposal.records, None);
    let dir = folder(&[("train.csv", "a,b\n"), ("labels.csv", "file,label\n")]);
    let proposal = propose(dir.path(), &Overrides::default());
    assert_eq!(proposal.interface, None);
    assert!(proposal.warnings[0].contains("different columns"), "{:?}", proposal.warnings);
}

#[test]
fn a_module_is_an_algorithm_of_bytes_and_a_notebook_is_for_people() {
    let dir = folder(&[("stage.wasm", "x"), ("README.md", "Cleans text.")]);
    let proposal = propose(dir.path(), &Overrides::default());
    assert_eq!(proposal.kind.as_ref().unwrap().value, Kind::Algorithm);
    let ports = proposal.interface.unwrap().value;
    assert_eq!(ports.inputs[0].port_type.to_string(), "bytes");
    assert!(proposal.warnings[0].contains("both ports are bytes"));

    let dir = folder(&[("a.ipynb", "{}"), ("requirements.txt", "numpy"), ("LICENSE", "x")]);
    let proposal = propose(dir.path(), &Overrides::default());
    assert_eq!(proposal.kind.as_ref().unwrap().value, Kind::Notebook);
    let summary = proposal.summary.as_ref().unwrap();
    assert_eq!(
        (summary.value.as_str(), summary.from.to_string()),
        ("How to read digits", "from a.ipynb".into())
    );
    assert_eq!(proposal.interface, None);
    // Beside data it is not the content.
    let dir = folder(&[("a.ipynb", "{}"), ("a.bin", "x")]);
    assert_eq!(propose(dir.path(), &Overrides::default()).kind.unwrap().value, Kind::Data);
}

#[test]
fn a_component_that_scores_is_proposed_and_written_as_one() {
    let dir = folder(&[("full.wasm", "x"), ("README.md", "Cleans text.")]);
    let proposal = propose(dir.path(), &Overrides::default());
    let code = proposal.code.as_ref().unwrap().value.clone();
    assert!(matches!(&code, Code::Component(code) if code.component.as_str() == "full.wasm"));
    assert!(proposal.warnings[0].contains("describe"), "{:?}", proposal.warnings);

    let dir = folder(&[("other.wasm", "x"), ("README.md", "Cleans text.")]);
    let proposal = propose(dir.path(), &Overrides::default());
    assert_eq!(proposal.code, None);
    assert!(proposal.warnings[0].contains("guildhall:stage/scoring"), "{:?}", proposal.warnings);
}

#[test]
fn everything_that_is_missing_is_said_at_once() {
    let dir = folder(&[]);
    let read = Folder::read(dir.path(), &|_| {}).unwrap();
    let proposal = propose(dir.path(), &Overrides::default());
    let error = proposal.draft(&read, &Overrides::default()).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("has no guild.toml"), "{said}");
    assert!(said.ends_with("categories, summary"), "{said}");
    let PackageError::Incomplete { unsaid, .. } = &error else { panic!("{error:?}") };
    assert_eq!(unsaid[1].example, "summary = \"One sentence.\"");
    assert!(error.help().unwrap().contains("guild.toml"));
}

#[test]
fn a_file_that_no_worker_can_look_into_leaves_a_warning_and_no_port() {
    let dir = folder(&[("model.onnx", "x"), ("README.md", CARD)]);
    let read = Folder::read(dir.path(), &|_| {}).unwrap();
    let mut broken = |_: &DraftFile| Err("not a graph at byte 7".to_owned());
    let proposal = read.propose(&Overrides::default(), &mut broken).unwrap();
    assert_eq!((&proposal.interface, &proposal.code, &proposal.contract), (&None, &None, &None));
    assert!(proposal.warnings[0].contains("model.onnx: not a graph at byte 7"));
    // It can be published all the same: it is content that nobody can run.
    proposal.draft(&read, &Overrides::default()).unwrap().request(true).unwrap();
}

/// What `guild publish` makes of a graph with these facts.
fn proposed(change: impl Fn(&mut OnnxFacts)) -> (Interface, OnnxCode) {
    let dir = folder(&[("model.onnx", "x")]);
    let mut changed = |file: &DraftFile| match facts(file)? {
        Facts::Onnx(mut graph) => {
            change(&mut graph);
            Ok(Facts::Onnx(graph))
        }
        other => Ok(other),
    };
    let read = Folder::read(dir.path(), &|_| {}).unwrap();
    let proposal = read.propose(&Overrides::default(), &mut changed).unwrap();
    match proposal.code.unwrap().value {
        Code::Onnx(code) => (proposal.interface.unwrap().value, code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_classifiers_label_and_scores_become_one_port_with_the_graphs_own_classes() {
    let (interface, code) = proposed(|graph| {
        graph.classifier = Some(ClassifierFacts {
            label: Some("label".into()),
            scores: Some("map".into()),
            labels: vec!["3".into(), "8".into()],
        });
    });
    assert_eq!(interface.outputs.len(), 1);
    assert_eq!(interface.outputs[0].port_type.written(), "prediction(class, labels 3|8)");
    let bound: Vec<_> = code.outputs.iter().map(|b| (b.port.as_str(), b.tensor.as_str())).collect();
    assert_eq!(bound, [("prediction", "label"), ("prediction", "map")]);
}

#[test]
fn a_graph_of_columns_takes_a_table_and_a_regressors_output_is_a_number() {
    let one = |name: &str, dtype| tensor(name, dtype, &[Dim::Free, Dim::Fixed(1)]);
    let (interface, code) = proposed(|graph| {
        graph.inputs = vec![one("age", ElementType::F32), one("home town", ElementType::Text)];
        graph.outputs = vec![one("variable", ElementType::F32)];
        graph.number = Some("variable".into());
    });
    assert_eq!(interface.inputs[0].port_type.written(), "table(age:f32, \"home town\":text)");
    assert_eq!(interface.outputs[0].port_type.written(), "prediction(number)");
    assert_eq!(code.inputs.len(), 2);
    assert!(code.inputs.iter().all(|binding| binding.port == "rows"));
}

#[test]
fn an_open_dimension_is_the_batch_only_where_every_input_begins_with_it() {
    use Dim::{Fixed, Free};
    let any = |name: &str| Dim::Named(name.into());
    let shown = |inputs: &[&[Dim]], outputs: &[&[Dim]]| {
        let side = |name: char, side: &[&[Dim]]| -> Vec<_> {
            let each = side.iter().enumerate();
            each.map(|(at, dims)| tensor(&format!("{name}{at}"), ElementType::F32, dims)).collect()
        };
        let (interface, _) = proposed(|graph| {
            (graph.inputs, graph.outputs) = (side('x', inputs), side('y', outputs));
        });
        let side = |ports: &[guildhall_protocol::interface::Port]| -> Vec<_> {
            ports.iter().map(|port| port.port_type.written()).collect()
        };
        (side(&interface.inputs), side(&interface.outputs))
    };
    let both = |inputs: &[&str], outputs: &[&str]| {
        let side = |side: &[&str]| side.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        (side(inputs), side(outputs))
    };
    // As many records as one likes.
    assert_eq!(
        shown(&[&[any("n"), Fixed(64)]], &[&[any("n"), Fixed(3)], &[Free]]),
        both(&["tensor(f32, 64)"], &["tensor(f32, 3)", "tensor(f32)"])
    );
    // One at a time, and as many boxes as there are in it.
    assert_eq!(
        shown(&[&[Fixed(1), Fixed(3), Fixed(8)]], &[&[any("boxes"), Fixed(4)], &[Fixed(1), Free]]),
        both(&["tensor(f32, 3, 8)"], &["tensor(f32, boxes, 4)", "tensor(f32, ?)"])
    );
    assert_eq!(shown(&[&[Fixed(6)]], &[&[Free]]), both(&["tensor(f32, 6)"], &["tensor(f32, ?)"]));
    // What only some inputs leave open is a length of theirs.
    assert_eq!(
        shown(&[&[any("n"), Fixed(2)], &[Fixed(2), Fixed(5)]], &[&[any("n"), Fixed(5)]]),
        both(&["tensor(f32, n, 2)", "tensor(f32, 2, 5)"], &["tensor(f32, n, 5)"])
    );
    assert_eq!(
        shown(&[&[any("n"), Fixed(2)], &[]], &[&[any("n")]]),
        both(&["tensor(f32, n, 2)", "tensor(f32)"], &["tensor(f32, n)"])
    );
}

#[test]
fn as_many_numbers_as_were_found_are_no_score_for_each_label_and_no_index_of_one() {
    let labels = r#"{"id2label": {"0": "zero", "1": "one", "2": "two"}}"#;
    let dir = folder(&[("README.md", CARD), ("model.onnx", "x"), ("config.json", labels)]);
    let found = |dtype, name: &str| tensor(name, dtype, &[Dim::Named("found".into())]);
    let mut detector = |file: &DraftFile| match facts(file)? {
        Facts::Onnx(graph) => Ok(Facts::Onnx(OnnxFacts {
            inputs: vec![tensor("x", ElementType::F32, &[Dim::Fixed(1), Dim::Fixed(64)])],
            outputs: vec![found(ElementType::F32, "scores"), found(ElementType::I64, "classes")],
            ..graph
        })),
        other => Ok(other),
    };
    let read = Folder::read(dir.path(), &|_| {}).unwrap();
    let proposal = read.propose(&Overrides::default(), &mut detector).unwrap();
    let outputs = proposal.interface.unwrap().value.outputs;
    let shown: Vec<_> = outputs.iter().map(|port| port.port_type.written()).collect();
    assert_eq!(shown, ["tensor(f32, found)", "tensor(i64, found)"]);
}

#[test]
fn several_graphs_and_weights_elsewhere_are_not_guessed_about() {
    let dir = folder(&[("a.onnx", "x"), ("b.onnx", "x")]);
    let proposal = propose(dir.path(), &Overrides::default());
    assert!(proposal.code.is_none() && proposal.warnings[0].contains("2 files end in .onnx"));
    let dir = folder(&[("onnx/model.onnx", "x"), ("onnx/model_q4.onnx", "x")]);
    assert!(propose(dir.path(), &Overrides::default()).code.is_some());
    let mut external = |file: &DraftFile| match facts(file)? {
        Facts::Onnx(graph) => {
            Ok(Facts::Onnx(OnnxFacts { external: vec!["model.onnx_data".into()], ..graph }))
        }
        other => Ok(other),
    };
    let read = Folder::read(dir.path(), &|_| {}).unwrap();
    let proposal = read.propose(&Overrides::default(), &mut external).unwrap();
    assert!(proposal.code.is_none() && proposal.warnings[0].contains("model.onnx_data"));
}

#[test]
fn answers_replace_proposals_and_wrong_ones_are_refused() {
    let dir = folder(&[("README.md", CARD), ("model.onnx", "x")]);
    let given = Overrides { version: "1.0.0".parse().ok(), ..Overrides::default() };
    let mut proposal = propose(dir.path(), &given);
    use Question::{Category, Licence, Name, Summary, Version};
    assert_eq!(proposal.questions(), [Name, Category, Licence, Summary], "a version was given");
    assert_eq!(proposal.default_answer(Name).as_deref(), Some("digits-mlp"));
    proposal.answer(Name, "").unwrap();
    assert_eq!(proposal.name.as_ref().unwrap().value.as_str(), "digits-mlp");
    proposal.answer(Name, " other ").unwrap();
    assert_eq!(proposal.name.as_ref().unwrap().value.as_str(), "other");
    for (question, text) in
        [(Name, "Bad Name"), (Version, "1"), (Category, "vision"), (Licence, "my own")]
    {
        assert!(proposal.answer(question, text).is_err(), "{question:?} {text}");
    }
    proposal.answer(Licence, "unknown").unwrap();
    assert_eq!(proposal.questions(), [Category, Summary]);
    proposal.answer(Category, "ocr, Speech to Text, vision/x-scans").unwrap();
    let names: Vec<_> = proposal.categories.iter().flat_map(|said| &said.value).collect();
    let names: Vec<_> = names.into_iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["vision/image-to-text/ocr", "audio/automatic-speech-recognition", "vision/x-scans"]
    );
    let why = proposal.answer(Category, "tranlsation").unwrap_err();
    assert!(why.ends_with("did you mean text/translation?"), "{why}");
}
