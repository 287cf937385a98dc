//! Which stages make a pipeline, what the misfits say, and what a plan needs.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use std::collections::BTreeMap;

use common::{contract, image, package, port, stage};
use guildhall_pipeline::{PipelineError, StageInfo, check, check_input, expand, plan, source_port};
use guildhall_protocol::contract::{Hardware, LimitSet};
use guildhall_protocol::interface::{Dim, ElementType, Interface, PortType, TensorType};
use guildhall_protocol::limits::PIPELINE_MAX_STAGES;
use guildhall_protocol::manifest::{Kind, Manifest, RecordSet, Stage};
use guildhall_protocol::{Hash, RunId};

fn tensor(len: u64) -> PortType {
    PortType::Tensor(TensorType { dtype: ElementType::F32, dims: vec![Dim::Fixed(len)] })
}

fn manifest(kind: Kind) -> Manifest {
    Manifest {
        format: 1,
        kind,
        files: Vec::new(),
        interface: Interface::default(),
        contract: None,
        code: None,
        records: None,
        stages: Vec::new(),
        tests: Vec::new(),
        dependencies: Vec::new(),
        licence: "MIT".into(),
        sensitive: false,
    }
}

#[test]
fn stages_that_fit_make_an_interface_from_the_first_input_to_the_last_output() {
    let stages = [
        stage("prepare", image(&["image/png"]), tensor(64)),
        stage("score", tensor(64), PortType::Text),
    ];
    let whole = check(&stages).unwrap();
    assert_eq!(whole.inputs, stages[0].interface.inputs);
    assert_eq!(whole.outputs, stages[1].interface.outputs);
    assert_eq!(check(&stages[..1]).unwrap(), stages[0].interface);
}

#[test]
fn what_does_not_fit_is_named_with_stages_ports_types_and_reason() {
    let two_outputs = |mut stage: StageInfo| {
        stage.interface.outputs.push(port("more", PortType::Text));
        stage
    };
    let inputs = |mut stage: StageInfo, second_optional: bool, first_optional: bool| {
        stage.interface.inputs[0].optional = first_optional;
        let optional = second_optional;
        let second = port("second", PortType::Text);
        stage.interface.inputs.push(guildhall_protocol::interface::Port { optional, ..second });
        stage
    };
    let text = |name| stage(name, PortType::Text, PortType::Text);
    let cases: Vec<(Vec<StageInfo>, &str)> = vec![
        (vec![], "a pipeline needs at least one stage"),
        (
            vec![text("a"), StageInfo { engine: None, ..text("data") }],
            "stage `data` has no code that an engine executes",
        ),
        (
            vec![stage("prepare", image(&[]), tensor(64)), stage("score", tensor(65), tensor(1))],
            "stage `prepare` yields `out` (tensor(f32, 64)), which does not fit `in` \
             (tensor(f32, 65)) of stage `score`: tensor(f32, 64) is not tensor(f32, 65)",
        ),
        (
            vec![text("a"), text("b"), stage("c", image(&[]), PortType::Text)],
            "stage `b` yields `out` (text), which does not fit `in` (image) of stage `c`: \
             text is not image",
        ),
        (
            vec![two_outputs(text("a")), text("b")],
            "stage `b` has 1 input: in, and stage `a` before it 2 outputs: out, more: an output \
             feeds the input of its name, and only one of each may be called differently",
        ),
        (
            vec![text("a"), inputs(text("b"), false, false)],
            "stage `b` has 2 inputs: in, second, and stage `a` before it 1 output: out: an output \
             feeds the input of its name, and only one of each may be called differently",
        ),
    ];
    for (stages, expected) in cases {
        assert_eq!(check(&stages).unwrap_err().to_string(), expected);
    }
    assert!(check(&[text("a"), inputs(text("b"), true, false)]).is_ok(), "one is optional");
    assert!(check(&[inputs(text("a"), false, false)]).is_ok(), "the first may take several");
    assert!(check(&[text("a"), two_outputs(text("b"))]).is_ok(), "the last may yield several");
    let mut named = two_outputs(text("a"));
    named.interface.outputs[1].name = "second".into();
    let both = [named.clone(), inputs(text("b"), false, false)];
    assert!(check(&both).is_ok(), "one by its name, the other because it is left over");
    named.interface.outputs[1].port_type = tensor(3);
    let misfit = check(&[named, inputs(text("b"), false, false)]).unwrap_err().to_string();
    assert!(misfit.contains("yields `second` (tensor(f32, 3))"), "{misfit}");
    let many: Vec<_> = (0..=PIPELINE_MAX_STAGES).map(|_| text("a")).collect();
    assert_eq!(check(&many), Err(PipelineError::TooMany { count: PIPELINE_MAX_STAGES + 1 }));
    assert!(check(&many[1..]).is_ok());
}

