//! Periods as people write them: `90s`, `30m`, `24h`, `7d`.

use std::str::FromStr;

/// A length of time, whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    /// Seconds.
    pub(crate) seconds: u64,
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
    fn periods_need_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(text.parse(), Ok(Period { seconds }), "{text}");
        }
        for bad in ["", "7", "d", "-1d", "1.5h", "0s", "7 d", "7days", "18446744073709551615d"] {
            assert_eq!(bad.parse::<Period>(), Err(PeriodError), "{bad}");
        }
    }
}
