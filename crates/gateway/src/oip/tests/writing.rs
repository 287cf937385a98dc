//! What becomes of what came out.

use guildhall_protocol::interface::{ElementType, Interface};
use guildhall_protocol::wire::PortValue;
use serde_json::{Value, json};

use super::{f32s, head, interface, parsed, port};
use crate::error::ApiError;
use crate::oip::error::Fault;
use crate::oip::outputs::{self, Output, OutputData};
use crate::oip::{answer, datatype, metadata, request};

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
