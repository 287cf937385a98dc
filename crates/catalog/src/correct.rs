//! "Did you mean": words and categories that are here, for those that are not.

use std::cmp::Reverse;

use guildhall_protocol::api::Correction;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::vocabulary;

use crate::nearest::distance;
use crate::search::Evaluation;
use crate::words::surface;

/// Terms that are looked at for one misspelt word: all that begin with its first letter in a vocabulary of some ten
/// thousand words; a look takes about a hundred nanoseconds.
const TERMS_MAX: usize = 20_000;

/// Letters of a word for each of which one may be wrong.
const LETTERS_PER_SLIP: usize = 4;

/// Shortest word that is corrected, letters: of shorter ones everything is near.
const WORD_MIN_CHARS: usize = 4;

/// Longest ending that a stem may lack, letters: `-ation` and the like.
const ENDING_MAX_CHARS: usize = 5;

/// Stems whose written form is looked up for one misspelt word.
const WRITTEN_MAX: usize = 16;

/// Categories that are proposed for one.
const CATEGORIES_MAX: usize = 3;

impl Evaluation<'_> {
    /// What may have been meant by words that no listing has, and by a category that has none.
    pub(crate) fn corrections(&self) -> Vec<Correction> {
        let frequencies = self.catalog.text.frequencies(self.wanted.words());
        let words = self.wanted.words().iter().zip(frequencies);
        let unknown = words.filter(|(_, frequency)| *frequency == 0).map(|(word, _)| word);
        let mut corrections: Vec<Correction> = unknown
            .filter_map(|word| {
                Some(Correction { asked: word.word.clone(), meant: self.near_word(&word.word)? })
            })
            .collect();
        if let Some(asked) = &self.query.category {
            corrections.extend(self.near_categories(asked));
        }
        corrections.extend(self.near_values());
        corrections
    }

    /// Orgs, engines and licences that are written nearly as asked for.
    fn near_values(&self) -> Vec<Correction> {
        let catalog = self.catalog;
        let org = self.query.org.as_ref().map(|org| {
            (org.as_str(), catalog.orgs().map(|(_, org)| org.as_str()).collect::<Vec<_>>())
        });
        let engines = catalog.symbols.engines.values().iter().flatten().map(String::as_str);
        let engine = self.query.engine.as_deref().map(|engine| (engine, engines.collect()));
        let licences = catalog.symbols.licences.values().iter().map(String::as_str);
        let licence = self.query.licence.as_deref().map(|asked| (asked, licences.collect()));
        [org, engine, licence]
            .into_iter()
            .flatten()
            .filter_map(|(asked, known)| {
                let meant = near_value(asked, &known)?;
                Some(Correction { asked: asked.to_owned(), meant })
            })
            .collect()
    }

    /// The word nearest to `word` that some listing writes, the more frequent one of two.
    fn near_word(&self, word: &str) -> Option<String> {
        let letters: Vec<char> = word.chars().collect();
        if letters.len() < WORD_MIN_CHARS {
            return None;
        }
        let slips_max = (letters.len() / LETTERS_PER_SLIP).max(1);
        let near = self.near_terms(&letters, slips_max).into_iter().take(WRITTEN_MAX);
        let written = near.filter_map(|(_, Reverse(count), term)| {
            let written = self.as_written(&term).unwrap_or(term);
            Some((distance(&letters, &written, slips_max)?, Reverse(count), written))
        });
        written.min().map(|(_, _, written)| written)
    }

    /// Stems that the start of a word is near to, the nearest first. Endings do not count here: stems have none.
    fn near_terms(&self, letters: &[char], slips_max: usize) -> Vec<(usize, Reverse<u64>, String)> {
        let starts: Vec<&[char]> = (0..=ENDING_MAX_CHARS)
            .filter_map(|ending| letters.get(..letters.len().checked_sub(ending)?))
            .filter(|start| start.len() >= WORD_MIN_CHARS - 1)
            .collect();
        let first: String = letters.iter().take(1).collect();
        let mut near = Vec::new();
        let mut looked_at = 0_usize;
        self.catalog.text.terms_from(&first, &mut |term, count| {
            looked_at += 1;
            if !term.starts_with(&first) || looked_at > TERMS_MAX {
                return false;
            }
            let slips = starts.iter().filter_map(|start| distance(start, term, slips_max)).min();
            if let Some(slips) = slips {
                near.push((slips, Reverse(count), term.to_owned()));
            }
            true
        });
        near.sort_unstable();
        near
    }

    /// The word that a listing writes for a stem.
    fn as_written(&self, stem: &str) -> Option<String> {
        let wanted = crate::words::Wanted::of_stem(stem);
        let mut first = None;
        self.catalog.text.find(&wanted, Some(&self.catalog.sets.shown), &mut |number, _| {
            first = first.or(Some(number));
        });
        let entry = self.catalog.entry(first?)?;
        surface(&entry.listing, stem)
    }

    /// Categories whose names are near to one that has no listing.
    fn near_categories(&self, asked: &CategoryPrefix) -> Vec<Correction> {
        let known = &self.catalog.sets.categories;
        if *asked == CategoryPrefix::everything() || known.contains_key(asked.as_str()) {
            return Vec::new();
        }
        let text = asked.as_str();
        let letters: Vec<char> = text.chars().collect();
        let slips_max = (letters.len() / LETTERS_PER_SLIP).max(2);
        let meant = vocabulary::nearest(text);
        let mut near: Vec<(usize, &String)> = known
            .keys()
            .filter_map(|name| {
                // What the vocabulary means comes first, then slips.
                let place = meant.iter().position(|one| *one == name.as_str());
                let slips = || Some(meant.len() + distance(&letters, name, slips_max)?);
                Some((place.or_else(slips)?, name))
            })
            .collect();
        near.sort_unstable();
        let near = near.into_iter().take(CATEGORIES_MAX);
        near.map(|(_, name)| Correction { asked: text.to_owned(), meant: name.clone() }).collect()
    }
}

/// The value nearest to one that nobody has.
fn near_value(asked: &str, known: &[&str]) -> Option<String> {
    let asked = asked.trim().to_lowercase();
    if known.contains(&asked.as_str()) {
        return None;
    }
    let letters: Vec<char> = asked.chars().collect();
    let slips_max = (letters.len() / LETTERS_PER_SLIP).max(1);
    let near = known.iter().filter_map(|one| Some((distance(&letters, one, slips_max)?, *one)));
    near.min().map(|(_, one)| one.to_owned())
}
