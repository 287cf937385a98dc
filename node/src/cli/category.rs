//! Categories as people give them: those of the vocabulary, other words that mean one of them, or names of their own.
//!
//! Nobody is refused for a name that the vocabulary lacks. What means one of its categories is read as that one, and
//! said; a name that is neither is warned of, because people who choose from the list will not find it.

use std::fmt::Display;

use guildhall_protocol::name::{Category, CategoryPrefix};
use guildhall_protocol::vocabulary::{self, Entry};

use super::Output;

/// A category, or the start of one, as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given<T> {
    /// What it is read as.
    pub(super) value: T,
    /// What was written, if that is something else.
    pub(super) written: Option<String>,
}

/// Reads a category.
///
/// # Errors
/// When it is none and means none; with those that are near.
pub(super) fn category(text: &str) -> Result<Given<Category>, String> {
    given(text, vocabulary::is_known)
}

/// Reads a category or the start of one.
///
/// # Errors
/// When it is none and means none; with those that are near.
pub(super) fn prefix(text: &str) -> Result<Given<CategoryPrefix>, String> {
    given(text, vocabulary::is_known_prefix)
}

fn given<T>(text: &str, is_known: impl Fn(&T) -> bool) -> Result<Given<T>, String>
where
    T: std::str::FromStr<Err: Display> + From<Category>,
{
    let parsed = text.parse::<T>();
    if let Ok(value) = parsed {
        if is_known(&value) {
            return Ok(Given { value, written: None });
        }
        return Ok(meant(text).unwrap_or(Given { value, written: None }));
    }
    meant(text).ok_or_else(|| {
        let why = parsed.err().map(|error| error.to_string()).unwrap_or_default();
        match near(text) {
            Some(near) => format!("{why}; did you mean {near}?"),
            None => format!("{why}; guild categories --all lists them"),
        }
    })
}

fn meant<T: From<Category>>(text: &str) -> Option<Given<T>> {
    let category = vocabulary::meant(text).and_then(Entry::category)?;
    Some(Given { value: category.into(), written: Some(text.to_owned()) })
}

/// The names that are nearest to a word, in words.
pub(super) fn near(text: &str) -> Option<String> {
    let near = vocabulary::nearest(text);
    (!near.is_empty()).then(|| near.join(", "))
}

/// Says what was read as something else.
pub(super) fn tell<T: Display>(output: &Output, all: &[Given<T>]) {
    for one in all {
        if let Some(written) = &one.written {
            output.note(&read_as(written, &one.value));
        }
    }
}

/// That a word was read as a category.
pub(super) fn read_as(written: &str, category: &impl Display) -> String {
    format!("`{written}` is read as {category}")
}

/// Warns of a name that is not in the vocabulary.
pub(super) fn warn_of(output: &Output, category: &str, is_known: bool) {
    if !is_known {
        output.warning(&unknown(category));
    }
}

fn unknown(category: &str) -> String {
    let near =
        near(category).map_or_else(|| ".".to_owned(), |near| format!("; did you mean {near}?"));
    format!(
        "{category} is not in the vocabulary, so people who choose from it will not come by it{near} \
         Names of your own have a part that starts with x-"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn other_words_for_a_category_are_read_as_it_and_names_of_ones_own_stay() {
        for (text, read, is_other) in [
            ("vision/image-to-text/ocr", "vision/image-to-text/ocr", false),
            ("ocr", "vision/image-to-text/ocr", true),
            ("vision/ocr", "vision/image-to-text/ocr", true),
            ("Speech to Text", "audio/automatic-speech-recognition", true),
            ("vision/x-runes", "vision/x-runes", false),
            ("vision/ocrr", "vision/ocrr", false),
        ] {
            let given = category(text).unwrap();
            assert_eq!((given.value.as_str(), given.written.is_some()), (read, is_other), "{text}");
        }
        assert_eq!(
            prefix("vision").unwrap(),
            Given { value: "vision".parse().unwrap(), written: None }
        );
        assert_eq!(prefix("*").unwrap().value, CategoryPrefix::everything());
        assert_eq!(prefix("ocr").unwrap().value.as_str(), "vision/image-to-text/ocr");
        assert!(category("vision").is_err() && prefix("Vision!").is_err());
        let slip = category("Text/Translaton").unwrap_err();
        assert!(slip.contains("did you mean text/translation"), "{slip}");
    }

    #[test]
    fn an_unknown_name_is_warned_of_with_those_that_are_near() {
        let said = unknown("vision/image-classificaton");
        assert!(said.contains("did you mean vision/image-classification"), "{said}");
        assert!(unknown("qqqq/zzzz").contains("come by it. Names"), "{}", unknown("qqqq/zzzz"));
    }
}
