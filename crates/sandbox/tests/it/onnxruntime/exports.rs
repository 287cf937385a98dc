//! What scikit-learn's users export runs as it is, and says what onnxruntime in Python says.

use guildhall_protocol::interface::{
    Dim, ElementType, Port, PortType, Prediction, PredictionKind, PredictionType, PredictionValue,
    TensorType,
};
use guildhall_protocol::manifest::{Binding, Code, OnnxCode};
use guildhall_protocol::wire::PortValue;
use guildhall_sandbox::CallLimits;

use super::{start, with_library, with_rounding};
use crate::package::{PATIENT_MS, Package, patient, port};

/// Farthest that a score may be from Python's, both in single precision.
const TOLERANCE: f64 = 1e-6;

const LIMITS: CallLimits = CallLimits { scoring_ms: PATIENT_MS, output_bytes: 1 << 20, seed: 0 };

fn prediction(value: PredictionKind, labels: &[&str]) -> PortType {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    PortType::Prediction(PredictionType { value, labels, location: None })
}

/// A package of this graph. Each port has the name of its tensor.
fn package(graph: &[u8], inputs: Vec<Port>, outputs: Vec<Port>) -> Package {
    let any = PortType::Tensor(TensorType { dtype: ElementType::F32, dims: vec![Dim::Free] });
    let mut package = Package::of_files(&[("model.onnx", graph)]).with_graph(
        "model.onnx",
        ("X", any.clone()),
        ("Y", any),
    );
    let bindings = |ports: &[Port]| {
        ports
            .iter()
            .map(|port| Binding { port: port.name.clone(), tensor: port.name.clone() })
            .collect()
    };
    package.manifest.code = Some(Code::Onnx(OnnxCode {
        engine: None,
        model: "model.onnx".parse().unwrap(),
        inputs: bindings(&inputs),
        outputs: bindings(&outputs),
    }));
    package.manifest.interface.inputs = inputs;
    package.manifest.interface.outputs = outputs;
    with_rounding(package)
}

fn floats(value: &serde_json::Value) -> Vec<u8> {
    let numbers = value.as_array().unwrap().iter();
    #[expect(clippy::cast_possible_truncation, reason = "Python wrote single-precision numbers")]
    let single = |number: &serde_json::Value| number.as_f64().unwrap() as f32;
    numbers.map(single).flat_map(f32::to_le_bytes).collect()
}

fn text(value: &serde_json::Value) -> Vec<u8> {
    value[0].as_str().unwrap().as_bytes().to_vec()
}

/// Scores all records at once and one by one, and compares both with what Python said.
fn agree_with_python(
    package: &Package,
    labels: &[&str],
    said: &str,
    values: impl Fn(&serde_json::Value) -> Vec<PortValue>,
) {
    let Some(spawner) = with_library() else { return };
    let said: Vec<serde_json::Value> = serde_json::from_str(said).unwrap();
    let records: Vec<_> = said.iter().map(|record| values(&record["inputs"])).collect();
    let mut worker = start(&spawner, package, &patient()).unwrap();
    let stacked = worker.score_all(records.clone(), &LIMITS).unwrap().records;
    assert_eq!(stacked.len(), said.len());
    for ((record, together), said) in records.into_iter().zip(stacked).zip(said) {
        let alone = worker.score(record).unwrap().outputs;
        for outputs in [together.unwrap(), alone] {
            let read = |at: usize| -> Vec<Prediction> {
                serde_json::from_slice(&outputs[at].bytes).unwrap()
            };
            let (label, scores) = (read(0), read(1));
            let class = PredictionValue::Class(said["label"].as_str().unwrap().into());
            assert_eq!(label[0].value, class);
            let PredictionValue::Vector(found) = &scores[0].value else { panic!("{scores:?}") };
            for (found, label) in found.iter().zip(labels) {
                let wanted = said["scores"][label].as_f64().unwrap();
                assert!((found - wanted).abs() <= TOLERANCE, "{label}: {found}, not {wanted}");
            }
        }
    }
}

#[test]
fn a_forest_with_string_labels_names_its_classes() {
    let labels = ["setosa", "versicolor", "virginica"];
    let x = PortType::Tensor(TensorType { dtype: ElementType::F32, dims: vec![Dim::Fixed(4)] });
    let package = package(
        include_bytes!("forest.onnx"),
        vec![port("X", x)],
        vec![
            port("output_label", prediction(PredictionKind::Class, &labels)),
            port("output_probability", prediction(PredictionKind::Vector, &labels)),
        ],
    );
    agree_with_python(&package, &labels, include_str!("forest.json"), |inputs| {
        vec![PortValue::new("X", floats(&inputs["X"]))]
    });
}

#[test]
fn the_list_of_maps_makes_a_class_with_its_confidence() {
    let Some(spawner) = with_library() else { return };
    let x = PortType::Tensor(TensorType { dtype: ElementType::F32, dims: vec![Dim::Fixed(4)] });
    let classes = prediction(PredictionKind::Class, &["virginica", "versicolor", "setosa"]);
    let package = package(
        include_bytes!("forest.onnx"),
        vec![port("X", x)],
        vec![port("output_probability", classes)],
    );
    let mut worker = start(&spawner, &package, &patient()).unwrap();
    let said: Vec<serde_json::Value> = serde_json::from_str(include_str!("forest.json")).unwrap();
    let first = PortValue::new("X", floats(&said[0]["inputs"]["X"]));
    let outputs = worker.score(vec![first]).unwrap().outputs;
    let found: Vec<Prediction> = serde_json::from_slice(&outputs[0].bytes).unwrap();
    let label = said[0]["label"].as_str().unwrap();
    assert_eq!(found[0].value, PredictionValue::Class(label.into()));
    let wanted = said[0]["scores"][label].as_f64().unwrap();
    assert!((found[0].confidence.unwrap() - wanted).abs() <= TOLERANCE);
}

/// The package of `columns.onnx`, with this graph.
pub(super) fn columns(graph: &[u8]) -> Package {
    let labels = ["high", "low"];
    let one = PortType::Tensor(TensorType { dtype: ElementType::F32, dims: vec![Dim::Fixed(1)] });
    package(
        graph,
        vec![port("city", PortType::Text), port("kind", PortType::Text), port("size", one)],
        vec![
            port("output_label", prediction(PredictionKind::Class, &labels)),
            port("output_probability", prediction(PredictionKind::Vector, &labels)),
        ],
    )
}

#[test]
fn columns_of_text_and_numbers_are_inputs_of_their_own() {
    let (package, labels) = (columns(include_bytes!("columns.onnx")), ["high", "low"]);
    agree_with_python(&package, &labels, include_str!("columns.json"), |inputs| {
        vec![
            PortValue::new("city", text(&inputs["city"])),
            PortValue::new("kind", text(&inputs["kind"])),
            PortValue::new("size", floats(&inputs["size"])),
        ]
    });
}
