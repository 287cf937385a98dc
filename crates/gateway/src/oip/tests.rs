//! Requests to records and records to answers, without a node.

use std::borrow::Cow;

use guildhall_protocol::interface::{ElementType, Interface, Port, PortType};
use guildhall_protocol::values;
use guildhall_protocol::wire::PortValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::answer::{self, Body, Head};
use super::error::Fault;
use super::outputs::{self, Output, OutputData};
use super::records::{self, Records};
use super::request::{self, JSON_MAX_BYTES};
use super::tensor::{Data, TEXTS_MAX};
use super::{datatype, metadata};
use crate::error::ApiError;

fn port(name: &str, written: &str) -> Port {
    let port_type: PortType = written.parse().expect(written);
    Port { name: name.into(), port_type, optional: false, location: None }
}

/// Inputs and outputs, `name: type` each.
fn interface(inputs: &[(&str, &str)], outputs: &[(&str, &str)]) -> Interface {
    let side = |side: &[(&str, &str)]| side.iter().map(|(name, of)| port(name, of)).collect();
    Interface { inputs: side(inputs), outputs: side(outputs) }
}

fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A body with these bytes behind its JSON, and the length of the JSON.
fn body(json: &Value, binary: &[u8]) -> (Vec<u8>, u64) {
    let json = json.to_string().into_bytes();
    let len = json.len() as u64;
    ([json, binary.to_vec()].concat(), len)
}

fn bound(interface: &Interface, inputs: Value) -> Result<Records, Fault> {
    let text = json!({ "inputs": inputs }).to_string();
    let request = request::read(text.as_bytes(), None)?;
    records::bind(interface, request.inputs)
}

fn refusal(interface: &Interface, inputs: Value) -> String {
    bound(interface, inputs).expect_err("refused").to_string()
}

/// An input of zeros in this shape.
fn zeros(name: &str, shape: &[u64]) -> Value {
    let volume: u64 = shape.iter().product();
    json!({ "name": name, "shape": shape, "datatype": "FP32", "data": vec![0; volume as usize] })
}

#[test]
fn a_dimension_in_front_counts_records_where_the_port_has_none_of_its_own() {
    // Type, shape, records and dimensions of each, or none of its own.
    let cases: [(&str, &[u64], Option<(usize, bool)>); 18] = [
        ("tensor(f32, 4)", &[3, 4], Some((3, true))),
        ("tensor(f32, 4)", &[1, 4], Some((1, true))),
        ("tensor(f32, 4)", &[4], Some((1, false))),
        ("tensor(f32, 4)", &[4, 1], None),
        ("tensor(f32, 4)", &[3, 1, 4], None),
        ("tensor(f32, 1, 4)", &[1, 4], Some((1, true))),
        ("tensor(f32, 1, 4)", &[3, 4], Some((3, true))),
        ("tensor(f32, 1, 4)", &[3, 1, 4], Some((3, true))),
        ("tensor(f32, 1, 4)", &[4], None),
        ("tensor(f32, 1)", &[5], Some((5, true))),
        ("tensor(f32)", &[], Some((1, false))),
        ("tensor(f32)", &[5], Some((5, true))),
        ("tensor(f32, n, 4)", &[3, 4], Some((1, false))),
        ("tensor(f32, n, 4)", &[2, 3, 4], Some((2, true))),
        ("tensor(f32, ?, ?)", &[2, 3], Some((1, false))),
        ("tensor(f32, n, n)", &[2, 3], None),
        ("tensor(f32, n, n)", &[5, 2, 2], Some((5, true))),
        ("tensor(f32, n, n)", &[5, 2, 3], None),
    ];
    for (of, shape, expected) in cases {
        let interface = interface(&[("x", of)], &[]);
        let bound = bound(&interface, json!([zeros("x", shape)]));
        let found = bound.as_ref().ok().map(|bound| (bound.values.len(), bound.is_batch));
        assert_eq!(found, expected, "{of} from {shape:?}: {bound:?}");
        if let (Ok(bound), PortType::Tensor(tensor)) = (bound, &interface.inputs[0].port_type) {
            let volume: u64 = shape.iter().product();
            let dims = bound.values.iter().map(|record| {
                values::tensor_dims(tensor, &record[0]).expect("a value of its type")
            });
            let all: u64 = dims.map(|dims| dims.iter().product::<u64>()).sum();
            assert_eq!(all, volume, "{of} from {shape:?}");
        }
    }
}

