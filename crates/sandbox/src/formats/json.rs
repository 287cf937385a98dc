//! JSON and JSON lines, byte after byte: nothing is kept but which brackets are open.
//!
//! RFC 8259 taken strictly. General parsers either build the value or do not bound its depth.

use guildhall_protocol::facts::Facts;

use super::problem::{Checked, refused_at};
use super::source::Source;
use super::utf8::Utf8;

/// Deepest nesting: what `serde_json` reads, and so every reader of ours.
const DEPTH_MAX: usize = 128;

/// Longest line of JSON lines, bytes: readers hold a line whole.
const LINE_MAX_BYTES: u64 = 16 << 20;

const HELP: &str = "write it again with a JSON library, in UTF-8 and as one value";

const HELP_LINES: &str = "write one JSON value on each line, in UTF-8";

/// Checks one JSON value, alone in its file.
pub(super) fn check(source: &Source<'_>) -> Checked<Facts> {
    scan(source, false).map(|_| Facts::Json).map_err(|problem| problem.help(HELP))
}

/// Checks one JSON value on each line and counts them.
pub(super) fn check_lines(source: &Source<'_>) -> Checked<Facts> {
    let values = scan(source, true).map_err(|problem| problem.help(HELP_LINES))?;
    Ok(Facts::JsonLines { values })
}

fn scan(source: &Source<'_>, by_line: bool) -> Checked<u64> {
    let mut reader = source.reader();
    let mut scanner = Scanner::default();
    let mut utf8 = Utf8::default();
    let (mut values, mut line, mut line_start) = (0_u64, 1_u64, 0_u64);
    loop {
        let start = reader.position();
        let chunk = reader.chunk()?;
        if chunk.is_empty() {
            break;
        }
        if let Err(at) = utf8.push(chunk) {
            return Err(refused_at(start.saturating_add(at as u64), "it is not UTF-8"));
        }
        for (at, byte) in chunk.iter().enumerate() {
            let place = start.saturating_add(at as u64);
            let wrong = |why: &str| refused_at(place, format!("line {line}: {why}"));
            scanner.push(*byte).map_err(&wrong)?;
            if *byte == b'\n' {
                if by_line && !scanner.is_blank() {
                    scanner.finish().map_err(&wrong)?;
                    scanner = Scanner::default();
                    values = values.saturating_add(1);
                }
                line = line.saturating_add(1);
                line_start = place;
            } else if by_line && place.saturating_sub(line_start) > LINE_MAX_BYTES {
                return Err(wrong("the line is too long"));
            }
        }
        let len = chunk.len();
        reader.consume(len);
    }
    if !by_line || !scanner.is_blank() {
        let wrong = |why: &str| refused_at(source.len_bytes(), format!("line {line}: {why}"));
        scanner.finish().map_err(wrong)?;
        values = values.saturating_add(1);
    }
    Ok(values)
}

/// Where in the grammar the next byte is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Before the only value, a member's value, or an element behind a comma.
    #[default]
    Value,
    /// Behind `[`: an element or `]`.
    FirstElement,
    /// Behind `{`: a key or `}`.
    FirstKey,
    /// Behind a comma in an object.
    Key,
    /// Behind a key.
    Colon,
    /// Behind a value.
    After,
    /// In a text; is it a key?
    Text(bool),
    /// Behind a backslash.
    Escape(bool),
    /// In `\u`, with so many digits to come.
    Hex(bool, u8),
    /// In `true`, `false` or `null`, with this to come.
    Word(&'static [u8]),
    /// Behind a minus.
    Minus,
    /// Behind a leading zero.
    Zero,
    /// In the digits before the point.
    Whole,
    /// Behind the point.
    Point,
    /// In the digits behind the point.
    Fraction,
    /// Behind `e`.
    Exponent,
    /// Behind the exponent's sign.
    ExponentSign,
    /// In the exponent's digits.
    ExponentDigits,
}

/// A JSON value, pushed byte by byte.
#[derive(Default)]
pub(super) struct Scanner {
    state: State,
    /// One entry for each open bracket: whether it is an object.
    open: Vec<bool>,
    has_begun: bool,
}

impl Scanner {
    /// Whether only white space came so far.
    fn is_blank(&self) -> bool {
        !self.has_begun
    }

