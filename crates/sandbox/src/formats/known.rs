//! Which format a file is of: by its name, by its media type, by its first bytes. Where they disagree it is refused, so
//! that no two readers see two things in one file.

use super::problem::{Checked, refused_at};

/// Bytes from the start that decide; HDF5 may begin at 2,048, tar shows itself at 257.
pub(super) const HEAD_BYTES: u64 = 2_056;

/// What a file can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Onnx,
    Safetensors,
    Gguf,
    Parquet,
    Arrow,
    /// With this byte between cells.
    Csv(u8),
    Json,
    JsonLines,
    Notebook,
    Wasm,
    Text,
    /// Text that a shell or an interpreter runs.
    Script,
    Png,
    Gif,
    Jpeg,
    Image,
    /// Sound or film.
    Media,
    Pdf,
    Numpy,
    /// A zip of NumPy arrays.
    NumpyArchive,
    Archive,
    Tflite,
    Opaque,
}

impl Format {
    /// The format's name in a sentence.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Onnx => "an ONNX model",
            Self::Safetensors => "a safetensors file",
            Self::Gguf => "a GGUF file",
            Self::Parquet => "a Parquet file",
            Self::Arrow => "an Arrow file",
            Self::Csv(b'\t') => "a table with tabs",
            Self::Csv(_) => "a CSV table",
            Self::Json => "JSON",
            Self::JsonLines => "JSON lines",
            Self::Notebook => "a notebook",
            Self::Wasm => "WebAssembly",
            Self::Text => "text",
            Self::Script => "a script",
            Self::Png => "a PNG picture",
            Self::Gif => "a GIF picture",
            Self::Jpeg => "a JPEG picture",
            Self::Image => "a picture",
            Self::Media => "sound or film",
            Self::Pdf => "a PDF document",
            Self::Numpy => "a NumPy array",
            Self::NumpyArchive => "an archive of NumPy arrays",
            Self::Archive => "an archive",
            Self::Tflite => "a TensorFlow Lite model",
            Self::Opaque => "a file of no known format",
        }
    }

    /// Whether it is made of text, whatever its grammar.
    pub(super) const fn is_text(self) -> bool {
        matches!(
            self,
            Self::Csv(_)
                | Self::Json
                | Self::JsonLines
                | Self::Notebook
                | Self::Text
                | Self::Script
        )
    }
}

/// What a name's ending stands for.
fn of_ending(name: &str) -> Option<Format> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let (_, ending) = file.rsplit_once('.')?;
    Some(match ending {
        "onnx" => Format::Onnx,
        "safetensors" => Format::Safetensors,
        "gguf" => Format::Gguf,
        "parquet" | "pq" => Format::Parquet,
        "arrow" | "arrows" | "feather" | "ipc" => Format::Arrow,
        "csv" => Format::Csv(b','),
        "tsv" | "tab" => Format::Csv(b'\t'),
        "json" | "geojson" => Format::Json,
        "jsonl" | "ndjson" => Format::JsonLines,
        "ipynb" => Format::Notebook,
        "wasm" => Format::Wasm,
        "png" => Format::Png,
        "gif" => Format::Gif,
        "jpg" | "jpeg" => Format::Jpeg,
        "pgm" | "ppm" | "pbm" | "pnm" | "bmp" | "tif" | "tiff" | "webp" | "ico" => Format::Image,
        "mp3" | "wav" | "flac" | "ogg" | "mp4" | "webm" | "avi" | "mkv" | "mov" => Format::Media,
        "pdf" => Format::Pdf,
        "npy" => Format::Numpy,
        "npz" => Format::NumpyArchive,
        "zip" | "tar" | "gz" | "tgz" | "bz2" | "xz" | "zst" | "7z" | "rar" | "lz4" => {
            Format::Archive
        }
        "tflite" => Format::Tflite,
        "py" | "sh" | "bash" | "bat" | "cmd" | "ps1" | "vbs" | "js" | "mjs" | "pl" | "rb"
        | "lua" | "r" => Format::Script,
        "txt" | "md" | "rst" | "toml" | "yaml" | "yml" | "xml" | "html" | "svg" | "css" | "ini"
        | "cfg" | "c" | "h" | "cc" | "cpp" | "hpp" | "rs" | "go" | "java" | "ts" | "sql"
        | "tex" | "bib" | "wat" | "wit" | "proto" | "pbtxt" | "log" | "zig" | "zon" | "mod"
        | "sum" | "lock" => Format::Text,
        _ => return None,
    })
}

