//! What members are called when more than one claims a name.

mod common;

use std::collections::BTreeMap;

use common::{Org, found, founding_as, name_of, names, take_all, with_key};
use guildhall_federation::{Change, State};
use guildhall_protocol::record::Record;
use proptest::prelude::*;

/// A founder, and an org for each name: number n has the seed n + 2 and came in by the founder's invite of that number.
fn town(claims: &[&str]) -> (State, Vec<Org>) {
    let mut st_mary = Org::new(1);
    let mut state = found(&st_mary);
    let orgs = (2..).zip(claims).map(|(seed, name)| {
        let mut org = Org::new(seed);
        let invited = st_mary.bring_in(state.id(), &mut org, seed, name);
        assert_eq!(take_all(&mut state, &invited), Change::Members);
        org
    });
    let orgs = orgs.collect();
    (state, orgs)
}

#[test]
fn whoever_claims_a_members_name_gets_it_for_neither() {
    let (state, orgs) = town(&["lab", "clinic"]);
    assert_eq!(name_of(&state, &orgs[0]).as_deref(), Some("lab"));
    let acceptance = state.member(&orgs[0].root.public()).expect("a member").acceptance;

    let (state, orgs) = town(&["lab", "clinic", "lab"]);
    let victim = state.member(&orgs[0].root.public()).expect("it stays a member");
    assert_eq!((victim.claimed.as_str(), victim.acceptance), ("lab", acceptance));
    let called: Vec<_> = orgs.iter().map(|org| name_of(&state, org).expect("a member")).collect();
    assert_eq!(called, [with_key("lab", &orgs[0]), "clinic".into(), with_key("lab", &orgs[2])]);
    assert_eq!(state.root_of(&"lab".parse().expect("a name")), None, "`lab` is nobody");
    for org in &orgs {
        let member = state.member(&org.root.public()).expect("a member");
        assert_eq!(state.root_of(&member.org), Some(org.root.public()));
    }
}

#[test]
fn the_founders_name_cannot_be_contested() {
    let (state, orgs) = town(&["st-mary", "st-mary"]);
    let founder = Org::new(1);
    assert_eq!(name_of(&state, &founder).as_deref(), Some("st-mary"));
    for org in &orgs {
        assert_eq!(name_of(&state, org), Some(with_key("st-mary", org)));
    }
    assert_eq!(state.root_of(&"st-mary".parse().expect("a name")), Some(founder.root.public()));
}

#[test]
fn a_long_contested_name_is_cut_before_the_key() {
    let long = "a-name-of-thirty-nine-letters-and-marks";
    assert_eq!(long.len(), 39);
    // The 26th character is the hyphen in front of `letters`... and stays.
    let hyphen = "the-hyphen-comes-at-number-twenty-six";
    assert_eq!(&hyphen[26..27], "-");
    let (state, orgs) = town(&[long, long, hyphen, hyphen]);
    for (org, name) in orgs.iter().zip([long, long, hyphen, hyphen]) {
        let called = name_of(&state, org).expect("a member");
        assert_eq!((called.len(), &called), (39, &with_key(name, org)));
    }
}

/// Number 0 and 1 share a name; 2 claims what 0 is called then; 3 claims what 2 is called then; 4 claims that as well.
#[test]
fn nobody_gets_a_name_that_was_given_to_another_org() {
    let seat = |seed| Org::new(seed);
    let given = with_key("lab", &seat(2));
    let next = with_key(&given, &seat(4));
    let (state, orgs) = town(&["lab", "lab", &given, &next, &next]);
    let called: Vec<_> = orgs.iter().map(|org| name_of(&state, org).expect("a member")).collect();
    let expected = [
        given.clone(),
        with_key("lab", &orgs[1]),
        next.clone(),
        with_key(&next, &orgs[3]),
        with_key(&next, &orgs[4]),
    ];
    assert_eq!(called, expected);
    assert_eq!(state.root_of(&given.parse().expect("a name")), Some(orgs[0].root.public()));
}

