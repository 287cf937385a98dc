//! ONNX's own tests of operators through the engine. Not a test of anything by itself: `tests/it/operators/report.py`
//! writes the cases, runs this, and makes a page of what it says.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Deserialize;
use tract_onnx::prelude::{
    DatumType, InferenceFact, IntoTValue as _, IntoTensor as _, TVec, Tensor,
};

use super::*;

/// Where the cases lie: a graph and a file of its inputs and outputs each.
const FOLDER: &str = "GUILDHALL_OPERATOR_TESTS";

/// What single precision loses in sums near zero.
const ROUNDING: f64 = 1e-5;

#[derive(Deserialize)]
struct Case {
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    rtol: f64,
    atol: f64,
}

#[derive(Deserialize)]
struct Value {
    name: String,
    #[serde(rename = "type")]
    dtype: String,
    shape: Vec<usize>,
    #[serde(default)]
    hex: String,
    #[serde(default)]
    texts: Vec<String>,
}

impl Value {
    fn tensor(&self) -> Tensor {
        use guildhall_protocol::interface::ElementType as E;
        let dtype = match self.dtype.as_str() {
            "bool" => E::Bool,
            "uint8" => E::U8,
            "int8" => E::I8,
            "uint16" => E::U16,
            "int16" => E::I16,
            "uint32" => E::U32,
            "int32" => E::I32,
            "uint64" => E::U64,
            "int64" => E::I64,
            "float16" => E::F16,
            "float32" => E::F32,
            "float64" => E::F64,
            _ => return tensor::made(&self.shape, self.texts.clone()).unwrap(),
        };
        let bytes: Vec<u8> = (0..self.hex.len() / 2)
            .map(|at| u8::from_str_radix(&self.hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        tensor::from_bytes(dtype, &self.shape, &bytes).unwrap()
    }
}

/// What goes wrong with a case, if anything.
fn run(graph: &Path, case: &Case) -> Result<(), String> {
    let reader = reader();
    let bytes = std::fs::read(graph).unwrap();
    let proto = reader.proto_model_for_read(&mut bytes.as_slice()).map_err(|e| format!("{e:#}"))?;
    let wanted: Vec<&str> = case.outputs.iter().map(|value| value.name.as_str()).collect();
    let source = Source::new(&reader, proto, &wanted).map_err(|failure| failure.to_string())?;
    let mut model = reader.model_for_proto_model(&source.proto).map_err(|e| format!("{e:#}"))?;
    let outlets = model.input_outlets().map_err(|e| format!("{e:#}"))?.to_vec();
    let mut inputs = TVec::new();
    for (at, outlet) in outlets.iter().enumerate() {
        let name = model.node(outlet.node).name.clone();
        let value = case.inputs.iter().find(|value| value.name == name);
        let tensor = value.ok_or("an input is missing")?.tensor();
        let fact = InferenceFact::dt_shape(tensor.datum_type(), tensor.shape());
        model.set_input_fact(at, fact).map_err(|e| format!("{e:#}"))?;
        inputs.push(tensor.into_tvalue());
    }
    let plan = model.into_optimized().and_then(|model| model.into_runnable());
    let found = plan.and_then(|plan| plan.run(inputs)).map_err(|e| format!("{e:#}"))?;
    for (found, wanted) in found.into_iter().zip(&case.outputs) {
        let (found, expected) = (found.into_tensor(), wanted.tensor());
        if found.shape() != expected.shape() {
            return Err(format!("shape {:?}, not {:?}", found.shape(), expected.shape()));
        }
        let found = found.cast_to_dt(expected.datum_type()).map_err(|e| format!("{e:#}"))?;
        if expected.datum_type() == DatumType::String {
            if *found != expected {
                return Err(format!("{found:?}, not {expected:?}"));
            }
            continue;
        }
        let numbers = |tensor: &Tensor| -> Vec<f64> {
            let cast = tensor.cast_to::<f64>().unwrap();
            cast.try_as_plain_ram().unwrap().as_slice::<f64>().unwrap().to_vec()
        };
        for (found, wanted) in numbers(&found).iter().zip(numbers(&expected)) {
            let near = (found - wanted).abs() <= case.atol.max(ROUNDING) + case.rtol * wanted.abs();
            if !(near || *found == wanted || found.is_nan() && wanted.is_nan()) {
                return Err(format!("{found}, not {wanted}"));
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "a report; tests/it/operators/report.py runs it"]
fn report() {
    std::panic::set_hook(Box::new(|_| {}));
    let folder = std::env::var(FOLDER).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let case: Case = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let graph = path.with_extension("onnx");
        let attempt = |graph: &Path| catch_unwind(AssertUnwindSafe(|| run(graph, &case)));
        let ended = match attempt(&graph) {
            Ok(Ok(())) => Ok(Ok(())),
            _ => attempt(&path.with_extension("fixed")),
        };
        let said = match ended {
            Ok(Ok(())) => "pass".to_owned(),
            Ok(Err(why)) => {
                why.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
            }
            Err(_) => "panic".to_owned(),
        };
        println!("case\t{}\t{said}", path.file_stem().unwrap().to_str().unwrap());
    }
}
