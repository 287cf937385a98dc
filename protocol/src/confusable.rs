//! Names that a person could take for one another: `model-zoo` and `m0del-zoo`, `digits` and `digits-official`.
//!
//! It serves orgs' and packages' names as [`name`](crate::name) allows them, which are ASCII already, so that letters of
//! other scripts need no thought here. Two names resemble each other when, separators aside, one of these is all that
//! tells them apart:
//!
//! - **looks**: `0` and `o`; `1`, `l` and `i`; `2` and `z`; `5` and `s`; `8` and `b`; `9`, `g` and `q`; `rn` and `m`; `vv`
//!   and `w`; `cl` and `d`; inside a word also `3` and `e`, `4` and `a`, `7` and `t`;
//! - **doubled letters** in words of four letters and more, so that `xl` and `xxl` stay apart; **numbers** never are the
//!   same because a digit is repeated (`cifar10`, `cifar100`);
//! - **plurals**, word by word;
//! - **affixes** that promise more than they say (`-official`, `the-`, `-inc`), and a version behind a separator on one
//!   side (`digits`, `digits-v2`); two different versions are two names (`mobilenet-v2`, `mobilenet-v3`);
//! - **two neighbouring letters** in each other's place, in words of four letters and more (`digits`, `digtis`).
//!
//! Not found, because names that mean to differ do so in the same way: a letter left out, added or replaced by an unlike
//! one (`resnet`, `resunet`), and words in another order (`en-de`, `de-en`).
//!
//! [`skeletons`] is for an index: names that resemble each other share a skeleton. Names that share one need not resemble
//! each other (`cifar10`, `cifar100`), so whoever looks candidates up asks [`resembles`] about each. As many names as
//! somebody likes can share a skeleton (`a-v1`, `a-v2`, ...), so the asker limits how many it looks at.

/// Longest start of a name that is looked at, characters: the longest package name.
const NAME_MAX_CHARS: usize = 96;

/// Letters a word must have before one of them may be doubled or change places: shorter ones are mostly abbreviations, and
/// `xl` and `xxl`, `ner` and `ren` are different ones.
const WORD_MIN_LETTERS: usize = 4;

/// Letters a word must have before a digit inside it stands for the letter that it only vaguely resembles: `d4ta` is
/// `data`, but `i3d` is not `led`.
const VAGUE_MIN_LETTERS: usize = 3;

/// Characters that are left when an affix is taken off.
const BARE_MIN_CHARS: usize = 2;

/// Words at the start that say nothing about the content.
const PREFIXES: [&str; 5] = ["the", "my", "official", "hf", "www"];

/// Words at the end that say nothing about the content, but who is said to have made it or that it is the right one.
const SUFFIXES: [&str; 31] = [
    "official",
    "original",
    "verified",
    "genuine",
    "authentic",
    "trusted",
    "latest",
    "new",
    "newest",
    "final",
    "stable",
    "updated",
    "fixed",
    "patched",
    "mirror",
    "copy",
    "release",
    "repo",
    "package",
    "project",
    "team",
    "labs",
    "lab",
    "inc",
    "ltd",
    "gmbh",
    "org",
    "com",
    "io",
    "ai",
    "hf",
];

/// Suffixes that are long enough to be seen without a separator before them.
const JOINED_SUFFIXES: [&str; 3] = ["official", "verified", "original"];

/// What may stand before a version's numbers.
const VERSION_MARKS: [&str; 2] = ["version", "v"];

/// Two letters that look like one: the first, the second, the one.
type Pair = (u8, u8, u8);
const PAIRS: [Pair; 3] = [(b'v', b'v', b'w'), (b'r', b'n', b'm'), (b'c', b'l', b'd')];

/// Whether a person could take one name for the other. Every name resembles itself.
#[must_use]
pub fn resembles(a: &str, b: &str) -> bool {
    let (a, b) = (Name::new(a), Name::new(b));
    let is_other_version = matches!((&a.version, &b.version), (Some(a), Some(b)) if a != b);
    is_alike(&a.whole, &b.whole)
        || is_alike(&a.core, &b.whole)
        || is_alike(&a.whole, &b.core)
        || (!is_other_version && is_alike(&a.core, &b.core))
        || (a.letters() == b.letters() && is_one_swap(&a.whole, &b.whole))
}

