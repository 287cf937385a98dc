//! Periods as people write them: `90s`, `30m`, `24h`, `7d`.

use std::str::FromStr;

/// A length of time, whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    /// Seconds.
    pub(crate) seconds: u64,
}

impl Period {
    /// A week, the longest that an invite holds.
    pub(crate) const WEEK: Self = Self { seconds: 7 * 24 * 60 * 60 };
}

/// A period that may be none at all: `0s`, `0d`.
///
/// # Errors
/// A sentence for people.
pub(crate) fn or_none(text: &str) -> Result<Period, String> {
    let none = text.strip_prefix('0').is_some_and(|unit| matches!(unit, "s" | "m" | "h" | "d"));
    match none {
        true => Ok(Period { seconds: 0 }),
        false => text.parse().map_err(|error: PeriodError| error.to_string()),
    }
}

/// A period of at most a week.
///
/// # Errors
/// A sentence for people.
pub(crate) fn at_most_a_week(text: &str) -> Result<Period, String> {
    let period: Period = text.parse().map_err(|error: PeriodError| error.to_string())?;
    if period.seconds > Period::WEEK.seconds { Err("at most 7d".to_owned()) } else { Ok(period) }
}

/// Milliseconds in the largest unit that shows them whole: `1 h`, `2 min`, `1.5 s`, `200 ms`.
pub(crate) fn duration_text(ms: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(3_600_000, "h"), (60_000, "min"), (1000, "s")];
    match UNITS.iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", ms / unit),
        None if ms < 1000 => format!("{ms} ms"),
        None => {
            let thousandths = format!("{:03}", ms % 1000);
            format!("{}.{} s", ms / 1000, thousandths.trim_end_matches('0'))
        }
    }
}

/// The day of a moment, `2026-11-23`, by Greenwich: after Hinnant, "chrono-compatible low-level date algorithms",
/// `civil_from_days`, with years that begin in March.
pub(crate) fn date(time_ms: u64) -> String {
    let days = time_ms / 86_400_000 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The text is no period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a period is a number and s, m, h or d, as in 24h")]
pub(crate) struct PeriodError;

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let end = text.find(|c: char| !c.is_ascii_digit()).ok_or(PeriodError)?;
        let (number, unit) = text.split_at_checked(end).ok_or(PeriodError)?;
        let unit: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return Err(PeriodError),
        };
        let number: u64 = number.parse().map_err(|_| PeriodError)?;
        let seconds = number.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or(PeriodError)?;
        Ok(Self { seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (time_ms, day) in [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (1_709_251_199_999, "2024-02-29"),
            (1_709_251_200_000, "2024-03-01"),
            (1_795_392_000_000, "2026-11-23"),
            (4_107_542_400_000, "2100-03-01"),
        ] {
            assert_eq!(date(time_ms), day);
        }
        assert_eq!(date(u64::MAX), "584556019-04-03", "a clock may say anything");
    }

    #[test]
    fn periods_need_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(text.parse(), Ok(Period { seconds }), "{text}");
        }
        assert_eq!(at_most_a_week("7d"), Ok(Period::WEEK));
        assert!(at_most_a_week("169h").is_err());
        assert_eq!(or_none("0s"), Ok(Period { seconds: 0 }));
        assert_eq!(or_none("2m"), Ok(Period { seconds: 120 }));
        assert!(or_none("0").is_err() && or_none("00s").is_err());
        for bad in ["", "7", "d", "-1d", "1.5h", "0s", "7 d", "7days", "18446744073709551615d"] {
            assert_eq!(bad.parse::<Period>(), Err(PeriodError), "{bad}");
        }
    }
    #[test]
    fn durations_are_shown_whole_in_the_largest_unit() {
        for (ms, text) in [
            (0, "0 ms"),
            (200, "200 ms"),
            (1000, "1 s"),
            (1500, "1.5 s"),
            (1234, "1.234 s"),
            (90_000, "90 s"),
            (120_000, "2 min"),
            (3_600_000, "1 h"),
        ] {
            assert_eq!(duration_text(ms), text);
        }
    }
}
