//! Yanks, reviews, use and copies: what they change, whenever they come.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use common::{entry, key, package, with};
use guildhall_catalog::{Asked, Catalog, ResolveError, Reviewed};
use guildhall_protocol::body::{Review, Yank};
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::Query;
use guildhall_protocol::{FederationId, Hash};
use proptest::prelude::*;

fn yank(reference: &str, why: &str) -> Yank {
    let (name, version) = reference.split_once('/').unwrap().1.split_once('@').unwrap();
    Yank {
        name: name.parse().unwrap(),
        version: version.parse().unwrap(),
        package: package(reference),
        why: why.into(),
    }
}

fn review(org: &str, reference: &str, stars: u8, seq: u64) -> Reviewed {
    Reviewed {
        root: key(org),
        author: key(&format!("producer of {org}")),
        seq,
        time_ms: seq,
        review: Review {
            federation: FederationId(Hash::of(b"federation")),
            package: package(reference),
            stars,
            text: format!("{stars} stars"),
        },
    }
}

fn found(catalog: &Catalog) -> Vec<String> {
    let answer = catalog.search(&Query::default(), Asked::default());
    answer.results.iter().map(|one| one.reference.to_string()).collect()
}

#[test]
fn a_yanked_version_is_found_no_more_and_says_why() {
    for before in [true, false] {
        let mut catalog = Catalog::default();
        let yank = yank("lab/digits@1.1.0", "labels were swapped");
        if before {
            assert!(catalog.yank(key("lab"), yank.clone(), 5));
        }
        catalog.insert(entry("lab/digits@1.0.0"), false);
        catalog.insert(entry("lab/digits@1.1.0"), false);
        if !before {
            assert_eq!(found(&catalog), ["lab/digits@1.1.0"]);
            assert!(catalog.yank(key("lab"), yank, 5));
        }
        assert_eq!(found(&catalog), ["lab/digits@1.0.0"]);
        let resolve = |reference: &str| catalog.resolve(&reference.parse().unwrap());
        assert_eq!(resolve("lab/digits").unwrap().version().to_string(), "1.0.0");
        let error = resolve("lab/digits@1.1.0").unwrap_err();
        assert_eq!(
            error.to_string(),
            "lab/digits@1.1.0 was yanked by its producer: labels were swapped"
        );
        let by_id = catalog.resolve(&Reference::Package(package("lab/digits@1.1.0")));
        assert!(matches!(by_id, Err(ResolveError::Yanked { .. })), "{by_id:?}");
        let shown = catalog.show(&"lab/digits@1.1.0".parse().unwrap()).unwrap();
        assert_eq!(shown.yanked.unwrap().time_ms, 5);
        assert_eq!(catalog.of_package(package("lab/digits@1.1.0")).count(), 0);
        let counts = catalog.category_counts();
        assert_eq!(counts[0].1, 1);
    }
}

#[test]
fn only_the_org_that_listed_a_version_takes_it_back() {
    let mut catalog = Catalog::default();
    catalog.insert(entry("lab/digits@1.0.0"), false);
    let mut other = yank("lab/digits@1.0.0", "envy");
    catalog.yank(key("mercy"), other.clone(), 1);
    assert_eq!(found(&catalog), ["lab/digits@1.0.0"]);
    other.package = package("another");
    catalog.yank(key("lab"), other, 1);
    assert_eq!(found(&catalog), ["lab/digits@1.0.0"], "it speaks of another package");
    let mut only = Catalog::default();
    only.insert(entry("lab/digits@1.0.0"), false);
    only.yank(key("lab"), yank("lab/digits@1.0.0", "gone"), 1);
    assert!(found(&only).is_empty());
    let error = only.resolve(&"lab/digits".parse().unwrap()).unwrap_err();
    assert!(matches!(error, ResolveError::Yanked { .. }), "{error}");
}

#[test]
fn reviews_of_other_orgs_count_once_each_and_their_newest_holds() {
    let mut catalog = Catalog::default();
    for reference in ["lab/aa@1.0.0", "lab/bb@1.0.0"] {
        catalog.insert(entry(reference), false);
    }
    let bb = "lab/bb@1.0.0";
    for review in [
        review("mercy", bb, 1, 1),
        review("mercy", bb, 5, 2),
        review("mercy", bb, 2, 0),
        review("clinic", bb, 4, 1),
        review("lab", bb, 1, 1),
    ] {
        assert!(catalog.review(review));
    }
    let rating = catalog.rating(package(bb), &key("lab"));
    assert_eq!((rating.orgs, rating.stars), (2, 4.5), "one's own does not count");
    assert_eq!(catalog.reviews(package(bb)).len(), 3);
    assert_eq!(found(&catalog)[0], bb);
    let answer = catalog.search(&Query::default(), Asked::default());
    let term = answer.results[0].terms.iter().find(|term| term.name == "reviews").unwrap();
    assert_eq!(term.why, "2 orgs give it 4.5 of 5 stars");
    catalog.forget_opinions(&key("mercy"));
    catalog.forget_opinions(&key("clinic"));
    assert_eq!(catalog.rating(package(bb), &key("lab")).orgs, 0);
}