/// The keys under which a name is kept in an index, two or three: one that all names share which look like it, the same
/// without affixes and plurals if that is another one, and one that all names of the same letters share. See the [module's
/// page](self).
#[must_use]
pub fn skeletons(name: &str) -> Vec<String> {
    let name = Name::new(name);
    let mut skeletons = vec![look(&name.whole), look(&name.core), name.letters()];
    skeletons.dedup();
    skeletons
}

/// A name, taken apart.
struct Name {
    /// Everything but separators.
    whole: Vec<Glyph>,
    /// Without affixes, versions and plurals.
    core: Vec<Glyph>,
    /// The version that was taken off.
    version: Option<String>,
}

/// A character by its looks.
#[derive(Clone, Copy)]
struct Glyph {
    /// What stands for all characters that look like it.
    look: u8,
    /// As it is written.
    written: u8,
    /// Part of a number or of a short word: it counts how often it stands there.
    is_exact: bool,
}

impl Name {
    fn new(name: &str) -> Self {
        let text: String =
            name.chars().take(NAME_MAX_CHARS).map(|c| c.to_ascii_lowercase()).collect();
        let words: Vec<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let (core, version) = core(&words);
        let glyphs = |words: &[&str]| words.iter().flat_map(|word| glyphs(word)).collect();
        let core: Vec<&str> = core.iter().map(|word| singular(word)).collect();
        Self { whole: glyphs(&words), core: glyphs(&core), version }
    }

    /// The letters in the order of the alphabet, then the digits as they stand there, so that numbered names do not all
    /// have the same. The mark tells it from other skeletons.
    fn letters(&self) -> String {
        let mut letters: Vec<u8> =
            self.whole.iter().filter(|glyph| !glyph.is_digit()).map(|glyph| glyph.look).collect();
        letters.sort_unstable();
        let digits = self.whole.iter().filter(|glyph| glyph.is_digit()).map(|glyph| glyph.written);
        std::iter::once(b'~').chain(letters).chain(digits).map(char::from).collect()
    }
}

impl Glyph {
    const fn is_digit(&self) -> bool {
        self.written.is_ascii_digit()
    }
}

/// The characters of a word.
fn glyphs(word: &str) -> Vec<Glyph> {
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let is_roman = word.bytes().all(|c| c == b'i');
    let mut glyphs = Vec::with_capacity(word.len());
    let mut rest = word.len();
    for part in word.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        rest = rest.saturating_sub(part.len());
        let is_number = part.iter().all(u8::is_ascii_digit);
        let is_inside = !glyphs.is_empty() && rest > 0;
        let is_vague = part.len() == 1 && is_inside && letters >= VAGUE_MIN_LETTERS;
        glyphs.extend(part.iter().map(|&written| Glyph {
            look: if is_vague { vague(written) } else { plain(written) },
            written,
            is_exact: is_number || is_roman || part.len() < WORD_MIN_LETTERS,
        }));
    }
    glyphs
}

/// The look of a character anywhere. No two digits share one, so that numbers stay different.
const fn plain(written: u8) -> u8 {
    match written {
        b'0' => b'o',
        b'1' | b'i' => b'l',
        b'2' => b'z',
        b'5' => b's',
        b'8' => b'b',
        b'9' | b'q' => b'g',
        other => other,
    }
}

/// The look of a single digit between letters.
const fn vague(written: u8) -> u8 {
    match written {
        b'3' => b'e',
        b'4' => b'a',
        b'7' => b't',
        other => plain(other),
    }
}

/// What is left of a name's words when those at its ends that say nothing are taken off, and the version among them.
fn core<'t>(words: &[&'t str]) -> (Vec<&'t str>, Option<String>) {
    let mut words = words.to_vec();
    let mut version: Option<String> = None;
    loop {
        let before: usize = words.iter().map(|word| word.len()).sum();
        if let Some(at) = version_at(&words) {
            let numbers = words.split_off(at).join(".");
            let numbers = numbers.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            version = Some(format!("{numbers}.{}", version.unwrap_or_default()));
        }
        if let [_, .., last] = words.as_slice()
            && is_one_of(&SUFFIXES, last)
        {
            words.pop();
        }
        if let [first, _, ..] = words.as_slice()
            && is_one_of(&PREFIXES, first)
        {
            words.remove(0);
        }
        if let Some(last) = words.last_mut() {
            let joined = JOINED_SUFFIXES.iter().find_map(|suffix| last.strip_suffix(suffix));
            if let Some(bare) = joined.filter(|bare| bare.len() >= BARE_MIN_CHARS) {
                *last = bare;
            }
        }
        if words.iter().map(|word| word.len()).sum::<usize>() == before {
            return (words, version);
        }
    }
}

