//! Numbers of a typed query, with their units.

/// Units of sizes. The first of each pair of equal ones is the one that is written.
const SIZES: [(&str, u64); 14] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
    ("", 1),
];

/// Units of times, each with what it is multiplied with and divided by to be milliseconds.
const TIMES: [(&str, f64, f64); 7] = [
    ("ms", 1.0, 1.0),
    ("", 1.0, 1.0),
    ("s", 1000.0, 1.0),
    ("us", 1.0, 1000.0),
    ("µs", 1.0, 1000.0),
    ("μs", 1.0, 1000.0),
    ("min", 60_000.0, 1.0),
];

/// A number and its unit.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let number: f64 = number.parse().ok().filter(|number: &f64| number.is_finite())?;
    Some((number, unit.trim()))
}

/// A time in milliseconds.
pub(super) fn milliseconds(text: &str) -> Result<f64, String> {
    let time = split(text).and_then(|(number, unit)| {
        let (_, times, by) = TIMES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(unit))?;
        let ms = number * times / by;
        let ms = if times == by { ms } else { tidy(ms) };
        Some(ms).filter(|ms| ms.is_finite())
    });
    time.ok_or_else(|| "a time is a number and us, ms or s, as in `latency<50ms`".to_owned())
}

/// A number without what the conversion of a unit left in its last digits: 0.6 for 0.6000000000000001.
fn tidy(number: f64) -> f64 {
    format!("{number:.12e}").parse().unwrap_or(number)
}

/// A share, also written as a percentage.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = match split(text) {
        Some((number, "")) => Some(number),
        Some((number, "%")) => Some(number / 100.0),
        _ => None,
    };
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "a share is a number from 0 to 1, or a percentage such as `90%`".to_owned())
}

/// A number of bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "a size is a number and B, kB, MB, GB, KiB, MiB or GiB, as in `2GiB`".to_owned();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).ok_or_else(wrong)?;
    let (_, unit) =
        SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim())).ok_or_else(wrong)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*unit).ok_or_else(wrong);
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * *unit as f64;
    // The largest that is exact as a fraction; nobody has that much memory.
    if bytes < (1_u64 << 53) as f64 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// A number of bytes with the largest unit that shows it whole.
pub(super) fn size_written(bytes: u64) -> String {
    let whole = |(_, unit): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*unit);
    let (name, unit) = SIZES.iter().find(whole).unwrap_or(&("B", 1));
    format!("{}{name}", bytes.checked_div(*unit).unwrap_or_default())
}
