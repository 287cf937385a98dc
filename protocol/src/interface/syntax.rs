//! How a person writes a port's type on one line, and how it is read: `tensor(f32, 1, 3, 224, 224)`, `image/png`,
//! `table(age:i64, name:text)`, `prediction(class, labels cat|dog, at box)`.
//!
//! [`PortType::written`] and [`FromStr`] are each other's inverse for every type whose text is not longer than
//! [`TYPE_TEXT_MAX_BYTES`]. What `Display` shows is read as well, as far as it says everything: `table(3 columns)` and
//! `prediction(class, 10 labels)` only count, so they are refused with an example.
//!
//! A word needs quotes (`"…"`, with `\"`, `\\` and `\u{…}` inside) when it is empty, holds spaces, control characters
//! or one of `,|():"\`, or where it would be taken for a number or for `?`.

use std::str::FromStr;

use super::{
    Column, Dim, ElementType, JsonType, LocationKind, MediaTypes, PortType, PredictionKind,
    PredictionType, TableType, TensorType,
};
use crate::limits::TENSOR_MAX_RANK;

/// Longest text that is read as a type, bytes: what fits into a command line and an address, labels included.
pub const TYPE_TEXT_MAX_BYTES: usize = 1024;

/// How much of a text an error repeats, characters.
const QUOTED_MAX_CHARS: usize = 60;

/// An example for every family, for errors.
const EXAMPLES: [(&str, &str); 9] = [
    ("tensor", "tensor(f32, 1, 3, 224, 224)"),
    ("table", "table(age:i64, name:text)"),
    ("text", "text"),
    ("image", "image(image/png|image/jpeg)"),
    ("audio", "audio(audio/wav)"),
    ("video", "video(video/mp4)"),
    ("json", "json"),
    ("bytes", "bytes(application/pdf)"),
    ("prediction", "prediction(class, labels cat|dog)"),
];

/// The text is no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no type: {why}, as in `{example}`")]
pub struct TypeError {
    /// The start of what was written.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
    /// How a type of the family that was probably meant is written.
    pub example: &'static str,
}

impl PortType {
    /// The whole type on one line, which [`FromStr`] reads; `Display` is shorter.
    #[must_use]
    pub fn written(&self) -> String {
        let media = |types: &MediaTypes| match types.media_types.as_slice() {
            [] => self.family().to_owned(),
            types => format!("{}({})", self.family(), listed(types)),
        };
        match self {
            Self::Tensor(tensor) => {
                let dims = tensor.dims.iter().map(|dim| match dim {
                    Dim::Fixed(count) => format!(", {count}"),
                    Dim::Free => ", ?".to_owned(),
                    Dim::Named(name) if name == "?" || is_number(name) => {
                        format!(", {}", quoted(name))
                    }
                    Dim::Named(name) => format!(", {}", word(name)),
                });
                format!("tensor({}{})", tensor.dtype, dims.collect::<String>())
            }
            Self::Table(table) => {
                let column = |column: &Column| format!("{}:{}", word(&column.name), column.dtype);
                let columns: Vec<_> = table.columns.iter().map(column).collect();
                format!("table({})", columns.join(", "))
            }
            Self::Text => "text".to_owned(),
            Self::Image(types) | Self::Audio(types) | Self::Video(types) | Self::Bytes(types) => {
                media(types)
            }
            Self::Json(JsonType { schema: None }) => "json".to_owned(),
            Self::Json(JsonType { schema: Some(schema) }) => format!("json({})", quoted(schema)),
            Self::Prediction(prediction) => {
                let labels = match prediction.labels.as_slice() {
                    [] => String::new(),
                    labels => format!(", labels {}", listed(labels)),
                };
                let location =
                    prediction.location.map(|kind| format!(", at {}", location_word(kind)));
                let location = location.unwrap_or_default();
                format!("prediction({}{labels}{location})", prediction.value)
            }
        }
    }
}

fn listed(words: &[String]) -> String {
    words.iter().map(|text| word(text)).collect::<Vec<_>>().join("|")
}

fn word(text: &str) -> String {
    if !text.is_empty() && text.chars().all(is_bare) { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        c if c.is_control() => c.escape_unicode().to_string(),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// Whether `c` may stand in a word without quotes.
fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, ',' | '|' | '(' | ')' | ':' | '"' | '\\')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

const fn location_word(kind: LocationKind) -> &'static str {
    match kind {
        LocationKind::Box => "box",
        LocationKind::TextWindow => "text_window",
        LocationKind::FrameIndices => "frame_indices",
    }
}

fn location(word: &str) -> Result<LocationKind, String> {
    [LocationKind::Box, LocationKind::TextWindow, LocationKind::FrameIndices]
        .into_iter()
        .find(|kind| location_word(*kind) == word)
        .ok_or_else(|| "a place is box, text_window or frame_indices".to_owned())
}

