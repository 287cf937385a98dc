//! Words of a typed query: where each ends, and what it is.

use super::keys::{self, Key};
use super::{ShorthandError, repeated};

/// One word of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// As it stands there.
    Text(&'a str),
    /// What stood in quotes.
    Quoted(String),
    /// `runnable`.
    Runnable,
    /// A criterion.
    Pair(Pair<'a>),
}

/// A criterion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    pub(super) key: Key,
    pub(super) op: Op,
    /// Without its quotes.
    pub(super) value: String,
    /// All of it, as it stands there.
    pub(super) written: &'a str,
}

/// What stands between key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// `:` or `=`.
    Is,
    /// `<`, `<=` or `≤`.
    Less,
    /// `>`, `>=` or `≥`.
    More,
}

/// Longest operator first, so that `<=` is not `<` with a value that begins with `=`.
///
/// Keyboards for Chinese and Japanese type the wide ones.
const OPS: [(&str, Op); 12] = [
    ("<=", Op::Less),
    (">=", Op::More),
    ("<", Op::Less),
    (">", Op::More),
    ("≤", Op::Less),
    ("≥", Op::More),
    (":", Op::Is),
    ("=", Op::Is),
    ("：", Op::Is),
    ("＝", Op::Is),
    ("＜", Op::Less),
    ("＞", Op::More),
];

/// Characters that stand in no key and in nothing that was meant as one.
const NEVER_IN_KEYS: [char; 10] = ['"', '\'', '(', ')', '/', '\\', '@', '.', ',', ';'];

/// The first word of `rest`, which begins with no blank, and what is behind it.
pub(super) fn next(rest: &str) -> Result<(Word<'_>, &str), ShorthandError> {
    let (word, behind) = bare(rest);
    if let Some((text, behind)) = in_quotes(rest)
        && (behind.is_empty() || behind.starts_with(char::is_whitespace))
    {
        return Ok((Word::Quoted(text), behind));
    }
    if word.eq_ignore_ascii_case("runnable") {
        return Ok((Word::Runnable, behind));
    }
    let Some((name, op, value)) = split(rest) else { return Ok((Word::Text(word), behind)) };
    let text = (Word::Text(word), behind);
    let Some(key) = keys::key(name) else {
        // An address is none, nor is a note with nothing behind its colon.
        let (value, _) = bare(value);
        if value.is_empty() || value.starts_with("//") {
            return Ok(text);
        }
        return match keys::meant(name, op) {
            Some(meant) => {
                let end = word.get(name.len()..).unwrap_or_default();
                let meant = repeated(&format!("{meant}{end}"));
                Err(ShorthandError::Misspelt { written: repeated(word), meant })
            }
            None => Ok(text),
        };
    };
    // `recall: yes` is no criterion, `recall:0.9` was meant as one.
    let number = value.starts_with(|c: char| c.is_ascii_digit());
    if matches!(key, Key::Accuracy(Some(_))) && op == Op::Is && !number {
        return Ok(text);
    }
    let (value, behind) = value_of(key, value, word)?;
    let end = rest.len().saturating_sub(behind.len());
    let written = rest.get(..end).unwrap_or(rest);
    Ok((Word::Pair(Pair { key, op, value, written }), behind))
}

/// Key, operator and everything behind it. The key may hold letters of other scripts and what cannot be seen, so that
/// one that only looks right is compared with the right ones.
fn split(rest: &str) -> Option<(&str, Op, &str)> {
    let is_op = |c: char| OPS.iter().any(|(sign, _)| sign.starts_with(c));
    let ends = |c: char| c.is_whitespace() || is_op(c) || NEVER_IN_KEYS.contains(&c);
    let (name, behind) = rest.split_at_checked(rest.find(ends)?)?;
    let name = Some(name).filter(|name| !name.is_empty())?;
    let op = |(sign, op): &(&str, Op)| behind.strip_prefix(sign).map(|value| (name, *op, value));
    OPS.iter().find_map(op)
}

/// The value at the beginning of `rest`, and what is behind it.
fn value_of<'a>(key: Key, rest: &'a str, word: &str) -> Result<(String, &'a str), ShorthandError> {
    if rest.starts_with('"') {
        let open = || ShorthandError::Value {
            written: repeated(word),
            why: "the quotes are not closed, or something stands right behind them".to_owned(),
        };
        let closed = |behind: &str| behind.is_empty() || behind.starts_with(char::is_whitespace);
        return in_quotes(rest).filter(|(_, behind)| closed(behind)).ok_or_else(open);
    }
    let blank = |rest: &str| rest.starts_with(char::is_whitespace);
    if key.is_type()
        && let Some((value, behind)) =
            rest.split_at_checked(outside(rest, blank).unwrap_or(rest.len()))
        && depth(value) == 0
    {
        return Ok((value.to_owned(), behind));
    }
    let (value, behind) = bare(rest);
    Ok((value.to_owned(), behind))
}

/// Everything up to the first blank, and what is behind it.
fn bare(rest: &str) -> (&str, &str) {
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    rest.split_at_checked(end).unwrap_or((rest, ""))
}

/// What stands in the quotes with which `rest` begins, and what is behind them.
fn in_quotes(rest: &str) -> Option<(String, &str)> {
    let mut chars = rest.strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => return Some((text, chars.as_str())),
            '\\' if chars.as_str().starts_with(['"', '\\']) => text.extend(chars.next()),
            c => text.push(c),
        }
    }
}

/// The first place, outside parentheses and quotes, at which `is_end` holds for the rest of the text.
pub(super) fn outside(text: &str, is_end: impl Fn(&str) -> bool) -> Option<usize> {
    let (mut depth, mut in_quotes, mut escaped) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        if depth == 0 && !in_quotes && text.get(at..).is_some_and(&is_end) {
            return Some(at);
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            '(' if !in_quotes => depth = depth.saturating_add(1),
            ')' if !in_quotes => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Whether a word is written like a criterion: letters, `:` or `=`, and a value that makes it no address.
pub(super) fn looks_like_a_pair(word: &str) -> bool {
    let is_name = |name: &str| {
        name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    split(word).is_some_and(|(name, op, value)| {
        is_name(name) && op == Op::Is && !value.is_empty() && !value.starts_with("//")
    })
}

/// How many parentheses are not closed.
pub(super) fn depth(text: &str) -> usize {
    let open = text.matches('(').count();
    open.saturating_sub(text.matches(')').count())
}

/// Text in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A value in quotes if it would end too early without.
pub(super) fn quoted_if_needed(value: &str) -> String {
    let plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '"');
    if plain { value.to_owned() } else { quoted(value) }
}
