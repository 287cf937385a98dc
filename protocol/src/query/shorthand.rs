//! Queries as people type them: `digits task:vision licence:mit latency<50ms accepts:image`.
//!
//! A query is words between blanks. A word that begins with one of the keys below, followed by `:`, `=`, `<` or `>`, is a
//! criterion; every other one is text. Quotes make one of several: `accepts:"tensor(f32, n, 64)"`, and `"kind:model"` with
//! quotes around it is text. Within quotes `\"` and `\\` stand for themselves. A type's parentheses do without.
//!
//! | written | asks for |
//! |---|---|
//! | `task:vision/image-to-text`, `category:` | the category, or the start of one |
//! | `kind:model` | a kind of content |
//! | `org:lab-a`, `by:` | the producer |
//! | `licence:mit`, `license:` | an SPDX expression |
//! | `accepts:image/png`, `input:`, `in:` | a type that goes in; a full type means a [`Gap`] |
//! | `yields:text`, `output:`, `out:` | a type that comes out; likewise |
//! | `fits:image..text` | what goes between; either side may be missing |
//! | `latency<50ms` | at most that, in `us`, `ms` (also without a unit), `s` |
//! | `accuracy>0.9`, `accuracy>90%`, `f1>0.8` | at least that, by the best metric or the one that is named |
//! | `metric:f1` | the metric that is looked at |
//! | `memory<2GiB`, `size<1GB` | at most that much memory, that many bytes of files |
//! | `gpu:no`, `gpu<8GiB`, `cores:4`, `cores<4` | what is there |
//! | `engine:onnx` | an engine that it runs on |
//! | `runnable`, `is:runnable` | only what can be run here |
//! | `with:data` | name data for each algorithm and model |
//! | `ref:org/name@1.0.0` | that one; `org/name@1.0.0` and `b3:HASH` do without the key |
//!
//! What is nearly a key is refused with the key that may have been meant, because as text it would silently find
//! nothing. Other words with a colon are text; [`Query::unread_keys`] names them. [`Query::shorthand`] writes a query back; what concerns the answer alone (limit, page, facets, `local`,
//! `share_text`) is in neither.

mod gap;
mod keys;
mod values;
mod words;

pub use self::gap::UnknownGap;
use self::keys::Key;
use self::words::{Op, Pair, Word};
use super::{Gap, Query, TypeQuery};
use crate::cbor::DecodeError;
use crate::interface::PortType;
use crate::limits::QUERY_TEXT_MAX_BYTES;
use crate::name::{CategoryPrefix, Reference};
use crate::vocabulary;

/// Longest query that is read, bytes: the longest text, with every other part as long as one can be.
pub const SHORTHAND_MAX_BYTES: usize = 16 * QUERY_TEXT_MAX_BYTES;

/// Words of a query that look like criteria and are none, of which is told: those of one screen line.
const UNREAD_MAX: usize = 4;

/// How much of a query an error repeats, characters.
const REPEATED_MAX_CHARS: usize = 60;

/// The text is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShorthandError {
    /// Nobody types that much.
    #[error("a query has at most {SHORTHAND_MAX_BYTES} bytes, and this one has {len_bytes}")]
    TooLong {
        /// How long it is.
        len_bytes: usize,
    },
    /// A key that is none, and nearly is.
    #[error("`{written}` is no criterion; did you mean `{meant}`? As text it goes in quotes")]
    Misspelt {
        /// As it was written.
        written: String,
        /// With the key that may have been meant.
        meant: String,
    },
    /// A criterion whose value is none.
    #[error("`{written}`: {why}")]
    Value {
        /// As it was written.
        written: String,
        /// What would be one.
        why: String,
    },
    /// Two criteria of one kind.
    #[error("`{first}` and `{second}` ask for two values of one criterion; give one of them")]
    Twice {
        /// The one that came first.
        first: String,
        /// The other.
        second: String,
    },
    /// It breaks a bound of queries.
    #[error("{what}: {why}")]
    Bounds {
        /// Which part.
        what: &'static str,
        /// Which bound.
        why: String,
    },
}