/// An element type under our name or the one that numpy and its kin use.
fn element(word: &str) -> Result<ElementType, String> {
    element_named(word).ok_or_else(|| {
        "elements are bool, u8, i8, u16, i16, u32, i32, u64, i64, f16, f32, f64 or, in tables, text"
            .to_owned()
    })
}

/// The element type of this name, if it is one.
pub(crate) fn element_named(word: &str) -> Option<ElementType> {
    Some(match word {
        "bool" => ElementType::Bool,
        "u8" | "uint8" => ElementType::U8,
        "i8" | "int8" => ElementType::I8,
        "u16" | "uint16" => ElementType::U16,
        "i16" | "int16" => ElementType::I16,
        "u32" | "uint32" => ElementType::U32,
        "i32" | "int32" => ElementType::I32,
        "u64" | "uint64" => ElementType::U64,
        "i64" | "int64" => ElementType::I64,
        "f16" | "float16" => ElementType::F16,
        "f32" | "float32" => ElementType::F32,
        "f64" | "float64" => ElementType::F64,
        "text" | "string" => ElementType::Text,
        _ => return None,
    })
}

fn prediction_kind(word: &str) -> Result<PredictionKind, String> {
    Ok(match word {
        "text" => PredictionKind::Text,
        "class" => PredictionKind::Class,
        "number" => PredictionKind::Number,
        "vector" => PredictionKind::Vector,
        _ => return Err("predictions are of text, class, number or vector".to_owned()),
    })
}

impl FromStr for PortType {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why: String| {
            let start = text.trim_start();
            let meant = EXAMPLES.iter().find(|(family, _)| start.starts_with(family));
            let example = meant.map_or("tensor(f32, 1, 3, 224, 224)", |(_, example)| example);
            TypeError { text: text.chars().take(QUOTED_MAX_CHARS).collect(), why, example }
        };
        if text.len() > TYPE_TEXT_MAX_BYTES {
            return Err(error(format!("it is longer than {TYPE_TEXT_MAX_BYTES} bytes")));
        }
        let mut reader = Reader { rest: text };
        let read = reader.port_type().map_err(error)?;
        if reader.next().is_some() {
            return Err(error("something stands behind its end".to_owned()));
        }
        Ok(read)
    }
}

