//! What scikit-learn's users export with default options, against what onnxruntime makes of it: `make.py` beside this
//! file wrote both down. Each record is one row; all go through a worker in one call.

use std::collections::BTreeMap;

use guildhall_protocol::contract::Determinism;
use guildhall_protocol::facts::Facts;
use guildhall_protocol::interface::{
    Column, Dim, ElementType, Interface, Port, PortType, Prediction, PredictionKind,
    PredictionType, PredictionValue, TableType, TensorType,
};
use guildhall_protocol::manifest::{Binding, Code, Kind, OnnxCode};
use guildhall_protocol::wire::PortValue;
use guildhall_sandbox::{CallLimits, Failure, onnx_lacks};
use serde::Deserialize;
use serde_json::Value;

use crate::package::{PATIENT_MS, Package, patient, port};

const MODELS: &[u8] = include_bytes!("models.bin");
const EXPECTED: &str = include_str!("expected.json");

/// How far results may be from onnxruntime's, relative to their size: both sum in single precision, in other orders.
const TOLERANCE: f64 = 2e-5;

/// Support vectors have large weights of both signs, and onnxruntime adds them up in single precision; the engine does
/// it in double precision and is nearer to scikit-learn.
const VECTORS_TOLERANCE: f64 = 2e-3;

/// A graph, what goes in, and what comes out.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    at: usize,
    len: usize,
    inputs: BTreeMap<String, Values>,
    outputs: BTreeMap<String, Output>,
    /// Dimensions of ports that are not fixed by the values.
    #[serde(default)]
    dims: BTreeMap<String, Vec<Dim>>,
    #[serde(skip)]
    models: &'static [u8],
}

#[derive(Deserialize)]
pub(crate) struct Values {
    #[serde(rename = "type")]
    dtype: String,
    shape: Vec<usize>,
    values: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Output {
    Maps { keys: Vec<String>, rows: Vec<Vec<f64>> },
    Tensor(Values),
}

/// The cases that a script beside this wrote.
pub(crate) fn read(models: &'static [u8], expected: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = serde_json::from_str(expected).unwrap();
    cases.iter_mut().for_each(|case| case.models = models);
    cases
}

fn cases() -> Vec<Case> {
    read(MODELS, EXPECTED)
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

impl Case {
    fn graph(&self) -> &'static [u8] {
        &self.models[self.at..self.at + self.len]
    }

    /// The label set, if the model has classes: as ZipMap or the labels say.
    fn classes(&self) -> Option<Vec<String>> {
        self.outputs.values().find_map(|output| match output {
            Output::Maps { keys, .. } => Some(keys.clone()),
            Output::Tensor(_) => None,
        })
    }

    fn package(&self, inputs: Vec<(Port, Vec<String>)>) -> Package {
        let mut outputs: Vec<(Port, Vec<String>)> = Vec::new();
        if let Some(labels) = self.classes() {
            let prediction =
                PredictionType { value: PredictionKind::Class, labels, location: None };
            let names = self.outputs.keys().cloned().collect();
            outputs.push((port("out", PortType::Prediction(prediction)), names));
        } else {
            for (name, output) in &self.outputs {
                let Output::Tensor(values) = output else { continue };
                outputs.push((port(name, self.port_type(name, values)), vec![name.clone()]));
            }
        }
        package(self.graph(), inputs, outputs)
    }

    /// The type of one row's value.
    fn port_type(&self, name: &str, values: &Values) -> PortType {
        let fixed = || values.shape[1..].iter().map(|size| Dim::Fixed(*size as u64)).collect();
        let dims = self.dims.get(name).cloned().unwrap_or_else(fixed);
        PortType::Tensor(TensorType { dtype: values.dtype(), dims })
    }

    /// A package whose records are rows.
    pub(crate) fn by_rows(&self) -> Package {
        let input = |(name, values): (&String, &Values)| {
            (port(name, self.port_type(name, values)), vec![name.clone()])
        };
        self.package(self.inputs.iter().map(input).collect())
    }

    /// What onnxruntime gave for a row.
    pub(crate) fn output_bytes(&self, name: &str, row: usize) -> Vec<u8> {
        match &self.outputs[name] {
            Output::Tensor(values) => values.row_bytes(row),
            Output::Maps { .. } => panic!("{name} is no tensor"),
        }
    }

    /// What is wrong when all rows go through a worker in one call, if anything.
    pub(crate) fn wrong(&self, tolerance: f64) -> Option<String> {
        let package = self.by_rows();
        let records: Vec<_> = (0..self.rows()).map(|row| self.record(row)).collect();
        let scored = package.start(&patient()).and_then(|mut w| w.score_all(records, &limits()));
        let batch = match scored {
            Ok(batch) => batch,
            Err(failure) => return Some(format!("{}: {failure}", self.name)),
        };
        assert_eq!(batch.records.len(), self.rows(), "{}", self.name);
        let found =
            batch.records.into_iter().enumerate().find_map(|(row, outputs)| match outputs {
                Ok(outputs) => difference(self, row, &outputs, tolerance),
                Err(failure) => Some(format!("row {row}: {failure}")),
            });
        found.map(|found| format!("{}: {found}", self.name))
    }

    pub(crate) fn rows(&self) -> usize {
        self.inputs.values().next().unwrap().shape[0]
    }

    pub(crate) fn record(&self, row: usize) -> Vec<PortValue> {
        let inputs = self.inputs.iter();
        inputs.map(|(name, values)| PortValue::new(name, values.row_bytes(row))).collect()
    }
}

impl Values {
    fn width(&self) -> usize {
        self.shape[1..].iter().product()
    }

