//! Words of listings and queries: how text is cut, and how well a listing answers the words of a query.
//!
//! A word is a run of letters and digits, in lower case, without accents that stand apart from their letter. What is
//! compared is its stem (Snowball's English one), so that `classifying` finds `classification`. A word of the query is
//! also found as the start of a longer term. There are no synonyms; misspellings are corrected by whoever asks
//! ([`Catalog::search`](crate::Catalog::search) proposes words that are there).
//!
//! A hit is worth what the best field it is in says. Rare words weigh more: a word's share of the text's value is
//! `ln(1 + N / (1 + n))`, where n of N listings have it, divided by the sum over the query's words.

use std::collections::BTreeMap;

use guildhall_protocol::body::Listing;
use guildhall_protocol::vocabulary;
use rust_stemmers::{Algorithm, Stemmer};

/// Words of a listing that are looked at, in the order name, keywords, categories, summary: a page of text, so that
/// one listing cannot fill the index.
pub const LISTING_WORDS_MAX: usize = 512;

/// Words of a query that are looked at; further ones are ignored. Nobody types more on purpose.
pub const QUERY_WORDS_MAX: usize = 32;

/// Longest word, bytes: longer runs are hashes and other text that nobody types.
pub const WORD_MAX_BYTES: usize = 64;

/// Shortest word of a query, letters, that is also found as the start of a longer term: two letters start too many.
const START_MIN_CHARS: usize = 3;

/// What a hit at the start of a longer term is worth, compared with the whole word.
pub const PREFIX_WORTH: f32 = 0.9;

/// Words that say how a sentence is built and not what it is about. They are left out of queries that have others.
const SMALL_WORDS: [&str; 40] = [
    "a", "an", "and", "any", "are", "as", "at", "by", "can", "do", "find", "for", "from", "get",
    "how", "i", "in", "into", "is", "it", "its", "me", "my", "of", "on", "or", "some", "that",
    "the", "them", "this", "to", "use", "using", "want", "what", "which", "with", "you", "your",
];

/// Where a word stands in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The package's name.
    Name,
    /// A keyword.
    Keyword,
    /// A part of a category.
    Category,
    /// The one sentence.
    Summary,
}

impl Field {
    /// All fields.
    pub const ALL: [Self; 4] = [Self::Name, Self::Keyword, Self::Category, Self::Summary];

    /// What a hit is worth: the name is chosen with most care, the summary says many things in passing.
    #[must_use]
    pub const fn worth(self) -> f32 {
        match self {
            Self::Name => 1.0,
            Self::Keyword | Self::Category => 0.8,
            Self::Summary => 0.6,
        }
    }

    /// In words, after "in the".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Keyword => "keywords",
            Self::Category => "categories",
            Self::Summary => "summary",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Name => 1,
            Self::Keyword => 2,
            Self::Category => 4,
            Self::Summary => 8,
        }
    }
}

/// The fields in which a listing has a term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldSet(u8);

impl FieldSet {
    /// The fields in it.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.0 & field.bit() != 0)
    }

    /// The best of the fields.
    #[must_use]
    pub fn best(self) -> Option<Field> {
        self.iter().next()
    }

    /// What a hit is worth in the best of the fields; 0 for none.
    #[must_use]
    pub fn worth(self) -> f32 {
        self.best().map_or(0.0, Field::worth)
    }

    /// Adds a field.
    pub const fn insert(&mut self, field: Field) {
        self.0 |= field.bit();
    }
}

impl FromIterator<Field> for FieldSet {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        let mut set = Self::default();
        fields.into_iter().for_each(|field| set.insert(field));
        set
    }
}

/// The terms of a listing, each once, and where they stand; at most [`LISTING_WORDS_MAX`] words are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(BTreeMap<String, FieldSet>);

impl Terms {
    /// The terms of `listing`.
    #[must_use]
    pub fn of(listing: &Listing) -> Self {
        let stemmer = Stemmer::create(Algorithm::English);
        let mut terms: BTreeMap<String, FieldSet> = BTreeMap::new();
        for (field, word) in words_of(listing).take(LISTING_WORDS_MAX) {
            terms.entry(stem(&stemmer, &lower(word))).or_default().insert(field);
        }
        for word in other_words(listing) {
            terms.entry(stem(&stemmer, &lower(word))).or_default().insert(Field::Category);
        }
        Self(terms)
    }

    /// Each term and where it stands, in order of the terms.
    pub fn iter(&self) -> impl Iterator<Item = (&str, FieldSet)> {
        self.0.iter().map(|(term, fields)| (term.as_str(), *fields))
    }

    /// The best hit of `word`: the term that it is or starts, where, and what it is worth.
    #[must_use]
    pub fn hit(&self, word: &WantedWord) -> Option<Hit> {
        let hit = |fields: FieldSet, kind: f32| {
            let field = fields.best()?;
            Some(Hit { field, worth: field.worth() * kind })
        };
        let whole = self.0.get(&word.stem).and_then(|fields| hit(*fields, 1.0));
        let started = word.start().into_iter().flat_map(|start| {
            let from = self.0.range(start.to_owned()..);
            from.take_while(move |(term, _)| term.starts_with(start))
                .filter_map(|(_, fields)| hit(*fields, PREFIX_WORTH))
        });
        whole.into_iter().chain(started).reduce(
            |best, hit| {
                if hit.worth > best.worth { hit } else { best }
            },
        )
    }
}

/// A word of a query, found in a listing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Where.
    pub field: Field,
    /// What that is worth, 0 to 1.
    pub worth: f32,
}

