//! Types as people write them: what is written is read back, and what cannot be read says how to write it.

mod types;

use guildhall_protocol::interface::{PortType, TYPE_TEXT_MAX_BYTES};
use proptest::prelude::*;

#[test]
fn types_are_read_as_people_write_them() {
    // What is typed, and the form that is kept.
    for (typed, written) in [
        ("text", "text"),
        (" text ", "text"),
        ("text/plain", "text"),
        ("json", "json"),
        ("application/json", "json"),
        ("text/csv", "table()"),
        ("image", "image"),
        ("image()", "image"),
        ("text()", "text"),
        ("json( )", "json"),
        ("image/png", "image(image/png)"),
        ("image( image/png | image/jpeg )", "image(image/png|image/jpeg)"),
        ("audio/wav", "audio(audio/wav)"),
        ("video/mp4", "video(video/mp4)"),
        ("image/svg+xml", "image(image/svg+xml)"),
        ("application/pdf", "bytes(application/pdf)"),
        ("bytes (application/pdf)", "bytes(application/pdf)"),
        (r#"bytes("text/plain; charset=utf-8")"#, r#"bytes("text/plain; charset=utf-8")"#),
        ("tensor(f32)", "tensor(f32)"),
        ("tensor(f32,1,3,224,224)", "tensor(f32, 1, 3, 224, 224)"),
        ("tensor( float32 , n , ? )", "tensor(f32, n, ?)"),
        (r#"tensor(u8, "64", "?")"#, r#"tensor(u8, "64", "?")"#),
        ("table(age:i64, name:text)", "table(age:i64, name:text)"),
        ("table( age : int64 ,\"full name\":string )", "table(age:i64, \"full name\":text)"),
        ("prediction(class)", "prediction(class)"),
        ("prediction(class, labels a|b|c)", "prediction(class, labels a|b|c)"),
        ("prediction(class,labels 0 | 1,at box)", "prediction(class, labels 0|1, at box)"),
        ("prediction(text, at text_window)", "prediction(text, at text_window)"),
        (r#"json("{\"type\":\"object\"}")"#, r#"json("{\"type\":\"object\"}")"#),
    ] {
        let read: PortType = typed.parse().unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(read.written(), written, "{typed}");
        assert_eq!(written.parse(), Ok(read), "{written}");
    }
}

#[test]
fn what_is_shown_is_read_where_it_says_everything() {
    for text in [
        "text",
        "image(image/png|image/gif)",
        "tensor(f32, n, 3, ?)",
        "json",
        "bytes",
        "prediction(number)",
    ] {
        assert_eq!(text.parse::<PortType>().unwrap().to_string(), text);
    }
    let counted = ["table(a:i64, b:text)", "prediction(class, labels a|b)"];
    for text in counted.map(|text| text.parse::<PortType>().unwrap().to_string()) {
        assert!(text.parse::<PortType>().is_err(), "{text}");
    }
}

#[test]
fn errors_say_what_is_wrong_and_how_it_is_right() {
    let long = format!("image({})", "x".repeat(TYPE_TEXT_MAX_BYTES));
    let deep = format!("tensor(u8{})", ", 1".repeat(17));
    for (text, why, example) in [
        ("", "the kind of value is missing", "tensor(f32, 1, 3, 224, 224)"),
        ("picture", "a type is one of", "tensor(f32, 1, 3, 224, 224)"),
        ("tensor", "the type of the elements is missing", "tensor(f32, 1, 3, 224, 224)"),
        ("tensor(f33, 1)", "elements are bool", "tensor(f32, 1, 3, 224, 224)"),
        ("tensor(f32 1)", "`)` or `,` is missing", "tensor(f32, 1, 3, 224, 224)"),
        ("tensor(f32, )", "a dimension is missing", "tensor(f32, 1, 3, 224, 224)"),
        ("tensor(f32, 99999999999999999999)", "too large", "tensor(f32, 1, 3, 224, 224)"),
        (&deep, "more than 16 dimensions", "tensor(f32, 1, 3, 224, 224)"),
        ("table", "the columns are missing", "table(age:i64, name:text)"),
        ("table(3 columns)", "a name, `:` and a type", "table(age:i64, name:text)"),
        ("table(age:year)", "elements are", "table(age:i64, name:text)"),
        ("prediction(class, 3 labels)", "have to be named", "prediction(class, labels cat|dog)"),
        ("prediction(class, at home)", "a place is", "prediction(class, labels cat|dog)"),
        ("prediction(class, labels a, labels b)", "once each", "prediction(class, labels cat|dog)"),
        ("text(en)", "nothing in brackets", "text"),
        ("json({})", "a JSON Schema stands in quotes", "json"),
        ("image(image/png", "`)` or `,` is missing", "image(image/png|image/jpeg)"),
        ("image/png, image/gif", "behind its end", "image(image/png|image/jpeg)"),
        ("image/", "a media type has two parts", "image(image/png|image/jpeg)"),
        ("bytes(\"a", "a quote is not closed", "bytes(application/pdf)"),
        ("bytes(\"a\\n\")", "behind \\ stands", "bytes(application/pdf)"),
        ("\"image\"", "has no quotes", "tensor(f32, 1, 3, 224, 224)"),
        (&long, "longer than 1024 bytes", "image(image/png|image/jpeg)"),
    ] {
        let error = text.parse::<PortType>().expect_err(text);
        assert!(error.why.contains(why), "{text}: {error}");
        assert_eq!(error.example, example, "{text}");
        assert!(error.to_string().len() < 400, "{error}");
        assert!(example.parse::<PortType>().is_ok(), "{example}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_type_is_read_as_it_was_written(port in prop_oneof![
        types::port_type(),
        types::with_words(".{0,12}".boxed(), "[a-z|\" ]{0,5}/?[^a]{0,9}".boxed()),
    ]) {
        let written = port.written();
        if written.len() <= TYPE_TEXT_MAX_BYTES {
            prop_assert_eq!(written.parse::<PortType>(), Ok(port), "{}", written);
        }
        prop_assert!(!written.chars().any(char::is_control), "{}", written);
    }

    #[test]
    fn no_text_makes_the_reader_fall(text in "(tensor|table|json|prediction|image|\\PC){0,3}[a-z0-9(),:|\"\\\\?/ {}]{0,40}") {
        if let Ok(port) = text.parse::<PortType>() {
            let written = port.written();
            prop_assert_eq!(written.parse::<PortType>(), Ok(port), "{}", written);
        }
    }
}
