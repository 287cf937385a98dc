//! Secrets that are looked for afterwards, in whatever form they may have been written down.
//!
//! All canaries begin alike, so one search finds any of them: it looks for the beginning, in twenty encodings.

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::{BASE32, BASE64, BASE64URL};

/// How every canary begins: 18 bytes, so that base64 has whole letters for it at every offset but the ends, that stand
/// nowhere else.
const BEGINNING: &str = "Zq7vK2xWm9TfLp4RsD";

/// Bytes of a canary.
const LEN: usize = 32;

/// A canary: 32 letters that no other number has.
#[must_use]
pub fn canary(number: usize) -> String {
    format!("{BEGINNING}{number:0>width$}", width = LEN - BEGINNING.len())
}

/// Looks for canaries.
#[derive(Debug)]
pub struct Search {
    needles: Vec<(&'static str, Vec<u8>)>,
    /// Needles by their first byte.
    starts: Vec<Vec<usize>>,
}

impl Default for Search {
    fn default() -> Self {
        let needles = encodings(BEGINNING.as_bytes());
        let mut starts = vec![Vec::new(); 256];
        for (at, (_, needle)) in needles.iter().enumerate() {
            starts[usize::from(needle[0])].push(at);
        }
        Self { needles, starts }
    }
}

impl Search {
    /// The encoding of the first canary in these bytes, if there is one.
    #[must_use]
    pub fn bytes(&self, bytes: &[u8]) -> Option<&'static str> {
        for (at, byte) in bytes.iter().enumerate() {
            for needle in &self.starts[usize::from(*byte)] {
                let (name, needle) = &self.needles[*needle];
                if bytes[at..].starts_with(needle) {
                    return Some(name);
                }
            }
        }
        None
    }

    /// The files below a folder in which there is one, each with the encoding of the first.
    #[must_use]
    pub fn files(&self, folder: &Path) -> Vec<(PathBuf, &'static str)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                found.extend(self.files(&path));
            } else if let Ok(bytes) = fs::read(&path)
                && let Some(encoding) = self.bytes(&bytes)
            {
                found.push((path, encoding));
            }
        }
        found
    }

    /// The names of all encodings.
    pub fn encodings(&self) -> impl Iterator<Item = &'static str> {
        self.needles.iter().map(|(name, _)| *name)
    }
}

/// What is looked for: the beginning of a canary as others might write it. Base64 and base32 of bytes in the middle of
/// something have whole letters from the next full group on.
fn encodings(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let each = |write: fn(&u8) -> String, between: &str| {
        secret.iter().map(write).collect::<Vec<_>>().join(between).into_bytes()
    };
    let lower = |bytes: Vec<u8>| bytes.to_ascii_lowercase();
    let base64 = |skip: usize, url: bool| {
        let whole = &secret[skip..skip + (secret.len() - skip) / 3 * 3];
        if url { BASE64URL.encode(whole) } else { BASE64.encode(whole) }.into_bytes()
    };
    let base32 = |skip: usize| {
        let whole = &secret[skip..skip + (secret.len() - skip) / 5 * 5];
        BASE32.encode(whole).into_bytes()
    };
    let words = |bytes: &[u8]| -> Vec<u8> {
        bytes.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect()
    };
    let text = each(|byte| char::from(*byte).to_string(), "");
    vec![
        ("as it is", secret.to_vec()),
        ("hex", each(|byte| format!("{byte:02x}"), "")),
        ("HEX", each(|byte| format!("{byte:02X}"), "")),
        ("hex with spaces", each(|byte| format!("{byte:02x}"), " ")),
        ("hex with colons", each(|byte| format!("{byte:02x}"), ":")),
        ("hex numbers", each(|byte| format!("0x{byte:02x}"), ", ")),
        ("base64", base64(0, false)),
        ("base64, one byte on", base64(2, false)),
        ("base64, two bytes on", base64(1, false)),
        ("base32", base32(0)),
        ("base32 in small letters", lower(base32(0))),
        ("base32, one byte on", base32(4)),
        ("a list as Rust prints it", each(u8::to_string, ", ")),
        ("a list as JSON has it", each(u8::to_string, ",")),
        ("a list by lines", each(u8::to_string, ",\n")),
        ("escapes", each(|byte| format!("\\x{byte:02x}"), "")),
        ("octal escapes", each(|byte| format!("\\{byte:03o}"), "")),
        ("percents", each(|byte| format!("%{byte:02X}"), "")),
        ("UTF-16", text.iter().flat_map(|byte| [*byte, 0]).collect()),
        ("backwards", secret.iter().rev().copied().collect()),
        ("words the other way round", words(secret)),
        ("base64 for URLs", base64(0, true)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_in_every_encoding_and_wherever_it_stands() {
        let search = Search::default();
        assert!(search.encodings().count() >= 20);
        for (name, needle) in encodings(canary(77).as_bytes()) {
            let leak = [b"before ".as_slice(), &needle, b" behind"].concat();
            assert!(search.bytes(&leak).is_some(), "{name}");
        }
        for shift in 0..6 {
            let bytes = [&b"abcdef"[..shift], canary(5).as_bytes(), b"more"].concat();
            for text in [BASE64.encode(&bytes), BASE64URL.encode(&bytes)] {
                assert!(search.bytes(text.as_bytes()).is_some(), "base64 {shift}");
            }
        }
        let bytes = [b"a".as_slice(), canary(5).as_bytes()].concat();
        assert!(search.bytes(BASE32.encode(&bytes).as_bytes()).is_some(), "base32");
        assert_eq!(canary(3).len(), LEN);
        assert_eq!(search.bytes(b"Zq7vK2xWm9TfLp4RsX, and nothing else"), None);
    }
}