/// Whether the other one is here yet decides nothing: such a claim is never shown as it is.
#[test]
fn a_claim_that_looks_like_a_contested_name_is_always_contested() {
    for (claim, looks) in [
        ("lab-0123456789ab", true),
        ("lab-0123456789abcdef", true),
        ("lab-0123456789a", false),
        ("lab-0123456789ag", false),
        ("0123456789ab", false),
        ("0123456789ab-lab", false),
    ] {
        let (state, orgs) = town(&[claim]);
        let expected = if looks { with_key(claim, &orgs[0]) } else { claim.to_owned() };
        assert_eq!(name_of(&state, &orgs[0]), Some(expected), "{claim}");
    }
}

#[test]
fn one_digit_more_tells_an_org_from_a_founder_that_took_its_name_in_advance() {
    let (mut founder, mut lab, mut other) = (Org::new(1), Org::new(2), Org::new(3));
    let taken = with_key("lab", &lab);
    let mut state = State::found(founding_as(&founder, &taken, 1, 0)).expect("a founding");
    for (invite, org) in [(2, &mut lab), (3, &mut other)] {
        let invited = founder.bring_in(state.id(), org, invite, "lab");
        take_all(&mut state, &invited);
    }
    assert_eq!(name_of(&state, &founder), Some(taken));
    let longer = format!("lab-{}", &lab.root.public().to_string()[..13]);
    assert_eq!(name_of(&state, &lab), Some(longer));
    assert_eq!(name_of(&state, &other), Some(with_key("lab", &other)));
}

#[test]
fn an_org_with_several_confirmed_invites_is_one_member_under_one_name() {
    let mut st_mary = Org::new(1);
    let id = found(&st_mary).id();
    let mut lab = Org::new(2);
    let invited: Vec<[Record; 3]> = (10..16)
        .map(|invite| st_mary.bring_in(id, &mut lab, invite, &format!("lab-{invite}")))
        .collect();
    let lowest = invited.iter().map(|records| &records[1]).min_by_key(|record| record.id());
    let lowest = lowest.expect("some").id();
    let number = invited.iter().position(|records| records[1].id() == lowest).expect("one");
    let mut state = found(&st_mary);
    for records in &invited {
        take_all(&mut state, records);
        assert_eq!(state.members().count(), 2);
    }
    let member = state.member(&lab.root.public()).expect("a member");
    assert_eq!(member.acceptance, Some(lowest));
    assert_eq!(member.org.as_str(), format!("lab-{}", 10 + number));
    // An org does not contest its own name, and one that it does not go by is free.
    let free = (10..16).find(|invite| *invite != 10 + number).expect("another");
    let mut guest = Org::new(3);
    take_all(&mut state, &st_mary.bring_in(id, &mut guest, 3, &format!("lab-{free}")));
    assert_eq!(
        names(&state),
        [
            format!("lab-{}", (10 + number).min(free)),
            format!("lab-{}", (10 + number).max(free)),
            "st-mary".to_owned(),
        ]
    );
}

/// Names that people choose, and those that others would be called: any member's key behind any start.
fn claim() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec![
        "lab",
        "st-mary",
        "ab",
        "a-name-of-thirty-nine-letters-and-marks",
    ]);
    let behind = prop::collection::vec(2_u8..10, 0..3);
    (plain, behind).prop_map(|(plain, behind)| {
        behind.into_iter().fold(plain.to_owned(), |name, seed| with_key(&name, &Org::new(seed)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_two_members_share_a_name_whatever_they_claim(
        claims in prop::collection::vec(claim(), 1..8),
    ) {
        let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
        let (state, orgs) = town(&claims);
        let mut by_name = BTreeMap::new();
        for (root, member) in state.members() {
            prop_assert!(by_name.insert(member.org.clone(), *root).is_none(), "{:?}", names(&state));
            prop_assert_eq!(state.root_of(&member.org), Some(*root));
        }
        prop_assert_eq!(by_name.len(), orgs.len() + 1);
        // Nobody goes by a plain claim that two make, and nobody by a name with another one's key.
        for (org, claim) in orgs.iter().zip(&claims) {
            let called = name_of(&state, org).expect("a member");
            let claimants = claims.iter().filter(|other| other == &claim).count();
            prop_assert!(called == with_key(claim, org) || called == *claim && claimants == 1);
            for other in orgs.iter().filter(|other| other.root.public() != org.root.public()) {
                prop_assert!(!called.ends_with(&other.root.public().to_string()[..12]));
            }
        }
    }
}
