//! "Did you mean": the entries whose names are nearest to what somebody wrote.

use std::cmp::Reverse;

use super::{Entry, Words, entries, meant};

/// Most proposals: what a person reads in one look.
pub const NEAREST_MAX: usize = 5;

/// Most letters by which a name may differ, whatever its length: with more, it is another word.
const DIFFERENCE_MAX: usize = 3;

/// Letters of a name for each that may differ.
const LETTERS_PER_DIFFERENCE: usize = 4;

/// Longest text that is compared letter by letter, bytes: longer than every name and synonym.
const COMPARED_MAX_BYTES: usize = 64;

/// Words of a text that are looked up: more than any name has.
const WORDS_MAX: usize = 16;

/// Weight of a word that a single entry has.
const RAREST: usize = 1000;

/// Words that say nothing about a task.
const SMALL_WORDS: [&str; 6] = ["to", "of", "and", "for", "in", "the"];

/// The categories that are nearest to `text`, the nearest first, at most [`NEAREST_MAX`]: the one that it means, and those
/// that are written nearly like it; if there are none, those that share words with it. Those of a domain that it names
/// come first.
#[must_use]
pub fn nearest(text: &str) -> Vec<&'static str> {
    let words = Words::new(text);
    let asked = weighted(&words.task);
    let mut scored: Vec<_> = entries()
        .filter_map(|entry| {
            let slip = difference(entry, &words.task).map(Score::Slip);
            let score = slip.or_else(|| shared(entry, &asked).map(Score::Words))?;
            let is_elsewhere = words.domain.is_some_and(|domain| entry.domain() != domain);
            Some((is_elsewhere, score, entry.name))
        })
        .collect();
    // Entries stay in the vocabulary's order where nothing else tells them apart.
    scored.sort_by_key(|(is_elsewhere, score, _)| (*is_elsewhere, *score));
    if let Some((_, Score::Slip(_), _)) = scored.first() {
        scored.retain(|(_, score, _)| matches!(score, Score::Slip(_)));
    }
    let meant = meant(text).map(|entry| entry.name);
    let others = scored.into_iter().map(|(_, _, name)| name).filter(|name| Some(*name) != meant);
    meant.into_iter().chain(others).take(NEAREST_MAX).collect()
}

/// How near an entry is; the least is the nearest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Score {
    /// So many letters differ.
    Slip(usize),
    /// Words of this weight are shared.
    Words(Reverse<usize>),
}

/// By how many letters `task` differs from the nearest of an entry's names, if that is a slip.
fn difference(entry: &Entry, task: &str) -> Option<usize> {
    let path = entry.name.split_once('/').map_or(entry.name, |(_, path)| path);
    let names = entry.hub_tasks().chain(entry.synonyms()).chain([entry.task(), path]);
    names
        .filter_map(|name| {
            let allowed = name.len().checked_div(LETTERS_PER_DIFFERENCE)?.min(DIFFERENCE_MAX);
            if name.len().abs_diff(task.len()) > allowed || task.len() > COMPARED_MAX_BYTES {
                return None;
            }
            Some(edits(name, task)).filter(|edits| *edits <= allowed)
        })
        .min()
}

/// The words of `task` that entries have, and their weights: the fewer have a word, the more it says.
fn weighted(task: &str) -> Vec<(&str, usize)> {
    let says_something = |word: &&str| word.len() > 1 && !SMALL_WORDS.contains(word);
    let words = task.split(['-', '/']).filter(says_something).take(WORDS_MAX);
    let weighted = words.filter_map(|word| {
        let count = entries().filter(|entry| words_of(entry).any(|known| known == word)).count();
        Some((word, RAREST.checked_div(count)?))
    });
    weighted.collect()
}

/// The weight of the asked words that an entry has.
fn shared(entry: &Entry, asked: &[(&str, usize)]) -> Option<Reverse<usize>> {
    let has = |(word, _): &&(&str, usize)| words_of(entry).any(|known| known == *word);
    let weight =
        asked.iter().filter(has).fold(0_usize, |sum, (_, weight)| sum.saturating_add(*weight));
    (weight > 0).then_some(Reverse(weight))
}

fn words_of(entry: &Entry) -> impl Iterator<Item = &'static str> {
    [entry.name, entry.hub, entry.synonyms].into_iter().flat_map(|text| text.split(['-', '/', ' ']))
}

/// Letters put in, left out, replaced, or changed with their neighbour, to make `b` of `a` (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (row, &letter) in a.iter().enumerate() {
        let mut current = vec![row.saturating_add(1)];
        let mut previous_b = None;
        for (column, &other) in b.iter().enumerate() {
            let at = |line: &[usize], place: usize| line.get(place).copied().unwrap_or(usize::MAX);
            let next = column.saturating_add(1);
            let replaced = at(&last, column).saturating_add(usize::from(letter != other));
            let left_out = at(&last, next).saturating_add(1);
            let put_in = at(&current, column).saturating_add(1);
            let mut least = replaced.min(left_out).min(put_in);
            if previous_a == Some(other) && previous_b == Some(letter) {
                let two_ago = column.checked_sub(1).map_or(usize::MAX, |place| at(&before, place));
                least = least.min(two_ago.saturating_add(1));
            }
            current.push(least);
            previous_b = Some(other);
        }
        previous_a = Some(letter);
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::edits;

    #[test]
    fn edits_count_what_fingers_do() {
        for (a, b, count) in [
            ("", "", 0),
            ("ocr", "ocr", 0),
            ("ocr", "", 3),
            ("", "ocr", 3),
            ("ocr", "orc", 1),
            ("ocr", "ocrs", 1),
            ("translation", "tranlsation", 1),
            ("translation", "translatoin", 1),
            ("translation", "transation", 1),
            ("detection", "detektion", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("abc", "ca", 3),
        ] {
            assert_eq!(edits(a, b), count, "{a} {b}");
            assert_eq!(edits(b, a), count, "{b} {a}");
        }
    }
}
