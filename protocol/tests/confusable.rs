//! T16: names that could be taken for another's are found, and names that only have much in common are not.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::confusable::{resembles, skeletons};
use guildhall_protocol::name::PackageName;
use proptest::prelude::*;

const ALIKE: &str = include_str!("confusable/alike.txt");
const DISTINCT: &str = include_str!("confusable/distinct.txt");

/// Two names a line; lines that start with `#` are headings.
fn pairs(table: &'static str) -> Vec<(&'static str, &'static str)> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').expect(line)).collect()
}

fn share_a_skeleton(a: &str, b: &str) -> bool {
    let others = skeletons(b);
    skeletons(a).iter().any(|one| others.contains(one))
}

#[test]
fn the_tables_hold_two_hundred_pairs_of_valid_names_each() {
    for table in [ALIKE, DISTINCT] {
        let mut pairs = pairs(table);
        for name in pairs.iter().flat_map(|(a, b)| [a, b]) {
            assert!(name.parse::<PackageName>().is_ok(), "{name}");
        }
        assert!(pairs.iter().all(|(a, b)| a != b));
        let count = pairs.len();
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), count, "pairs stand there twice");
        assert!(count >= 200, "{count}");
    }
}

#[test]
fn t16_names_that_can_be_taken_for_another_are_found() {
    let missed: Vec<_> =
        pairs(ALIKE).into_iter().filter(|(a, b)| !resembles(a, b) || !resembles(b, a)).collect();
    assert!(missed.is_empty(), "{} are missed: {missed:#?}", missed.len());
}

#[test]
fn t16_names_that_can_be_taken_for_another_share_a_skeleton() {
    for (a, b) in pairs(ALIKE) {
        assert!(share_a_skeleton(a, b), "{a} {b}: {:?} {:?}", skeletons(a), skeletons(b));
    }
}

#[test]
fn t16_names_that_only_have_much_in_common_are_not_found() {
    let found: Vec<_> =
        pairs(DISTINCT).into_iter().filter(|(a, b)| resembles(a, b) || resembles(b, a)).collect();
    assert!(found.is_empty(), "{} are found: {found:#?}", found.len());
}

/// All names of the table against each other, by way of an index as the catalogue has one.
#[test]
fn t16_no_two_names_of_the_table_of_distinct_ones_resemble_each_other() {
    let names: BTreeSet<_> = pairs(DISTINCT).into_iter().flat_map(|(a, b)| [a, b]).collect();
    let mut index: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let (mut looked_at, mut found) = (0, Vec::new());
    for name in &names {
        for skeleton in skeletons(name) {
            let candidates = index.entry(skeleton).or_default();
            looked_at += candidates.len();
            found.extend(candidates.iter().filter(|b| resembles(name, b)).map(|b| (*name, *b)));
            candidates.push(name);
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(looked_at < names.len(), "{looked_at} candidates for {} names", names.len());
}

/// Names of few letters, so that the rules meet each other.
const NAMES: &str = "[acdilmnorsvw0158]{1,3}([-._]?[aeilnrstv125]{1,4}){0,3}(-official|-v2|s)?";

proptest! {
    #[test]
    fn resemblance_goes_both_ways_and_shows_in_a_skeleton(a in NAMES, b in NAMES) {
        prop_assert!(resembles(&a, &a));
        prop_assert_eq!(resembles(&a, &b), resembles(&b, &a));
        if resembles(&a, &b) {
            prop_assert!(share_a_skeleton(&a, &b));
        }
    }

    #[test]
    fn a_name_with_one_change_resembles_it(name in NAMES, at in 0_usize..20) {
        for (from, to) in [("1", "l"), ("l", "i"), ("rn", "m"), ("cl", "d"), ("5", "s"), ("", "-")] {
            let Some((place, _)) = name.match_indices(from).nth(at) else { continue };
            let changed = format!("{}{to}{}", &name[..place], &name[place + from.len()..]);
            if from.is_empty() && !name.bytes().all(|c| c.is_ascii_lowercase()) {
                continue;
            }
            prop_assert!(resembles(&name, &changed), "{name} {changed}");
            prop_assert!(share_a_skeleton(&name, &changed), "{name} {changed}");
        }
    }

    #[test]
    fn separators_never_tell_names_of_letters_apart(words in "[b-hj-u]{4,9}(-[b-hj-u]{4,9}){1,4}") {
        let moved = words.replace('-', "_");
        prop_assert!(resembles(&words, &moved));
        prop_assert!(resembles(&words, &words.replace('-', "")));
    }

    #[test]
    fn any_text_has_skeletons_that_are_no_longer_than_names(text in ".{0,300}") {
        for skeleton in skeletons(&text) {
            prop_assert!(skeleton.len() <= 97, "{skeleton}");
        }
        prop_assert!(resembles(&text, &text));
    }
}
