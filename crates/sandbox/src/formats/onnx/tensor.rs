//! Tensors in ONNX files: whether their bytes are as many as their shape takes.

use guildhall_protocol::interface::{Dim, ElementType};

use super::super::problem::{Checked, Problem, refused_at};
use super::super::source::Source;
use super::NAME_MAX_BYTES;
use super::proto::{Message, Range, Value, count_packed, packed};

/// Most dimensions of a tensor; frameworks stop at 8 to 64.
pub(super) const RANK_MAX: usize = 64;

/// Longest name of a dimension that is kept, bytes: what ports may be named like.
const DIM_NAME_MAX_BYTES: usize = 64;

/// What a tensor says about itself.
#[derive(Default)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) elements: u64,
    /// The file beside the graph that holds it.
    pub(super) location: Option<String>,
}

/// What was found of it.
#[derive(Default)]
struct Parts {
    dims: Vec<i64>,
    kind: i64,
    raw_bytes: Option<u64>,
    /// Elements in each of the typed fields 4 to 7, 10 and 11.
    typed: [u64; 12],
    is_external: bool,
}

/// Reads a tensor's description and counts its data.
pub(super) fn read(source: &Source<'_>, range: Range) -> Checked<Tensor> {
    let mut found = Tensor::default();
    let mut parts = Parts::default();
    let mut message = Message::new(source, range);
    while let Some(field) = message.next()? {
        match (field.number, field.value) {
            (1, Value::Varint(size)) => parts.dims.push(size.cast_signed()),
            (1, Value::Range(sizes)) => parts.dims.extend(packed(source, sizes, RANK_MAX)?),
            (2, _) => parts.kind = field.integer()?,
            (4, Value::Range(data)) => parts.add(4, data.len_bytes() / 4),
            (10, Value::Range(data)) => parts.add(10, data.len_bytes() / 8),
            (number @ (5 | 7 | 11), Value::Range(data)) => {
                parts.add(number, count_packed(source, data)?);
            }
            (number @ (4..=7 | 10 | 11), _) => parts.add(number, 1),
            (8, Value::Range(name)) => found.name = text(source, name)?,
            (9, Value::Range(data)) => parts.raw_bytes = Some(data.len_bytes()),
            (13, Value::Range(entry)) => {
                if let (key, Some(value)) = entry_of(source, entry)?
                    && key == "location"
                {
                    found.location = Some(value);
                }
            }
            (14, Value::Varint(place)) => parts.is_external = place == 1,
            (1 | 8 | 9 | 13 | 14, _) => {
                return Err(refused_at(field.at, "a tensor's field is of the wrong type"));
            }
            _ => {}
        }
        if parts.dims.len() > RANK_MAX {
            return Err(refused_at(field.at, format!("more than {RANK_MAX} dimensions")));
        }
    }
    let wrong = |why: &str| -> Problem {
        refused_at(range.start, format!("tensor `{}`: {why}", found.name))
    };
    found.elements = parts.elements().ok_or_else(|| wrong("its dimensions are too large"))?;
    if parts.is_external {
        return match found.location {
            Some(_) => Ok(found),
            None => Err(wrong("it does not say in which file it lies")),
        };
    }
    if found.location.is_some() {
        return Err(wrong("it names another file, but does not lie there"));
    }
    parts.check(found.elements).map_err(|why| wrong(&why))?;
    Ok(found)
}

fn text(source: &Source<'_>, range: Range) -> Checked<String> {
    if range.len_bytes() > NAME_MAX_BYTES {
        return Err(refused_at(range.start, format!("a name of {} bytes", range.len_bytes())));
    }
    String::from_utf8(source.bytes(range.start, range.len_bytes())?)
        .map_err(|_| refused_at(range.start, "a name is not UTF-8"))
}

