//! The vocabulary of categories: what packages are for, in words that everybody uses alike.
//!
//! A category is `domain/task`, or `domain/task/kind` where a task has kinds that people look for by themselves. Domains
//! and tasks are those of the Hugging Face Hub, which people know; a task's name does not repeat its domain, so that the
//! hub's `text-classification` is `text/classification`. Names of one's own start with `x-`, at any place
//! (`vision/x-conditioning`, `x-lab/anything`), and what is below them is free.
//!
//! Nobody is refused for a category that is not listed: nodes of different versions know different lists. The list is for
//! proposals, for choices and for "did you mean". `docs/categories.md` shows it, and a test compares the two.

mod audio;
mod nearest;
mod others;
mod text;
mod vision;

use crate::name::{Category, CategoryPrefix};
pub use nearest::{NEAREST_MAX, nearest};

/// What starts a part of a category that its author made up.
const OWN: &str = "x-";

/// Longest word that is looked up, characters: the longest category.
const WORD_MAX_CHARS: usize = 259;

/// The domains, what each is about, and other names for it.
pub const DOMAINS: [Domain; 7] = [
    Domain {
        name: "vision",
        description: "Pictures, videos and scenes: seen, changed or made.",
        synonyms: "cv computer-vision image images video imaging",
    },
    Domain {
        name: "text",
        description: "Written language: read, changed or made.",
        synonyms: "nlp natural-language-processing language",
    },
    Domain {
        name: "audio",
        description: "Speech, music and other sound: heard, changed or made.",
        synonyms: "speech sound voice",
    },
    Domain {
        name: "multimodal",
        description: "Several kinds of input at once, such as a picture and a question about it.",
        synonyms: "mm vision-language",
    },
    Domain {
        name: "tabular",
        description: "Rows and columns, and measurements over time.",
        synonyms: "table tables time-series timeseries",
    },
    Domain {
        name: "graph",
        description: "Nodes and the edges between them.",
        synonyms: "graphs network",
    },
    Domain {
        name: "control",
        description: "Acting in a world, simulated or real.",
        synonyms: "rl reinforcement-learning robotics",
    },
];

/// A domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The first part of its categories.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Other names for it, with spaces between.
    synonyms: &'static str,
}

impl Domain {
    /// Other names for it.
    pub fn synonyms(&self) -> impl Iterator<Item = &'static str> {
        self.synonyms.split_whitespace()
    }
}

/// A category of the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The category as text.
    pub name: &'static str,
    /// One sentence: what is done.
    pub description: &'static str,
    hub: &'static str,
    synonyms: &'static str,
}

/// A row of the lists: category, the hub's names for it, what is done, and other words for it.
const fn entry(
    name: &'static str,
    hub: &'static str,
    description: &'static str,
    synonyms: &'static str,
) -> Entry {
    Entry { name, description, hub, synonyms }
}

impl Entry {
    /// The category; `None` never, which a test holds.
    #[must_use]
    pub fn category(&self) -> Option<Category> {
        self.name.parse().ok()
    }

    /// The hub's tasks that it stands for, older names included.
    pub fn hub_tasks(&self) -> impl Iterator<Item = &'static str> {
        self.hub.split_whitespace()
    }

    /// Other words that people use for it.
    pub fn synonyms(&self) -> impl Iterator<Item = &'static str> {
        self.synonyms.split_whitespace()
    }

    /// The name of its domain.
    #[must_use]
    pub fn domain(&self) -> &'static str {
        self.name.split('/').next().unwrap_or(self.name)
    }

    /// The last part of its name.
    #[must_use]
    pub fn task(&self) -> &'static str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }
}

/// Every category of the vocabulary: by domain, tasks before their kinds.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    [vision::ENTRIES, text::ENTRIES, audio::ENTRIES, others::ENTRIES].into_iter().flatten()
}

/// The entry of this category.
#[must_use]
pub fn entry_of(category: &Category) -> Option<&'static Entry> {
    entries().find(|entry| entry.name == category.as_str())
}

/// Whether a category is in the vocabulary, or extends it by an `x-` name.
#[must_use]
pub fn is_known(category: &Category) -> bool {
    is_known_text(category.as_str())
}

/// Whether categories of the vocabulary start with this, or could by an `x-` name; everything is known.
#[must_use]
pub fn is_known_prefix(prefix: &CategoryPrefix) -> bool {
    *prefix == CategoryPrefix::everything() || is_known_text(prefix.as_str())
}

fn is_known_text(text: &str) -> bool {
    let own = text.split('/').position(|part| part.starts_with(OWN));
    let listed: Vec<&str> = text.split('/').take(own.unwrap_or(usize::MAX)).collect();
    match listed.as_slice() {
        [] => own.is_some(),
        [domain] => DOMAINS.iter().any(|known| known.name == *domain),
        listed => {
            let listed = listed.join("/");
            entries().any(|entry| entry.name == listed)
        }
    }
}

/// The entry for a task of the hub, by the hub's name for it.
#[must_use]
pub fn of_hub_task(task: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.hub_tasks().any(|known| known == task))
}

/// The entry that somebody means by a word or some words: a category, a task of the hub, a synonym, or a task whose name
/// occurs once. A domain may stand in front, by any of its names.
#[must_use]
pub fn meant(words: &str) -> Option<&'static Entry> {
    let words = Words::new(words);
    let task = words.task.as_str();
    let inside = || {
        let domain = words.domain;
        entries().filter(move |entry| domain.is_none_or(|domain| entry.domain() == domain))
    };
    let has_name =
        |entry: &Entry, name: &str| entry.hub_tasks().chain(entry.synonyms()).any(|w| w == name);
    let is_of_task = |entry: &&Entry| entry.task() == task;
    if words.is_elsewhere {
        return None;
    }
    let named = inside().find(|entry| {
        entry.name.split_once('/').is_some_and(|(_, rest)| rest == task && words.domain.is_some())
    });
    let by_name = || inside().find(|entry| has_name(entry, task) || has_name(entry, &words.joined));
    let by_task = || {
        let mut found = inside().filter(is_of_task);
        found.next().filter(|_| found.next().is_none())
    };
    named.or_else(by_name).or_else(by_task)
}

/// What somebody wrote, as the vocabulary writes it: small letters, hyphens, and the domain by its own name.
struct Words {
    /// The domain in front of the first `/`.
    domain: Option<&'static str>,
    /// Whether something else is in front of the first `/`.
    is_elsewhere: bool,
    /// What follows the first `/`, or everything.
    task: String,
    /// Everything, with hyphens only: `image/classification` may mean the hub's `image-classification`.
    joined: String,
}

impl Words {
    fn new(text: &str) -> Self {
        let text: String = text
            .trim()
            .chars()
            .take(WORD_MAX_CHARS)
            .map(|c| if c.is_whitespace() || c == '_' { '-' } else { c.to_ascii_lowercase() })
            .collect();
        let joined = text.replace('/', "-");
        let (start, task) = match text.split_once('/') {
            Some((start, task)) => (Some(start), task),
            None => (None, text.as_str()),
        };
        let domain = start.and_then(domain);
        let is_elsewhere = start.is_some() && domain.is_none();
        Self { domain, is_elsewhere, task: task.to_owned(), joined }
    }
}

/// The domain of this name.
fn domain(name: &str) -> Option<&'static str> {
    let is_it = |domain: &&Domain| domain.name == name || domain.synonyms().any(|s| s == name);
    DOMAINS.iter().find(is_it).map(|domain| domain.name)
}
