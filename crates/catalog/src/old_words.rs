//! Words of listings and queries: how text is cut, and how well a listing answers the words of a query.
//!
//! A word is a run of letters and digits, compared in lower case. A word of the query is also found as the start of a
//! longer word. There are no stems, synonyms or misspellings.

use guildhall_protocol::body::Listing;

/// Words of a listing that are looked at, in the order name, keywords, categories, summary: a page of text, so that
/// one listing cannot fill the index.
pub(crate) const LISTING_WORDS_MAX: usize = 512;

/// Words of a query that are looked at; further ones are ignored. Nobody types more on purpose.
pub(crate) const QUERY_WORDS_MAX: usize = 32;

/// Longest word, bytes: longer runs are hashes and other text that nobody types.
const WORD_MAX_BYTES: usize = 64;

/// Shortest word of a query, letters, that is also found as the start of a longer word: two letters start too many.
const PREFIX_MIN_CHARS: usize = 3;

/// What a hit at the start of a longer word is worth, compared with the whole word.
const PREFIX_WORTH: f64 = 0.9;

/// Where a word stands in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Keyword,
    Category,
    Summary,
}

impl Field {
    /// What a hit is worth: the name is chosen with most care, the summary says many things in passing.
    const fn worth(self) -> f64 {
        match self {
            Self::Name => 1.0,
            Self::Keyword | Self::Category => 0.8,
            Self::Summary => 0.6,
        }
    }

    /// In words, after "in the".
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Keyword => "keywords",
            Self::Category => "categories",
            Self::Summary => "summary",
        }
    }
}

/// Cuts `text` into words, as they are written.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && word.len() <= WORD_MAX_BYTES)
}

/// The words of a listing and where they stand, at most [`LISTING_WORDS_MAX`].
pub(crate) fn of_listing(listing: &Listing) -> impl Iterator<Item = (Field, &str)> {
    let name = split(listing.release.name.as_str()).map(|word| (Field::Name, word));
    let keywords = listing.keywords.iter().flat_map(|text| split(text));
    let categories = listing.categories.iter().flat_map(|category| split(category.as_str()));
    name.chain(keywords.map(|word| (Field::Keyword, word)))
        .chain(categories.map(|word| (Field::Category, word)))
        .chain(split(&listing.summary).map(|word| (Field::Summary, word)))
        .take(LISTING_WORDS_MAX)
}

/// The words of a query: lower case, each once, in the order they were typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted(Vec<String>);

impl Wanted {
    /// Reads the text of a query.
    pub(crate) fn new(text: Option<&str>) -> Self {
        let mut words: Vec<String> = Vec::new();
        for word in split(text.unwrap_or_default()).map(str::to_lowercase) {
            if words.len() < QUERY_WORDS_MAX && !words.contains(&word) {
                words.push(word);
            }
        }
        Self(words)
    }

    /// Whether the query names no word, so that every listing answers it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words, and whether each is also found as the start of a longer word.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|word| (word.as_str(), word.chars().count() >= PREFIX_MIN_CHARS))
    }

    /// The best hit of each word that `listing` has; a word without a hit is left out.
    pub(crate) fn hits<'a>(&'a self, listing: &Listing) -> Vec<Hit<'a>> {
        let mut best: Vec<Option<Hit<'a>>> = vec![None; self.0.len()];
        for (field, word) in of_listing(listing) {
            for ((wanted, may_start), best) in self.iter().zip(&mut best) {
                let worth = match compare(wanted, word) {
                    Compared::Whole => field.worth(),
                    Compared::Start if may_start => field.worth() * PREFIX_WORTH,
                    Compared::Start | Compared::Other => continue,
                };
                if best.is_none_or(|best| best.worth < worth) {
                    *best = Some(Hit { wanted, field, worth });
                }
            }
        }
        best.into_iter().flatten().collect()
    }

    /// Whether `listing` has any of the words, or none is wanted.
    pub(crate) fn any_hit(&self, listing: &Listing) -> bool {
        self.is_empty()
            || of_listing(listing).any(|(_, word)| {
                self.iter().any(|(wanted, may_start)| match compare(wanted, word) {
                    Compared::Whole => true,
                    Compared::Start => may_start,
                    Compared::Other => false,
                })
            })
    }

    /// How many words are wanted.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A word of the query, found in a listing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hit<'a> {
    /// The query's word.
    pub(crate) wanted: &'a str,
    /// Where it was found.
    pub(crate) field: Field,
    /// What that is worth, 0 to 1.
    pub(crate) worth: f64,
}

enum Compared {
    Whole,
    Start,
    Other,
}

/// Compares a lower-case word with a word as it is written, without allocating: this is a search's inner loop.
fn compare(wanted: &str, word: &str) -> Compared {
    let mut letters = word.chars().flat_map(char::to_lowercase);
    if !wanted.chars().all(|letter| letters.next() == Some(letter)) {
        Compared::Other
    } else if letters.next().is_none() {
        Compared::Whole
    } else {
        Compared::Start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_at_everything_that_is_no_letter_or_digit() {
        let words = |text: &str| Wanted::new(Some(text)).0;
        assert_eq!(words("Digits.v2_x-y, DIGITS"), ["digits", "v2", "x", "y"]);
        assert_eq!(words("Größe, ÜBER"), ["größe", "über"]);
        assert_eq!(words(" \t--"), [""; 0]);
        assert_eq!(words(&"a".repeat(65)), [""; 0]);
        let many: String = (0..100).map(|n| format!("w{n} ")).collect();
        assert_eq!(words(&many).len(), QUERY_WORDS_MAX);
    }
}
