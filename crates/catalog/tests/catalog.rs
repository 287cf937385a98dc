//! The fold: which listing wins, what resolves, and that order does not matter.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use std::collections::BTreeSet;

use common::{entry, key, package, with};
use guildhall_catalog::words::{Terms, Wanted};
use guildhall_catalog::{
    AUTHORS_MAX, Asked, Brief, Catalog, Entry, Inserted, PACKAGES_MAX, ResolveError, matches,
};
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::{Query, Suggestion};
use guildhall_protocol::{Hash, RecordId};
use proptest::prelude::*;

fn catalog(entries: impl IntoIterator<Item = Entry>) -> Catalog {
    let mut catalog = Catalog::default();
    for entry in entries {
        catalog.insert(entry, false);
    }
    catalog
}

fn search(catalog: &Catalog, query: &Query) -> Vec<Suggestion> {
    catalog.search(query, Asked::default()).results
}

/// Everything that can be seen of a catalogue.
fn seen(catalog: &Catalog) -> Vec<String> {
    let line = |kind: &str, brief: Brief<'_>| {
        let reference = brief.reference().unwrap();
        format!("{kind} {reference} {} {:?}", brief.package(), brief.listing_id())
    };
    let mut lines: Vec<String> = catalog.briefs().map(|brief| line("shown", brief)).collect();
    let packages: BTreeSet<_> = catalog.briefs().map(|brief| brief.package()).collect();
    for package in packages {
        let mut same: Vec<_> = catalog.of_package(package).map(|one| line("of", one)).collect();
        same.sort();
        lines.extend(same);
    }
    let found = search(catalog, &Query { limit: 100, ..Query::default() });
    lines.extend(found.iter().map(|one| format!("{} {:?}", one.reference, one.score)));
    lines.extend(catalog.category_counts().iter().map(|one| format!("{one:?}")));
    lines.push(format!("{} versions", catalog.len()));
    lines
}

fn resolved(catalog: &Catalog, reference: &str) -> Result<String, ResolveError> {
    let reference: Reference = reference.parse().unwrap();
    catalog.resolve(&reference).map(|entry| entry.reference().to_string())
}

fn record(n: u64) -> RecordId {
    RecordId(Hash::from_bytes([u8::try_from(n).unwrap(); 32]))
}

#[test]
fn without_a_version_the_highest_release_is_meant() {
    let cases: [(&[&str], &str); 4] = [
        (&["1.0.0", "1.2.0", "1.10.0"], "1.10.0"),
        (&["1.0.0", "2.0.0-rc.1"], "1.0.0"),
        (&["2.0.0-rc.1", "2.0.0-rc.2"], "2.0.0-rc.2"),
        (&["0.1.0"], "0.1.0"),
    ];
    for (versions, expected) in cases {
        let catalog =
            catalog(versions.iter().map(|version| entry(&format!("lab/digits@{version}"))));
        assert_eq!(resolved(&catalog, "lab/digits"), Ok(format!("lab/digits@{expected}")));
        assert_eq!(catalog.len(), versions.len());
    }
}

#[test]
fn the_later_listing_of_one_author_holds_and_time_orders_nothing() {
    let mut catalog = Catalog::default();
    let listing = |seq, id, time_ms, summary: &str| Entry {
        seq,
        listing_id: record(id),
        time_ms,
        ..with("lab/digits@1.0.0", |listing| listing.summary = summary.into())
    };
    assert_eq!(catalog.insert(listing(5, 9, 100, "first"), false), Inserted::New);
    assert_eq!(catalog.insert(listing(4, 1, 900, "older"), false), Inserted::Older);
    assert_eq!(catalog.insert(listing(6, 8, 1, "second"), false), Inserted::Replaced);
    assert_eq!(catalog.insert(listing(6, 8, 1, "second"), false), Inserted::Older, "already there");
    let reference: Reference = "lab/digits".parse().unwrap();
    assert_eq!(catalog.resolve(&reference).unwrap().listing.summary, "second");
    assert_eq!(catalog.len(), 1);

    let other = Entry { author: key("another"), ..listing(0, 200, 999, "another author") };
    assert_eq!(catalog.insert(other, false), Inserted::Older, "the lower listing id is shown");
    let other = Entry { author: key("a third"), ..listing(0, 2, 0, "a third author") };
    assert_eq!(catalog.insert(other, false), Inserted::Replaced);
    assert_eq!(catalog.resolve(&reference).unwrap().listing.summary, "a third author");
}

