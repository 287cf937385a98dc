//! The node's clock and randomness: the only places that ask the operating system for either.

use std::time::{SystemTime, UNIX_EPOCH};

use guildhall_protocol::Hash;

/// Milliseconds since 1970; 0 on a machine whose clock stands before that.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// 32 random bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness: no key or id made without it could be trusted.
pub(crate) fn random() -> Hash {
    let mut bytes = [0; 32];
    #[expect(
        clippy::expect_used,
        reason = "nothing that follows would be safe without randomness"
    )]
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    Hash::from_bytes(bytes)
}
