//! Values as JSON: what is read, what is refused and in which words, and that everything written is read back.

use std::collections::BTreeMap;

use guildhall_protocol::api::OutputValue;
use guildhall_protocol::interface::{Port, PortType};
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::values;
use guildhall_protocol::wire::PortValue;
use proptest::prelude::*;
use serde_json::{Value, json};

fn port(name: &str, written: &str) -> Port {
    let port_type: PortType = written.parse().expect(written);
    Port { name: name.into(), port_type, optional: false, location: None }
}

fn read(written: &str, json: Value) -> Result<(Vec<u8>, Option<Vec<u64>>), String> {
    let value = values::from_json(&port("x", written), &json).map_err(|error| error.to_string())?;
    Ok((value.bytes, value.dims))
}

fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn tensors_are_nested_lists_of_the_ports_shape() {
    let six = f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let nested = json!([[1, 2, 3], [4, 5, 6]]);
    for (written, dims) in [
        ("tensor(f32, 2, 3)", None),
        ("tensor(f32, n, 3)", None),
        ("tensor(f32, 2, ?)", None),
        ("tensor(f32, ?, ?)", Some(vec![2, 3])),
        ("tensor(f32, n, m)", Some(vec![2, 3])),
        ("tensor(f32, 1, 2, 3)", None),
        ("tensor(f32, n, ?, 3)", Some(vec![1, 2, 3])),
    ] {
        assert_eq!(read(written, nested.clone()), Ok((six.clone(), dims)), "{written}");
    }
    let flat = json!([1, 2, 3, 4, 5, 6]);
    for written in ["tensor(f32, 6)", "tensor(f32, 2, 3)", "tensor(f32, n, 3)", "tensor(f32, ?)"] {
        assert_eq!(read(written, flat.clone()), Ok((six.clone(), None)), "{written}");
    }
    assert_eq!(read("tensor(f32)", json!(1)), Ok((f32s(&[1.0]), None)));
    assert_eq!(read("tensor(f32, 1, 1)", json!(1)), Ok((f32s(&[1.0]), None)));
    assert_eq!(read("tensor(f32, 1)", json!([[1]])), Ok((f32s(&[1.0]), None)));
    assert_eq!(read("tensor(i64, n, 3)", json!([])), Ok((Vec::new(), None)));
    assert_eq!(read("tensor(i64, n, 0)", json!([[], []])), Ok((Vec::new(), Some(vec![2, 0]))));
    assert_eq!(read("tensor(bool, 3)", json!([true, 0, 1])), Ok((vec![1, 0, 1], None)));
}

#[test]
fn tensors_may_come_as_objects() {
    let two = f32s(&[1.0, 2.0]);
    let base64 = data_encoding::BASE64.encode(&two);
    for json in [
        json!({"data": [1, 2]}),
        json!({"dtype": "float32", "shape": [1, 2], "data": [1, 2]}),
        json!({"dtype": "FP32", "shape": [2], "data": [[1], [2]]}),
        json!({"shape": [1, 2], "base64": base64}),
        json!({"base64": base64}),
    ] {
        assert_eq!(read("tensor(f32, n, 2)", json.clone()), Ok((two.clone(), None)), "{json}");
    }
    let error = |json| read("tensor(f32, 2)", json).unwrap_err();
    assert_eq!(
        error(json!({"dtype": "f64", "data": [1, 2]})),
        "port x, at /dtype: its dtype is f64, but the port's is f32"
    );
    assert_eq!(
        error(json!({"shape": [3], "data": [1, 2]})),
        "port x: 2 values do not make the shape 3"
    );
    assert_eq!(
        error(json!({"shape": [2, -1], "data": [1, 2]})),
        "port x, at /shape/1: a size is expected, found -1"
    );
    assert_eq!(
        error(json!({"base64": "AAA"})),
        "port x, at /base64: no base64: invalid length at 0"
    );
    assert_eq!(
        error(json!({"base64": "AAAA"})),
        "port x, at /base64: a whole number of f32 is expected, found 3 bytes"
    );
    assert_eq!(error(json!({})), "port x: data or base64 is missing");
    assert_eq!(
        error(json!({"dat": [1]})),
        "port x: `dat` is no field here; dtype, shape, data, base64"
    );
}