impl Query {
    /// Reads a query as people type it; the [module's page](self) has the keys.
    ///
    /// # Errors
    /// [`ShorthandError`] says which word is wrong, and what would be right.
    pub fn read(text: &str) -> Result<Self, ShorthandError> {
        if text.len() > SHORTHAND_MAX_BYTES {
            return Err(ShorthandError::TooLong { len_bytes: text.len() });
        }
        let mut reader = Reader::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (word, behind) = words::next(rest)?;
            reader.word(word)?;
            rest = behind.trim_start();
        }
        reader.query.check().map_err(|error| match error {
            DecodeError::Rule { what, why } => ShorthandError::Bounds { what, why },
            error => ShorthandError::Bounds { what: "query", why: error.to_string() },
        })?;
        Ok(reader.query)
    }

    /// Words of a typed query that look like a criterion, as `author:me` does, and were taken as text because no key is
    /// called so; at most four.
    #[must_use]
    pub fn unread_keys(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() && found.len() < UNREAD_MAX {
            let Ok((word, behind)) = words::next(rest) else { break };
            if let Word::Text(word) = word
                && words::looks_like_a_pair(word)
            {
                found.push(repeated(word));
            }
            rest = behind.trim_start();
        }
        found
    }

    /// The query as people type it; [`read`](Self::read) understands it.
    #[must_use]
    pub fn shorthand(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.text.as_deref().map(text_written).filter(|text| !text.is_empty()));
        let mut pair = |key: &str, value: Option<String>| {
            parts.extend(value.map(|value| format!("{key}{}", words::quoted_if_needed(&value))));
        };
        pair("ref:", self.reference.as_ref().map(ToString::to_string));
        pair("kind:", self.kind.map(|kind| kind.to_string()));
        pair("task:", self.category.as_ref().map(ToString::to_string));
        pair("org:", self.org.as_ref().map(ToString::to_string));
        pair("licence:", self.licence.clone());
        pair("accepts:", self.input.clone().map(String::from));
        pair("yields:", self.output.clone().map(String::from));
        pair("fits:", Some(&self.fits).filter(|gap| !gap.is_empty()).map(ToString::to_string));
        pair("latency<", self.max_latency_ms.map(|ms| format!("{ms}ms")));
        // A metric that has no key of its own stands alone.
        let metric = self.metric.as_deref().filter(|metric| keys::is_metric(metric));
        match (metric, self.min_accuracy) {
            (Some(metric), Some(least)) => pair(&format!("{metric}>"), Some(least.to_string())),
            (_, least) => {
                pair("metric:", self.metric.clone());
                pair("accuracy>", least.map(|least| least.to_string()));
            }
        }
        pair("memory<", self.max_memory_bytes.map(values::size_written));
        pair("size<", self.max_len_bytes.map(values::size_written));
        match self.gpu_memory_bytes {
            Some(0) => pair("gpu:", Some("no".to_owned())),
            bytes => pair("gpu<", bytes.map(values::size_written)),
        }
        pair("cores:", self.cores.map(|cores| cores.to_string()));
        pair("engine:", self.engine.clone());
        if self.runnable {
            parts.push("is:runnable".to_owned());
        }
        if self.with_data {
            parts.push("with:data".to_owned());
        }
        parts.join(" ")
    }
}