#[test]
fn records_get_their_own_rows() {
    let interface = interface(&[("x", "tensor(f32, 2)"), ("t", "text")], &[]);
    let inputs = json!([
        { "name": "t", "shape": [2, 1], "datatype": "BYTES", "data": ["a", "b"] },
        { "name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, "NaN"]] },
    ]);
    let Records { values, is_batch } = bound(&interface, inputs).unwrap();
    assert!(is_batch);
    assert_eq!(values[0][0], PortValue::new("x", f32s(&[1.0, 2.0])));
    assert_eq!(values[1][0], PortValue::new("x", f32s(&[3.0, f32::NAN])));
    assert_eq!(values[1][1], PortValue::new("t", *b"b"));
}

#[test]
fn what_is_wrong_with_an_input_is_said() {
    let shapes = interface(&[("x", "tensor(f32, 4)"), ("y", "text")], &[]);
    let x = || zeros("x", &[2, 4]);
    let y = |shape: Value, data: Value| json!({ "name": "y", "shape": shape, "datatype": "BYTES", "data": data });
    for (inputs, expected) in [
        (json!([]), "there are no inputs"),
        (json!([x()]), "input y: it is missing; it is BYTES of shape [-1]"),
        (json!([x(), x()]), "input x: it is there twice"),
        (json!([zeros("z", &[1])]), "input z: there is no such input; the inputs are x, y"),
        (
            json!([zeros("x", &[2, 3]), y(json!([2]), json!(["", ""]))]),
            "input x: its shape is [2, 3], but this input is [-1, 4]",
        ),
        (json!([x(), y(json!([3]), json!(["", "", ""]))]), "input x has 2 records, input y has 3"),
        (json!([x(), y(json!([2]), json!(["a"]))]), "input y: 1 values for a shape of 2"),
        (
            json!([x(), y(json!([2]), json!(["a", 1]))]),
            "input y: element 1: expected a text, found 1",
        ),
        (
            json!([{ "name": "x", "shape": [1, 4], "datatype": "FP64", "data": [1, 2, 3, 4] }, y(json!([1]), json!([""]))]),
            "input x: its datatype is FP64, but this input is FP32",
        ),
        (
            json!([{ "name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3]] }]),
            "input x: its lists are not nested like its shape",
        ),
        (
            json!([{ "name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2, 3] }]),
            "input x: 3 values for a shape of 2",
        ),
        (
            json!([{ "name": "x", "shape": [2], "datatype": "UINT8", "data": [1, 256] }]),
            "input x: element 1: 256 is out of the range of u8",
        ),
        (
            json!([{ "name": "x", "shape": [1], "datatype": "FP32" }]),
            "input x: it has neither data nor binary_data_size",
        ),
        (
            json!([{ "name": "x", "shape": [1], "datatype": "FP32", "parameters": { "shared_memory_region": "r" } }]),
            "input x: there is no shared memory here",
        ),
        (
            json!([zeros("x", &[1, 4]), y(json!([0]), json!([]))]),
            "input x has 1 records, input y has 0",
        ),
    ] {
        assert_eq!(refusal(&shapes, inputs), expected);
    }
    let bf16 = json!([{ "name": "x", "shape": [1], "datatype": "BF16", "data": [1] }]);
    assert!(
        refusal(&shapes, bf16).starts_with("input x: BF16 is no datatype here; there are BOOL")
    );
    let negative = json!([{ "name": "x", "shape": [-1], "datatype": "FP32", "data": [] }]);
    assert!(refusal(&shapes, negative).contains("invalid value: integer `-1`"));
    let one = interface(&[("x", "tensor(f32)")], &[]);
    assert_eq!(
        refusal(&one, json!([zeros("x", &[0])])),
        "a request scores 1 to 1024 records, not 0"
    );
    assert_eq!(
        refusal(&one, json!([zeros("x", &[1025])])),
        "a request scores 1 to 1024 records, not 1025"
    );
}

#[test]
fn claims_of_size_are_compared_with_what_is_there() {
    let huge = u64::MAX;
    let input = |shape: Value, datatype: &str, size: u64| {
        json!({ "inputs": [{ "name": "x", "shape": shape, "datatype": datatype,
            "parameters": { "binary_data_size": size } }] })
    };
    for (json, binary, expected) in [
        (
            input(json!([2]), "FP32", 8),
            &[0_u8; 4][..],
            "input x: 8 bytes of binary data are due, 4 are left in the body",
        ),
        (
            input(json!([2]), "FP32", huge),
            &[],
            "input x: 18446744073709551615 bytes of binary data are due, 0 are left in the body",
        ),
        (
            input(json!([2]), "FP32", 4),
            &[0; 4],
            "input x: its shape takes 8 bytes, but binary_data_size is 4",
        ),
        (
            input(json!([huge]), "FP32", 4),
            &[0; 4],
            "input x: its shape has more elements than there are numbers for",
        ),
        (
            input(json!([huge, 2]), "BOOL", 1),
            &[0; 1],
            "input x: its shape has more elements than there are numbers for",
        ),
        (
            input(json!([0, huge, huge]), "BOOL", 0),
            &[],
            "input x: its shape has more elements than there are numbers for",
        ),
        (input(json!(vec![1; 18]), "BOOL", 1), &[0; 1], "input x: more than 17 dimensions"),
        (input(json!([2]), "BOOL", 2), &[1, 2], "input x: a BOOL is neither 0 nor 1"),
        (
            input(json!([1]), "BYTES", 3),
            &[0; 3],
            "input x: its BYTES end in the middle of an element",
        ),
        (
            input(json!([1]), "BYTES", 5),
            &[2, 0, 0, 0, 7],
            "input x: its BYTES end in the middle of an element",
        ),
        (
            input(json!([1]), "BYTES", 4),
            &[0xff; 4],
            "input x: its BYTES end in the middle of an element",
        ),
        (input(json!([1]), "BYTES", 8), &[0; 8], "input x: 2 values for a shape of 1"),
        (input(json!([3]), "BYTES", 8), &[0; 8], "input x: 2 values for a shape of 3"),
        (input(json!([TEXTS_MAX + 1]), "BYTES", 0), &[], "more than 1048576 elements of BYTES"),
        (input(json!([1]), "BOOL", 1), &[0; 3], "2 bytes of the body belong to no input"),
    ] {
        let (body, len) = body(&json, binary);
        let error = request::read(&body, Some(len)).expect_err("refused");
        assert_eq!(error.to_string(), expected);
        assert_eq!(ApiError::from(error).status(), 400);
    }
    let (whole, _) = body(&input(json!([1]), "BOOL", 1), &[0]);
    assert_eq!(
        request::read(&whole, Some(huge)),
        Err(Fault::HeaderBeyondBody { claimed: huge, found: whole.len() })
    );
    assert!(
        matches!(request::read(&whole, None), Err(Fault::Json(_))),
        "the binary data is no JSON"
    );
    let long = vec![b' '; JSON_MAX_BYTES + 1];
    let error = request::read(&long, None).expect_err("refused");
    assert_eq!(ApiError::from(error).status(), 413);
}

#[test]
fn binary_tensors_are_cut_out_in_the_order_of_the_inputs() {
    let json = json!({ "id": "7", "inputs": [
        { "name": "a", "shape": [2], "datatype": "INT16", "parameters": { "binary_data_size": 4 } },
        { "name": "b", "shape": [1], "datatype": "BOOL", "data": [true] },
        { "name": "c", "shape": [2], "datatype": "BYTES", "parameters": { "binary_data_size": 9 } },
    ], "parameters": { "binary_data_output": true, "timeout": 1500, "priority": 3, "on": "local",
        "sequence_id": 0 }, "outputs": [{ "name": "y", "parameters": { "binary_data": false } }] });
    let (body, len) = body(&json, &[1, 0, 2, 0, 1, 0, 0, 0, 0xff, 0, 0, 0, 0]);
    let request = request::read(&body, Some(len)).unwrap();
    let data: Vec<_> = request.inputs.iter().map(|input| &input.data).collect();
    assert_eq!(
        data,
        [
            &Data::Fixed(Cow::Borrowed(&[1, 0, 2, 0])),
            &Data::Fixed(Cow::Borrowed(&[1])),
            &Data::Texts(vec![Cow::Borrowed(&[0xff]), Cow::Borrowed(&[])]),
        ]
    );
    assert_eq!(request.id.as_deref(), Some("7"));
    assert_eq!(request.timeout_ms.map(Into::into), Some(2_u64), "rounded up from microseconds");
    assert!(!request.is_binary("y") && request.is_binary("z"));
    assert_eq!(request.on, guildhall_protocol::api::Placement::Local);
}

#[test]
fn parameters_that_would_change_the_answer_are_refused() {
    let with = |parameters: Value| {
        let json = json!({ "inputs": [zeros("x", &[1])], "parameters": parameters }).to_string();
        request::read(json.as_bytes(), None).map(|_| ()).map_err(|fault| fault.to_string())
    };
    assert_eq!(with(json!({ "priority": 1, "anything": [] })), Ok(()));
    for (parameters, expected) in [
        (json!({ "sequence_id": 5 }), "parameter sequence_id: no model here keeps a state"),
        (json!({ "timeout": "soon" }), "parameter timeout: it is no number of microseconds"),
        (
            json!({ "binary_data_output": 1 }),
            "parameter binary_data_output: it is neither true nor false",
        ),
        (json!({ "on": 1 }), "parameter on: it is auto, local, an org or a node"),
    ] {
        assert_eq!(with(parameters), Err(expected.to_owned()));
    }
}

#[test]
fn elements_of_bytes_are_read_as_their_port_says() {
    let read = |of: &str, text: &str| {
        let interface = interface(&[("x", of)], &[]);
        let input = json!({ "name": "x", "shape": [1], "datatype": "BYTES", "data": [text] });
        let bound = bound(&interface, json!([input])).map_err(|fault| fault.to_string())?;
        Ok::<_, String>(bound.values[0][0].bytes.clone())
    };
    assert_eq!(read("image/png", "AAEC").unwrap(), [0, 1, 2]);
    assert_eq!(read("bytes", "data:a/b;base64,/w==").unwrap(), [0xff]);
    assert_eq!(read("json", r#"{"a": [1]}"#).unwrap(), br#"{"a":[1]}"#);
    assert_eq!(read("table(a:i64, b:text)", r#"[{"a": 1, "b": "x"}]"#).unwrap(), b"a,b\n1,x\n");
    assert_eq!(read("table(a:i64)", "a\n1\n").unwrap(), b"a\n1\n");
    assert!(
        read("image/png", "?").unwrap_err().starts_with("input x: record 0: port x: no base64")
    );
    assert!(read("json", "{").unwrap_err().starts_with("input x: element 0 is no JSON"));
    let (json, binary) = (
        json!({ "inputs": [{ "name": "x", "shape": [1], "datatype": "BYTES", "parameters": { "binary_data_size": 6 } }] }),
        [2, 0, 0, 0, 0xff, 0xd8],
    );
    let (body, len) = body(&json, &binary);
    let raw = |of: &str| {
        let request = request::read(&body, Some(len)).unwrap();
        records::bind(&interface(&[("x", of)], &[]), request.inputs)
    };
    assert_eq!(raw("image/jpeg").unwrap().values[0][0].bytes, [0xff, 0xd8]);
    assert_eq!(raw("text").unwrap_err().to_string(), "input x: element 0 is no UTF-8");
}

fn made(
    interface: &Interface,
    records: &[Vec<PortValue>],
    is_batch: bool,
) -> Result<Vec<Output>, Fault> {
    outputs::collect(interface, records, is_batch, &[])
}

fn shapes(outputs: &[Output]) -> Vec<(&str, &str, &[u64])> {
    outputs
        .iter()
        .map(|output| (output.name.as_str(), datatype::name(output.dtype), output.shape.as_slice()))
        .collect()
}

#[test]
fn outputs_of_records_follow_each_other() {
    let record = |of: &[f32]| vec![PortValue::new("y", f32s(of))];
    let two = [record(&[1.0, 2.0]), record(&[3.0, 4.0])];
    for (of, is_batch, records, expected) in [
        ("tensor(f32, 2)", true, &two[..], &[2, 2][..]),
        ("tensor(f32, 1, 2)", true, &two, &[2, 2]),
        ("tensor(f32, 2, 1)", true, &two, &[2, 2, 1]),
        ("tensor(f32, n)", true, &two, &[2, 2]),
        ("tensor(f32, 2)", false, &two[..1], &[2]),
        ("tensor(f32, 1, 2)", false, &two[..1], &[1, 2]),
    ] {
        let outputs = made(&interface(&[], &[("y", of)]), records, is_batch).unwrap();
        assert_eq!(shapes(&outputs), [("y", "FP32", expected)], "{of}");
    }
    let ragged = [record(&[1.0]), record(&[1.0, 2.0])];
    let error = made(&interface(&[], &[("y", "tensor(f32, n)")]), &ragged, true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "output y: records differ in shape ([1] and [2]); send them one by one"
    );
    assert_eq!(ApiError::from(error).status(), 422);
}

fn predicted(json: Value) -> Vec<PortValue> {
    vec![PortValue::new("p", json.to_string())]
}

fn class(input: u64, class: &str, confidence: f64) -> Value {
    json!({ "input": input, "value": { "class": class }, "confidence": confidence })
}

#[test]
fn classes_are_texts_with_their_confidence_beside_them() {
    let interface =
        interface(&[("x", "tensor(f32, 2)")], &[("p", "prediction(class, labels cat|dog)")]);
    let records = [
        predicted(json!([class(0, "cat", 0.25), class(0, "dog", 0.75)])),
        predicted(json!([class(0, "cat", 0.5)])),
        predicted(json!([])),
    ];
    let outputs = made(&interface, &records, true).unwrap();
    assert_eq!(shapes(&outputs), [("p", "BYTES", &[3][..]), ("p.confidence", "FP32", &[3])]);
    let texts = |texts: &[&str]| OutputData::Texts {
        texts: texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
        is_text: true,
    };
    assert_eq!(outputs[0].data, texts(&["dog", "cat", ""]));
    assert_eq!(outputs[1].data, OutputData::Fixed(f32s(&[0.75, 0.5, f32::NAN])));

    let wanted = request::Wanted { name: "p".into(), binary: None, classes: 9.try_into().ok() };
    outputs::check_wanted(&interface, std::slice::from_ref(&wanted)).unwrap();
    let ranked = outputs::collect(&interface, &records[..2], true, &[wanted]).unwrap();
    assert_eq!(shapes(&ranked), [("p", "BYTES", &[2, 2][..])]);
    assert_eq!(ranked[0].data, texts(&["0.750000:1:dog", "0.250000:0:cat", "0.500000:0:cat", ""]));
}

#[test]
fn predictions_about_several_rows_are_rows() {
    let rows = |of: &str| interface(&[("x", "tensor(f32, n, 2)")], &[("p", of)]);
    let list = predicted(json!([class(0, "a", 0.5), class(1, "b", 1.0)]));
    let classes = rows("prediction(class)");
    let outputs = made(&classes, std::slice::from_ref(&list), false).unwrap();
    assert_eq!(shapes(&outputs), [("p", "BYTES", &[2][..]), ("p.confidence", "FP32", &[2])]);
    let outputs = made(&classes, &[list.clone(), list], true).unwrap();
    assert_eq!((&outputs[0].shape, &outputs[1].shape), (&vec![2, 2], &vec![2, 2]));

    let number = |input: u64, number: f64| json!({ "input": input, "value": { "number": number } });
    let numbers = predicted(json!([number(1, 2.5), number(0, -1.0)]));
    let outputs = made(&rows("prediction(number)"), &[numbers], false).unwrap();
    assert_eq!(shapes(&outputs)[0], ("p", "FP64", &[2][..]));
    let plain: Vec<u8> = [-1.0_f64, 2.5].into_iter().flat_map(f64::to_le_bytes).collect();
    assert_eq!(outputs[0].data, OutputData::Fixed(plain));

    let vector = |input: u64| json!({ "input": input, "value": { "vector": [1, 2, 3] } });
    let vectors = predicted(json!([vector(0), vector(1)]));
    let outputs = made(&rows("prediction(vector)"), &[vectors], false).unwrap();
    assert_eq!(shapes(&outputs)[0], ("p", "FP64", &[2, 3][..]));

    let claims = predicted(json!([class(u64::MAX, "a", 1.0)]));
    let error = made(&classes, &[claims], false).unwrap_err().to_string();
    assert!(error.ends_with("what came out for record 0 is no list of predictions"), "{error}");
}

#[test]
fn what_has_a_place_stays_a_list() {
    let interface = interface(&[("x", "image/png")], &[("p", "prediction(class, at box)")]);
    let list =
        json!([{ "input": 0, "value": { "class": "a" }, "location": { "box": [0, 0, 1, 1] } }]);
    let outputs = made(&interface, &[predicted(list.clone()), predicted(json!([]))], true).unwrap();
    assert_eq!(shapes(&outputs), [("p", "BYTES", &[2][..])]);
    let OutputData::Texts { texts, is_text: true } = &outputs[0].data else { panic!("texts") };
    assert_eq!(serde_json::from_slice::<Value>(&texts[0]).unwrap(), list);
}

#[test]
fn outputs_that_are_not_there_are_refused_before_anything_is_scored() {
    let interface = interface(&[], &[("y", "tensor(f32, 2)"), ("p", "prediction(class)")]);
    let wanted = |name: &str, classes: u64| request::Wanted {
        name: name.into(),
        binary: None,
        classes: classes.try_into().ok(),
    };
    let check = |wanted: &[request::Wanted]| {
        outputs::check_wanted(&interface, wanted).map_err(|fault| fault.to_string())
    };
    assert_eq!(check(&[wanted("p", 0), wanted("y", 0)]), Ok(()));
    let refused = |why: &str| Err(format!("output {why}"));
    assert_eq!(
        check(&[wanted("z", 0)]),
        refused("z: there is no such output; the outputs are y, p, p.confidence")
    );
    assert_eq!(check(&[wanted("y", 0), wanted("y", 0)]), refused("y: it is asked for twice"));
    assert_eq!(
        check(&[wanted("p", 3)]),
        refused("p: classification is for outputs of classes with a label set")
    );
}

#[test]
fn metadata_have_a_dimension_for_records() {
    for (of, datatype, shape) in [
        ("tensor(f32, 64)", "FP32", &[-1, 64][..]),
        ("tensor(i64, 1, 64)", "INT64", &[-1, 64]),
        ("tensor(u8, n, ?, 3)", "UINT8", &[-1, -1, 3]),
        ("tensor(bool)", "BOOL", &[-1]),
        ("tensor(text, 2)", "BYTES", &[-1, 2]),
        ("image/png", "BYTES", &[-1]),
        ("text", "BYTES", &[-1]),
    ] {
        assert_eq!(metadata::of_input(&port("x", of)), (datatype, shape.to_vec()), "{of}");
    }
}

/// Reads an answer as a client does.
fn parsed(body: &Body) -> (Value, Vec<u8>) {
    let (json, binary) = body.bytes.split_at(body.json_bytes.unwrap_or(body.bytes.len()));
    (serde_json::from_slice(json).expect("JSON"), binary.to_vec())
}

fn head() -> Head<'static> {
    Head {
        model_name: "lab-a/m",
        model_version: None,
        id: Some("x"),
        parameters: [("run_id", "r".into())].into(),
    }
}

#[test]
fn answers_say_where_their_binary_data_ends() {
    let output = |name: &str, dtype, shape: &[u64], data| Output {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        data,
    };
    let texts = |is_text| OutputData::Texts { texts: vec![b"a".to_vec(), Vec::new()], is_text };
    let outputs = [
        (output("a", ElementType::I16, &[2], OutputData::Fixed(vec![1, 0, 2, 0])), true),
        (output("b", ElementType::F32, &[2], OutputData::Fixed(f32s(&[0.5, f32::NAN]))), false),
        (output("c", ElementType::Text, &[2], texts(true)), true),
        (output("d", ElementType::Text, &[2], texts(false)), false),
    ];
    let (json, binary) = parsed(&answer::write(&head(), &outputs).unwrap());
    assert_eq!(
        json,
        json!({ "model_name": "lab-a/m", "id": "x", "parameters": { "run_id": "r" }, "outputs": [
        { "name": "a", "datatype": "INT16", "shape": [2], "parameters": { "binary_data_size": 4 } },
        { "name": "b", "datatype": "FP32", "shape": [2], "data": [0.5, "NaN"] },
        { "name": "c", "datatype": "BYTES", "shape": [2], "parameters": { "binary_data_size": 9 } },
        { "name": "d", "datatype": "BYTES", "shape": [2], "data": ["YQ==", ""] },
    ] })
    );
    assert_eq!(binary, [1, 0, 2, 0, 1, 0, 0, 0, b'a', 0, 0, 0, 0]);
    let none = answer::write(&head(), &[]).unwrap();
    assert_eq!((none.json_bytes, parsed(&none).0["outputs"].clone()), (None, json!([])));
}

/// A datatype with fixed elements, a shape of some elements, and their bytes.
fn any_tensor() -> impl Strategy<Value = (ElementType, Vec<u64>, Vec<u8>)> {
    let dtype = prop::sample::select(vec![
        ElementType::Bool,
        ElementType::U8,
        ElementType::I16,
        ElementType::U32,
        ElementType::I64,
        ElementType::F16,
        ElementType::F32,
    ]);
    let shape = prop::collection::vec(1_u64..4, 0..4);
    (dtype, shape, prop::collection::vec(any::<u8>(), 8 * 27)).prop_map(
        |(dtype, shape, mut bytes)| {
            let volume: u64 = shape.iter().product();
            bytes
                .truncate(usize::try_from(volume * dtype.len_bytes().unwrap_or(1)).expect("small"));
            match dtype {
                ElementType::Bool => bytes.iter_mut().for_each(|byte| *byte &= 1),
                // A NaN has many forms, of which JSON keeps one.
                ElementType::F16 => {
                    bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|b| b[1] &= 0xfb)
                }
                ElementType::F32 => {
                    bytes.as_chunks_mut::<4>().0.iter_mut().for_each(|b| b[3] &= 0xbf)
                }
                _ => {}
            }
            (dtype, shape, bytes)
        },
    )
}

proptest! {
    #[test]
    fn a_tensor_that_goes_out_comes_in_the_same((dtype, shape, bytes) in any_tensor(), is_binary: bool) {
        let data = OutputData::Fixed(bytes.clone());
        let output = Output { name: "x".into(), dtype, shape: shape.clone(), data };
        let body = answer::write(&head(), &[(output, is_binary)]).unwrap();
        let (json, binary) = parsed(&body);
        let (body, len) = self::body(&json!({ "inputs": json["outputs"] }), &binary);
        let request = request::read(&body, Some(len)).unwrap();
        prop_assert_eq!(&request.inputs[0].shape, &shape);
        prop_assert_eq!(&request.inputs[0].data, &Data::Fixed(Cow::Owned(bytes)));
    }

    #[test]
    fn texts_that_go_out_come_in_the_same(texts in prop::collection::vec(".{0,8}", 0..8), is_binary: bool) {
        let texts: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
        let (shape, data) = (vec![texts.len() as u64], OutputData::Texts { texts: texts.clone(), is_text: true });
        let output = Output { name: "x".into(), dtype: ElementType::Text, shape, data };
        let (json, binary) = parsed(&answer::write(&head(), &[(output, is_binary)]).unwrap());
        let (body, len) = self::body(&json!({ "inputs": json["outputs"] }), &binary);
        let request = request::read(&body, Some(len)).unwrap();
        let texts = texts.into_iter().map(Cow::Owned).collect();
        prop_assert_eq!(&request.inputs[0].data, &Data::Texts(texts));
    }

    #[test]
    fn no_body_makes_it_panic_or_more_than_the_body_holds(
        name in "[xyz]",
        shape in prop::collection::vec(prop_oneof![0_u64..5, any::<u64>()], 0..5),
        datatype in prop::sample::select(vec!["BOOL", "FP16", "FP32", "UINT64", "BYTES", "X"]),
        size in prop_oneof![0_u64..64, any::<u64>()],
        binary in prop::collection::vec(prop_oneof![0_u8..3, any::<u8>()], 0..64),
        of in prop::sample::select(vec![
            "tensor(f32, 2)", "tensor(bool, 1, 2)", "tensor(text, ?, ?)", "tensor(u64, n, n)", "text",
            "json", "table(a:i64)", "image/png", "prediction(class)",
        ]),
        header in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
        flip in any::<(u16, u8)>(),
    ) {
        let json = json!({ "inputs": [{ "name": name, "shape": shape, "datatype": datatype,
            "parameters": { "binary_data_size": size } }] });
        let (mut body, len) = self::body(&json, &binary);
        let at = usize::from(flip.0) % body.len();
        for header in [Some(len), header] {
            if let Ok(request) = request::read(&body, header)
                && let Ok(bound) = records::bind(&interface(&[("x", of)], &[]), request.inputs)
            {
                let all: usize = bound.values.iter().map(|record| PortValue::len_bytes(record)).sum();
                // Texts of a tensor are written with their quotes and escapes.
                prop_assert!(all <= 8 * body.len() + 2 * bound.values.len());
            }
            body[at] = flip.1;
        }
    }
}