#[test]
fn what_is_wrong_with_a_tensor_is_said_with_its_place() {
    for (written, json, said) in [
        (
            "tensor(f32, 3, 1)",
            json!([[1], [2], ["abc"]]),
            "port x, at /2/0: a number is expected, found \"abc\"",
        ),
        (
            "tensor(f32, 4)",
            json!([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]),
            "port x: 3 rows of 5 numbers, but its type is tensor(f32, 4)",
        ),
        (
            "tensor(f32, 2, 2)",
            json!([[1, 2], [3]]),
            "port x, at /1: 1, where the lists before it have 2",
        ),
        (
            "tensor(f32, 2)",
            json!([1, [2]]),
            "port x, at /1: a number is expected, found a list of 1",
        ),
        ("tensor(f32, 2)", json!([[1], 2]), "port x, at /1: a list is expected, found 2"),
        ("tensor(u8, 1)", json!([256]), "port x, at /0: 256 is out of the range of u8"),
        ("tensor(u8, 1)", json!([0.5]), "port x, at /0: a whole number is expected, found 0.5"),
        (
            "tensor(f32, 1)",
            json!([null]),
            "port x, at /0: a number is expected, found null (one that is missing is \"NaN\")",
        ),
        ("tensor(bool, 1)", json!([2]), "port x, at /0: true or false is expected, found 2"),
        (
            "tensor(f32, ?, ?)",
            json!([1, 2]),
            "port x: 2 numbers, but its type is tensor(f32, ?, ?)",
        ),
    ] {
        assert_eq!(read(written, json.clone()).unwrap_err(), said, "{written} {json}");
    }
}

#[test]
fn records_name_their_ports() {
    let ports = [
        port("image", "image/png"),
        port("tokens", "tensor(i64, 1, n)"),
        port("mask", "tensor(i64, 1, n)"),
        Port { optional: true, ..port("note", "text") },
    ];
    let record = |json: Value| {
        let by_port = values::by_port(&ports, &json).map_err(|error| error.to_string())?;
        let values = values::record_from_json(&ports, &by_port);
        values.map(|values| values.len()).map_err(|error| error.to_string())
    };
    let good = json!({"mask": [1, 1], "tokens": [5, 6], "image": "AAAA", "note": null});
    assert_eq!(record(good), Ok(3));
    for (json, said) in [
        (
            json!({"image": "", "tokens": [1, 2], "mask": [1]}),
            "port mask: 1 number, but its type is tensor(i64, 1, n)",
        ),
        (
            json!({"image": "", "tokens": [[1, 2]], "mask": [[1]]}),
            "port mask: dimension n is 1 here and 2 in an earlier port of the record",
        ),
        (
            json!({"image": "", "tokens": [1]}),
            "port mask has no value; its type is tensor(i64, 1, n)",
        ),
        (json!({"image": "", "tokns": [1]}), "there is no port tokns; did you mean tokens?"),
        (json!({"sound": 1}), "there is no port sound; the ports are image, tokens, mask, note"),
        (
            json!([1, 2]),
            "values are named by port (image, tokens, mask, note), but a list of 2 came",
        ),
    ] {
        assert_eq!(record(json.clone()).unwrap_err(), said, "{json}");
    }
    let one = [ports[1].clone(), ports[3].clone()];
    let bare = values::by_port(&one, &json!([1, 2])).unwrap();
    assert_eq!(bare, BTreeMap::from([("tokens".to_owned(), json!([1, 2]))]));
    assert_eq!(values::by_port(&one, &json!({"tokens": [1]})).unwrap()["tokens"], json!([1]));
}

