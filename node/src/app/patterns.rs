//! Patterns for names of files, as in `--include 'weights/*'`.
//!
//! `*` and `?` stay within a folder, `**` crosses folders, `[ab]` is one of some. A pattern without a slash is compared
//! with the last part of the name, so that `*.onnx` finds a graph in any folder.

use glob::{MatchOptions, Pattern};
use guildhall_protocol::name::FileName;

/// Patterns in one request: more than anybody types.
const PATTERNS_MAX: usize = 64;

/// Longest pattern, bytes: matching takes time that grows with it.
const PATTERN_MAX_BYTES: usize = 256;

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Which files are meant; all of them without a pattern.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Reads patterns.
    pub(super) fn parse(texts: &[String]) -> Result<Self, BadPattern> {
        if texts.len() > PATTERNS_MAX {
            return Err(BadPattern::TooMany);
        }
        let read = |text: &String| {
            let bad = |why: &str| BadPattern::Text { text: text.clone(), why: why.to_owned() };
            if text.len() > PATTERN_MAX_BYTES {
                return Err(bad("it is too long"));
            }
            // A folder means everything in it.
            let text = match text.strip_suffix('/') {
                Some(folder) => &format!("{folder}/**"),
                None => text,
            };
            Pattern::new(text).map_err(|error| bad(error.msg))
        };
        texts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a file is meant.
    pub(super) fn matches(&self, name: &FileName) -> bool {
        let name = name.as_str();
        let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
        self.0.is_empty()
            || self.0.iter().any(|pattern| {
                let against = if pattern.as_str().contains('/') { name } else { last };
                pattern.matches_with(against, OPTIONS)
            })
    }
}

/// A pattern that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPattern {
    #[error("more than {PATTERNS_MAX} patterns")]
    TooMany,
    #[error("`{text}` is no pattern: {why}")]
    Text { text: String, why: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_people_expect() {
        let matches = |pattern: &str, name: &str| {
            let patterns = Patterns::parse(&[pattern.to_owned()]).unwrap();
            patterns.matches(&name.parse().unwrap())
        };
        assert!(matches("*.onnx", "model.onnx"));
        assert!(matches("*.onnx", "a/b/model.onnx"));
        assert!(matches("weights/*", "weights/a.bin"));
        assert!(!matches("weights/*", "weights/deep/a.bin"));
        assert!(matches("weights/**", "weights/deep/a.bin"));
        assert!(matches("weights/", "weights/deep/a.bin"));
        assert!(!matches("weights/*", "other/a.bin"));
        assert!(matches("**/a.bin", "weights/deep/a.bin"));
        assert!(matches("model.0?", "model.01"));
        assert!(!matches("*.ONNX", "model.onnx"));
    }

    #[test]
    fn no_pattern_means_everything_and_nonsense_is_refused() {
        assert!(Patterns::default().matches(&"a/b".parse().unwrap()));
        for bad in ["a[", "***", &"x".repeat(300)] {
            assert!(Patterns::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert_eq!(Patterns::parse(&vec![String::new(); 65]).unwrap_err(), BadPattern::TooMany);
    }
}
