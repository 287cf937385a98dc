//! "Did you mean": which of the known names is written most like an unknown one.

/// Names that are suggested: a person reads three, not ten.
pub(crate) const NEAREST_MAX: usize = 3;

/// Fewest changed letters that still count as a slip of the fingers.
const SLIPS_MIN: usize = 2;

/// One slip is forgiven for every so many letters.
const LETTERS_PER_SLIP: usize = 4;

/// The candidates nearest to `asked`, best first; ties in order of the text. A candidate is an org's name and a
/// package's name. The right package name at the wrong org counts as two slips.
pub(crate) fn nearest<'a>(
    (org, name): (&str, &str),
    candidates: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<String> {
    let slips_max = SLIPS_MIN.max((org.len() + name.len()) / LETTERS_PER_SLIP);
    let asked: Vec<char> = org.chars().chain(['/']).chain(name.chars()).collect();
    let mut found: Vec<(usize, String)> = candidates
        .filter_map(|(other_org, other_name)| {
            let is_far = |a: &str, b: &str| a.len().abs_diff(b.len()) > slips_max;
            if other_name != name && (is_far(org, other_org) || is_far(name, other_name)) {
                return None;
            }
            let text = format!("{other_org}/{other_name}");
            let slips = match distance(&asked, &text, slips_max) {
                Some(slips) => slips,
                None if other_name == name => SLIPS_MIN,
                None => return None,
            };
            Some((slips, text))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(NEAREST_MAX).map(|(_, text)| text).collect()
}

/// Letters to insert, delete or change between `a` and `b`, or neighbours to swap (optimal string alignment), unless
/// there are more than `max`.
pub(crate) fn distance(a: &[char], b: &str, max: usize) -> Option<usize> {
    let b: Vec<char> = b.chars().take(a.len() + max + 1).collect();
    if a.len().abs_diff(b.len()) > max {
        return None;
    }
    // Rows of the matrix: the distances of the letters of `a` so far to each start of `b`, and the two rows before.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
    for (i, letter) in a.iter().enumerate() {
        let mut next = Vec::with_capacity(last.len());
        next.push(i + 1);
        for (j, other) in b.iter().enumerate() {
            let changed = at(&last, j) + usize::from(letter != other);
            let mut least = changed.min(at(&last, j + 1) + 1).min(at(&next, j) + 1);
            if let (Some(i), Some(k)) = (i.checked_sub(1), j.checked_sub(1))
                && a.get(i) == Some(other)
                && b.get(k) == Some(letter)
            {
                least = least.min(at(&before, k) + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut last, next);
    }
    last.last().copied().filter(|slips| *slips <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_insertions_deletions_and_changes() {
        for (a, b, expected) in [
            ("digits", "digits", Some(0)),
            ("digits", "digit", Some(1)),
            ("digits", "dgiits", Some(1)),
            ("wine", "wnie", Some(1)),
            ("kitten", "sitting", Some(3)),
            ("kitten", "sitting-room", None),
            ("", "abc", Some(3)),
        ] {
            let letters: Vec<char> = a.chars().collect();
            assert_eq!(distance(&letters, b, 3), expected, "{a} {b}");
        }
    }

    #[test]
    fn slips_and_the_right_name_at_another_org_are_suggested() {
        let known =
            [("lab", "digits"), ("lab", "letters"), ("mercy", "digits"), ("mercy", "xrays")];
        assert_eq!(nearest(("lab", "digts"), known.into_iter()), ["lab/digits"]);
        assert_eq!(nearest(("hospital", "xrays"), known.into_iter()), ["mercy/xrays"]);
        assert!(nearest(("hospital", "weather"), known.into_iter()).is_empty());
    }
}
