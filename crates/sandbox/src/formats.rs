//! What a file's first bytes and its name say about its format. Runs in workers only.
//!
//! Two questions: can reading it execute code (pickles and what wraps them), and is it what its media type says, as far
//! as the first bytes tell. Neither parses the format.

use guildhall_protocol::manifest::FileEntry;

/// Bytes from the start of a file that decide; torch's zip layout shows itself within the first entry's name.
pub(crate) const HEAD_BYTES: usize = 512;

/// File name endings whose usual reader executes what is in the file.
const EXECUTING_ENDINGS: [&str; 12] = [
    ".pkl",
    ".pickle",
    ".joblib",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".hdf5",
    ".keras",
    ".dill",
    ".cloudpickle",
    ".mar",
];

/// Why the file is refused, or `None`. `head` is its first [`HEAD_BYTES`], `last` its last byte.
pub(crate) fn refusal(entry: &FileEntry, head: &[u8], last: Option<u8>) -> Option<String> {
    let name = entry.name.as_str().to_ascii_lowercase();
    if let Some(ending) = EXECUTING_ENDINGS.into_iter().find(|ending| name.ends_with(ending)) {
        return Some(format!(
            "files named `{ending}` can execute code when they are read; use ONNX or safetensors"
        ));
    }
    if looks_like_pickle(head, last) {
        return Some("it is a Python pickle, which can execute code when it is read".into());
    }
    if head.starts_with(b"PK\x03\x04") && contains(head, b"data.pkl") {
        return Some("it is a PyTorch archive around a Python pickle".into());
    }
    if head.starts_with(b"\x89HDF\r\n\x1a\n") {
        return Some("it is an HDF5 file, in which Keras models can carry code".into());
    }
    if head.starts_with(b"\x93NUMPY") && (contains(head, b"'|O'") || contains(head, b"'O'")) {
        return Some("it is a NumPy array of objects, which is a Python pickle".into());
    }
    (begins_as(&entry.media_type, head) == Some(false))
        .then(|| format!("it does not begin like {}", entry.media_type))
}

/// Protocols 2 and later begin with their number and end with a stop.
fn looks_like_pickle(head: &[u8], last: Option<u8>) -> bool {
    matches!(head, [0x80, 2..=5, ..]) && last == Some(b'.')
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
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

#[cfg(test)]
mod tests {
    use guildhall_protocol::hash::Hash;

    use super::*;

    fn entry(name: &str, media_type: &str) -> FileEntry {
        FileEntry {
            name: name.parse().unwrap(),
            len_bytes: 0,
            hash: Hash::of(b""),
            media_type: media_type.into(),
        }
    }

    #[test]
    fn pickles_are_refused_under_any_name() {
        let opaque = "application/octet-stream";
        for (name, head, last) in [
            ("model.PKL", &b"anything"[..], b'g'),
            ("weights.pth", b"anything", b'g'),
            ("data.bin", b"\x80\x04\x95\x10", b'.'),
            ("data.bin", b"PK\x03\x04\0\0\0\0archive/data.pkl", 0),
            ("data.bin", b"\x89HDF\r\n\x1a\n\0", 0),
            ("a.npy", b"\x93NUMPY\x01\0v\0{'descr': '|O', ", 0),
        ] {
            assert!(refusal(&entry(name, opaque), head, Some(last)).is_some(), "{name} {head:?}");
        }
        for (name, head, last) in [
            ("data.bin", &b"\x80\x04\x95\x10"[..], 0),
            ("a.zip", b"PK\x03\x04\0\0\0\0readme.txt", 0),
            ("a.npy", b"\x93NUMPY\x01\0v\0{'descr': '<f4', ", 0),
            ("empty", b"", 0),
        ] {
            assert_eq!(refusal(&entry(name, opaque), head, Some(last)), None, "{name}");
        }
    }

    #[test]
    fn a_media_type_with_a_known_beginning_must_begin_so() {
        let pgm = entry("a.pgm", "image/x-portable-graymap");
        assert_eq!(refusal(&pgm, b"P5\n24 24", None), None);
        assert!(refusal(&pgm, b"GIF89a", None).is_some());
    }
}
