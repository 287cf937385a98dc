//! Graphs asked with tensors that fit, and with everything else.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{
    ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto,
};

use super::value::check_len;
use super::*;

/// 64 numbers in, a label and ten probabilities out; see `examples/digits`.
const DIGITS: &[u8] = include_bytes!("../../../../../../examples/digits/model/model.onnx");

/// The package's own test: a nine.
const NINE: &[u8] = include_bytes!("../../../../../../examples/digits/model/tests/1.in.f32");

fn floats(dims: &[u32], numbers: &[f32]) -> Value {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Value { dtype: ElementType::F32, dims: dims.to_vec(), bytes }
}

fn numbers(value: &Value) -> Vec<f32> {
    assert_eq!(value.dtype, ElementType::F32);
    value.bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

/// Rows of the nine.
fn nines(rows: u32) -> Value {
    let bytes = NINE.repeat(usize::try_from(rows).unwrap());
    Value { dtype: ElementType::F32, dims: vec![rows, 64], bytes }
}

/// A tensor of a graph; a size of 0 is left open.
fn named(name: &str, dtype: DataType, sizes: &[i64]) -> ValueInfoProto {
    let dim = |size: &i64| tensor_shape_proto::Dimension {
        value: (*size != 0).then_some(dimension::Value::DimValue(*size)),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: sizes.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: dtype as i32, shape: Some(shape) };
    let value = Some(type_proto::Value::TensorType(tensor));
    let r#type = Some(TypeProto { value, ..TypeProto::default() });
    ValueInfoProto { name: name.to_owned(), r#type, ..ValueInfoProto::default() }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        name: output.to_owned(),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn model(
    inputs: &[ValueInfoProto],
    nodes: &[NodeProto],
    outputs: &[ValueInfoProto],
) -> Result<Model, Failure> {
    let graph = GraphProto {
        input: inputs.to_vec(),
        node: nodes.to_vec(),
        output: outputs.to_vec(),
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: String::new(), version: 14 };
    let proto = ModelProto {
        ir_version: 7,
        graph: Some(graph),
        opset_import: vec![opset],
        ..ModelProto::default()
    };
    let mut model = Model::of(&reader(), proto)?;
    model.open = model.open_plan()?;
    Ok(model)
}

#[test]
fn a_graph_is_asked_for_any_number_of_rows_and_answers_the_same_each_time() {
    let model = Model::load(DIGITS).unwrap();
    assert_eq!((model.inputs(), model.input("X"), model.input("x")), (1, Some(0), None));
    let places: Vec<_> = (0..3).map(|at| model.output(at)).collect();
    assert_eq!(places, [Some("label"), Some("probabilities"), None]);
    let one = model.run(&[Some(&nines(1))]).unwrap();
    let label = one[0].as_ref().unwrap();
    assert_eq!(
        (label.dtype, label.bytes.as_slice()),
        (ElementType::I64, &[9, 0, 0, 0, 0, 0, 0, 0][..])
    );
    let scores = numbers(one[1].as_ref().unwrap());
    assert!((scores[9] - 0.754_580_1).abs() < 1e-4, "{scores:?}");
    for rows in [1, 2, 7, 1, 300] {
        let many = model.run(&[Some(&nines(rows))]).unwrap();
        let many = many[1].as_ref().unwrap();
        assert_eq!(many.dims, [rows, 10]);
        for row in numbers(many).chunks(10) {
            assert!(row.iter().zip(&scores).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }
    assert_eq!(model.run(&[Some(&nines(1))]).unwrap(), one, "to the last bit");
}

#[test]
fn a_tensor_that_does_not_fit_is_named_with_its_input() {
    let model = Model::load(DIGITS).unwrap();
    let ask = |value: Option<&Value>| match model.run(&[value]) {
        Err(Trouble::Argument(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(ask(None).contains("input `X`: there is no tensor"));
    let changed = |change: fn(&mut Value)| {
        let mut value = nines(1);
        change(&mut value);
        ask(Some(&value))
    };
    assert!(changed(|value| value.dims = vec![1, 63]).contains("do not make 256 bytes"));
    assert!(changed(|value| value.dims = vec![64, 1]).contains("the graph takes [?, 64]"));
    assert!(changed(|value| value.dims = vec![64]).contains("the graph takes [?, 64]"));
    assert!(changed(|value| value.dims = vec![0, 64]).contains("a dimension is 0"));
    assert!(changed(|value| value.dims = vec![u32::MAX; 16]).contains("do not make"));
    assert!(changed(|value| value.dims = vec![1; 17]).contains("at most 16"));
    assert!(changed(|value| value.dtype = ElementType::I32).contains("I32"));
    assert!(changed(|value| value.dtype = ElementType::Text).contains("not taken"));
    assert!(model.run(&[]).is_err());
}

#[test]
fn numbers_that_are_none_give_an_answer_with_one_kind_of_nan() {
    let model = model(
        &[named("x", DataType::Float, &[4])],
        &[node("Add", &["x", "x"], "y")],
        &[named("y", DataType::Float, &[4])],
    )
    .unwrap();
    let odd = [f32::from_bits(0xffc0_0001), f32::from_bits(0x7f80_0001), f32::INFINITY, 1.0];
    let found = model.run(&[Some(&floats(&[4], &odd))]).unwrap();
    let bits: Vec<u32> =
        numbers(found[0].as_ref().unwrap()).into_iter().map(f32::to_bits).collect();
    assert_eq!(bits, [0x7fc0_0000, 0x7fc0_0000, f32::INFINITY.to_bits(), 2.0_f32.to_bits()]);
    let mut halves = [0x01, 0xfe, 0x00, 0x7c];
    value::one_nan(ElementType::F16, &mut halves);
    assert_eq!(halves, [0x00, 0x7e, 0x00, 0x7c]);
    let mut doubles = f64::from_bits(u64::MAX).to_le_bytes();
    value::one_nan(ElementType::F64, &mut doubles);
    assert_eq!(doubles, f64::NAN.to_le_bytes());
}

#[test]
fn truth_values_are_bytes_and_texts_are_left_out() {
    let parts = [
        named("a", DataType::Bool, &[0]),
        named("b", DataType::Bool, &[0]),
        named("y", DataType::Bool, &[0]),
    ];
    let [a, b, y] = parts;
    let text = named("t", DataType::String, &[1]);
    let made = model(&[a, b], &[node("And", &["a", "b"], "y")], &[text, y]).unwrap();
    let bytes = |bytes: &[u8]| Value {
        dtype: ElementType::U8,
        dims: vec![u32::try_from(bytes.len()).unwrap()],
        bytes: bytes.to_vec(),
    };
    let found = made.run(&[Some(&bytes(&[0, 1, 1])), Some(&bytes(&[1, 1, 0]))]).unwrap();
    assert_eq!(found, [None, Some(bytes(&[0, 1, 0]))]);
    let wrong = made.run(&[Some(&bytes(&[0, 2])), Some(&bytes(&[1, 1]))]);
    assert!(matches!(wrong, Err(Trouble::Argument(why)) if why.contains("0 or 1")));
}

#[test]
fn what_does_not_go_together_fails_and_the_next_request_is_answered() {
    // Sizes that the graph leaves open, and that no addition can bring together.
    let made = model(
        &[named("a", DataType::Float, &[0]), named("b", DataType::Float, &[0])],
        &[node("Add", &["a", "b"], "y")],
        &[named("y", DataType::Float, &[0])],
    )
    .unwrap();
    let (two, three) = (floats(&[2], &[1.0; 2]), floats(&[3], &[1.0; 3]));
    for _ in 0..5 {
        assert!(matches!(made.run(&[Some(&two), Some(&three)]), Err(Trouble::Failed(_))));
        let found = made.run(&[Some(&three), Some(&three)]).unwrap();
        assert_eq!(numbers(found[0].as_ref().unwrap()), [2.0; 3]);
    }
    let kept = made.fixed.lock().unwrap().len();
    assert!(kept <= FIXED_MAX, "{kept}");
}

#[test]
fn a_graph_that_cannot_run_is_refused_when_it_is_read() {
    let why = |made: Result<Model, Failure>| match made.map(|_| ()) {
        Err(Failure::InvalidModel { why }) => why,
        other => panic!("{other:?}"),
    };
    assert!(why(Model::load(b"no graph")).contains("it"));
    assert!(why(Model::load(b"")).contains("no graph"));
    let (x, y) = (named("x", DataType::Float, &[2]), named("y", DataType::Float, &[2]));
    let unknown =
        model(std::slice::from_ref(&x), &[node("Conjure", &["x"], "y")], std::slice::from_ref(&y));
    assert!(why(unknown).contains("Conjure"));
    // What contradicts itself is seen then, or else when it is asked.
    let three = named("three", DataType::Float, &[3]);
    for operator in ["Add", "MatMul", "Concat"] {
        let inputs = [x.clone(), three.clone()];
        match model(&inputs, &[node(operator, &["x", "three"], "y")], std::slice::from_ref(&y)) {
            Err(failure) => drop(why(Err(failure))),
            Ok(made) => {
                let (two, three) = (floats(&[2], &[1.0; 2]), floats(&[3], &[1.0; 3]));
                let found = made.run(&[Some(&two), Some(&three)]);
                assert!(matches!(found, Err(Trouble::Failed(_))), "{operator}: {found:?}");
            }
        }
    }
    for cut in [1, 100, 5_000, DIGITS.len() - 1] {
        let _refused_or_not = Model::load(&DIGITS[..cut]);
    }
}

#[test]
fn no_tensor_whatever_it_claims_ends_the_process() {
    let model = Model::load(DIGITS).unwrap();
    let mut state = 7_u64;
    let mut below = |end: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    let types =
        [ElementType::F32, ElementType::F16, ElementType::U8, ElementType::I64, ElementType::Text];
    let sizes = [0, 1, 1, 2, 4, 63, 64, 64, 65, 1 << 16, u32::MAX];
    let mut answered = 0;
    for _ in 0..5_000 {
        let dtype = if below(2) == 0 { ElementType::F32 } else { types[below(5) as usize] };
        let dims: Vec<u32> = (0..below(4)).map(|_| sizes[below(11) as usize]).collect();
        let product = dims.iter().fold(4_u64, |len, dim| len.saturating_mul((*dim).into()));
        let len = if below(8) > 0 { product.min(4_096) } else { below(300) };
        let bytes: Vec<u8> = (0..len).map(|_| below(256) as u8).collect();
        let value = Value { dtype, dims, bytes };
        let fits = check_len(value.dtype, &value.dims, value.bytes.len()).is_ok()
            && value.dtype == ElementType::F32
            && value.dims.len() == 2
            && value.dims[1] == 64;
        match model.run(&[Some(&value)]) {
            Ok(_) => {
                assert!(fits, "{:?} {:?}", value.dtype, value.dims);
                answered += 1;
            }
            Err(Trouble::Argument(_)) => assert!(!fits, "{:?} {:?}", value.dtype, value.dims),
            Err(other) => panic!("{other:?} {:?} {:?}", value.dtype, value.dims),
        }
    }
    assert!(answered > 20, "{answered}");
}