/// The words of a query's text, in quotes where they would be taken for something else.
fn text_written(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.join(" ") != text {
        return words::quoted(text);
    }
    // A quote that is not closed here could be closed by what is written behind the text.
    let plain = |word: &str| {
        matches!(words::next(word), Ok((Word::Text(read), "")) if read == word)
            && !word.starts_with('"')
            && reference_of(word).is_none()
    };
    let shown = words.iter().map(|word| match plain(word) {
        true => (*word).to_owned(),
        false => words::quoted(word),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// A word that means one release or package: it has a version or is an id. `vision/digits` could as well be a category.
fn reference_of(word: &str) -> Option<Reference> {
    let exact = word.contains('@') || word.starts_with(crate::PackageId::PREFIX);
    exact.then(|| word.parse().ok()).flatten()
}

/// A query while it is read.
#[derive(Default)]
struct Reader {
    query: Query,
    /// Which part of the query which words set.
    said: Vec<(&'static str, String)>,
}

impl Reader {
    fn word(&mut self, word: Word<'_>) -> Result<(), ShorthandError> {
        match word {
            Word::Text(word) => match reference_of(word) {
                Some(reference) => self.reference(reference, word),
                None => {
                    self.text(word);
                    Ok(())
                }
            },
            Word::Quoted(words) => {
                self.text(&words);
                Ok(())
            }
            Word::Runnable => {
                self.query.runnable = true;
                Ok(())
            }
            Word::Pair(pair) => self.pair(&pair),
        }
    }

    fn text(&mut self, words: &str) {
        if words.trim().is_empty() {
            return;
        }
        match &mut self.query.text {
            Some(text) => {
                text.push(' ');
                text.push_str(words);
            }
            None => self.query.text = Some(words.to_owned()),
        }
    }

    fn reference(&mut self, reference: Reference, written: &str) -> Result<(), ShorthandError> {
        put(&mut self.said, &mut self.query.reference, "reference", reference, written)
    }

    fn pair(&mut self, pair: &Pair<'_>) -> Result<(), ShorthandError> {
        let written = pair.written;
        let (query, said) = (&mut self.query, &mut self.said);
        let wrong = |why: String| ShorthandError::Value { written: repeated(written), why };
        let value = pair.value.as_str();
        if value.is_empty() {
            return Err(wrong(format!("a value is missing, as in `{}`", pair.key.example())));
        }
        if !pair.key.takes(pair.op) {
            return Err(wrong(format!("this is written `{}`", pair.key.example())));
        }
        match pair.key {
            Key::Category => {
                let category = category_of(value).map_err(wrong)?;
                put(said, &mut query.category, "category", category, written)
            }
            Key::Kind => {
                let kind = value.to_ascii_lowercase().parse().map_err(|error| {
                    let kinds = crate::manifest::Kind::ALL.map(crate::manifest::Kind::as_str);
                    wrong(keys::nearest(value, kinds).map_or_else(
                        || show(&error),
                        |meant| format!("did you mean `kind:{meant}`?"),
                    ))
                })?;
                put(said, &mut query.kind, "kind", kind, written)
            }
            Key::Org => {
                let org = value.parse().map_err(|error| wrong(show(&error)))?;
                put(said, &mut query.org, "org", org, written)
            }
            Key::Licence => put(said, &mut query.licence, "licence", value.to_owned(), written),
            Key::Engine => put(said, &mut query.engine, "engine", value.to_owned(), written),
            Key::Metric => put(said, &mut query.metric, "metric", value.to_owned(), written),
            Key::Input => match type_of(value).map_err(wrong)? {
                Asked::Family(asked) => put(said, &mut query.input, "input", asked, written),
                Asked::Full(port) => put(said, &mut query.fits.input, "fits.input", port, written),
            },
            Key::Output => match type_of(value).map_err(wrong)? {
                Asked::Family(asked) => put(said, &mut query.output, "output", asked, written),
                Asked::Full(port) => {
                    put(said, &mut query.fits.output, "fits.output", port, written)
                }
            },
            Key::Fits => {
                let gap = value.parse().map_err(|error| wrong(gap::explained(value, &error)))?;
                self.gap(gap, written)
            }
            Key::Ref => {
                let reference = value.parse().map_err(|error| wrong(show(&error)))?;
                self.reference(reference, written)
            }
            Key::Is if value.eq_ignore_ascii_case("runnable") => {
                query.runnable = true;
                Ok(())
            }
            Key::Is => Err(wrong("only `is:runnable` is known".to_owned())),
            Key::With if value.eq_ignore_ascii_case("data") => {
                query.with_data = true;
                Ok(())
            }
            Key::With => Err(wrong("only `with:data` is known".to_owned())),
            Key::Latency | Key::Memory | Key::Size | Key::Gpu | Key::Cores => self.number(pair),
            Key::Accuracy(metric) => {
                let least = values::share(value).map_err(wrong)?;
                if let Some(metric) = metric {
                    put(said, &mut query.metric, "metric", metric.to_owned(), written)?;
                }
                put(said, &mut query.min_accuracy, "accuracy", least, written)
            }
        }
    }

    fn gap(&mut self, gap: Gap, written: &str) -> Result<(), ShorthandError> {
        let (query, said) = (&mut self.query, &mut self.said);
        if let Some(input) = gap.input {
            put(said, &mut query.fits.input, "fits.input", input, written)?;
        }
        match gap.output {
            Some(output) => put(said, &mut query.fits.output, "fits.output", output, written),
            None => Ok(()),
        }
    }

    fn number(&mut self, pair: &Pair<'_>) -> Result<(), ShorthandError> {
        let (query, said, written) = (&mut self.query, &mut self.said, pair.written);
        let wrong = |why: String| ShorthandError::Value { written: repeated(written), why };
        let value = pair.value.as_str();
        match pair.key {
            Key::Latency => {
                let ms = values::milliseconds(value).map_err(wrong)?;
                put(said, &mut query.max_latency_ms, "latency", ms, written)
            }
            Key::Memory => {
                let bytes = values::size(value).map_err(wrong)?;
                put(said, &mut query.max_memory_bytes, "memory", bytes, written)
            }
            Key::Size => {
                let bytes = values::size(value).map_err(wrong)?;
                put(said, &mut query.max_len_bytes, "size", bytes, written)
            }
            Key::Gpu => {
                let none = ["no", "none", "0"].iter().any(|no| value.eq_ignore_ascii_case(no));
                let bytes = if none && pair.op == Op::Is {
                    0
                } else {
                    values::size(value)
                        .map_err(|why| wrong(format!("{why}; or `gpu:no`, or `gpu<8GiB`")))?
                };
                put(said, &mut query.gpu_memory_bytes, "gpu", bytes, written)
            }
            _ => {
                let cores = value
                    .parse()
                    .map_err(|_| wrong("a whole number is needed, as in `cores:4`".to_owned()))?;
                put(said, &mut query.cores, "cores", cores, written)
            }
        }
    }
}

/// Sets a part of a query, once.
fn put<T: PartialEq>(
    said: &mut Vec<(&'static str, String)>,
    slot: &mut Option<T>,
    part: &'static str,
    value: T,
    written: &str,
) -> Result<(), ShorthandError> {
    if slot.as_ref().is_some_and(|old| *old != value) {
        let first = said.iter().find(|(name, _)| *name == part);
        let first = first.map(|(_, written)| written.clone()).unwrap_or_default();
        return Err(ShorthandError::Twice { first, second: repeated(written) });
    }
    said.push((part, repeated(written)));
    *slot = Some(value);
    Ok(())
}

/// A category or the start of one; also one that is not written as a category and means one, as `speech to text` does.
fn category_of(text: &str) -> Result<CategoryPrefix, String> {
    text.parse().or_else(|error| {
        let meant = vocabulary::meant(text).and_then(vocabulary::Entry::category);
        meant.map(CategoryPrefix::from).ok_or_else(|| {
            let near = vocabulary::nearest(text);
            near.first().map_or_else(
                || show(&error),
                |entry| format!("{error}; did you mean `task:{entry}`?"),
            )
        })
    })
}

/// A type as it may be asked for.
enum Asked {
    Family(TypeQuery),
    Full(PortType),
}

/// A family or a media type is looked for as such; a full type has to fit.
fn type_of(text: &str) -> Result<Asked, String> {
    match text.parse::<TypeQuery>() {
        Ok(query) if !text.contains('(') => Ok(Asked::Family(query)),
        _ if words::depth(text) > 0 => {
            Err("a parenthesis is not closed; a type is written as in `tensor(f32, n, 64)`"
                .to_owned())
        }
        _ => text.parse::<PortType>().map(Asked::Full).map_err(|error| error.to_string()),
    }
}

fn show(error: &dyn std::fmt::Display) -> String {
    error.to_string()
}

/// The start of what was written, for an error.
fn repeated(text: &str) -> String {
    match text.char_indices().nth(REPEATED_MAX_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