/// A key with its value.
fn entry_of(source: &Source<'_>, range: Range) -> Checked<(String, Option<String>)> {
    let mut message = Message::new(source, range);
    let (mut key, mut value) = (String::new(), None);
    while let Some(field) = message.next()? {
        match (field.number, field.value) {
            (1, Value::Range(range)) => key = text(source, range)?,
            (2, Value::Range(range)) => value = Some(text(source, range)?),
            _ => {}
        }
    }
    Ok((key, value))
}

impl Parts {
    fn add(&mut self, number: u64, count: u64) {
        let slot = usize::try_from(number).ok().and_then(|number| self.typed.get_mut(number));
        if let Some(slot) = slot {
            *slot = slot.saturating_add(count);
        }
    }

    fn elements(&self) -> Option<u64> {
        self.dims
            .iter()
            .try_fold(1_u64, |product, size| product.checked_mul(u64::try_from(*size).ok()?))
    }

    /// Whether the data is as long as the shape takes.
    fn check(&self, elements: u64) -> Result<(), String> {
        let bits = bits(self.kind).ok_or_else(|| format!("unknown type {}", self.kind))?;
        let (found, wanted, what) = match self.raw_bytes {
            Some(bytes) => {
                let wanted = elements.checked_mul(bits).ok_or("its dimensions are too large")?;
                (bytes, wanted.div_ceil(8), "bytes")
            }
            None => {
                let (field, wanted) = match self.kind {
                    1 => (4, elements),
                    14 => (4, elements.saturating_mul(2)),
                    7 => (7, elements),
                    8 => (6, elements),
                    11 => (10, elements),
                    15 => (10, elements.saturating_mul(2)),
                    12 | 13 => (11, elements),
                    // Several of these small numbers share one of the field's.
                    21..=26 => {
                        let found = self.typed.get(5).copied().unwrap_or_default();
                        return if found > 0 || elements == 0 {
                            Ok(())
                        } else {
                            Err("it has a shape and no data".into())
                        };
                    }
                    _ => (5, elements),
                };
                (self.typed.get(field).copied().unwrap_or_default(), wanted, "elements")
            }
        };
        if found == wanted {
            Ok(())
        } else {
            Err(format!("it has {found} {what}, but its shape takes {wanted}"))
        }
    }
}

/// Bits of one element; texts have none of their own.
const fn bits(kind: i64) -> Option<u64> {
    Some(match kind {
        25 | 26 => 2,
        21..=23 => 4,
        2 | 3 | 9 | 17..=20 | 24 => 8,
        4 | 5 | 10 | 16 => 16,
        1 | 6 | 12 => 32,
        7 | 11 | 13 | 14 => 64,
        15 => 128,
        8 => 0,
        _ => return None,
    })
}

/// Our name of ONNX's element type, if it is one of ours.
pub(super) const fn element_type(kind: i64) -> Option<ElementType> {
    Some(match kind {
        1 => ElementType::F32,
        2 => ElementType::U8,
        3 => ElementType::I8,
        4 => ElementType::U16,
        5 => ElementType::I16,
        6 => ElementType::I32,
        7 => ElementType::I64,
        8 => ElementType::Text,
        9 => ElementType::Bool,
        10 => ElementType::F16,
        11 => ElementType::F64,
        12 => ElementType::U32,
        13 => ElementType::U64,
        _ => return None,
    })
}

/// A dimension as the graph writes it.
pub(super) enum Size {
    Fixed(i64),
    Named(String),
    Free,
}

impl Size {
    /// As interfaces write it. Negative sizes and odd names stand for any.
    pub(super) fn into_dim(self) -> Dim {
        let is_plain = |name: &str| {
            (1..=DIM_NAME_MAX_BYTES).contains(&name.len())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        match self {
            Self::Fixed(size) => u64::try_from(size).map_or(Dim::Free, Dim::Fixed),
            Self::Named(name) if is_plain(&name) => Dim::Named(name),
            Self::Named(_) | Self::Free => Dim::Free,
        }
    }
}