#[test]
fn tables_become_csv_in_the_order_of_their_columns() {
    let written = "table(age:i64, name:text, ok:bool)";
    let csv = "age,name,ok\n3,\"a, \"\"b\"\"\",true\n,\"\",false\n";
    for json in [
        json!([{"ok": true, "name": "a, \"b\"", "age": 3}, {"age": null, "name": "", "ok": 0}]),
        json!({"columns": {"age": [3, null], "name": ["a, \"b\"", ""], "ok": [true, false]}}),
        json!({"columns": ["name", "age", "ok"], "data": [["a, \"b\"", 3, 1], ["", null, false]]}),
        json!([[3, "a, \"b\"", true], [null, "", false]]),
        json!("name,ok,age\r\n\"a, \"\"b\"\"\",True, 3\r\n\"\",0,\r\n"),
        json!(csv),
    ] {
        let (bytes, _) =
            read(written, json.clone()).unwrap_or_else(|error| panic!("{json} {error}"));
        let found = String::from_utf8(bytes).unwrap();
        assert_eq!(found.replace(", 3", ",3").replace("\n 3", "\n3"), csv, "{json}");
    }
    for (json, said) in [
        (
            json!([{"age": 1, "nme": "a", "ok": 1}]),
            "port x, at /0: column name is missing; the columns are age, nme, ok",
        ),
        (
            json!([{"age": "x", "name": "a", "ok": 1}]),
            "port x, at /0/age: a whole number is expected, found \"x\"",
        ),
        (
            json!("age,name,ok\n1.5,a,1\n"),
            "port x: line 2, column age: a whole number is expected, found 1.5",
        ),
        (json!("age,name,ok\n1,a\n"), "port x: line 2 has 2 cells, the header 3"),
        (
            json!("age,name,ok\n1,\"a\n"),
            "port x: not CSV: the quote that opens in line 2 is not closed",
        ),
        (json!("age,age\n"), "port x: column age stands there twice"),
        (
            json!({"columns": {"age": [1], "name": [], "ok": [1]}}),
            "port x, at /columns/name: column name has 0 values, the first one has 1",
        ),
        (
            json!(3),
            "port x: a list of objects, {\"columns\": {...}} or CSV in a text is expected, found 3",
        ),
    ] {
        assert_eq!(read(written, json.clone()).unwrap_err(), said, "{json}");
    }
}

#[test]
fn media_come_as_base64() {
    for json in [
        json!("AAEC"),
        json!("AA\nEC\n"),
        json!("data:image/png;base64,AAEC"),
        json!({"base64": "AAEC"}),
        json!({"base64": "AAEC", "media_type": "image/PNG"}),
    ] {
        assert_eq!(read("image/png", json.clone()), Ok((vec![0, 1, 2], None)), "{json}");
    }
    for (json, said) in [
        (
            json!("data:image/jpeg;base64,AAEC"),
            "port x: its media type is image/jpeg, but the port takes image/png",
        ),
        (json!("cat.png"), "port x: no base64: invalid length at 4"),
        (json!({"base64": 3}), "port x, at /base64: base64 is expected, found 3"),
        (
            json!([1]),
            "port x: base64, a data: URL or {\"base64\": ...} is expected, found a list of 1",
        ),
        (json!("data:,AAEC"), "port x: no base64: a data: URL has `;base64,` before its content"),
    ] {
        assert_eq!(read("image/png", json.clone()).unwrap_err(), said, "{json}");
    }
}

#[test]
fn predictions_are_checked_for_their_shape() {
    let good = json!([{"input": 0, "value": {"class": "7"}, "confidence": 0.5}]);
    let (bytes, _) = read("prediction(class)", good.clone()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), good);
    for (json, said) in [
        (
            json!([{"input": 0, "value": {"number": 7}}]),
            "port x, at /0: a class is expected, found a number",
        ),
        (json!([{"input": 0}]), "port x, at /0: no prediction: missing field `value`"),
        (json!({}), "port x: a list of predictions is expected, found an empty object"),
    ] {
        assert_eq!(read("prediction(class)", json.clone()).unwrap_err(), said, "{json}");
    }
}