    fn dtype(&self) -> ElementType {
        match self.dtype.as_str() {
            "float32" => ElementType::F32,
            "float64" => ElementType::F64,
            "int64" => ElementType::I64,
            "text" => ElementType::Text,
            other => panic!("{other}"),
        }
    }

    fn row(&self, row: usize) -> &[Value] {
        &self.values[row * self.width()..(row + 1) * self.width()]
    }

    fn row_bytes(&self, row: usize) -> Vec<u8> {
        let row = self.row(row);
        match self.dtype() {
            ElementType::Text => serde_json::to_vec(row).unwrap(),
            ElementType::I64 => {
                row.iter().flat_map(|v| v.as_i64().unwrap().to_le_bytes()).collect()
            }
            ElementType::F64 => row.iter().flat_map(|v| number(v).to_le_bytes()).collect(),
            _ => row.iter().flat_map(|v| (number(v) as f32).to_le_bytes()).collect(),
        }
    }
}

/// Numbers that JSON has no form for are texts.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn package(
    graph: &[u8],
    inputs: Vec<(Port, Vec<String>)>,
    outputs: Vec<(Port, Vec<String>)>,
) -> Package {
    let bindings = |side: &[(Port, Vec<String>)]| {
        let each = side.iter().flat_map(|(port, tensors)| {
            tensors.iter().map(|tensor| Binding { port: port.name.clone(), tensor: tensor.clone() })
        });
        each.collect::<Vec<_>>()
    };
    let code = OnnxCode {
        engine: None,
        model: "m.onnx".parse().unwrap(),
        inputs: bindings(&inputs),
        outputs: bindings(&outputs),
    };
    let ports = |side: Vec<(Port, Vec<String>)>| side.into_iter().map(|(port, _)| port).collect();
    let mut package = Package::of_files(&[("m.onnx", graph)]);
    package.manifest.kind = Kind::Model;
    package.manifest.interface = Interface { inputs: ports(inputs), outputs: ports(outputs) };
    package.manifest.contract = Some(crate::package::contract());
    package.manifest.contract.as_mut().unwrap().determinism = Determinism::Numeric;
    package.manifest.code = Some(Code::Onnx(code));
    package.manifest.check().unwrap();
    package
}

pub(crate) fn limits() -> CallLimits {
    CallLimits { scoring_ms: PATIENT_MS, output_bytes: 1 << 20, seed: 0 }
}

fn is_near(found: f64, wanted: f64, tolerance: f64) -> bool {
    found == wanted
        || found.is_nan() && wanted.is_nan()
        || (found - wanted).abs() <= tolerance * wanted.abs().max(1.0)
}

fn class_of(prediction: &Prediction) -> &str {
    match &prediction.value {
        PredictionValue::Class(class) => class,
        other => panic!("{other:?}"),
    }
}