/// One word of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedWord {
    /// As it was typed, in lower case.
    pub word: String,
    /// What is compared.
    pub stem: String,
    /// Its share of the text's value; the shares of all words add up to 1.
    pub share: f32,
}

impl WantedWord {
    /// What longer terms may begin with; `None` when the word is too short for that.
    #[must_use]
    pub fn start(&self) -> Option<&str> {
        (self.stem.chars().count() >= START_MIN_CHARS).then_some(self.stem.as_str())
    }
}

/// The words of a query: each stem once, in the order they were typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted(Vec<WantedWord>);

impl Wanted {
    /// Reads the text of a query. All words have the same share until [`weigh`](Self::weigh) is called.
    #[must_use]
    pub fn new(text: Option<&str>) -> Self {
        let stemmer = Stemmer::create(Algorithm::English);
        let mut words: Vec<WantedWord> = Vec::new();
        for word in split(text.unwrap_or_default()).map(lower) {
            let stem = stem(&stemmer, &word);
            if words.len() < QUERY_WORDS_MAX && !words.iter().any(|other| other.stem == stem) {
                words.push(WantedWord { word, stem, share: 0.0 });
            }
        }
        if words.iter().any(|word| !SMALL_WORDS.contains(&word.word.as_str())) {
            words.retain(|word| !SMALL_WORDS.contains(&word.word.as_str()));
        }
        let mut wanted = Self(words);
        wanted.weigh(0, &[]);
        wanted
    }

    /// The listings that have this stem.
    pub(crate) fn of_stem(stem: &str) -> Self {
        let stem = stem.to_owned();
        Self(vec![WantedWord { word: stem.clone(), stem, share: 1.0 }])
    }

    /// Gives rare words a larger share: `frequencies` says how many of `listings` have each word.
    pub fn weigh(&mut self, listings: u64, frequencies: &[u64]) {
        #[expect(clippy::cast_precision_loss, reason = "a weight needs no more than 24 bits")]
        let weight = |at: usize| {
            let count = frequencies.get(at).copied().unwrap_or_default();
            (listings.max(1) as f32 / (count as f32 + 1.0)).ln_1p()
        };
        let sum: f32 = (0..self.0.len()).map(weight).sum();
        for (at, word) in self.0.iter_mut().enumerate() {
            word.share = weight(at) / sum;
        }
    }

    /// Whether the query names no word, so that every listing answers it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many words are wanted.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[WantedWord] {
        &self.0
    }

    /// What a listing with these terms is worth, 0 to 1; 0 when it has none of the words.
    #[must_use]
    pub fn value(&self, terms: &Terms) -> f32 {
        let hits = self.0.iter().filter_map(|word| Some(word.share * terms.hit(word)?.worth));
        hits.sum()
    }
}

/// The word that `listing` writes for `stem`, in lower case.
pub(crate) fn surface(listing: &Listing, stem_wanted: &str) -> Option<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    let words = words_of(listing).take(LISTING_WORDS_MAX).map(|(_, word)| lower(word));
    words.into_iter().find(|word| stem(&stemmer, word) == stem_wanted)
}

/// Cuts `text` into words, as they are written.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && word.len() <= WORD_MAX_BYTES)
}

fn lower(word: &str) -> String {
    word.to_lowercase()
}

fn stem(stemmer: &Stemmer, word: &str) -> String {
    // The stemmer knows Latin letters only; other words are compared as they are.
    if word.is_ascii() { stemmer.stem(word).into_owned() } else { word.to_owned() }
}

/// Other words for the categories of a listing, as the vocabulary knows them: who types `dictation` means speech
/// recognition.
fn other_words(listing: &Listing) -> impl Iterator<Item = &'static str> {
    let entries = listing.categories.iter().filter_map(vocabulary::entry_of);
    entries.flat_map(|entry| entry.synonyms().flat_map(split))
}

/// The words of a listing and where they stand, the most telling first.
fn words_of(listing: &Listing) -> impl Iterator<Item = (Field, &str)> {
    let name = split(listing.release.name.as_str()).map(|word| (Field::Name, word));
    let keywords = listing.keywords.iter().flat_map(|text| split(text));
    let categories = listing.categories.iter().flat_map(|category| split(category.as_str()));
    name.chain(keywords.map(|word| (Field::Keyword, word)))
        .chain(categories.map(|word| (Field::Category, word)))
        .chain(split(&listing.summary).map(|word| (Field::Summary, word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Wanted::new(Some(text)).0.into_iter().map(|word| word.word).collect()
    }

    #[test]
    fn words_are_cut_at_everything_that_is_no_letter_or_digit() {
        assert_eq!(words("Digits.v2_x-y, DIGITS"), ["digits", "v2", "x", "y"]);
        assert_eq!(words("Größe, ÜBER"), ["größe", "über"]);
        assert_eq!(words(" \t--"), [""; 0]);
        assert_eq!(words(&"a".repeat(65)), [""; 0]);
        let many: String = (0..100).map(|n| format!("w{n} ")).collect();
        assert_eq!(words(&many).len(), QUERY_WORDS_MAX);
    }

    #[test]
    fn words_of_one_stem_count_once_and_small_words_only_when_alone() {
        assert_eq!(
            words("classify the classified images of a chest"),
            ["classify", "images", "chest"]
        );
        assert_eq!(words("the of"), ["the", "of"]);
    }

    #[test]
    fn rare_words_have_the_larger_share() {
        let mut wanted = Wanted::new(Some("chest model"));
        wanted.weigh(1_000, &[3, 900]);
        let shares: Vec<f32> = wanted.words().iter().map(|word| word.share).collect();
        assert!(shares[0] > 0.8 && shares[1] < 0.2, "{shares:?}");
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
