#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Query {
    Query::read(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refused(text: &str) -> String {
    Query::read(text).expect_err(text).to_string()
}

#[test]
fn every_key_asks_for_its_part() {
    let json = |text: &str| serde_json::to_value(read(text)).unwrap();
    for (text, part, value) in [
        ("task:vision/image-to-text", "category", serde_json::json!("vision/image-to-text")),
        ("task:ocr", "category", "ocr".into()),
        ("task:\"Speech to Text\"", "category", "audio/automatic-speech-recognition".into()),
        ("category:vision", "category", "vision".into()),
        ("KIND:Model", "kind", "model".into()),
        ("kind：model", "kind", "model".into()),
        ("by:lab-a", "org", "lab-a".into()),
        ("license:\"MIT OR Apache-2.0\"", "licence", "MIT OR Apache-2.0".into()),
        ("accepts:image", "input", "image".into()),
        ("in=image/png", "input", "image/png".into()),
        ("yields:prediction", "output", "prediction".into()),
        ("latency<50ms", "max_latency_ms", 50.0.into()),
        ("latency＜50ms", "max_latency_ms", 50.0.into()),
        ("latency<=50", "max_latency_ms", 50.0.into()),
        ("latency<500us", "max_latency_ms", 0.5.into()),
        ("latency≤1.5s", "max_latency_ms", 1500.0.into()),
        ("latency<0.00001min", "max_latency_ms", 0.6.into()),
        ("accuracy>0.9", "min_accuracy", 0.9.into()),
        ("accuracy>=90%", "min_accuracy", 0.9.into()),
        ("metric:wer", "metric", "wer".into()),
        ("memory<2GiB", "max_memory_bytes", (2_u64 << 30).into()),
        ("size<1.5GB", "max_len_bytes", 1_500_000_000_u64.into()),
        ("gpu:no", "gpu_memory_bytes", 0.into()),
        ("gpu<8GiB", "gpu_memory_bytes", (8_u64 << 30).into()),
        ("cores<4", "cores", 4.into()),
        ("cores:4", "cores", 4.into()),
        ("engine:onnx", "engine", "onnx".into()),
        ("runnable", "runnable", true.into()),
        ("is:runnable", "runnable", true.into()),
        ("with:data", "with_data", true.into()),
        ("ref:lab-a/digits", "reference", "lab-a/digits".into()),
        ("lab-a/digits@1.0.0", "reference", "lab-a/digits@1.0.0".into()),
    ] {
        let mut expected = serde_json::json!({ "limit": 0 });
        expected[part] = value;
        assert_eq!(json(text), expected, "{text}");
    }
    let asked = read("f1>0.8");
    assert_eq!((asked.metric.as_deref(), asked.min_accuracy), (Some("f1"), Some(0.8)));
}

#[test]
fn full_types_have_to_fit() {
    let tensor: PortType = "tensor(f32, n, 64)".parse().unwrap();
    for text in ["accepts:\"tensor(f32, n, 64)\"", "accepts:tensor(f32, n, 64)"] {
        assert_eq!(read(text).fits, Gap { input: Some(tensor.clone()), output: None }, "{text}");
    }
    let gap = read("digits fits:image/png..tensor(f32, n, 64) kind:model");
    assert_eq!(gap.fits.output, Some(tensor));
    assert_eq!((gap.text.as_deref(), gap.fits.input.is_some()), (Some("digits"), true));
    assert_eq!(read("fits:..text").fits.output, Some(PortType::Text));
    assert_eq!(Gap::sides("a(..)..b"), Some(("a(..)", "b")));
    assert!(refused("fits:..").contains("one side"));
    assert!(refused("fits:image").contains("`..`"));
}

#[test]
fn what_is_no_criterion_is_text() {
    for text in [
        "small digits",
        "http://example.org/a:b?c=d",
        "a:b",
        "x<5",
        "c++ a>b",
        "note: this",
        "recall: yes",
        ":model",
        "<50ms",
        ".*",
        "(((((((((",
        "[a-z]{1,99}",
        "\\",
        "5\" screen",
        "\"open",
        "größe 7 µs",
        "\u{202e}evil",
        "a\0b",
        "ключ:значение",
        "vision/digits",
        "a@b",
    ] {
        assert_eq!(read(text), Query { text: Some(text.into()), ..Query::default() });
    }
    assert_eq!(read("\"kind:model\"").text.as_deref(), Some("kind:model"));
    assert_eq!(read("").text, None);
    assert_eq!(read(" \u{2003}\n\"  \" ").text, None);
}

#[test]
fn words_that_only_look_like_criteria_are_named() {
    for (text, unread) in [
        ("author:lab-a digits kind:model", vec!["author:lab-a"]),
        ("foo=bar \"author:me\" tags:\"a b\"", vec!["foo=bar", "tags:\"a"]),
        ("http://example.org/a:b note: this 12:30 a:b x<5 ключ:значение lab-a/x:y", vec![]),
        ("aa:a bb:b cc:c dd:d ee:e", vec!["aa:a", "bb:b", "cc:c", "dd:d"]),
        ("knid:model", vec![]),
    ] {
        assert_eq!(Query::unread_keys(text), unread, "{text}");
    }
}

#[test]
fn what_is_nearly_a_key_says_which_was_meant() {
    for (text, meant) in [
        ("licens:mit", "`license:mit`"),
        ("latnecy<5", "`latency<5`"),
        ("catgory:vision", "`category:vision`"),
        ("acuracy>0.9", "`accuracy>0.9`"),
        ("recal>0.9", "`recall>0.9`"),
        ("knid:model", "`kind:model`"),
        // Cyrillic letters, and a space that has no width.
        ("l\u{456}\u{441}ence:mit", "`licence:mit`"),
        ("ki\u{200b}nd:model", "`kind:model`"),
    ] {
        let error = refused(text);
        assert!(error.contains(text) && error.contains(meant), "{error}");
    }
    assert!(refused("kind:modle").contains("did you mean `kind:model`"));
}

#[test]
fn wrong_values_say_what_would_be_right() {
    for (text, says) in [
        ("kind:thing", "algorithm"),
        ("kind:", "`kind:model`"),
        ("kind:m\u{43e}del", "did you mean `kind:model`?"),
        ("licence:\"MIT \"or\" BSD\"", "quotes are not closed"),
        ("accepts:tensor((((", "type"),
        ("latency<NaN", "us, ms or s"),
        ("latency<-1", "us, ms or s"),
        ("accuracy>inf", "90%"),
        ("latency>5ms", "`latency<50ms`"),
        ("latency<fast", "us, ms or s"),
        ("accuracy<0.5", "`accuracy>0.9`"),
        ("accuracy>90", "90%"),
        ("recall:0.9", "`accuracy>0.9`"),
        ("memory<lots", "GiB"),
        ("gpu:yes", "gpu:no"),
        ("cores:4.5", "whole"),
        ("accepts:pixels", "type"),
        ("accepts:tensor(f32, n", "parenthesis"),
        ("in:tensor(f32, 64", "parenthesis"),
        ("fits:..prediction", "`yields:prediction`"),
        ("fits:tensor..text", "`accepts:tensor`"),
        ("task:Translaton", "did you mean `task:text/translation`?"),
        ("licence:\"mit", "not closed"),
        ("is:good", "is:runnable"),
        ("with:care", "with:data"),
        ("org:Bad_Org", "org name"),
        ("task:vision/", "category"),
        ("ref:digits", "org/name"),
        ("size<99999999999999999999GB", "size"),
    ] {
        let error = refused(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn doubles_agree_or_are_refused_with_both() {
    assert_eq!(read("kind:model kind:MODEL"), read("kind:model"));
    for (first, second) in [
        ("kind:model", "kind:data"),
        ("latency<50ms", "latency<20ms"),
        ("f1>0.8", "auroc>0.8"),
        ("lab-a/xy@1.0.0", "ref:lab-a/xy"),
        ("fits:image..text", "fits:audio.."),
    ] {
        let error = refused(&format!("{first} digits {second}"));
        assert_eq!(
            error,
            format!(
                "`{first}` and `{second}` ask for two values of one criterion; give one of them"
            )
        );
    }
}

#[test]
fn long_queries_are_refused_and_errors_stay_short() {
    assert_eq!(
        Query::read(&"a".repeat(1 << 20)),
        Err(ShorthandError::TooLong { len_bytes: 1 << 20 })
    );
    assert!(refused(&"a ".repeat(2000)).starts_with("text: longer than"));
    assert!(refused(&format!("kind:{}", "x".repeat(9000))).len() < 400);
    assert!(refused(&format!("licens:{}", "x".repeat(9000))).len() < 400);
}

#[test]
fn a_query_is_written_as_people_write_it() {
    for text in [
        "digits kind:model task:vision org:lab-a licence:mit accepts:image/png yields:prediction \
         latency<50ms accuracy>0.9 memory<2GiB size<1GB gpu:no cores:4 engine:onnx is:runnable",
        "\"kind:model\" f1>0.8 gpu<8GiB",
        "metric:wer accuracy>0.5",
        "fits:\"image(image/png)..tensor(f32, n, 64)\"",
        "ref:lab-a/digits@1.0.0",
        "\"runnable\" \"a@b/c\"",
    ] {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.contains("a@b") {
            assert_eq!(read(&read(&text).shorthand()), read(&text));
        } else {
            assert_eq!(read(&text).shorthand(), text);
        }
    }
}

prop_compose! {
    fn queries()(
        text in proptest::option::of("[a-z:<>=\"\\\\ .@/(]{1,20}[a-z]"),
        kind in proptest::option::of(prop::sample::select(crate::manifest::Kind::ALL.to_vec())),
        category in proptest::option::of("[a-z]{1,8}/[a-z]{1,8}"),
        org in proptest::option::of("[b-y]{4,8}"),
        licence in proptest::option::of("[A-Za-z0-9 .\"\\\\-]{0,10}[A-Z]"),
        metric in proptest::option::of(prop_oneof!["[a-zA-Z@ ]{1,6}[a-z]", Just("f1".to_owned())]),
        numbers in (
            proptest::option::of(0.0..1e9_f64),
            proptest::option::of(0.0..=1.0_f64),
            proptest::option::of(any::<u64>()),
            proptest::option::of(any::<u64>()),
            proptest::option::of(0..1_u64 << 40),
            proptest::option::of(any::<u32>()),
        ),
        input in proptest::option::of(prop::sample::select(vec!["image", "image/png", "tensor"])),
        fits in proptest::option::of(prop::sample::select(vec![
            "text..", "..prediction(class, labels \"a b\"|\"..\")", "table(\"x y\":f32)..json",
        ])),
        runnable in any::<bool>(),
    ) -> Query {
        let (latency, accuracy, memory, size, gpu, cores) = numbers;
        Query {
            text: text.filter(|text| !text.trim().is_empty()),
            kind,
            category: category.map(|text| text.parse().unwrap()),
            org: org.and_then(|text| text.parse().ok()),
            licence,
            metric,
            max_latency_ms: latency,
            min_accuracy: accuracy,
            max_memory_bytes: memory,
            max_len_bytes: size,
            gpu_memory_bytes: gpu,
            cores,
            input: input.map(|text| text.parse().unwrap()),
            fits: fits.map_or_else(Gap::default, |text| text.parse().unwrap()),
            runnable,
            ..Query::default()
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(query in queries()) {
        let text = query.shorthand();
        prop_assert_eq!(Query::read(&text), Ok(query), "{}", text);
    }

    #[test]
    fn any_text_is_a_query_or_an_error_and_means_the_same_when_written_again(
        text in "(([a-z]{1,9}|kind|f1|gpu|accepts|fits|latency|ref)?[:=<>]{0,2}[ -~]{0,9}|\\PC{0,9}| |\"|\\(){0,6}"
    ) {
        if let Ok(query) = Query::read(&text) {
            let written = query.shorthand();
            prop_assert_eq!(Query::read(&written), Ok(query), "{} as {}", text, written);
        }
    }
}