#[test]
fn values_longer_than_one_may_be_are_refused() {
    let long = "x".repeat(VALUE_MAX_BYTES);
    assert!(read("text", json!(long)).is_ok());
    let longer = json!(format!("{long}x"));
    for written in ["text", "json"] {
        let said = read(written, longer.clone()).unwrap_err();
        assert!(said.ends_with(&format!("longer than {VALUE_MAX_BYTES} bytes")), "{said}");
    }
    let many = Value::Array(vec![json!(0); VALUE_MAX_BYTES / 8 + 1]);
    assert!(read("tensor(f64, n)", many.clone()).unwrap_err().contains("longer than"));
    assert!(read("tensor(f32, n)", many).is_ok());
    let base64 = "AAAA".repeat(VALUE_MAX_BYTES / 3 + 2);
    assert!(read("bytes", json!(base64)).unwrap_err().contains("longer than"));
    // Few bytes of JSON, but a cell for each row and each column.
    let rows: Vec<Value> = (0..4096).map(|row| json!({ format!("c{row}"): 1 })).collect();
    assert!(read("text/csv", Value::Array(rows)).unwrap_err().contains("longer than"));
}

#[test]
fn outputs_are_shown_as_their_ports_say() {
    let tensor = PortValue::new("t", f32s(&[0.1, f32::NAN]));
    let text = PortValue::new("s", "a");
    let ports = [port("t", "tensor(f32, 2)"), port("s", "text")];
    let shown = OutputValue::Tensor(json!([0.1, "NaN"]));
    assert_eq!(values::to_output(&ports[..1], std::slice::from_ref(&tensor)), shown);
    let both = values::to_output(&ports, &[tensor, text]);
    let OutputValue::Ports(both) = both else { panic!("two ports") };
    assert_eq!((&both["t"], &both["s"]), (&shown, &OutputValue::Text("a".into())));
    // What is not of its type is shown as bytes.
    let broken = PortValue::new("t", vec![0; 7]);
    let shown = values::to_output(&ports[..1], &[broken]);
    assert_eq!(shown, OutputValue::Base64("AAAAAAAAAA==".into()));
}

#[test]
fn hostile_outputs_do_not_grow() {
    let nothing = |written: &str, dims: Vec<u64>| {
        let value = PortValue { dims: Some(dims), ..PortValue::new("x", Vec::new()) };
        let json = values::to_json(&port("x", written).port_type, &value);
        assert!(json.to_string().len() < 20_000);
        json
    };
    let json = nothing("tensor(f32, ?, ?)", vec![u64::MAX, 0]);
    assert_eq!(json, json!({"dtype": "f32", "shape": [u64::MAX, 0], "data": []}));
    nothing("tensor(f32, ?, ?)", vec![0, u64::MAX]);
    nothing("tensor(f32, ?, ?)", vec![u64::MAX; 3]);
    // Names of columns that would be repeated for each of many rows.
    let csv = format!("{},b\n{}", "a".repeat(1_000_000), ",\n".repeat(100_000));
    let value = PortValue::new("x", csv);
    let json = values::to_json(&port("x", "table(b:f32)").port_type, &value);
    assert!(json["columns"]["b"].as_array().is_some_and(|cells| cells.len() == 100_000));
}

fn element() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "bool", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f16", "f32", "f64",
    ])
}