/// Whether a word is one of these or looks like it.
fn is_one_of(affixes: &[&str], word: &str) -> bool {
    let is_it = |affix: &&str| affix.bytes().map(plain).eq(word.bytes().map(plain));
    is_word(word.bytes()) && affixes.iter().any(is_it)
}

/// Whether most characters are letters: `0fficial` is a word, `10` and `1o` are a number and not `io`.
fn is_word(text: impl Iterator<Item = u8> + Clone) -> bool {
    let letters = text.clone().filter(u8::is_ascii_alphabetic).count();
    letters > text.filter(u8::is_ascii_digit).count()
}

/// Where the version at the end of some words starts: a mark with a number, and numbers only behind it.
fn version_at(words: &[&str]) -> Option<usize> {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_digit());
    let at = words.iter().rposition(|word| !is_number(word)).filter(|at| *at > 0)?;
    let word = words.get(at)?;
    VERSION_MARKS.iter().any(|mark| word.strip_prefix(mark).is_some_and(is_number)).then_some(at)
}

/// A word without the `s` of a plural; that of `class`, `corpus` and `analysis` is none.
fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(one) if word.len() >= WORD_MIN_LETTERS && !one.ends_with(['s', 'u', 'i']) => one,
        _ => word,
    }
}

/// Pairs of letters that look like one become it.
fn joined(line: &[Glyph]) -> Vec<Glyph> {
    let mut joined: Vec<Glyph> = Vec::with_capacity(line.len());
    for glyph in line {
        let last = joined.last_mut();
        let pair = last.and_then(|last| {
            let is_it = |pair: &&Pair| (pair.0, pair.1) == (last.look, glyph.look);
            PAIRS.iter().find(is_it).map(|pair| (last, pair.2))
        });
        match pair {
            Some((last, look)) => {
                let is_exact = last.is_exact || glyph.is_exact;
                *last = Glyph { look, written: look, is_exact };
            }
            None => joined.push(*glyph),
        }
    }
    joined
}

/// What all lines share that look alike.
fn look(line: &[Glyph]) -> String {
    let mut looks: Vec<u8> = joined(line).iter().map(|glyph| glyph.look).collect();
    looks.dedup();
    looks.into_iter().map(char::from).collect()
}

/// Whether two lines look alike, repeated letters aside.
fn is_alike(a: &[Glyph], b: &[Glyph]) -> bool {
    let (a, b) = (joined(a), joined(b));
    let same = |a: &Glyph, b: &Glyph| a.look == b.look;
    let (mut left, mut right) = (a.chunk_by(same), b.chunk_by(same));
    loop {
        let (a, b) = match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) => (a, b),
            _ => return false,
        };
        let is_same = a.first().map(|glyph| glyph.look) == b.first().map(|glyph| glyph.look);
        let longer = if a.len() > b.len() { a } else { b };
        if !is_same || (a.len() != b.len() && longer.iter().any(|glyph| glyph.is_exact)) {
            return false;
        }
    }
}

/// Whether two lines differ by two neighbouring letters that changed places.
fn is_one_swap(a: &[Glyph], b: &[Glyph]) -> bool {
    let pairs = a.iter().zip(b);
    let differing: Vec<_> =
        pairs.enumerate().filter(|(_, (a, b))| a.look != b.look).take(3).collect();
    match differing.as_slice() {
        [(at, (a1, b1)), (next, (a2, b2))] => {
            a.len() == b.len()
                && at.saturating_add(1) == *next
                && a1.look == b2.look
                && a2.look == b1.look
                && ![a1, a2, b1, b2].iter().any(|glyph| glyph.is_exact)
        }
        _ => false,
    }
}
