//! How well a node's workers are shut in, as a level that a requester can demand.
//!
//! Nodes advertise names of what holds ([`NodeBody::isolation`](crate::body::NodeBody::isolation)), and receipts state
//! them. What a list of names amounts to is decided here, so that the node that asks and the node that is asked mean
//! the same. Finding out what holds on a machine is the sandbox's.
//!
//! | level | word | names that it needs |
//! |---|---|---|
//! | 0 | `none` | none: a process of its own |
//! | 1 | `limits` | `rlimits` and `no-new-privs` |
//! | 2 | `filtered` | those, and `seccomp` |
//! | 3 | `full` | those, `network-namespace`, and `landlock` or `empty-root` |

use std::fmt;
use std::str::FromStr;

/// How well a worker is shut in. Each level includes the ones below it; a node that says nothing has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A process of its own, and no more.
    #[default]
    None,
    /// Limits on memory, time, files and core dumps, and no new rights.
    Limits,
    /// And a list of system calls.
    Filtered,
    /// And neither files nor a network behind those calls.
    Full,
}

impl Level {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Limits, Self::Filtered, Self::Full];

    /// What advertised names amount to. Names that this version does not know are passed over: they can only add to
    /// what the known ones give.
    #[must_use]
    pub fn of_names<S: AsRef<str>>(names: &[S]) -> Self {
        let has = |wanted: &str| names.iter().any(|name| name.as_ref() == wanted);
        if !(has("rlimits") && has("no-new-privs")) {
            Self::None
        } else if !has("seccomp") {
            Self::Limits
        } else if !(has("network-namespace") && (has("landlock") || has("empty-root"))) {
            Self::Filtered
        } else {
            Self::Full
        }
    }

    /// Its number, as [`OfferRequest::isolation`](crate::wire::OfferRequest::isolation) carries it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Limits => 1,
            Self::Filtered => 2,
            Self::Full => 3,
        }
    }

    /// The level of a number; none for one that no node can satisfy yet.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.number() == number)
    }

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Limits => "limits",
            Self::Filtered => "filtered",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    /// A word or a number.
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let by_word = Self::ALL.into_iter().find(|level| level.name() == text);
        let by_number = || text.parse().ok().and_then(Self::of_number);
        by_word.or_else(by_number).ok_or(UnknownLevel)
    }
}

/// A number of a level in words; also of one that is not known here.
#[must_use]
pub fn level_text(number: u8) -> String {
    match Level::of_number(number) {
        Some(level) => format!("`{level}` ({number})"),
        None => number.to_string(),
    }
}

/// A text that names no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an isolation level is one of none, limits, filtered, full, or a number from 0 to 3")]
pub struct UnknownLevel;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_needs_the_names_of_every_level_below_it() {
        let full = ["rlimits", "no-new-privs", "seccomp", "landlock", "network-namespace"];
        let without = |gone: &[&str]| {
            let names: Vec<&str> =
                full.into_iter().filter(|name| !gone.contains(name)).chain(["later"]).collect();
            Level::of_names(&names)
        };
        assert_eq!(without(&[]), Level::Full);
        assert_eq!(without(&["landlock"]), Level::Filtered);
        assert_eq!(without(&["network-namespace"]), Level::Filtered);
        assert_eq!(without(&["seccomp"]), Level::Limits);
        assert_eq!(without(&["rlimits"]), Level::None);
        assert_eq!(without(&["no-new-privs"]), Level::None);
        let rooted = ["rlimits", "no-new-privs", "seccomp", "empty-root", "network-namespace"];
        assert_eq!(Level::of_names(&rooted), Level::Full);
        assert_eq!(Level::of_names::<&str>(&[]), Level::None);
    }

    #[test]
    fn words_and_numbers_stand_for_the_same() {
        for level in Level::ALL {
            assert_eq!(level.name().parse(), Ok(level));
            assert_eq!(level.number().to_string().parse(), Ok(level));
        }
        assert!(Level::ALL.is_sorted());
        assert_eq!("4".parse::<Level>(), Err(UnknownLevel));
        assert_eq!("Full".parse::<Level>(), Err(UnknownLevel));
        assert_eq!((level_text(3), level_text(9)), ("`full` (3)".to_owned(), "9".to_owned()));
    }
}
