//! What is read and what is refused, in which words.

use std::borrow::Cow;

use guildhall_protocol::interface::{Interface, PortType};
use guildhall_protocol::values;
use guildhall_protocol::wire::PortValue;
use serde_json::{Value, json};

use super::{body, f32s, interface};
use crate::error::ApiError;
use crate::oip::error::Fault;
use crate::oip::records::{self, Records};
use crate::oip::request::{self, JSON_MAX_BYTES};
use crate::oip::tensor::{Data, TEXTS_MAX};

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

/// A port's type, the shape that comes, and if it fits: how many records, and whether they have a dimension.
type Case = (&'static str, &'static [u64], Option<(usize, bool)>);

#[test]
fn a_dimension_in_front_counts_records_where_the_port_has_none_of_its_own() {
    let cases: [Case; 18] = [
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
            "input y: element 1: a text is expected, found 1",
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
    assert_eq!(with(Value::Null), Ok(()));
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
