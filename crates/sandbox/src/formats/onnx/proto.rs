//! Protocol buffers, field by field, straight from the file: weights are passed over, never held.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. Groups are refused; ONNX has none.

use super::super::problem::{Checked, refused_at};
use super::super::source::{Reader, Source};

/// The highest field number that is taken. ONNX's highest is 26; what another format appends seldom decodes at all, and
/// seldom below this.
const FIELD_MAX: u64 = 63;

/// A field's value, or where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// A number.
    Varint(u64),
    /// Four bytes.
    Fixed32,
    /// Eight bytes.
    Fixed64,
    /// Bytes of this range of the file, inside the message.
    Range(Range),
}

/// A part of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Range {
    pub(super) const fn len_bytes(self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// One message's fields in order.
pub(super) struct Message<'a> {
    reader: Reader<'a>,
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) number: u64,
    pub(super) value: Value,
    /// Where it begins.
    pub(super) at: u64,
}

impl Field {
    /// Its range.
    pub(super) fn range(&self) -> Checked<Range> {
        match self.value {
            Value::Range(range) => Ok(range),
            _ => Err(self.wrong_type()),
        }
    }

    /// Its number, signed as ONNX has them.
    pub(super) fn integer(&self) -> Checked<i64> {
        match self.value {
            Value::Varint(value) => Ok(value.cast_signed()),
            _ => Err(self.wrong_type()),
        }
    }

    fn wrong_type(&self) -> super::super::problem::Problem {
        refused_at(self.at, format!("field {} is of the wrong type", self.number))
    }
}

impl<'a> Message<'a> {
    pub(super) fn new(source: &Source<'a>, range: Range) -> Self {
        Self { reader: source.reader_of(range.start, range.end) }
    }

    fn varint(&mut self) -> Checked<u64> {
        let at = self.reader.position();
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.reader.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(refused_at(at, "a number is too long"))
    }

    /// The next field; none at the message's end.
    pub(super) fn next(&mut self) -> Checked<Option<Field>> {
        if self.reader.left() == 0 {
            return Ok(None);
        }
        let at = self.reader.position();
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > FIELD_MAX {
            return Err(refused_at(at, format!("field {number} is none of ONNX")));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.reader.skip(8)?;
                Value::Fixed64
            }
            2 => {
                let len_bytes = self.varint()?;
                let start = self.reader.position();
                self.reader.skip(len_bytes)?;
                Value::Range(Range { start, end: self.reader.position() })
            }
            5 => {
                self.reader.skip(4)?;
                Value::Fixed32
            }
            _ => return Err(refused_at(at, "a field of no type")),
        };
        Ok(Some(Field { number, value, at }))
    }
}

/// Whether these bytes are numbers one after another, and how many.
pub(super) fn count_packed(source: &Source<'_>, range: Range) -> Checked<u64> {
    let mut reader = source.reader_of(range.start, range.end);
    let mut count = 0_u64;
    let mut is_open = false;
    loop {
        let chunk = reader.chunk()?;
        if chunk.is_empty() {
            break;
        }
        count = count.saturating_add(chunk.iter().filter(|byte| **byte < 0x80).count() as u64);
        is_open = chunk.last().is_some_and(|byte| *byte >= 0x80);
        let len = chunk.len();
        reader.consume(len);
    }
    if is_open {
        return Err(refused_at(range.end, "a number does not end"));
    }
    Ok(count)
}

/// The numbers of a packed field, at most `max`.
pub(super) fn packed(source: &Source<'_>, range: Range, max: usize) -> Checked<Vec<i64>> {
    let mut message = Message::new(source, range);
    let mut found = Vec::new();
    while message.reader.left() > 0 {
        if found.len() >= max {
            return Err(refused_at(range.start, format!("more than {max} numbers")));
        }
        found.push(message.varint()?.cast_signed());
    }
    Ok(found)
}