#[test]
fn records_must_fit_the_first_stage() {
    let interface = stage("a", image(&["image/png"]), PortType::Text).interface;
    assert_eq!(check_input(&interface, &image(&["image/png"])), Ok(()));
    assert_eq!(
        check_input(&interface, &image(&["image/gif"])).unwrap_err().to_string(),
        "the records (image(image/gif)) do not fit the input `in` (image(image/png)): \
         image/gif may come, but only image/png is taken"
    );
    let none = check_input(&Interface::default(), &PortType::Text).unwrap_err();
    assert_eq!(
        none.to_string(),
        "a record is one value: one input is required, but there are no inputs"
    );
}

#[test]
fn a_data_packages_records_come_out_of_the_port_it_names() {
    let mut data = manifest(Kind::Data);
    assert_eq!(source_port(&data), None);
    data.interface.outputs = vec![port("labels", PortType::Text), port("images", image(&[]))];
    let folder = "images".parse().unwrap();
    data.records = Some(RecordSet { port: "images".into(), folder, labels: None });
    assert_eq!(source_port(&data), Some(&data.interface.outputs[1]));
}

#[test]
fn a_pipeline_is_expanded_and_anything_else_is_its_only_stage() {
    let model = manifest(Kind::Model);
    let alone = expand("digits", package("m"), &model, |_| None).unwrap();
    assert_eq!(alone, [StageInfo::new("digits", package("m"), &model)]);

    let config = BTreeMap::from([("size".to_owned(), "8".to_owned())]);
    let mut pipeline = manifest(Kind::Pipeline);
    pipeline.stages = vec![Stage {
        name: "first".into(),
        package: package("m"),
        reference: None,
        config: config.clone(),
    }];
    let known = |id| (id == package("m")).then_some(&model);
    let stages = expand("whole", package("p"), &pipeline, known).unwrap();
    assert_eq!(stages, [StageInfo { config, ..StageInfo::new("first", package("m"), &model) }]);

    let missing = expand("whole", package("p"), &pipeline, |_| None).unwrap_err();
    assert!(matches!(missing, PipelineError::NotHere { .. }), "{missing}");
    let nested = expand("whole", package("p"), &pipeline, |_| Some(&pipeline)).unwrap_err();
    assert_eq!(nested, PipelineError::Nested { stage: "first".into() });
}

#[test]
fn a_plan_needs_the_most_that_one_stage_needs() {
    let mut prepare = stage("prepare", PortType::Text, PortType::Text);
    prepare.contract = Some(contract(8 << 20));
    let mut score = stage("score", PortType::Text, PortType::Text);
    score.engine = Some("onnx".into());
    let hardware = Hardware { cores: 4, gpu_memory_bytes: 7 };
    score.contract =
        Some(guildhall_protocol::contract::Contract { hardware, ..contract(64 << 20) });
    let again = stage("again", PortType::Text, PortType::Text);

    let stages = [prepare, score.clone().with_listing(Some(&contract(2 << 20))), again];
    let made = plan(&stages).unwrap();
    assert_eq!(made.engines, ["onnx", "wasm"]);
    assert_eq!(made.memory_bytes, 8 << 20, "the listing's contract is tighter than the manifest's");
    assert_eq!(made.hardware, hardware_of(4, 7));
    assert_eq!(made.names, ["prepare", "score", "again"]);
    assert_eq!(made.stages[1].listing.memory_bytes, Some(2 << 20));
    let asked = LimitSet { queue_ms: Some(700), ..LimitSet::default() };
    let request = made.offer_request(RunId(Hash::of(b"run")), &asked, 2);
    assert_eq!(request.queue_ms, Some(700));
    assert_eq!(request.stages, [package("prepare"), package("score"), package("again")]);
    assert_eq!((request.engines, request.memory_bytes), (made.engines, 8 << 20));

    let looser = score.with_listing(Some(&contract(1 << 40)));
    assert_eq!(looser.memory_bytes(), 64 << 20, "a listing never loosens");
    assert!(plan(&[]).is_err());
}

fn hardware_of(cores: u32, gpu_memory_bytes: u64) -> Hardware {
    Hardware { cores, gpu_memory_bytes }
}
