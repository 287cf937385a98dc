//! Which output fits which input, and what an adapter would have to do: one table, and the laws behind it.

mod types;

use guildhall_protocol::fit::{Fit, fit, fits, interface_fit};
use guildhall_protocol::interface::{Port, PortType};
use proptest::prelude::*;

/// Output, input, and how they go together: `equal`, `wider`, the conversions in order, or `never:` with a part of why.
const TABLE: &[(&str, &str, &str)] = &[
    // Tensors: elements.
    ("tensor(f32, 3)", "tensor(f32, 3)", "equal"),
    ("tensor(f64, 3)", "tensor(f32, 3)", "Elements"),
    ("tensor(f32, 3)", "tensor(f16, 3)", "Elements"),
    ("tensor(u8, 3)", "tensor(f32, 3)", "Elements"),
    ("tensor(i64, 3)", "tensor(i32, 3)", "Elements"),
    ("tensor(bool, 3)", "tensor(u8, 3)", "Elements"),
    ("tensor(f32, 3)", "tensor(i64, 3)", "Round"),
    ("tensor(f32, 3)", "tensor(bool, 3)", "never: which f32 mean true"),
    // Tensors: shapes.
    ("tensor(f32, 3, 64)", "tensor(f32, n, 64)", "wider"),
    ("tensor(f32, 3, 64)", "tensor(f32, ?, ?)", "wider"),
    ("tensor(f32, n)", "tensor(f32, m)", "wider"),
    ("tensor(f32, ?)", "tensor(f32, n)", "wider"),
    ("tensor(f32, 64)", "tensor(f32, 1, 64)", "Batch"),
    ("tensor(f32, 1, 64)", "tensor(f32, 64)", "Batch"),
    ("tensor(f32, 64)", "tensor(f32, 1, 1, 64)", "Batch"),
    ("tensor(f32, 64)", "tensor(f32, n, 64)", "Batch"),
    ("tensor(f32, n, 64)", "tensor(f32, 64)", "Batch"),
    ("tensor(f32, n, 64)", "tensor(f32, 1, 64)", "Batch"),
    ("tensor(f32, 28, 28)", "tensor(f32, 1, 28, 28)", "Batch"),
    ("tensor(f32, 28, 28)", "tensor(f32, 28, 28, 1)", "Batch"),
    ("tensor(f32, 28, 28)", "tensor(f32, n, 1, 28, 28)", "Reshape"),
    ("tensor(u8, 64)", "tensor(f32, n, 64)", "Elements, Batch"),
    ("tensor(f32, 8, 8)", "tensor(f32, 64)", "Reshape"),
    ("tensor(f32, n, 8, 8)", "tensor(f32, n, 64)", "Reshape"),
    ("tensor(f32, 1, 64)", "tensor(f32, 1, 8, 8)", "Reshape"),
    ("tensor(f32, 3, 224, 224)", "tensor(f32, 224, 224, 3)", "Colours"),
    ("tensor(u8, 224, 224, 3)", "tensor(f32, 1, 3, 224, 224)", "Elements, Batch, Colours"),
    ("tensor(f32, 1, 3, 256, 256)", "tensor(f32, 1, 3, 224, 224)", "Scale"),
    ("tensor(f32, 3, ?, ?)", "tensor(f32, 3, 224, 224)", "Scale"),
    ("tensor(f32, n, 3, 256, 256)", "tensor(f32, 1, 3, 224, 224)", "Batch, Scale"),
    ("tensor(f32, 3, 224, 224)", "tensor(f32, 1, 224, 224)", "Colours"),
    ("tensor(f32, 32, 32, 4)", "tensor(f32, 3, 64, 64)", "Colours, Colours, Scale"),
    ("tensor(i64, 1, n)", "tensor(i64, 1, 128)", "Length"),
    ("tensor(f32, t, 80)", "tensor(f32, 3000, 80)", "Length"),
    ("tensor(f32, 64)", "tensor(f32, 65)", "never: shape [64] is not [65]"),
    ("tensor(f32, 2, 3)", "tensor(f32, 3, 2, 5)", "never: shape"),
    ("tensor(f32)", "tensor(f32, 1)", "Batch"),
    ("tensor(f32, 0)", "tensor(f32, 0, 0)", "never: shape"),
    // Tables.
    ("table(a:i64)", "table(a:i64)", "equal"),
    ("table(a:i64, b:text)", "table(a:i64)", "wider"),
    ("table(a:i64, b:text)", "table(b:text, a:i64)", "wider"),
    ("table(a:i64)", "table()", "wider"),
    ("table(a:i64)", "table(a:i64, b:text)", "never: column `b` (text) is missing"),
    ("table(a:i64)", "table(a:f32)", "Elements"),
    ("table(a:text)", "table(a:f32)", "Elements"),
    ("table(a:f32)", "table(a:i64)", "Round"),
    ("table(Zip-Code:i64)", "table(zip_code:i64)", "Structure"),
    ("table(Age:f64)", "table(age:f32)", "Structure, Elements"),
    ("table(a:f32, b:f32)", "tensor(f32, n, 2)", "Structure"),
    ("table(a:f32, b:f32)", "tensor(f32, 2)", "Structure"),
    ("table(a:f32, b:text)", "tensor(f32, 1)", "Structure, Columns"),
    ("table(a:f32)", "tensor(f32, 2)", "never: rows of 1 numbers"),
    ("table(a:text)", "tensor(f32, 1)", "never: no columns of numbers"),
    ("table(a:f32)", "tensor(bool, 1)", "never: true"),
    ("table(a:f32)", "text", "Structure"),
    ("table(a:f32)", "json", "Structure"),
    ("table(a:f32)", r#"json("{}")"#, "Structure, Check"),
    ("table(a:f32)", "image", "never: by a model only"),
    ("tensor(f32, n, 2)", "table(a:f32, b:f64)", "Structure, Elements"),
    ("tensor(f32, 3)", "table(a:f32, b:f32)", "never: 2 columns"),
    ("tensor(f32, 2, 2, 2)", "table()", "never: no rows"),
    // Text and JSON.
    ("text", "text", "equal"),
    ("text", "json", "Structure"),
    ("text", r#"json("{}")"#, "Structure, Check"),
    ("text", "table(line:text)", "Structure"),
    ("text", "table(a:text, b:text)", "never: which part"),
    ("text", "tensor(i64, n)", "never: by a model only"),
    ("text", "audio", "never: by a model only"),
    ("text", "bytes", "Rename"),
    ("text", "bytes(text/plain)", "Rename"),
    ("text", "bytes(application/pdf)", "never: application/pdf"),
    ("json", "json", "equal"),
    (r#"json("{}")"#, "json", "wider"),
    ("json", r#"json("{}")"#, "Check"),
    (r#"json("{}")"#, r#"json("true")"#, "Check"),
    ("json", "text", "Structure"),
    ("json", "table(a:i64)", "Structure"),
    ("json", "tensor(f32, n)", "Structure"),
    ("json", "prediction(class)", "Check"),
    ("json", "video", "never: by a model only"),
    ("tensor(f32, n)", "json", "Structure"),
    ("tensor(f32, n)", "text", "never: tensor(f32, n) is not text"),
    // Pictures, sound, video.
    ("image/png", "image", "wider"),
    ("image/png", "image(image/png|image/jpeg)", "wider"),
    ("image(image/png|image/jpeg)", "image(image/jpeg|image/png)", "wider"),
    ("image/gif", "image/png", "Format"),
    ("image", "image/png", "Format"),
    ("image/svg+xml", "image/png", "Format"),
    ("image/png", "image/svg+xml", "never: a drawing"),
    ("audio/mpeg", "audio/wav", "Format"),
    ("video/mp4", "video/webm", "Format"),
    ("video/mp4", "audio/wav", "Extract"),
    ("audio/wav", "video", "never: is not video"),
    ("video", "image", "never: is not image"),
    ("image/png", "tensor(u8, 224, 224, 3)", "Decode"),
    ("image/png", "tensor(f32, 1, 3, 224, 224)", "Decode, Elements"),
    ("image/png", "tensor(f32, n, 1, 28, 28)", "Decode, Elements"),
    ("image/png", "tensor(u8, 8, 8)", "Decode"),
    ("image/png", "tensor(f32, 64)", "Decode, Reshape, Elements"),
    ("image/png", "tensor(f32, 7, 9, 8)", "never: is no image"),
    ("image/png", "tensor(bool, 8, 8)", "never: true"),
    ("tensor(u8, 3, 224, 224)", "image/png", "Encode"),
    ("tensor(f32, 3, 224, 224)", "image", "Elements, Encode"),
    ("tensor(u8, 10)", "image", "never: is no image"),
    ("audio/wav", "tensor(f32, 1, n)", "Decode"),
    ("audio/wav", "tensor(i16, n)", "Decode, Round"),
    ("audio/wav", "tensor(f32, 1, 2, 3, 4)", "never: is no audio"),
    ("tensor(f32, 1, n)", "audio/wav", "Encode"),
    ("video/mp4", "tensor(u8, t, 224, 224, 3)", "Decode"),
    ("video/mp4", "tensor(u8, 224)", "never: is no video"),
    ("image", "text", "never: by a model only"),
    ("audio", "text", "never: by a model only"),
    ("image", "prediction(class)", "never: by a model only"),
    // Bytes.
    ("bytes(application/pdf)", "bytes", "wider"),
    ("bytes(application/pdf)", "bytes(model/gltf)", "never: may come, but only"),
    ("bytes", "text", "never: any media type"),
    ("bytes(application/pdf)", "text", "never: application/pdf are no text"),
    ("bytes(text/plain)", "text", "Rename"),
    ("bytes(text/csv)", "table(a:i64)", "Rename"),
    ("bytes(application/json)", "json", "Rename"),
    ("bytes(image/png)", "image", "Rename"),
    ("bytes(image/gif)", "image/png", "Rename, Format"),
    ("bytes(image/png|x/y)", "image", "never: are no image"),
    ("image/png", "bytes", "Rename"),
    ("image/png", "bytes(image/png)", "Rename"),
    ("image", "bytes(image/png)", "Encode, Rename"),
    ("image/png", "bytes(audio/wav)", "never: audio/wav"),
    ("prediction(class)", "bytes(application/json)", "Rename"),
    ("tensor(f32, 2)", "bytes(application/json)", "never: application/json"),
    // Predictions.
    ("prediction(class, labels a|b)", "prediction(class)", "wider"),
    ("prediction(class, labels a|b, at box)", "prediction(class, labels a|b)", "wider"),
    ("prediction(class, labels a|b)", "prediction(class, labels b|a)", "Labels"),
    ("prediction(class, labels a)", "prediction(class, labels a|b)", "Labels"),
    ("prediction(class, labels a|c)", "prediction(class, labels a|b)", "never: label `c`"),
    ("prediction(class)", "prediction(class, labels a|b)", "Check"),
    ("prediction(class)", "prediction(class, at box)", "never: where they are"),
    ("prediction(class, at text_window)", "prediction(class, at box)", "never: where they are"),
    ("prediction(class)", "prediction(text)", "Structure"),
    ("prediction(text)", "prediction(class)", "Check"),
    ("prediction(number)", "prediction(vector)", "Structure"),
    ("prediction(vector)", "prediction(class, labels a|b)", "Score"),
    ("prediction(vector)", "prediction(class)", "never: predictions of vector"),
    ("prediction(class)", "prediction(number)", "never: predictions of class"),
    ("prediction(class)", "text", "Structure"),
    ("prediction(vector)", "text", "never: a vector is no text"),
    ("prediction(class)", "json", "Structure"),
    ("prediction(class)", r#"json("{}")"#, "Structure, Check"),
    ("prediction(class)", "table(class:text, confidence:f64)", "Structure"),
    ("prediction(class)", "table(price:f64)", "never: no column `price`"),
    ("prediction(vector)", "tensor(f64, n)", "Structure"),
    ("prediction(vector)", "tensor(f32, 1, 512)", "Structure, Elements"),
    ("prediction(number)", "tensor(f64, 2)", "never: are not shape [2]"),
    ("prediction(class)", "tensor(f32, 1)", "never: a class is no number"),
    ("prediction(class)", "audio", "never: by a model only"),
    ("tensor(f32, 1, 2)", "prediction(class, labels a|b)", "Score"),
    ("tensor(f32, n, 3)", "prediction(class, labels a|b)", "never: scores of 2 labels"),
    ("tensor(f32, 2)", "prediction(class)", "never: the labels lack"),
    ("tensor(f32, 1, 512)", "prediction(vector)", "Structure"),
    ("tensor(f32, 1)", "prediction(number)", "Structure"),
    ("tensor(f32, 2, 2)", "prediction(number)", "never: no prediction of a number"),
    ("tensor(f32, 1, 4)", "prediction(vector, at box)", "never: where"),
    ("text", "prediction(text)", "Structure"),
    ("text", "prediction(class)", "never: no prediction of a class"),
    ("table(a:f32)", "prediction(number)", "never: table(1 columns) is not prediction"),
];

fn read(text: &str) -> PortType {
    text.parse().unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn outputs_fit_inputs_as_the_table_says() {
    let mut wrong = Vec::new();
    for (output, input, expected) in TABLE {
        let found = fit(&read(output), &read(input));
        let shown = match &found {
            Fit::Equal => "equal".to_owned(),
            Fit::Widening => "wider".to_owned(),
            Fit::NeedsAdapter(steps) => {
                let names = steps.iter().map(|step| format!("{:?}", step.conversion));
                names.collect::<Vec<_>>().join(", ")
            }
            Fit::Impossible(why) => format!("never: {why}"),
        };
        let is_right = match expected.strip_prefix("never: ") {
            Some(part) => shown.starts_with("never: ") && shown.contains(part),
            None => shown == *expected,
        };
        if !is_right {
            wrong.push(format!("{output} to {input}: {shown}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(TABLE.len() >= 80, "{}", TABLE.len());
}

#[test]
fn a_fit_says_in_words_what_is_to_be_done() {
    for (output, input, expected) in [
        ("text", "text", "is the same type"),
        ("image/png", "image", "fits as it is"),
        (
            "tensor(u8, 64)",
            "tensor(f32, n, 64)",
            "fits with an adapter: u8 becomes f32, then a batch of one is made ([64] to [n, 64])",
        ),
        ("image/gif", "image/png", "fits with an adapter: image/gif becomes image/png"),
        ("image", "text", "does not fit: image becomes text by a model only"),
    ] {
        assert_eq!(fit(&read(output), &read(input)).to_string(), expected);
    }
}

#[test]
fn fits_are_worth_less_the_more_has_to_be_done() {
    let worths = [
        ("text", "text"),
        ("image/png", "image"),
        ("image/gif", "image/png"),
        ("tensor(f32, 3)", "tensor(i64, 3)"),
        ("tensor(u8, 224, 224, 3)", "tensor(f32, 1, 3, 224, 224)"),
        ("image", "text"),
    ]
    .map(|(output, input)| fit(&read(output), &read(input)).worth());
    assert_eq!(worths, [1.0, 0.9, 0.5, 0.25, 0.5 / 3.0, 0.0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_type_is_equal_to_itself(port in types::port_type()) {
        prop_assert_eq!(fit(&port, &port), Fit::Equal);
    }

    #[test]
    fn a_fit_agrees_with_itself(a in types::port_type(), b in types::port_type()) {
        let found = fit(&a, &b);
        prop_assert_eq!(fits(&a, &b).is_ok(), found.is_direct(), "{} to {}: {:?}", a, b, found);
        prop_assert_eq!(a == b, found == Fit::Equal);
        prop_assert_eq!(found.is_possible(), found.worth() > 0.0);
        prop_assert_eq!(found.is_direct(), found.worth() > 0.5);
        if let Fit::NeedsAdapter(steps) = &found {
            prop_assert!(!steps.is_empty() && steps.iter().all(|step| !step.why.is_empty()), "{} to {}", a, b);
        }
    }

    #[test]
    fn what_flows_as_it_is_through_a_middle_flows_directly(
        a in types::port_type(),
        b in types::port_type(),
        c in types::port_type(),
    ) {
        if fit(&a, &b).is_direct() && fit(&b, &c).is_direct() {
            prop_assert!(fit(&a, &c).is_direct(), "{} to {} to {}", a, b, c);
        }
    }

    #[test]
    fn ports_are_fed_once_at_most_and_always_alike(
        outputs in proptest::collection::vec(types::port_type(), 0..5),
        inputs in proptest::collection::vec((types::port_type(), any::<bool>()), 0..5),
    ) {
        let outputs: Vec<Port> =
            outputs.into_iter().enumerate().map(|(n, port)| named(&format!("o{n}"), port, false)).collect();
        let inputs: Vec<Port> =
            inputs.into_iter().enumerate().map(|(n, (port, optional))| named(&format!("i{n}"), port, optional)).collect();
        let found = interface_fit(&outputs, &inputs);
        prop_assert_eq!(found.feeds.len(), inputs.len());
        let mut used: Vec<_> = found.feeds.iter().filter_map(|feed| feed.output.clone()).collect();
        used.sort();
        used.dedup();
        prop_assert_eq!(used.len(), found.feeds.iter().filter(|feed| feed.output.is_some()).count());
        for (feed, input) in found.feeds.iter().zip(&inputs) {
            let output = outputs.iter().find(|port| Some(&port.name) == feed.output.as_ref());
            match output {
                Some(output) => prop_assert_eq!(&feed.fit, &fit(&output.port_type, &input.port_type)),
                None => prop_assert!(!feed.fit.is_possible()),
            }
        }
        // As many required inputs as any choice can feed, found by trying every one.
        let required: Vec<&Port> = inputs.iter().filter(|port| !port.optional).collect();
        let most = most_fed(&required, &outputs, &mut vec![false; outputs.len()]);
        let fed = found.feeds.iter().filter(|feed| !feed.optional && feed.output.is_some()).count();
        prop_assert_eq!(fed, most);
        prop_assert_eq!(found.is_possible(), most == required.len());
    }
}

fn most_fed(inputs: &[&Port], outputs: &[Port], used: &mut Vec<bool>) -> usize {
    let Some((input, rest)) = inputs.split_first() else { return 0 };
    let mut most = most_fed(rest, outputs, used);
    for place in 0..outputs.len() {
        if !used[place] && fit(&outputs[place].port_type, &input.port_type).is_possible() {
            used[place] = true;
            most = most.max(1 + most_fed(rest, outputs, used));
            used[place] = false;
        }
    }
    most
}

fn named(name: &str, port_type: PortType, optional: bool) -> Port {
    Port { name: name.to_owned(), port_type, optional, location: None }
}

fn ports(list: &[(&str, &str)]) -> Vec<Port> {
    let port = |(name, written): &(&str, &str)| {
        let (written, optional) = match written.strip_suffix(" optional") {
            Some(written) => (written, true),
            None => (*written, false),
        };
        named(name, read(written), optional)
    };
    list.iter().map(port).collect()
}

#[test]
fn every_required_input_is_fed_where_that_can_be() {
    // Outputs, inputs, which output feeds each input, and what the whole is worth.
    type Case<'c> =
        (&'c [(&'c str, &'c str)], &'c [(&'c str, &'c str)], &'c [Option<&'c str>], f64);
    let cases: &[Case<'_>] = &[
        (&[("a", "text")], &[("in", "text")], &[Some("a")], 1.0),
        (&[("a", "image"), ("b", "text")], &[("in", "text")], &[Some("b")], 1.0),
        // The equal type before the wider one, and equal names before others.
        (&[("a", "image/gif"), ("b", "image/png")], &[("in", "image/png")], &[Some("b")], 1.0),
        (
            &[("a", "text"), ("b", "text")],
            &[("b", "text"), ("a", "text")],
            &[Some("b"), Some("a")],
            1.0,
        ),
        (
            &[("a", "text"), ("b", "text")],
            &[("x", "text"), ("y", "text")],
            &[Some("a"), Some("b")],
            1.0,
        ),
        // Greed alone would give `a` to `x` and leave `y` without.
        (
            &[("a", "image/png"), ("b", "tensor(u8, 8, 8)")],
            &[("x", "image/png"), ("y", "bytes(image/png)")],
            &[Some("b"), Some("a")],
            0.5,
        ),
        // What is optional gives way.
        (
            &[("a", "text")],
            &[("spare", "text optional"), ("need", "json")],
            &[None, Some("a")],
            0.5,
        ),
        (&[("a", "image")], &[("spare", "text optional")], &[None], 0.0),
        (&[("a", "image")], &[], &[], 1.0),
        (&[], &[("in", "text")], &[None], 0.0),
        (&[("a", "text")], &[("x", "text"), ("y", "text")], &[Some("a"), None], 0.0),
    ];
    for (outputs, inputs, expected, worth) in cases {
        let found = interface_fit(&ports(outputs), &ports(inputs));
        let feeds: Vec<_> = found.feeds.iter().map(|feed| feed.output.as_deref()).collect();
        assert_eq!(feeds, *expected, "{outputs:?} to {inputs:?}");
        assert!((found.worth() - worth).abs() < 1e-9, "{outputs:?} to {inputs:?}: {found:?}");
        assert_eq!(
            found.is_possible(),
            found.worth() > 0.0 || inputs.iter().all(|(_, t)| t.ends_with("optional"))
        );
    }
    let shared = interface_fit(&ports(&[("a", "text")]), &ports(&[("x", "text"), ("y", "text")]));
    assert_eq!(shared.feeds[1].fit.to_string(), "does not fit: `a` feeds another input");
}
