//! Whether a contract fits what the unit tests took: limits far above it keep nodes from lending themselves, limits close
//! to it fail on slower machines.

use guildhall_client::package::ByteSize;
use guildhall_protocol::contract::Limits;
use guildhall_sandbox::Took;

/// A limit above so many times what was measured is loose.
const LOOSE: u64 = 20;

/// A limit below so many times what was measured is tight: other machines are that much slower.
const TIGHT: u64 = 2;

/// How much room a proposed limit leaves: twice what is tight.
const ROOM: u64 = 4;

/// Times below this are taken as this, milliseconds: they say more about what else the machine did.
const TIME_LEAST_MS: u64 = 5;

/// Memory below this is taken as this, bytes: nothing is gained by lending less.
const MEMORY_LEAST_BYTES: u64 = 1 << 20;

/// Outputs below this are taken as this, bytes.
const OUTPUT_LEAST_BYTES: u64 = 4 << 10;

/// A limit that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// Its key in `guild.toml`.
    pub(super) key: &'static str,
    /// What is wrong, in words.
    pub(super) why: String,
    /// The line that would put it right.
    pub(super) line: String,
}

/// The limits that are too loose or too tight for what was measured.
pub(super) fn misfits(took: &Took, limits: &Limits) -> Vec<Misfit> {
    let time_ms = took.wall_us.div_ceil(1_000);
    let proposed = time_ms.max(TIME_LEAST_MS).saturating_mul(ROOM);
    let proposed = proposed.div_ceil(10).saturating_mul(10);
    let time = misfit(
        "scoring_ms",
        limits.scoring_ms.value,
        (time_ms, TIME_LEAST_MS),
        &format!("{} ms", milliseconds(took.wall_us)),
        proposed.to_string(),
    );
    let bytes = |key, limit: u64, measured: u64, least: u64| {
        let proposed = measured.max(least).saturating_mul(ROOM);
        let proposed = proposed.checked_next_power_of_two().unwrap_or(proposed);
        let line = format!("\"{}\"", ByteSize(proposed));
        misfit(key, limit, (measured, least), &ByteSize(measured).to_string(), line)
    };
    let memory =
        bytes("memory", limits.memory_bytes.value, took.memory_peak_bytes, MEMORY_LEAST_BYTES);
    let output = bytes("output", limits.output_bytes.value, took.output_bytes, OUTPUT_LEAST_BYTES);
    [time, memory, output].into_iter().flatten().collect()
}

/// `least` is what less than that is taken as, so that a limit is not called loose because a test is small.
fn misfit(
    key: &'static str,
    limit: u64,
    (measured, least): (u64, u64),
    shown: &str,
    proposed: String,
) -> Option<Misfit> {
    let why = if limit > measured.max(least).saturating_mul(LOOSE) {
        format!("the tests took {shown}, and few nodes lend so much more")
    } else if limit < measured.saturating_mul(TIGHT) {
        format!("the tests took {shown}, and a slower machine or a longer input goes over it")
    } else {
        return None;
    };
    Some(Misfit { key, why, line: format!("{key} = {proposed}") })
}

/// A time as people write it: three digits at most that say something.
pub(super) fn milliseconds(us: u64) -> String {
    match us {
        0..10_000 => format!("{}.{}", us / 1_000, us % 1_000 / 100),
        _ => (us / 1_000).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::contract::{LimitSet, NodeLimits};

    use super::*;

    fn limits(scoring_ms: u64, memory_bytes: u64, output_bytes: u64) -> Limits {
        let contract = LimitSet {
            scoring_ms: Some(scoring_ms),
            memory_bytes: Some(memory_bytes),
            output_bytes: Some(output_bytes),
            ..LimitSet::default()
        };
        Limits::smallest(contract, NodeLimits::default(), LimitSet::default())
    }

    fn keys(took: Took, limits: &Limits) -> Vec<String> {
        misfits(&took, limits).into_iter().map(|one| one.line).collect()
    }

    #[test]
    fn limits_far_above_and_close_to_what_was_measured_are_named_with_better_ones() {
        let took = Took { wall_us: 60_000, memory_peak_bytes: 6 << 20, output_bytes: 10_000 };
        assert!(keys(took, &limits(240, 32 << 20, 64 << 10)).is_empty());
        assert_eq!(
            keys(took, &limits(100, 10 << 20, 16 << 10)),
            ["scoring_ms = 240", "memory = \"32 MiB\"", "output = \"64 KiB\""]
        );
        assert_eq!(keys(took, &limits(1_300, 32 << 20, 64 << 10)), ["scoring_ms = 240"]);
    }

    #[test]
    fn what_is_too_small_to_measure_is_no_reason_to_warn() {
        let took = Took { wall_us: 300, memory_peak_bytes: 2 << 16, output_bytes: 60 };
        assert!(keys(took, &limits(100, 16 << 20, 64 << 10)).is_empty());
        assert!(keys(took, &limits(5, 1 << 20, 4 << 10)).is_empty());
        assert_eq!(keys(took, &limits(101, 32 << 20, 64 << 10)).len(), 2);
    }

    #[test]
    fn times_have_a_digit_after_the_point_where_that_says_something() {
        for (us, text) in [(0, "0.0"), (349, "0.3"), (9_999, "9.9"), (10_000, "10")] {
            assert_eq!(milliseconds(us), text);
        }
    }
}