#[test]
fn a_category_that_is_empty_after_a_yank_is_not_counted() {
    let mut catalog = Catalog::default();
    let listed = with("lab/digits@1.0.0", |l| l.categories = vec!["a/b".parse().unwrap()]);
    catalog.insert(listed, false);
    catalog.yank(key("lab"), yank("lab/digits@1.0.0", "gone"), 1);
    assert!(catalog.category_counts().is_empty());
}

#[test]
fn what_is_used_and_held_by_many_comes_first() {
    let mut catalog = Catalog::default();
    for reference in ["lab/aa@1.0.0", "lab/bb@1.0.0", "lab/cc@1.0.0"] {
        catalog.insert(entry(reference), false);
    }
    catalog.set_holders(package("lab/bb@1.0.0"), 1);
    assert!((0..10).all(|_| catalog.used(package("lab/cc@1.0.0"))));
    assert_eq!(found(&catalog)[..2], ["lab/cc@1.0.0", "lab/bb@1.0.0"]);
    let answer = catalog.search(&Query::default(), Asked::default());
    assert_eq!(answer.results[1].holders, 1);
    let why: Vec<_> = answer.results[0].terms.iter().map(|term| term.why.as_str()).collect();
    assert!(why.contains(&"used 10 times from this node"), "{why:?}");
}

#[test]
fn a_renamed_org_keeps_its_listings_and_its_yanks() {
    let mut catalog = Catalog::default();
    for reference in ["lab/digits@1.0.0", "lab/digits@2.0.0", "lab/letters@1.0.0"] {
        catalog.insert(entry(reference), false);
    }
    catalog.yank(key("lab"), yank("lab/digits@2.0.0", "slow"), 1);
    catalog.rename_org(&key("lab"), &"institute".parse().unwrap());
    assert_eq!(catalog.len(), 3);
    let mut names = found(&catalog);
    names.sort();
    assert_eq!(names, ["institute/digits@1.0.0", "institute/letters@1.0.0"]);
    assert!(catalog.resolve(&"lab/digits".parse().unwrap()).is_err());
    let by_org = |org: &str| {
        let query = Query { org: Some(org.parse().unwrap()), ..Query::default() };
        catalog.search(&query, Asked::default()).total
    };
    assert_eq!((by_org("lab"), by_org("institute")), (0, 2));
}

proptest! {
    #[test]
    fn opinions_in_any_order_end_in_the_same_state(
        order in Just((0..9_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let apply = |catalog: &mut Catalog, step: usize| match step {
            0 => drop(catalog.insert(entry("lab/aa@1.0.0"), false)),
            1 => drop(catalog.insert(entry("lab/aa@1.1.0"), false)),
            2 => drop(catalog.insert(entry("lab/bb@1.0.0"), false)),
            3 => drop(catalog.yank(key("lab"), yank("lab/aa@1.1.0", "one"), 3)),
            4 => drop(catalog.yank(key("lab"), yank("lab/aa@1.1.0", "two"), 2)),
            5 => drop(catalog.review(review("mercy", "lab/bb@1.0.0", 2, 1))),
            6 => drop(catalog.review(review("mercy", "lab/bb@1.0.0", 5, 2))),
            7 => catalog.set_holders(package("lab/bb@1.0.0"), 2),
            _ => drop(catalog.used(package("lab/aa@1.0.0"))),
        };
        let (mut one, mut other) = (Catalog::default(), Catalog::default());
        (0..9).for_each(|step| apply(&mut one, step));
        order.into_iter().for_each(|step| apply(&mut other, step));
        let query = Query::default();
        prop_assert_eq!(
            one.search(&query, Asked::default()).results,
            other.search(&query, Asked::default()).results
        );
        let reference = "lab/aa@1.1.0".parse().unwrap();
        prop_assert_eq!(one.resolve(&reference), other.resolve(&reference));
    }
}
