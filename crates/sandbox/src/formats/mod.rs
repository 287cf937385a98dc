//! Whether a file is what it says and harmless to open, and what it says about itself. Runs in workers only.
//!
//! In this order: names and contents that execute when they are read are refused; name, media type and first bytes must
//! agree on a format; the format must have a place in packages of the kind; no archive may hide at the end; the
//! structure must hold to its last byte. Every refusal has a reason, most have a place and a way out.
//!
//! Memory does not grow with what a file claims: each format names its bounds, and lengths are compared with the file
//! before anything is allocated. Weights, pages and pixels are passed over.

mod arrow;
mod csv;
mod executing;
mod gguf;
mod json;
mod known;
mod notebook;
mod numpy;
mod onnx;
mod parquet;
mod pickle;
mod picture;
mod policy;
mod problem;
mod safetensors;
mod source;
mod text;
mod utf8;
mod wasm;
mod zip;

use guildhall_protocol::facts::Facts;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::FileName;

use self::known::Format;
pub(crate) use self::known::begins_as;
use self::problem::{Checked, Problem, refused_at};
pub(crate) use self::source::Source;
use crate::facts;
use crate::failure::Failure;
use crate::message::Role;

/// What is known of a file before it is read.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a FileName,
    pub(crate) media_type: &'a str,
    /// The package's kind, if that is settled.
    pub(crate) kind: Option<Kind>,
    pub(crate) role: Role,
}

/// Checks a file and says what it is.
pub(crate) fn examine(subject: &Subject<'_>, source: &Source<'_>) -> Result<Facts, Failure> {
    match check(subject, source) {
        Ok(found) => Ok(facts::bounded(found)),
        Err(problem) => Err(problem.into_failure(subject.name)),
    }
}

/// [`examine`] in this process, for tests of many samples. A node must not: this parses foreign bytes.
///
/// # Errors
/// As a worker answers.
#[doc(hidden)]
pub fn examine_in_process(
    name: &FileName,
    media_type: &str,
    kind: Option<Kind>,
    bytes: &[u8],
) -> Result<Facts, Failure> {
    let subject = Subject { name, media_type, kind, role: Role::Plain };
    examine(&subject, &Source::of_bytes(bytes)).map_err(Failure::bounded)
}

fn check(subject: &Subject<'_>, source: &Source<'_>) -> Checked<Facts> {
    let name = subject.name.as_str().to_ascii_lowercase();
    let head = source.head(known::HEAD_BYTES)?;
    executing::check_name(&name)?;
    executing::check_content(source, &head)?;
    let declared = known::declared(&name, subject.media_type)?;
    if begins_as(subject.media_type, &head) == Some(false) {
        let why = format!("it does not begin like {}", subject.media_type);
        return Err(refused_at(0, why).help("give it the media type of what it is"));
    }
    let format = match known::settle(declared, known::of_head(&head))? {
        Some(format) => format,
        None => unnamed(source, &head)?,
    };
    let mut entries = None;
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        entries = Some(executing::check_zip(source)?);
    }
    if let Some(kind) = subject.kind {
        policy::admit(kind, subject.role, format)?;
    }
    executing::check_tail(source, format)?;
    match structure(source, format, entries.as_deref()) {
        // A test vector may be there because it is broken, and data may be older than UTF-8. Neither is opaque to
        // anyone who reads it as what it is: bytes.
        Err(Problem::Refused(_))
            if (subject.role == Role::Vector && format.is_text())
                || (matches!(subject.kind, None | Some(Kind::Data)) && format == Format::Text) =>
        {
            Ok(Facts::Opaque)
        }
        found => found,
    }
}

/// The format of a file that neither its name nor its first bytes tell.
fn unnamed(source: &Source<'_>, head: &[u8]) -> Checked<Format> {
    let announced = head.first_chunk().copied().map(u64::from_le_bytes);
    let is_weights = head.get(8..10) == Some(b"{\"")
        && announced.is_some_and(|len_bytes| len_bytes < source.len_bytes());
    if is_weights {
        return Ok(Format::Safetensors);
    }
    if text::first_odd_byte(source)?.is_some() {
        return Ok(Format::Opaque);
    }
    Ok(if head.starts_with(b"#!") { Format::Script } else { Format::Text })
}

/// Checks the file as what it is.
fn structure(
    source: &Source<'_>,
    format: Format,
    entries: Option<&[zip::Entry]>,
) -> Checked<Facts> {
    match format {
        Format::Onnx => onnx::check(source),
        Format::Safetensors => safetensors::check(source),
        Format::Gguf => gguf::check(source),
        Format::Parquet => parquet::check(source),
        Format::Arrow => arrow::check(source),
        Format::Csv(delimiter) => csv::check(source, delimiter),
        Format::Json => json::check(source),
        Format::JsonLines => json::check_lines(source),
        Format::Notebook => notebook::check(source),
        Format::Wasm => wasm::check(source),
        Format::Text | Format::Script => text::check(source).map(|()| Facts::Text),
        Format::Png => {
            opaque(begins(source, b"\x89PNG\r\n\x1a\n").and_then(|()| picture::check_png(source)))
        }
        Format::Gif => opaque(begins(source, b"GIF8").and_then(|()| picture::check_gif(source))),
        Format::Jpeg => opaque(begins(source, b"\xff\xd8\xff")),
        Format::Numpy => opaque(begins(source, numpy::MAGIC).and_then(|()| numpy::check(source))),
        Format::NumpyArchive => match entries {
            Some(entries) => opaque(numpy::check_archive(source, entries)),
            None => opaque(begins(source, b"PK\x03\x04")),
        },
        Format::Pdf => opaque(begins(source, b"%PDF-")),
        Format::Image | Format::Media | Format::Archive | Format::Tflite | Format::Opaque => {
            Ok(Facts::Opaque)
        }
    }
}

fn opaque(checked: Checked<()>) -> Checked<Facts> {
    checked.map(|()| Facts::Opaque)
}

fn begins(source: &Source<'_>, magic: &[u8]) -> Checked<()> {
    if source.head(magic.len() as u64)? == magic {
        Ok(())
    } else {
        Err(refused_at(0, "it does not begin like what its name says")
            .help("give it the ending of what it is"))
    }
}
