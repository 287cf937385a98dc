//! What the exit code of `guild` says. Scripts rely on it, so a number never changes its meaning.

/// It was done.
pub(crate) const OK: u8 = 0;

/// It was tried and failed; also a run that failed.
pub(crate) const FAILED: u8 = 1;

/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;

/// There is nothing of that name, or nothing was found.
pub(crate) const NOT_FOUND: u8 = 3;

/// The node refused, or a package failed its checks.
pub(crate) const REFUSED: u8 = 4;

/// No node answers.
pub(crate) const UNREACHABLE: u8 = 5;

/// Other nodes did not answer, or there is no room just now; later it may work.
pub(crate) const TRY_LATER: u8 = 6;

/// Interrupted from the keyboard, as shells count it.
pub(crate) const INTERRUPTED: u8 = 130;

/// The codes for people, below `guild --help`.
pub(crate) const HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused or failed a check,
5 no node answers, 6 other nodes did not answer or there is no room, 130 interrupted";