/// A tensor's type and a value of it, with bytes chosen freely.
fn tensor() -> impl Strategy<Value = (Port, PortValue)> {
    (element(), prop::collection::vec((0_u64..4, 0_u8..3), 0..4), any::<u64>()).prop_map(
        |(dtype, dims, seed)| {
            let written: String = dims
                .iter()
                .enumerate()
                .map(|(at, (size, kind))| match kind {
                    0 => format!(", {size}"),
                    1 => format!(", d{at}"),
                    _ => ", ?".to_owned(),
                })
                .collect();
            let port = port("x", &format!("tensor({dtype}{written})"));
            let sizes: Vec<u64> = dims.iter().map(|(size, _)| *size).collect();
            let count: u64 = sizes.iter().product();
            let open = dims.iter().filter(|(_, kind)| *kind > 0).count();
            let is_emptied = dims.iter().any(|(size, kind)| *size == 0 && *kind == 0);
            let dims = (open > 1 || (open == 1 && is_emptied)).then_some(sizes);
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                state >> 11
            };
            let bytes: Vec<u8> = (0..count)
                .flat_map(|_| {
                    let bits = next() ^ (next() << 32);
                    let float =
                        |nan: bool, bytes: Vec<u8>, zero: Vec<u8>| if nan { zero } else { bytes };
                    match dtype {
                        "bool" => vec![u8::from(bits & 1 == 1)],
                        "u8" | "i8" => vec![bits as u8],
                        "u16" | "i16" => (bits as u16).to_le_bytes().to_vec(),
                        "f16" => {
                            let bits = bits as u16;
                            let nan = bits & 0x7c00 == 0x7c00 && bits & 0x3ff != 0;
                            float(nan, bits.to_le_bytes().to_vec(), vec![0; 2])
                        }
                        "f32" => {
                            let number = f32::from_bits(bits as u32);
                            float(number.is_nan(), number.to_le_bytes().to_vec(), vec![0; 4])
                        }
                        "f64" => {
                            let number = f64::from_bits(bits);
                            float(number.is_nan(), number.to_le_bytes().to_vec(), vec![0; 8])
                        }
                        "u32" | "i32" => (bits as u32).to_le_bytes().to_vec(),
                        _ => bits.to_le_bytes().to_vec(),
                    }
                })
                .collect();
            (port, PortValue { dims, ..PortValue::new("x", bytes) })
        },
    )
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c,\"\n\r \u{feff}ä]{0,6}",
        prop::sample::select(vec!["null", "NaN", "1", "true", ""]).prop_map(str::to_owned),
        any::<String>(),
    ]
}

