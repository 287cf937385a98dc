//! An envelope's bytes in every form but the accepted one.

use ciborium::Value;
use guildhall_protocol::cbor;
use guildhall_protocol::record::Record;

/// How the bytes of an envelope may be written otherwise than we write them.
#[derive(Clone, Copy, Debug)]
enum Odd {
    /// Heads of this major type take this many bytes for their argument.
    LongHead { major: u8, info: u8 },
    /// Items of this major type have no length in front and a break behind.
    Indefinite { major: u8 },
    /// Items of this major type carry this tag.
    Tagged { major: u8, tag: u8 },
    /// Byte strings are arrays of numbers.
    BytesAsArray,
    /// Byte strings are text, where they can be.
    BytesAsText,
    /// Map keys are byte strings.
    KeysAsBytes,
}

/// Writes `value` with one oddity everywhere that it applies.
fn write(value: &Value, odd: Odd, out: &mut Vec<u8>) {
    let head = |major: u8, len: u64, out: &mut Vec<u8>| {
        if let Odd::Tagged { major: of, tag } = odd
            && of == major
        {
            out.extend_from_slice(&[0xd8, tag]);
        }
        match odd {
            Odd::LongHead { major: of, info }
                if of == major && bytes_of(len) < bytes_of_info(info) =>
            {
                out.push(major << 5 | info);
                out.extend_from_slice(&len.to_be_bytes()[8 - bytes_of_info(info)..]);
            }
            Odd::Indefinite { major: of } if of == major => out.push(major << 5 | 31),
            _ => shortest(major, len, out),
        }
    };
    let indefinite = |major: u8| matches!(odd, Odd::Indefinite { major: of } if of == major);
    let string = |major: u8, bytes: &[u8], out: &mut Vec<u8>| {
        head(major, bytes.len() as u64, out);
        if indefinite(major) {
            shortest(major, bytes.len() as u64, out);
        }
        out.extend_from_slice(bytes);
        out.extend(indefinite(major).then_some(0xff));
    };
    match value {
        Value::Map(entries) => {
            head(5, entries.len() as u64, out);
            for (key, value) in entries {
                match (odd, key) {
                    (Odd::KeysAsBytes, Value::Text(key)) => {
                        write(&Value::Bytes(key.clone().into_bytes()), odd, out);
                    }
                    _ => write(key, odd, out),
                }
                write(value, odd, out);
            }
            out.extend(indefinite(5).then_some(0xff));
        }
        Value::Bytes(bytes) if matches!(odd, Odd::BytesAsArray) => {
            shortest(4, bytes.len() as u64, out);
            bytes.iter().for_each(|byte| shortest(0, u64::from(*byte), out));
        }
        Value::Bytes(bytes) if matches!(odd, Odd::BytesAsText) => {
            shortest(3, bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Value::Bytes(bytes) => string(2, bytes, out),
        Value::Text(text) => string(3, text.as_bytes(), out),
        other => panic!("an envelope holds no {other:?}"),
    }
}

fn bytes_of_info(info: u8) -> usize {
    1 << (info - 24)
}

/// How many bytes the shortest head has behind its first.
fn bytes_of(len: u64) -> usize {
    match len {
        0..24 => 0,
        24..0x100 => 1,
        0x100..0x1_0000 => 2,
        0x1_0000..0x1_0000_0000 => 4,
        _ => 8,
    }
}

fn shortest(major: u8, len: u64, out: &mut Vec<u8>) {
    let bytes = len.to_be_bytes();
    match bytes_of(len) {
        0 => out.push(major << 5 | len as u8),
        count => {
            out.push(major << 5 | (24 + count.trailing_zeros() as u8));
            out.extend_from_slice(&bytes[8 - count..]);
        }
    }
}

/// The envelope of `record`, in every form but its own that some CBOR decoder reads as the same.
pub(crate) fn other_forms(record: &Record) -> Vec<(String, Vec<u8>)> {
    let value: Value = ciborium::from_reader(record.bytes()).expect("CBOR");
    let mut odds = vec![Odd::BytesAsArray, Odd::BytesAsText, Odd::KeysAsBytes];
    for major in [2, 3, 5] {
        odds.extend([24, 25, 26, 27].map(|info| Odd::LongHead { major, info }));
        odds.push(Odd::Indefinite { major });
        odds.push(Odd::Tagged { major, tag: 24 });
    }
    let mut forms: Vec<(String, Vec<u8>)> = odds
        .into_iter()
        .map(|odd| {
            let mut bytes = Vec::new();
            write(&value, odd, &mut bytes);
            (format!("{odd:?}"), bytes)
        })
        .collect();
    let plain = |entries: Vec<(Value, Value)>| {
        let mut bytes = Vec::new();
        ciborium::into_writer(&Value::Map(entries), &mut bytes).expect("writes");
        bytes
    };
    let entries = value.into_map().expect("a map");
    let mut add =
        |name: &str, entries: Vec<(Value, Value)>| forms.push((name.into(), plain(entries)));
    add("reversed", entries.iter().rev().cloned().collect());
    let mut more = entries.clone();
    more.push(("pad".into(), Value::Bytes(vec![0; 100])));
    add("a field of its own", more);
    let mut twice = entries.clone();
    twice.push(entries[1].clone());
    add("a field twice", twice);
    let mut twice = entries.clone();
    twice.insert(0, ("body".into(), "erased".into()));
    add("two bodies", twice);
    let last = entries.len() - 1;
    for (name, body) in [
        ("a name with content", Value::Map(vec![("erased".into(), Value::Null)])),
        ("a name with more content", Value::Map(vec![("erased".into(), Value::Bytes(vec![1]))])),
        ("a variant by number", Value::Map(vec![(0.into(), Value::Bytes(vec![]))])),
        ("content without a value", "public".into()),
        ("no body", Value::Null),
    ] {
        let mut other = entries.clone();
        other[last].1 = body;
        add(name, other);
    }
    let delegation: Vec<u8> = entries[2].1.as_bytes().expect("bytes").clone();
    let wrapped: Value = ciborium::from_reader(&delegation[..]).expect("CBOR");
    let wrapped = wrapped.into_map().expect("a map");
    let mut padded = wrapped.clone();
    padded.push(("pad".into(), Value::Bytes(vec![0; 100])));
    for (name, delegation) in [
        ("a padded delegation", plain(padded)),
        ("a reversed delegation", plain(wrapped.into_iter().rev().collect())),
    ] {
        let mut other = entries.clone();
        other[2].1 = Value::Bytes(delegation);
        add(name, other);
    }
    forms.push(("its head as a tag".into(), [&[0xd9, 0xd9, 0xf7], record.bytes()].concat()));
    forms.push(("in a byte string".into(), cbor::encode(serde_bytes::Bytes::new(record.bytes()))));
    forms
}