/// What is left to be read.
struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    /// The next character that is no space, which stays.
    fn next(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    /// Takes `c` if it comes next.
    fn takes(&mut self, c: char) -> bool {
        let taken = self.next() == Some(c);
        if taken {
            self.skip(c);
        }
        taken
    }

    fn skip(&mut self, c: char) {
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
    }

    /// A word and whether it had quotes.
    fn word(&mut self, what: &str) -> Result<(String, bool), String> {
        if self.takes('"') {
            return Ok((self.quoted()?, true));
        }
        let end = self.rest.find(|c| !is_bare(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        if word.is_empty() {
            return Err(format!("{what} is missing"));
        }
        self.rest = rest;
        Ok((word.to_owned(), false))
    }

    /// The rest of a word in quotes.
    fn quoted(&mut self) -> Result<String, String> {
        let mut word = String::new();
        loop {
            let c = self.rest.chars().next().ok_or("a quote is not closed")?;
            self.skip(c);
            match c {
                '"' => return Ok(word),
                '\\' => word.push(self.escape()?),
                c => word.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let wrong = || "behind \\ stands one of \", \\ and u{…}".to_owned();
        let c = self.rest.chars().next().ok_or_else(wrong)?;
        self.skip(c);
        match c {
            '"' | '\\' => Ok(c),
            'u' => {
                let inner = self.rest.strip_prefix('{').ok_or_else(wrong)?;
                let (digits, rest) = inner.split_once('}').ok_or_else(wrong)?;
                self.rest = rest;
                let code = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
                char::from_u32(code).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }

    /// Words with `|` between them.
    fn words(&mut self, what: &str) -> Result<Vec<String>, String> {
        let mut words = vec![self.word(what)?.0];
        while self.takes('|') {
            words.push(self.word(what)?.0);
        }
        Ok(words)
    }

    fn closed(&mut self) -> Result<(), String> {
        if self.takes(')') { Ok(()) } else { Err("`)` or `,` is missing".to_owned()) }
    }

    fn port_type(&mut self) -> Result<PortType, String> {
        let (head, has_quotes) = self.word("the kind of value")?;
        if has_quotes {
            return Err("the kind of value has no quotes".to_owned());
        }
        if !self.takes('(') {
            return without_brackets(&head);
        }
        let read = match head.as_str() {
            "tensor" => PortType::Tensor(self.tensor()?),
            "table" => PortType::Table(self.table()?),
            "image" => PortType::Image(self.media()?),
            "audio" => PortType::Audio(self.media()?),
            "video" => PortType::Video(self.media()?),
            "bytes" => PortType::Bytes(self.media()?),
            "json" => PortType::Json(self.json()?),
            "prediction" => PortType::Prediction(self.prediction()?),
            "text" if self.next() == Some(')') => PortType::Text,
            "text" => return Err("text has nothing in brackets".to_owned()),
            _ => return Err(families()),
        };
        self.closed()?;
        Ok(read)
    }

    fn tensor(&mut self) -> Result<TensorType, String> {
        let dtype = element(&self.word("the type of the elements")?.0)?;
        let mut dims = Vec::new();
        while self.takes(',') {
            let (word, has_quotes) = self.word("a dimension")?;
            dims.push(match word.as_str() {
                _ if has_quotes => Dim::Named(word),
                "?" => Dim::Free,
                digits if is_number(digits) => {
                    Dim::Fixed(digits.parse().map_err(|_| "a dimension is too large")?)
                }
                _ => Dim::Named(word),
            });
            if dims.len() > TENSOR_MAX_RANK {
                return Err(format!("it has more than {TENSOR_MAX_RANK} dimensions"));
            }
        }
        Ok(TensorType { dtype, dims })
    }

    fn table(&mut self) -> Result<TableType, String> {
        let mut columns = Vec::new();
        while self.next() != Some(')') {
            if !columns.is_empty() && !self.takes(',') {
                break;
            }
            let name = self.word("a column's name")?.0;
            if !self.takes(':') {
                return Err("every column is a name, `:` and a type".to_owned());
            }
            columns.push(Column { name, dtype: element(&self.word("a column's type")?.0)? });
        }
        Ok(TableType { columns })
    }

    fn media(&mut self) -> Result<MediaTypes, String> {
        if self.next() == Some(')') {
            return Ok(MediaTypes::default());
        }
        Ok(MediaTypes { media_types: self.words("a media type")? })
    }

    fn json(&mut self) -> Result<JsonType, String> {
        if self.next() == Some(')') {
            return Ok(JsonType::default());
        }
        if self.next() != Some('"') {
            return Err("a JSON Schema stands in quotes".to_owned());
        }
        Ok(JsonType { schema: Some(self.word("a JSON Schema")?.0) })
    }

    fn prediction(&mut self) -> Result<PredictionType, String> {
        let value = prediction_kind(&self.word("the kind of prediction")?.0)?;
        let mut read = PredictionType { value, labels: Vec::new(), location: None };
        while self.takes(',') {
            match self.word("`labels` or `at`")?.0.as_str() {
                "labels" if read.labels.is_empty() => read.labels = self.words("a label")?,
                "at" if read.location.is_none() => {
                    read.location = Some(location(&self.word("a place")?.0)?);
                }
                count if is_number(count) => {
                    return Err("the labels have to be named".to_owned());
                }
                _ => return Err("`labels` or `at` may follow, once each".to_owned()),
            }
        }
        Ok(read)
    }
}

/// A family by itself, or a media type.
fn without_brackets(head: &str) -> Result<PortType, String> {
    let media = || MediaTypes { media_types: vec![head.to_owned()] };
    match head.split_once('/') {
        None => match head {
            "text" => Ok(PortType::Text),
            "json" => Ok(PortType::Json(JsonType::default())),
            "image" => Ok(PortType::Image(MediaTypes::default())),
            "audio" => Ok(PortType::Audio(MediaTypes::default())),
            "video" => Ok(PortType::Video(MediaTypes::default())),
            "bytes" => Ok(PortType::Bytes(MediaTypes::default())),
            "tensor" => Err("the type of the elements is missing".to_owned()),
            "table" => Err("the columns are missing".to_owned()),
            "prediction" => Err("the kind of prediction is missing".to_owned()),
            _ => Err(families()),
        },
        Some((start, rest)) if start.is_empty() || rest.is_empty() || rest.contains('/') => {
            Err("a media type has two parts".to_owned())
        }
        Some(("text", "plain")) => Ok(PortType::Text),
        Some(("text", "csv")) => Ok(PortType::Table(TableType::default())),
        Some(("application", "json")) => Ok(PortType::Json(JsonType::default())),
        Some(("image", _)) => Ok(PortType::Image(media())),
        Some(("audio", _)) => Ok(PortType::Audio(media())),
        Some(("video", _)) => Ok(PortType::Video(media())),
        Some(_) => Ok(PortType::Bytes(media())),
    }
}

fn families() -> String {
    let names: Vec<_> = EXAMPLES.iter().map(|(family, _)| *family).collect();
    format!("a type is one of {}, or a media type", names.join(", "))
}
