//! Making text from elsewhere safe to show: a package's summary must not move the cursor, colour the screen or turn
//! the writing direction.

use std::borrow::Cow;

/// Whether a terminal may act on `c` instead of showing it: C0 and C1 controls, DEL, marks and overrides of writing
/// direction, line and paragraph separators, and invisible characters that make two names look the same.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// `text` with every character that a terminal may act on written as in Rust: `\n`, `\u{1b}`.
#[must_use]
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// JSON with the same characters as `\uXXXX`, which means the same to whoever reads it.
#[must_use]
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    // Outside strings JSON has no such character but white space, which `serde_json` does not write here.
    if !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const NASTY: &[&str] = &[
        "\u{1b}[2J",
        "\u{1b}]0;title\u{7}",
        "a\rb",
        "a\nb",
        "\u{9b}31m",
        "\u{7f}",
        "\u{202e}exe",
        "\u{2066}x",
        "\u{200b}",
        "\u{feff}",
        "a\u{8}b",
        "\0",
        "\u{2028}",
        "\u{e0041}",
    ];

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        for text in NASTY {
            let shown = escape(text);
            assert!(!shown.contains(acts), "{shown:?}");
            assert!(shown.contains('\\'));
        }
        assert!(matches!(escape("größe 7 µs ✓"), Cow::Borrowed(_)));
    }

    #[test]
    fn escaped_json_means_the_same() {
        for text in NASTY {
            let json = serde_json::to_string(text).unwrap();
            let shown = escape_json(&json);
            assert!(!shown.contains(acts), "{shown:?}");
            assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), *text);
        }
    }
}