/// What differs between a record's outputs and row `row` of what onnxruntime gave.
pub(crate) fn difference(
    case: &Case,
    row: usize,
    outputs: &[PortValue],
    tolerance: f64,
) -> Option<String> {
    if case.classes().is_some() {
        let found: Vec<Prediction> = serde_json::from_slice(&outputs[0].bytes).unwrap();
        return class_difference(case, row, &found[0]);
    }
    for (name, output) in &case.outputs {
        let Output::Tensor(wanted) = output else { continue };
        let found = &outputs.iter().find(|value| value.port == *name).unwrap().bytes;
        let found: Vec<f64> = match wanted.dtype() {
            ElementType::F32 => {
                let (numbers, _) = found.as_chunks::<4>();
                numbers.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            }
            ElementType::F64 => {
                let (numbers, _) = found.as_chunks::<8>();
                numbers.iter().map(|b| f64::from_le_bytes(*b)).collect()
            }
            ElementType::I64 => {
                let (numbers, _) = found.as_chunks::<8>();
                numbers.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
            }
            _ => {
                let found: Vec<Value> = serde_json::from_slice(found).unwrap();
                if found != wanted.row(row) {
                    return Some(format!("{name}: {found:?}, not {:?}", wanted.row(row)));
                }
                continue;
            }
        };
        let wanted: Vec<f64> = wanted.row(row).iter().map(number).collect();
        let near = if case.name.contains("svr_") { VECTORS_TOLERANCE } else { tolerance };
        let mut pairs = found.iter().zip(&wanted);
        if found.len() != wanted.len() || !pairs.all(|(f, w)| is_near(*f, *w, near)) {
            return Some(format!("{name} row {row}: {found:?}, not {wanted:?}"));
        }
    }
    None
}

fn class_difference(case: &Case, row: usize, found: &Prediction) -> Option<String> {
    let mut wanted_score = None;
    for output in case.outputs.values() {
        match output {
            Output::Tensor(labels) => {
                let wanted = &labels.values[row];
                let wanted = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
                if class_of(found) != wanted {
                    return Some(format!("row {row}: class {}, not {wanted}", class_of(found)));
                }
            }
            Output::Maps { keys, rows } => {
                let at = keys.iter().position(|key| key == class_of(found)).unwrap();
                let is_probability = rows[row].iter().all(|score| (0.0..=1.0).contains(score))
                    && (rows[row].iter().sum::<f64>() - 1.0).abs() < 1e-3;
                wanted_score = is_probability.then_some(rows[row][at]);
            }
        }
    }
    match (found.confidence, wanted_score) {
        (Some(found), Some(wanted)) if is_near(found, wanted, TOLERANCE) => None,
        (None, None) => None,
        (found, wanted) => Some(format!("row {row}: confidence {found:?}, not {wanted:?}")),
    }
}

#[test]
fn what_scikit_learn_exports_by_default_gives_what_onnxruntime_gives() {
    let wrong: Vec<String> = cases().iter().filter_map(|case| case.wrong(TOLERANCE)).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Age and weight as numbers, town and size as texts; a cell is missing here and there.
fn csv(case: &Case) -> String {
    let columns: Vec<&String> = case.inputs.keys().collect();
    let mut text = columns.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",") + "\n";
    for row in 0..case.rows() {
        let cells: Vec<String> = case
            .inputs
            .values()
            .map(|values| match &values.values[row] {
                Value::String(text) if text == "nan" => String::new(),
                Value::String(text) => format!("\"{text}\""),
                number => number.to_string(),
            })
            .collect();
        text += &(cells.join(",") + "\n");
    }
    text
}

fn table_port(case: &Case) -> (Port, Vec<String>) {
    let column = |(name, values): (&String, &Values)| Column {
        name: name.clone(),
        dtype: if values.dtype() == ElementType::Text {
            ElementType::Text
        } else {
            ElementType::F64
        },
    };
    let table = TableType { columns: case.inputs.iter().map(column).collect() };
    (port("rows", PortType::Table(table)), case.inputs.keys().cloned().collect())
}