/// A table's columns and rows of it as JSON.
fn table() -> impl Strategy<Value = (Port, Value)> {
    let columns = prop::collection::vec(prop_oneof![element(), Just("text")], 1..5);
    (columns, 0_usize..5, prop::collection::vec((any::<i8>(), text(), any::<f32>()), 20)).prop_map(
        |(columns, rows, cells)| {
            let named: Vec<_> = columns.iter().enumerate().collect();
            let written: Vec<_> =
                named.iter().map(|(at, dtype)| format!("c{at}:{dtype}")).collect();
            let port = port("x", &format!("table({})", written.join(", ")));
            let mut cells = cells.into_iter().cycle();
            let row = |_| {
                let cell = |(at, dtype): &(usize, &&str)| {
                    let (number, text, float) = cells.next().expect("a cycle has no end");
                    let cell = match **dtype {
                        _ if number == 7 => Value::Null,
                        "text" => Value::from(text),
                        "bool" => Value::from(number > 0),
                        dtype if dtype.starts_with('u') => Value::from(number.unsigned_abs() / 2),
                        dtype if dtype.starts_with('i') => Value::from(number),
                        "f16" => Value::from(number),
                        _ if float.is_finite() => Value::from(f64::from(float)),
                        _ => Value::from("-Infinity"),
                    };
                    (format!("c{at}"), cell)
                };
                Value::Object(named.iter().map(cell).collect())
            };
            (port, Value::Array((0..rows).map(row).collect()))
        },
    )
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i16>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        text().prop_map(Value::from),
        prop::sample::select(vec!["NaN", "-Infinity", "data:a/b;base64,AA==", "AAAA", "f32"])
            .prop_map(Value::from),
    ];
    let name = prop_oneof![
        prop::sample::select(vec![
            "dtype",
            "shape",
            "data",
            "base64",
            "columns",
            "media_type",
            "input",
            "value",
            "class",
            "x",
            "a",
            "b",
        ])
        .prop_map(str::to_owned),
        text(),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

const TYPES: [&str; 15] = [
    "tensor(f32, 2, 3)",
    "tensor(f16, n, 2)",
    "tensor(u8, ?, ?)",
    "tensor(bool)",
    "tensor(i64, n, n)",
    "tensor(f64, 0, n)",
    "table(a:i64, b:text)",
    "text/csv",
    "text",
    "image/png",
    "bytes",
    "json",
    "prediction(class)",
    "prediction(vector, at box)",
    "prediction(number)",
];

proptest! {
    #[test]
    fn every_tensor_comes_back((port, value) in tensor()) {
        let json = values::to_json(&port.port_type, &value);
        prop_assert_eq!(values::from_json(&port, &json), Ok(value.clone()), "{}", json);
        let parsed: Value = serde_json::from_str(&json.to_string()).unwrap();
        prop_assert_eq!(values::from_json(&port, &parsed), Ok(value.clone()), "{}", json);
        let terse = values::to_terse_json(&port.port_type, &value);
        prop_assert_eq!(values::from_json(&port, &terse), Ok(value), "{}", terse);
    }

    #[test]
    fn a_tensor_is_made_of_its_elements_and_dimensions((port, value) in tensor()) {
        let PortType::Tensor(tensor) = &port.port_type else { panic!("a tensor") };
        let dims = values::tensor_dims(tensor, &value).expect("a value of its type");
        let bytes = value.bytes.clone();
        prop_assert_eq!(&values::tensor_value("x", tensor, bytes, &dims), &value);
        let len = tensor.dtype.len_bytes().expect("no text") as usize;
        let mut again = Vec::new();
        for element in value.bytes.chunks(len) {
            let json = values::element_json(tensor.dtype, element).expect("an element");
            values::push_element(tensor.dtype, &json, &mut again).expect("the same element");
        }
        prop_assert_eq!(again, value.bytes);
    }

    #[test]
    fn every_table_comes_back((port, json) in table()) {
        let value = values::from_json(&port, &json).unwrap();
        let shown = values::to_json(&port.port_type, &value);
        let again = values::from_json(&port, &shown).unwrap();
        if json.as_array().is_some_and(|rows| !rows.is_empty()) {
            prop_assert_eq!(again, value.clone(), "{}", shown);
        }
        let terse = values::to_terse_json(&port.port_type, &value);
        prop_assert_eq!(values::from_json(&port, &terse), Ok(value), "{}", terse);
    }

    #[test]
    fn json_text_and_media_come_back(json in any_json(), text in any::<String>(), bytes in any::<Vec<u8>>()) {
        for (written, value) in [
            ("json", PortValue::new("x", json.to_string())),
            ("text", PortValue::new("x", text)),
            ("bytes", PortValue::new("x", bytes.clone())),
            ("image/png", PortValue::new("x", bytes)),
        ] {
            let port = port("x", written);
            let shown = values::to_json(&port.port_type, &value);
            prop_assert_eq!(values::from_json(&port, &shown), Ok(value.clone()));
            let terse = values::to_terse_json(&port.port_type, &value);
            prop_assert_eq!(values::from_json(&port, &terse), Ok(value));
        }
    }

    #[test]
    fn foreign_json_is_read_or_refused(json in any_json()) {
        for written in TYPES {
            let port = port("x", written);
            if let Ok(value) = values::from_json(&port, &json) {
                let shown = values::to_json(&port.port_type, &value);
                let again = values::from_json(&port, &shown);
                let again = again.map_err(|error| TestCaseError::fail(format!("{written} {json} {shown} {error}")))?;
                prop_assert_eq!(values::to_json(&port.port_type, &again), shown);
            }
            let _ = values::by_port(std::slice::from_ref(&port), &json);
        }
    }

    #[test]
    fn foreign_bytes_are_shown_somehow(bytes in any::<Vec<u8>>(), text in text(), dims in prop::option::of(prop::collection::vec(any::<u64>(), 0..4))) {
        for written in TYPES {
            let port = port("x", written);
            for bytes in [bytes.clone(), text.clone().into_bytes()] {
                let value = PortValue { dims: dims.clone(), ..PortValue::new("x", bytes) };
                let _ = values::to_json(&port.port_type, &value);
                let _ = values::to_terse_json(&port.port_type, &value);
                let _ = values::to_output(std::slice::from_ref(&port), &[value]);
            }
        }
    }
}