#[test]
fn a_version_with_two_packages_is_contested_shown_and_resolves_only_by_id() {
    let (one, two) = (package("one"), package("two"));
    let listed = |package, seq| Entry {
        seq,
        listing_id: record(seq),
        ..with("lab/digits@1.1.0", |listing| listing.release.package = package)
    };
    let mut catalog = catalog([entry("lab/digits@1.0.0"), listed(one, 1)]);
    assert_eq!(resolved(&catalog, "lab/digits"), Ok("lab/digits@1.1.0".into()));
    assert_eq!(catalog.insert(listed(two, 2), false), Inserted::Contested);

    assert_eq!(resolved(&catalog, "lab/digits"), Ok("lab/digits@1.0.0".into()));
    let error = resolved(&catalog, "lab/digits@1.1.0").unwrap_err();
    assert!(matches!(error, ResolveError::Contested { .. }), "{error}");
    let shown = catalog.show(&"lab/digits@1.1.0".parse().unwrap()).unwrap();
    assert!(shown.contested);
    for package in [one, two] {
        let entry = catalog.resolve(&Reference::Package(package)).unwrap();
        assert_eq!(entry.package(), package);
    }
    let versions: Vec<_> = catalog
        .versions(&"lab".parse().unwrap(), &"digits".parse().unwrap())
        .map(|brief| brief.version().to_string())
        .collect();
    assert_eq!(versions, ["1.1.0", "1.0.0"]);
    let found = search(&catalog, &Query::default());
    assert_eq!(found.len(), 1, "a search shows the version that resolves");
    assert_eq!(found[0].reference.to_string(), "lab/digits@1.0.0");

    let mut only_contested = Catalog::default();
    only_contested.insert(listed(one, 1), false);
    only_contested.insert(listed(two, 2), false);
    assert!(matches!(resolved(&only_contested, "lab/digits"), Err(ResolveError::Contested { .. })));
    assert!(search(&only_contested, &Query::default()).is_empty());
    assert!(only_contested.category_counts().is_empty());
}

#[test]
fn a_version_keeps_a_bounded_number_of_packages_and_authors() {
    let mut catalog = Catalog::default();
    for n in 0..50_u64 {
        catalog.insert(
            Entry {
                seq: n,
                listing_id: record(n),
                ..with("lab/digits@1.0.0", |l| l.release.package = package(&n.to_string()))
            },
            false,
        );
        catalog.insert(
            Entry {
                author: key(&n.to_string()),
                listing_id: record(100 + n),
                ..entry("lab/letters@1.0.0")
            },
            false,
        );
    }
    let kept = (0..50).filter(|n: &u64| catalog.of_package(package(&n.to_string())).count() > 0);
    assert_eq!(kept.count(), PACKAGES_MAX);
    assert!(matches!(resolved(&catalog, "lab/digits"), Err(ResolveError::Contested { .. })));
    assert!(resolved(&catalog, "lab/letters").is_ok());
    let beyond = (0..50).map(|n: u64| {
        let author = key(&format!("late {n}"));
        catalog.insert(Entry { author, listing_id: record(n), ..entry("lab/letters@1.0.0") }, false)
    });
    assert!(beyond.filter(|inserted| *inserted == Inserted::Full).count() > 50 - 2 * AUTHORS_MAX);
}

#[test]
fn an_org_that_lists_without_end_takes_no_room_of_others() {
    let mut catalog = Catalog::default();
    catalog.set_per_org_max(10);
    let outcomes: Vec<Inserted> = (0..50_u64)
        .map(|n| {
            let flood = entry(&format!("mallory/junk-{n}@1.0.0"));
            catalog.insert(Entry { listing_id: record(n), ..flood }, false)
        })
        .collect();
    assert_eq!(outcomes.iter().filter(|one| **one == Inserted::New).count(), 10);
    assert!(outcomes[10..].iter().all(|one| *one == Inserted::Full));
    assert_eq!(catalog.insert(entry("lab/digits@1.0.0"), false), Inserted::New);
    let renewed = Entry { seq: 9, listing_id: record(99), ..entry("mallory/junk-0@1.0.0") };
    assert_eq!(catalog.insert(renewed, false), Inserted::Replaced, "what it has may change");
    assert_eq!(catalog.len(), 11);
}