#[test]
fn a_table_feeds_a_column_transformer_and_each_row_gets_its_prediction() {
    for name in ["columns_logistic", "columns_forest"] {
        let case = case(name);
        let package = case.package(vec![table_port(&case)]);
        let mut worker = package.start(&patient()).unwrap();
        let record = || vec![PortValue::new("rows", csv(&case).into_bytes())];
        let batch = worker.score_all(vec![record(), record()], &limits()).unwrap();
        for outputs in batch.records {
            let found: Vec<Prediction> =
                serde_json::from_slice(&outputs.unwrap()[0].bytes).unwrap();
            assert_eq!(found.len(), case.rows());
            for (row, prediction) in found.iter().enumerate() {
                assert_eq!(prediction.input, row as u64);
                assert_eq!(class_difference(&case, row, prediction), None, "{name}");
            }
        }
    }
}

#[test]
fn a_bad_cell_fails_its_record_alone_and_says_where_it_is() {
    let case = case("columns_logistic");
    let package = case.package(vec![table_port(&case)]);
    let good = csv(&case);
    let bad = good.replacen("\n", "\nold,\"M\",\"Bern\",3.5\n", 1);
    let records = [good.clone(), bad, good]
        .map(|text| vec![PortValue::new("rows", text.into_bytes())])
        .to_vec();
    let mut worker = package.start(&patient()).unwrap();
    let batch = worker.score_all(records, &limits()).unwrap();
    assert!(batch.records[0].is_ok() && batch.records[2] == batch.records[0]);
    let why = "port `rows`: line 2, column `age`: `old` is no number".to_owned();
    assert_eq!(batch.records[1], Err(Failure::BadInput { why }));
}

#[test]
fn a_graph_says_which_classes_it_knows_and_which_operators_it_needs() {
    let facts = |name: &str| match crate::good::examine("m.onnx", case(name).graph()).unwrap() {
        Facts::Onnx(facts) => facts,
        other => panic!("{other:?}"),
    };
    let forest = facts("forest_text_labels");
    let classes = forest.classifier.unwrap();
    assert_eq!(classes.label.as_deref(), Some("output_label"));
    assert_eq!(classes.scores.as_deref(), Some("output_probability"));
    assert_eq!(classes.labels, ["setosa", "versicolor", "virginica"]);
    assert!(forest.operators.contains(&"ai.onnx.ml.TreeEnsembleClassifier".to_owned()));
    assert_eq!(onnx_lacks(&forest.operators), Vec::<String>::new());
    let bare = facts("bare_logistic").classifier.unwrap();
    assert_eq!(bare.scores.as_deref(), Some("probabilities"));
    assert_eq!(facts("svc_rbf").classifier.unwrap().labels, ["0", "1", "2"]);
    assert_eq!(facts("ridge").number.as_deref(), Some("variable"));
    assert_eq!(facts("mlp_regressor").number.as_deref(), Some("variable"));
    assert_eq!((facts("linear_two_targets").number, facts("scaler").classifier), (None, None));
    let texts = facts("columns_logistic").inputs.into_iter().find(|input| input.name == "town");
    assert_eq!(texts.unwrap().tensor.unwrap().dtype, ElementType::Text);
    let odd = ["Conv", "com.microsoft.Tokenizer", "Loop"].map(str::to_owned);
    assert_eq!(onnx_lacks(&odd), ["com.microsoft.Tokenizer", "Loop"]);
}

#[test]
fn what_make_py_wrote_is_what_is_read() {
    for (name, bytes, hash) in [
        (
            "sklearn/models.bin",
            MODELS,
            "f874f33abd8398cd808aa6c9bf736bb08b3bd99f3faff9ede6559c492fb938a2",
        ),
        (
            "sklearn/expected.json",
            EXPECTED.as_bytes(),
            "78cb63e3b9614d27aa088c6aadbe43b05e4d700dbe56c79a55cce123f0eb0d75",
        ),
        (
            "torch/models.bin",
            include_bytes!("../torch/models.bin").as_slice(),
            "260bb8f454da4b27c810db28e25b469df79d04d97cd3482ab65cb71cf9a09fcd",
        ),
        (
            "torch/expected.json",
            include_bytes!("../torch/expected.json").as_slice(),
            "2905e041a3f65ea5c0748d801992a4b7d3226a4aa3e2519470395769d473d48e",
        ),
    ] {
        assert_eq!(guildhall_protocol::Hash::of(bytes).to_hex(), hash, "{name}");
    }
}
