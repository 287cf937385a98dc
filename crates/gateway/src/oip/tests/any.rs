//! What holds for any tensor and any body.

use std::borrow::Cow;

use guildhall_protocol::interface::ElementType;
use guildhall_protocol::wire::PortValue;
use proptest::prelude::*;
use serde_json::json;

use super::{body, head, interface, parsed};
use crate::oip::outputs::{Output, OutputData};
use crate::oip::tensor::Data;
use crate::oip::{answer, records, request};

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
        let answer = answer::write(&head(), &[(output, is_binary)]).unwrap();
        let (json, binary) = parsed(&answer);
        let (sent, len) = body(&json!({ "inputs": json["outputs"] }), &binary);
        let request = request::read(&sent, Some(len)).unwrap();
        prop_assert_eq!(&request.inputs[0].shape, &shape);
        prop_assert_eq!(&request.inputs[0].data, &Data::Fixed(Cow::Owned(bytes)));
    }

    #[test]
    fn texts_that_go_out_come_in_the_same(texts in prop::collection::vec(".{0,8}", 0..8), is_binary: bool) {
        let texts: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
        let (shape, data) = (vec![texts.len() as u64], OutputData::Texts { texts: texts.clone(), is_text: true });
        let output = Output { name: "x".into(), dtype: ElementType::Text, shape, data };
        let (json, binary) = parsed(&answer::write(&head(), &[(output, is_binary)]).unwrap());
        let (bytes, len) = body(&json!({ "inputs": json["outputs"] }), &binary);
        let request = request::read(&bytes, Some(len)).unwrap();
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
        let (mut bytes, len) = body(&json, &binary);
        let at = usize::from(flip.0) % bytes.len();
        for header in [Some(len), header] {
            if let Ok(request) = request::read(&bytes, header)
                && let Ok(bound) = records::bind(&interface(&[("x", of)], &[]), request.inputs)
            {
                let all: usize = bound.values.iter().map(|record| PortValue::len_bytes(record)).sum();
                // Texts of a tensor are written with their quotes and escapes.
                prop_assert!(all <= 8 * bytes.len() + 2 * bound.values.len());
            }
            bytes[at] = flip.1;
        }
    }
}
