//! The node's clock and randomness: the only places that ask the operating system for either.

use std::time::{SystemTime, UNIX_EPOCH};

use guildhall_protocol::Hash;

/// Milliseconds since 1970; 0 on a machine whose clock stands before that.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the machine was started, while it slept too. No setting of its clock changes them.
pub(crate) fn steady_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000)
}

/// Names the start of the machine from which [`steady_ms`] counts, if the system tells.
pub(crate) fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
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