    /// Whether the value is complete.
    fn finish(&self) -> Result<(), &'static str> {
        let is_whole = matches!(
            self.state,
            State::After | State::Zero | State::Whole | State::Fraction | State::ExponentDigits
        );
        if is_whole && self.open.is_empty() { Ok(()) } else { Err("the value does not end") }
    }

    fn push(&mut self, byte: u8) -> Result<(), &'static str> {
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            return self.space(byte);
        }
        self.has_begun = true;
        self.state = match (self.state, byte) {
            (State::Text(is_key), b'"') => {
                if is_key {
                    State::Colon
                } else {
                    State::After
                }
            }
            (State::Text(is_key), b'\\') => State::Escape(is_key),
            (State::Text(_), 0..=0x1f) => return Err("a control character in a text"),
            (State::Text(is_key), _) => State::Text(is_key),
            (State::Escape(is_key), b'u') => State::Hex(is_key, 4),
            (State::Escape(is_key), b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                State::Text(is_key)
            }
            (State::Hex(is_key, left), digit) if digit.is_ascii_hexdigit() => match left {
                1 => State::Text(is_key),
                left => State::Hex(is_key, left.saturating_sub(1)),
            },
            (State::Word([next, rest @ ..]), found) if found == *next => {
                if rest.is_empty() {
                    State::After
                } else {
                    State::Word(rest)
                }
            }
            (State::Value | State::FirstElement, _) => return self.value(byte),
            (State::FirstKey | State::Key, b'"') => State::Text(true),
            (State::FirstKey, b'}') => return self.close(true),
            (State::Colon, b':') => State::Value,
            (State::Minus, b'0') => State::Zero,
            (State::Minus, b'1'..=b'9') | (State::Whole, b'0'..=b'9') => State::Whole,
            (State::Zero | State::Whole, b'.') => State::Point,
            (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
            (State::Zero | State::Whole | State::Fraction, b'e' | b'E') => State::Exponent,
            (State::Exponent, b'+' | b'-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign | State::ExponentDigits, b'0'..=b'9') => {
                State::ExponentDigits
            }
            (
                State::After | State::Zero | State::Whole | State::Fraction | State::ExponentDigits,
                _,
            ) => return self.after(byte),
            _ => return Err("this is not JSON"),
        };
        Ok(())
    }

    fn space(&mut self, byte: u8) -> Result<(), &'static str> {
        match self.state {
            State::Text(_) if byte == b' ' => Ok(()),
            State::Text(_) => Err("a control character in a text"),
            State::Value
            | State::FirstElement
            | State::FirstKey
            | State::Key
            | State::Colon
            | State::After => Ok(()),
            State::Zero | State::Whole | State::Fraction | State::ExponentDigits => {
                self.state = State::After;
                Ok(())
            }
            _ => Err("this is not JSON"),
        }
    }

    fn value(&mut self, byte: u8) -> Result<(), &'static str> {
        let was_first = self.state == State::FirstElement;
        self.state = match byte {
            b'"' => State::Text(false),
            b'{' | b'[' => {
                if self.open.len() >= DEPTH_MAX {
                    return Err("it is nested too deeply");
                }
                self.open.push(byte == b'{');
                if byte == b'{' { State::FirstKey } else { State::FirstElement }
            }
            b']' if was_first => return self.close(false),
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Whole,
            _ => return Err("a value is missing"),
        };
        Ok(())
    }

    fn after(&mut self, byte: u8) -> Result<(), &'static str> {
        match (byte, self.open.last()) {
            (b',', Some(true)) => self.state = State::Key,
            (b',', Some(false)) => self.state = State::Value,
            (b'}', Some(true)) => return self.close(true),
            (b']', Some(false)) => return self.close(false),
            (_, None) => return Err("something follows the value"),
            _ => return Err("a comma or a bracket is missing"),
        }
        Ok(())
    }

    fn close(&mut self, is_object: bool) -> Result<(), &'static str> {
        if self.open.pop() != Some(is_object) {
            return Err("a bracket closes what it did not open");
        }
        self.state = State::After;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_json(text: &[u8]) -> bool {
        check(&Source::of_bytes(text)).is_ok()
    }

    #[test]
    fn it_agrees_with_a_parser_that_builds_the_value() {
        for text in [
            "1",
            "-0.5e+7",
            "[]",
            "{}",
            "[[],{}]",
            r#"{"a":[1,2,{"b":null}],"c":"\u00e9\n"}"#,
            " true ",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "[1,]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            "[1 2]",
            "tru",
            "nul",
            "1 2",
            r#""\x""#,
            r#""\u12g4""#,
            "\"a\nb\"",
            "[}",
            "",
            " ",
            "\"open",
            "{\"a\":1,}",
            "+1",
            "NaN",
        ] {
            let parsed = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(is_json(text.as_bytes()), parsed, "{text}");
        }
    }

    #[test]
    fn depth_and_lines_are_bounded_and_counted() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_json(nested(DEPTH_MAX).as_bytes()));
        assert!(!is_json(nested(DEPTH_MAX + 1).as_bytes()));
        assert!(!is_json(b"\"\xff\""));
        let lines = |text: &str| check_lines(&Source::of_bytes(text.as_bytes()));
        assert_eq!(lines("{}\n[1]\n\n3").unwrap(), Facts::JsonLines { values: 3 });
        assert!(lines("{}\n[1\n]\n").is_err());
        assert!(lines("{} {}\n").is_err());
    }
}