/// What a media type stands for; none for those that stand for anything.
fn of_media_type(media_type: &str) -> Option<Format> {
    Some(match media_type {
        "application/onnx" | "application/x-onnx" => Format::Onnx,
        "application/x-safetensors" => Format::Safetensors,
        "application/x-gguf" => Format::Gguf,
        "application/vnd.apache.parquet" => Format::Parquet,
        "application/vnd.apache.arrow.file" | "application/vnd.apache.arrow.stream" => {
            Format::Arrow
        }
        "text/csv" => Format::Csv(b','),
        "text/tab-separated-values" => Format::Csv(b'\t'),
        "application/json" => Format::Json,
        "application/x-ndjson" | "application/jsonl" | "application/jsonlines" => Format::JsonLines,
        "application/x-ipynb+json" => Format::Notebook,
        "application/wasm" => Format::Wasm,
        "application/toml" | "application/yaml" | "application/xml" | "image/svg+xml" => {
            Format::Text
        }
        "application/x-sh" | "text/x-python" | "text/javascript" => Format::Script,
        "image/png" => Format::Png,
        "image/gif" => Format::Gif,
        "image/jpeg" => Format::Jpeg,
        "application/pdf" => Format::Pdf,
        "application/zip"
        | "application/gzip"
        | "application/x-tar"
        | "application/zstd"
        | "application/x-7z-compressed"
        | "application/vnd.rar" => Format::Archive,
        _ if media_type.starts_with("text/") => Format::Text,
        _ if media_type.starts_with("image/") => Format::Image,
        _ if media_type.starts_with("audio/") || media_type.starts_with("video/") => Format::Media,
        _ => return None,
    })
}

/// What name and media type say together; `name` is in small letters.
pub(super) fn declared(name: &str, media_type: &str) -> Checked<Option<Format>> {
    match (of_ending(name), of_media_type(media_type)) {
        (None, found) | (found, None) => Ok(found),
        (Some(ending), Some(media)) if ending == media => Ok(Some(ending)),
        // The name says more than a type that many share.
        (Some(ending), Some(Format::Text)) if ending.is_text() => Ok(Some(ending)),
        (Some(ending @ (Format::Notebook | Format::JsonLines)), Some(Format::Json)) => {
            Ok(Some(ending))
        }
        (Some(Format::Text), Some(Format::Script)) => Ok(Some(Format::Script)),
        (Some(ending), Some(media)) => {
            let (ending, media) = (ending.describe(), media.describe());
            let why = format!(
                "its name says that it is {ending}, its media type {media_type} says {media}"
            );
            Err(refused_at(0, why).help("give it the ending and the media type of what it is"))
        }
    }
}

/// What the first bytes say beyond doubt.
pub(super) fn of_head(head: &[u8]) -> Option<Format> {
    let beginnings: [(&[u8], Format); 20] = [
        (b"\x89PNG\r\n\x1a\n", Format::Png),
        (b"GIF87a", Format::Gif),
        (b"GIF89a", Format::Gif),
        (b"\xff\xd8\xff", Format::Jpeg),
        (b"%PDF-", Format::Pdf),
        (b"GGUF", Format::Gguf),
        (b"PAR1", Format::Parquet),
        (b"PARE", Format::Parquet),
        (b"ARROW1", Format::Arrow),
        (b"\0asm", Format::Wasm),
        (b"\x93NUMPY", Format::Numpy),
        (b"PK\x03\x04", Format::Archive),
        (b"PK\x05\x06", Format::Archive),
        (b"\x1f\x8b\x08", Format::Archive),
        (b"BZh", Format::Archive),
        (b"\xfd7zXZ\0", Format::Archive),
        (b"\x28\xb5\x2f\xfd", Format::Archive),
        (b"7z\xbc\xaf\x27\x1c", Format::Archive),
        (b"Rar!\x1a\x07", Format::Archive),
        (b"\x04\x22\x4d\x18", Format::Archive),
    ];
    if let Some((_, format)) = beginnings.into_iter().find(|(start, _)| head.starts_with(start)) {
        return Some(format);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(Format::Archive);
    }
    (head.get(4..8) == Some(b"TFL3")).then_some(Format::Tflite)
}

/// Whether bytes begin as files of this media type do; `None` for media types without a known beginning.
pub(crate) fn begins_as(media_type: &str, head: &[u8]) -> Option<bool> {
    let beginnings: &[&[u8]] = match media_type {
        "image/x-portable-graymap" => &[b"P5", b"P2"],
        "image/x-portable-pixmap" => &[b"P6", b"P3"],
        "image/png" => &[b"\x89PNG\r\n\x1a\n"],
        "image/jpeg" => &[b"\xff\xd8\xff"],
        "image/gif" => &[b"GIF87a", b"GIF89a"],
        "application/wasm" => &[b"\0asm"],
        "application/pdf" => &[b"%PDF-"],
        "application/vnd.apache.parquet" => &[b"PAR1"],
        "application/zip" => &[b"PK"],
        "application/gzip" => &[b"\x1f\x8b"],
        _ => return None,
    };
    Some(beginnings.iter().any(|beginning| head.starts_with(beginning)))
}

/// The format of a file of which declaration and first bytes say this.
pub(super) fn settle(declared: Option<Format>, found: Option<Format>) -> Checked<Option<Format>> {
    match (declared, found) {
        (None, found) => Ok(found),
        // A text may begin with any letters; its own check tells.
        (Some(declared), None) => Ok(Some(declared)),
        (Some(declared), Some(_)) if declared.is_text() => Ok(Some(declared)),
        (Some(declared), Some(found)) if declared == found => Ok(Some(declared)),
        (Some(Format::NumpyArchive), Some(Format::Archive)) => Ok(Some(Format::NumpyArchive)),
        (Some(declared), Some(found)) => {
            let (declared, found) = (declared.describe(), found.describe());
            let why = format!("it is declared as {declared}, but begins like {found}");
            Err(refused_at(0, why).help("give it the ending and the media type of what it is"))
        }
    }
}
