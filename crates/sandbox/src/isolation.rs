//! How well a worker is shut in: what holds, in words. Which level that is, the protocol says.

use serde::{Deserialize, Serialize};

pub use guildhall_protocol::isolation::{Level, UnknownLevel};

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

    /// The level that it amounts to, which [`Level`] defines for everybody. What an error in an engine could still reach:
    /// at `none` what the node's user may, at `limits` files and network within limits, at `filtered` errors of the
    /// kernel in some 50 calls, at `full` it takes two errors at once.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::of_names(&self.names())
    }
}

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