#[test]
fn an_org_that_lists_one_version_again_and_again_is_stopped_too() {
    let mut catalog = Catalog::default();
    catalog.set_per_org_max(10);
    let outcomes: Vec<Inserted> = (0..50_u64)
        .map(|seq| {
            let again = entry("mallory/junk@1.0.0");
            catalog.insert(Entry { seq, listing_id: record(seq), ..again }, false)
        })
        .collect();
    assert_eq!(outcomes.iter().filter(|one| **one == Inserted::Replaced).count(), 19);
    assert_eq!(outcomes.last(), Some(&Inserted::Full));
    let known = Entry { seq: 5, listing_id: record(5), ..entry("mallory/junk@1.0.0") };
    assert_eq!(catalog.insert(known, false), Inserted::Older, "what is replaced is no news");
    assert_eq!(catalog.insert(entry("lab/digits@1.0.0"), false), Inserted::New);
}

#[test]
fn which_authors_and_packages_are_kept_does_not_depend_on_the_order() {
    let many: Vec<Entry> = (0..20_u64)
        .flat_map(|n| {
            let by_author = Entry {
                author: key(&n.to_string()),
                listing_id: record(n),
                ..entry("lab/letters@1.0.0")
            };
            let of_package = Entry {
                listing_id: record(100 + n),
                ..with("lab/digits@1.0.0", |l| l.release.package = package(&n.to_string()))
            };
            [by_author, of_package]
        })
        .collect();
    let forward = catalog(many.clone());
    assert_eq!(seen(&forward), seen(&catalog(many.into_iter().rev())));
}

#[test]
fn what_is_unknown_names_what_may_have_been_meant() {
    let catalog = catalog(["lab/digits@1.0.0", "lab/digits@1.1.0", "mercy/xrays@1.0.0"].map(entry));
    for (asked, expected) in [
        ("lab/digts", vec!["lab/digits"]),
        ("lba/digits", vec!["lab/digits"]),
        ("other-org/xrays", vec!["mercy/xrays"]),
        ("lab/digits@3.0.0", vec!["lab/digits@1.1.0", "lab/digits@1.0.0"]),
        ("lab/weather", vec![]),
    ] {
        match resolved(&catalog, asked) {
            Err(ResolveError::Unknown { nearest, .. }) => assert_eq!(nearest, expected, "{asked}"),
            other => panic!("{asked}: {other:?}"),
        }
    }
    let error = catalog.resolve(&Reference::Package(package("nothing"))).unwrap_err();
    assert!(matches!(error, ResolveError::Unlisted { .. }), "{error}");
}

#[test]
fn a_removed_org_leaves_nothing_behind_and_can_come_back_renamed() {
    let mut catalog =
        catalog(["lab/digits@1.0.0", "lab/digits@2.0.0", "mercy/xrays@1.0.0"].map(entry));
    assert_eq!(catalog.remove_org(&key("lab")), 2);
    let mut only_mercy = Catalog::default();
    only_mercy.insert(entry("mercy/xrays@1.0.0"), false);
    assert_eq!(seen(&catalog), seen(&only_mercy));

    let renamed = Entry { org: "laboratory".parse().unwrap(), ..entry("lab/digits@1.0.0") };
    assert_eq!(catalog.insert(renamed, false), Inserted::New);
    assert_eq!(resolved(&catalog, "laboratory/digits"), Ok("laboratory/digits@1.0.0".into()));
    assert!(resolved(&catalog, "lab/digits").is_err());
}

#[test]
fn categories_count_names_not_versions() {
    let audio = |reference: &str| {
        with(reference, |listing| listing.categories.push("audio/tagging".parse().unwrap()))
    };
    let catalog =
        catalog([entry("lab/digits@1.0.0"), entry("lab/digits@2.0.0"), audio("mercy/both@1.0.0")]);
    let counts: Vec<_> =
        catalog.category_counts().into_iter().map(|(c, n)| (c.to_string(), n)).collect();
    let expected = [("audio/tagging", 1), ("vision/image-classification", 2)];
    assert_eq!(counts, expected.map(|(category, n)| (category.to_owned(), n)));
}

