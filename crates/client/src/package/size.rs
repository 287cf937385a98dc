//! Sizes as people write them: `64 MiB`, `1.5GB`, `4096`.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// The text is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a size is a number of bytes, or a number with KiB, MiB, GiB, TiB, kB, MB, GB or TB, as in `64 MiB`"
)]
pub struct ByteSizeError;

/// Units from the largest of each family to the smallest, so that the first that fits is the shortest to write.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end).ok_or(ByteSizeError)?;
        let unit = match unit.trim() {
            "" => 1,
            unit => UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, bytes)| *bytes)
                .ok_or(ByteSizeError)?,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        // At most nine digits, so that the product below stays far inside 128 bits.
        if fraction.len() > 9 {
            return Err(ByteSizeError);
        }
        let digits = |text: &str| -> Result<u128, ByteSizeError> {
            if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| ByteSizeError) }
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(ByteSizeError);
        }
        let scale = fraction.chars().fold(1_u128, |scale, _| scale * 10);
        let whole = u64::try_from(digits(whole)?).map_err(|_| ByteSizeError)?;
        let scaled = u128::from(whole) * scale + digits(fraction)?;
        u64::try_from(scaled * u128::from(unit) / scale).map(Self).map_err(|_| ByteSizeError)
    }
}

impl fmt::Display for ByteSize {
    /// At most one digit after the point: `64 MiB`, `1.5 GiB`, `17 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS.iter().take(4).find(|(_, unit)| self.0 >= *unit);
        let text = match binary {
            None => format!("{} B", self.0),
            Some((name, unit)) if self.0.is_multiple_of(*unit) => {
                format!("{} {name}", self.0 / unit)
            }
            Some((name, unit)) => {
                let tenths = u128::from(self.0) * 10 / u128::from(*unit);
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            }
        };
        f.pad(&text)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, such as 65536 or \"64 KiB\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom(ByteSizeError))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        input.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64 MiB", 64 << 20),
            ("64mib", 64 << 20),
            ("1.5 GB", 1_500_000_000),
            (".5KiB", 512),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in
            ["", ".", "MiB", "-1", "1 XB", "1.2.3", "18446744073709551616", "16777216 TiB", "1e6"]
        {
            assert_eq!(bad.parse::<ByteSize>(), Err(ByteSizeError), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_with_the_largest_unit() {
        for (bytes, text) in
            [(17, "17 B"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"), (u64::MAX, "16777215.9 TiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
