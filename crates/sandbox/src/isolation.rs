//! How well a worker is shut in, in words and as a level that can be demanded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How well a worker is shut in. What a node advertises is the worst of its workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// Memory, processor time, descriptors, file length and core dumps are limited.
    pub rlimits: bool,
    /// It can gain no rights by executing something, and no core or tracer can read it.
    pub no_new_privs: bool,
    /// The kernel refuses every system call that is not on the worker's list.
    pub seccomp: bool,
    /// The kernel refuses every file and TCP port, whatever the call.
    pub landlock: bool,
    /// It is in a network of its own in which there is nothing, not even a loopback that is up.
    #[serde(default)]
    pub network: bool,
    /// Its root folder is empty and cannot be written.
    #[serde(default)]
    pub empty_root: bool,
}

impl Isolation {
    /// The names of what holds, as nodes advertise them and receipts state them.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let Self { rlimits, no_new_privs, seccomp, landlock, network, empty_root } = *self;
        [
            ("rlimits", rlimits),
            ("no-new-privs", no_new_privs),
            ("seccomp", seccomp),
            ("landlock", landlock),
            ("network-namespace", network),
            ("empty-root", empty_root),
        ]
        .into_iter()
        .filter_map(|(name, holds)| holds.then_some(name))
        .collect()
    }

    /// The same from advertised names. Names that this version does not know are passed over: they can only add to
    /// what the known ones give.
    #[must_use]
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Self {
        let has = |wanted: &str| names.iter().any(|name| name.as_ref() == wanted);
        Self {
            rlimits: has("rlimits"),
            no_new_privs: has("no-new-privs"),
            seccomp: has("seccomp"),
            landlock: has("landlock"),
            network: has("network-namespace"),
            empty_root: has("empty-root"),
        }
    }

    /// What both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            rlimits: self.rlimits && other.rlimits,
            no_new_privs: self.no_new_privs && other.no_new_privs,
            seccomp: self.seccomp && other.seccomp,
            landlock: self.landlock && other.landlock,
            network: self.network && other.network,
            empty_root: self.empty_root && other.empty_root,
        }
    }

    /// The level that it amounts to.
    #[must_use]
    pub const fn level(&self) -> Level {
        if !(self.rlimits && self.no_new_privs) {
            Level::None
        } else if !self.seccomp {
            Level::Limits
        } else if !(self.network && (self.landlock || self.empty_root)) {
            Level::Filtered
        } else {
            Level::Full
        }
    }
}

/// How well a worker is shut in, as one word. Each level includes the ones below it.
///
/// | level | word | what holds | what an error in an engine could still reach |
/// |---|---|---|---|
/// | 0 | `none` | a process of its own | what the node's user may |
/// | 1 | `limits` | limits on memory, time, files and core dumps; no new rights | files and network, within limits |
/// | 2 | `filtered` | and a list of system calls, none of which opens, connects or executes | errors of the kernel in some 50 calls |
/// | 3 | `full` | and neither files nor a network behind those calls: Landlock or an empty root, and an empty network | two errors at once |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A process of its own, and no more.
    #[default]
    None,
    /// Limits, and no new rights.
    Limits,
    /// A list of system calls as well.
    Filtered,
    /// Neither files nor a network behind them.
    Full,
}

impl Level {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Limits, Self::Filtered, Self::Full];

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Limits => 1,
            Self::Filtered => 2,
            Self::Full => 3,
        }
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
        Self::ALL
            .into_iter()
            .find(|level| level.name() == text || level.number().to_string() == text)
            .ok_or(UnknownLevel)
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
    fn a_level_needs_everything_below_it() {
        let full = Isolation {
            rlimits: true,
            no_new_privs: true,
            seccomp: true,
            landlock: true,
            network: true,
            empty_root: true,
        };
        assert_eq!(full.level(), Level::Full);
        assert_eq!(Isolation { landlock: false, ..full }.level(), Level::Full);
        assert_eq!(
            Isolation { landlock: false, empty_root: false, ..full }.level(),
            Level::Filtered
        );
        assert_eq!(Isolation { network: false, ..full }.level(), Level::Filtered);
        assert_eq!(Isolation { seccomp: false, ..full }.level(), Level::Limits);
        assert_eq!(Isolation { rlimits: false, ..full }.level(), Level::None);
        assert!(Level::ALL.is_sorted());
    }

    #[test]
    fn names_and_levels_survive_being_written_down() {
        for bits in 0_u8..64 {
            let bit = |at: u8| bits & (1 << at) != 0;
            let isolation = Isolation {
                rlimits: bit(0),
                no_new_privs: bit(1),
                seccomp: bit(2),
                landlock: bit(3),
                network: bit(4),
                empty_root: bit(5),
            };
            let mut names = isolation.names();
            names.push("of a later version");
            assert_eq!(Isolation::from_names(&names), isolation);
            assert!(isolation.and(Isolation::default()).names().is_empty());
        }
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(level.number().to_string().parse(), Ok(level));
        }
        assert_eq!("complete".parse::<Level>(), Err(UnknownLevel));
    }
}