/// Listings that collide a lot: few names, versions, authors, packages and positions.
fn arbitrary_entry() -> impl Strategy<Value = Entry> {
    let name = (0..2_usize, 0..2_usize, 0..3_usize);
    (name, 0..12_u8, 0..6_u8, 0..3_u64, 0..250_u64, 0..3_usize).prop_map(
        |((org, name, version), author, package_no, seq, id, words)| {
            let (org, name) = (["lab", "mercy"][org], ["digits", "letters"][name]);
            let version = ["1.0.0", "1.1.0", "2.0.0-rc.1"][version];
            // One record has one content: everything that is not its place follows from what its id is made of.
            let content =
                format!("{org}/{name}@{version} {author} {package_no} {seq} {id} {words}");
            let mut entry = with(&format!("{org}/{name}@{version}"), |listing| {
                listing.release.package = package(&format!("{name} {version} {package_no}"));
                listing.summary = ["red", "green apple", "blue"][words].into();
                listing.categories = vec![["a/b", "a/c", "d/e"][words].parse().unwrap()];
            });
            entry.seq = seq;
            entry.author = key(&format!("{org} {author}"));
            entry.listing_id = RecordId(Hash::of(content.as_bytes()));
            entry
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_same_listings_in_any_order_make_the_same_catalogue(
        (entries, shuffled) in prop::collection::vec(arbitrary_entry(), 0..80)
            .prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle())),
    ) {
        let (one, other) = (catalog(entries.clone()), catalog(shuffled.clone()));
        for entry in &entries {
            for reference in [entry.reference(), Reference::Package(entry.package())] {
                prop_assert_eq!(one.resolve(&reference), other.resolve(&reference));
            }
        }
        // One word each: how several are weighed is an estimate, which also counts what was replaced.
        for text in [None, Some("apple"), Some("gre")] {
            let query = Query { text: text.map(str::to_owned), ..Query::default() };
            prop_assert_eq!(search(&one, &query), search(&other, &query));
        }
        prop_assert_eq!(seen(&one), seen(&other));
        prop_assert_eq!(one.len(), one.briefs().count());
        let twice = catalog(entries.into_iter().chain(shuffled));
        prop_assert_eq!(seen(&one), seen(&twice), "a listing that comes twice changes nothing");
    }

    #[test]
    fn the_index_finds_exactly_what_looking_at_every_listing_finds(
        entries in prop::collection::vec(arbitrary_entry(), 0..60),
        removed in 0..3_usize,
    ) {
        // Enough other names that reading posting lists is worth it.
        let others = (0..40).map(|n| with(&format!("other/name-{n}@1.0.0"), |listing| {
            listing.categories = vec!["z/z".parse().unwrap()];
        }));
        let mut catalog = catalog(entries.into_iter().chain(others));
        if let Some(org) = ["lab", "mercy"].get(removed) {
            catalog.remove_org(&key(org));
        }
        for (text, category) in [
            (Some("green"), None), (Some("gre"), None), (Some("gr"), None), (None, Some("a")),
            (None, Some("a/b")), (Some("apple"), Some("a")), (Some("digits red"), Some("d/e")),
        ] {
            let query = Query {
                text: text.map(str::to_owned),
                category: category.map(|c| c.parse().unwrap()),
                ..Query::default()
            };
            let found: Vec<_> =
                search(&catalog, &query).into_iter().map(|one| one.reference).collect();
            let wanted = Wanted::new(query.text.as_deref());
            let answers = |entry: &Entry| {
                let words = wanted.is_empty() || wanted.value(&Terms::of(&entry.listing)) > 0.0;
                matches(&query, entry) && words && catalog.resolve(&entry.reference()).is_ok()
            };
            let entries = catalog.briefs().filter_map(|brief| brief.entry());
            let looked: Vec<_> =
                entries.filter(answers).map(|entry| entry.reference()).collect();
            let name = |r: &Reference| r.to_string().split('@').next().unwrap().to_owned();
            for one in &looked {
                prop_assert!(found.iter().any(|other| name(other) == name(one)), "{one} is missing");
            }
        }
    }
}
