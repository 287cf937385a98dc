//! Who is a member after which records, in whatever order they came.

mod common;

use common::{DAY_MS, NOW_MS, Org, acceptance, found, founding, invite_key, names};
use guildhall_federation::{Change, JoinError, State};
use guildhall_protocol::body::Admission;
use guildhall_protocol::record::Record;
use guildhall_protocol::{FederationId, Hash};
use proptest::prelude::*;

fn foreign() -> FederationId {
    FederationId(Hash::from_bytes([9; 32]))
}

#[test]
fn an_invite_brings_in_one_org_under_the_name_that_its_key_signed() {
    let (mut st_mary, mut lab) = (Org::new(1), Org::new(2));
    let mut state = found(&st_mary);
    assert_eq!(names(&state), ["st-mary"]);
    assert_eq!(state.member(&st_mary.root.public()).expect("the founder").acceptance, None);
    let admission = st_mary.admit(state.id(), 1);
    let acceptance = lab.accept(state.id(), &admission, 1, "lab");
    assert_eq!(state.handle_record(&admission), Change::None);
    assert_eq!(state.check_join(&acceptance, NOW_MS), Ok("lab".parse().expect("a name")));
    assert_eq!(names(&state), ["st-mary"], "a check changes nothing");
    assert_eq!(state.handle_record(&acceptance), Change::Members);
    assert_eq!(state.handle_record(&acceptance), Change::None, "once is enough");
    let member = state.member(&lab.root.public()).expect("a member");
    assert_eq!((member.org.as_str(), member.acceptance), ("lab", Some(acceptance.id())));
    assert_eq!(state.root_of(&member.org), Some(lab.root.public()));
}

#[test]
fn an_invite_is_used_once() {
    let (mut st_mary, mut lab, mut other) = (Org::new(1), Org::new(2), Org::new(3));
    let mut state = found(&st_mary);
    let admission = st_mary.admit(state.id(), 1);
    state.handle_record(&admission);
    state.handle_record(&lab.accept(state.id(), &admission, 1, "lab"));
    let second = other.accept(state.id(), &admission, 1, "other");
    let used = JoinError::Used { by: "lab".parse().expect("a name") };
    assert_eq!(state.check_join(&second, NOW_MS), Err(used.clone()));
    assert_eq!(used.to_string(), "the invite was already used by `lab`; ask for a new one");
    state.handle_record(&second);
    assert_eq!(state.members().count(), 2, "whichever of the two it is");
}

#[test]
fn an_invite_expires() {
    let (mut st_mary, mut lab) = (Org::new(1), Org::new(2));
    let mut state = found(&st_mary);
    let admission = st_mary.admit(state.id(), 1);
    state.handle_record(&admission);
    let end = NOW_MS + 7 * DAY_MS;
    let in_time = lab.accept_at(end - 1, state.id(), admission.id(), 1, "lab");
    let late = lab.accept_at(end, state.id(), admission.id(), 1, "lab");
    assert_eq!(state.check_join(&in_time, end), Err(JoinError::Expired));
    assert!(state.check_join(&in_time, end - 1).is_ok());
    assert_eq!(state.handle_record(&late), Change::None);
    assert_eq!(state.handle_record(&in_time), Change::Members);
}

#[test]
fn an_invite_that_would_live_too_long_admits_nobody() {
    let (mut st_mary, mut lab) = (Org::new(1), Org::new(2));
    let mut state = found(&st_mary);
    let body = |life_ms| Admission {
        federation: state.id(),
        invite: invite_key(1).public(),
        expires_ms: NOW_MS + life_ms,
    };
    let eternal = st_mary.write(&body(7 * DAY_MS + 1), NOW_MS);
    state.handle_record(&eternal);
    let acceptance = lab.accept(state.id(), &eternal, 1, "lab");
    assert_eq!(state.check_join(&acceptance, NOW_MS), Err(JoinError::UnknownInvite));
    assert_eq!(state.handle_record(&acceptance), Change::None);
}

#[test]
fn a_name_is_taken_once() {
    let (mut st_mary, mut lab) = (Org::new(1), Org::new(2));
    let mut state = found(&st_mary);
    let admission = st_mary.admit(state.id(), 1);
    state.handle_record(&admission);
    let acceptance = lab.accept(state.id(), &admission, 1, "st-mary");
    let error = state.check_join(&acceptance, NOW_MS).expect_err("taken");
    assert_eq!(error, JoinError::NameTaken { org: "st-mary".parse().expect("a name") });
    assert!(error.to_string().contains("guild init --org"), "{error}");
    assert_eq!(state.handle_record(&acceptance), Change::None);
    assert_eq!(state.root_of(&"st-mary".parse().expect("a name")), Some(st_mary.root.public()));
}

#[test]
fn whoever_was_admitted_may_admit() {
    let orgs: Vec<Org> = (1..=5).map(Org::new).collect();
    let mut state = found(&orgs[0]);
    let id = state.id();
    let mut orgs = orgs.into_iter();
    let mut before = orgs.next().expect("the founder");
    for (invite, mut org) in (10..).zip(orgs) {
        let admission = before.admit(id, invite);
        state.handle_record(&admission);
        let name = format!("org-{invite}");
        assert_eq!(
            state.handle_record(&org.accept(id, &admission, invite, &name)),
            Change::Members
        );
        before = org;
    }
    assert_eq!(state.members().count(), 5);
}

#[test]
fn a_strangers_invite_counts_once_the_stranger_is_a_member() {
    let (mut st_mary, mut lab, mut guest) = (Org::new(1), Org::new(2), Org::new(3));
    let mut state = found(&st_mary);
    let early = lab.admit(state.id(), 2);
    let guest_in = guest.accept(state.id(), &early, 2, "guest");
    state.handle_record(&early);
    assert_eq!(state.check_join(&guest_in, NOW_MS), Err(JoinError::UnknownInvite));
    assert_eq!(state.handle_record(&guest_in), Change::None);
    let admission = st_mary.admit(state.id(), 1);
    state.handle_record(&admission);
    let acceptance = lab.accept(state.id(), &admission, 1, "lab");
    assert_eq!(state.handle_record(&acceptance), Change::Members);
    assert_eq!(names(&state), ["guest", "lab", "st-mary"]);
}

#[test]
fn records_of_another_federation_change_nothing() {
    let (mut st_mary, mut lab) = (Org::new(1), Org::new(2));
    let mut state = found(&st_mary);
    let before = state.clone();
    let elsewhere = st_mary.admit(foreign(), 1);
    assert_eq!(state.handle_record(&elsewhere), Change::None);
    let acceptance_there = lab.accept(foreign(), &elsewhere, 1, "lab");
    assert_eq!(state.handle_record(&acceptance_there), Change::None);
    assert_eq!(state.check_join(&acceptance_there, NOW_MS), Err(JoinError::NotAnAcceptance));
    assert_eq!(state, before);
    let here = st_mary.admit(state.id(), 1);
    state.handle_record(&here);
    let mixed = acceptance(foreign(), here.id(), 1, lab.root.public(), "lab");
    let mixed = lab
        .write(&guildhall_protocol::body::Acceptance { federation: state.id(), ..mixed }, NOW_MS);
    assert_eq!(state.check_join(&mixed, NOW_MS), Err(JoinError::NotAnAcceptance));
    assert_eq!(state.handle_record(&mixed), Change::None);
}

#[test]
fn an_acceptance_that_does_not_hold_says_why() {
    let (mut st_mary, mut lab, other) = (Org::new(1), Org::new(2), Org::new(3));
    let mut state = found(&st_mary);
    let id = state.id();
    let admission = st_mary.admit(id, 1);
    let honest = lab.accept(id, &admission, 1, "lab");
    assert_eq!(state.check_join(&honest, NOW_MS), Err(JoinError::UnknownInvite), "not seen yet");
    state.handle_record(&admission);
    assert_eq!(state.check_join(&admission, NOW_MS), Err(JoinError::NotAnAcceptance));
    let other_key = lab.accept(id, &admission, 2, "lab");
    assert_eq!(state.check_join(&other_key, NOW_MS), Err(JoinError::UnknownInvite));
    let for_other = acceptance(id, admission.id(), 1, other.root.public(), "lab");
    let for_other = lab.write(&for_other, NOW_MS);
    assert_eq!(state.check_join(&for_other, NOW_MS), Err(JoinError::NotAnAcceptance));
    let mut unsigned = acceptance(id, admission.id(), 1, lab.root.public(), "lab");
    unsigned.invite_use.statement.push(0);
    let unsigned = lab.write(&unsigned, NOW_MS);
    assert_eq!(state.check_join(&unsigned, NOW_MS), Err(JoinError::NotAnAcceptance));
    assert_eq!(state.check_join(&honest.without_body(), NOW_MS), Err(JoinError::NotAnAcceptance));
    for record in [other_key, for_other, unsigned, honest.without_body()] {
        assert_eq!(state.handle_record(&record), Change::None);
    }
    assert!(state.check_join(&honest, NOW_MS).is_ok(), "none of them used the invite up");
}

#[test]
fn t09_a_founding_whose_threshold_is_not_implemented_is_refused() {
    let st_mary = Org::new(1);
    for admit in [0, 2, 3, u8::MAX] {
        let error = State::found(founding(&st_mary, admit, 0)).expect_err("not implemented");
        assert!(error.to_string().contains("not by"), "{error}");
    }
    let mut forged = founding(&st_mary, 1, 0);
    forged.signature = founding(&st_mary, 1, 1).signature;
    assert!(State::found(forged).is_err());
    let other = State::found(founding(&st_mary, 1, 1)).expect("a founding");
    assert_ne!(other.id(), found(&st_mary).id(), "the nonce makes another federation");
}

/// Whoever holds no invite may write acceptances, but none of them costs the invited org its place.
#[test]
fn an_invite_cannot_be_used_up_by_those_who_do_not_hold_it() {
    let (mut st_mary, mut lab) = (Org::new(1), Org::new(2));
    let mut state = found(&st_mary);
    let admission = st_mary.admit(state.id(), 1);
    state.handle_record(&admission);
    for seed in 10..60 {
        let junk = Org::new(seed).accept(state.id(), &admission, seed, "junk");
        assert_eq!(state.handle_record(&junk), Change::None);
    }
    let acceptance = lab.accept(state.id(), &admission, 1, "lab");
    assert!(state.check_join(&acceptance, NOW_MS).is_ok());
    assert_eq!(state.handle_record(&acceptance), Change::Members);
    assert_eq!(names(&state), ["lab", "st-mary"]);
}

/// ```text
/// st-mary --> lab --> clinic --> ward        a chain
///    |---> x1, x2: one invite, used twice
///    |---> y1, y2: two invites, one name
///    |---> late, eternal: outside their time
///    '---> crowd: one invite, used by ten
/// stranger --> friend
/// ```
fn everything() -> (Org, Vec<Record>) {
    let mut st_mary = Org::new(1);
    let id = found(&st_mary).id();
    let mut records = Vec::new();
    let mut join = |by: &mut Org, seed: u8, name: &str| {
        let mut org = Org::new(seed);
        let admission = by.admit(id, seed);
        records.push(org.accept(id, &admission, seed, name));
        records.push(admission);
        org
    };
    let mut lab = join(&mut st_mary, 2, "lab");
    let mut clinic = join(&mut lab, 3, "clinic");
    let mut ward = join(&mut clinic, 4, "ward");
    join(&mut st_mary, 5, "twin");
    join(&mut ward, 6, "twin");
    join(&mut Org::new(7), 8, "friend");
    let shared = st_mary.admit(id, 9);
    for (seed, name) in [(10, "x1"), (11, "x2")] {
        records.push(Org::new(seed).accept(id, &shared, 9, name));
    }
    let crowd = lab.admit(id, 12);
    for seed in 20..30 {
        records.push(Org::new(seed).accept(id, &crowd, 12, &format!("crowd-{seed}")));
        records.push(Org::new(seed + 20).accept(id, &crowd, seed, "junk"));
    }
    let late = st_mary.admit(id, 13);
    let end = NOW_MS + 7 * DAY_MS;
    records.push(Org::new(13).accept_at(end, id, late.id(), 13, "late"));
    records.push(Org::new(14).admit(foreign(), 14));
    records.extend([shared, crowd, late]);
    (st_mary, records)
}

fn fold(founder: &Org, records: &[Record]) -> State {
    let mut state = found(founder);
    for record in records {
        let before = state.clone();
        let change = state.handle_record(record);
        assert_eq!(change == Change::Members, !state.members().eq(before.members()));
        assert_unique(&state);
    }
    state
}

/// Names and acceptances are each of one member.
fn assert_unique(state: &State) {
    let mut names = names(state);
    names.dedup();
    assert_eq!(names.len(), state.members().count());
    assert_eq!(state.members().filter(|(_, member)| member.acceptance.is_none()).count(), 1);
}

#[test]
fn the_whole_federation_has_the_members_that_it_should() {
    let (founder, records) = everything();
    let names = names(&fold(&founder, &records));
    for sure in ["st-mary", "lab", "clinic", "ward", "twin"] {
        assert!(names.iter().any(|name| name == sure), "{sure} in {names:?}");
    }
    for never in ["friend", "late", "junk"] {
        assert!(!names.iter().any(|name| name == never), "{never} in {names:?}");
    }
    let of = |start: &str| names.iter().filter(|name| name.starts_with(start)).count();
    assert_eq!((of("x"), of("crowd-"), names.len()), (1, 1, 7), "{names:?}");
}

/// What docs/protocol.md promises, so that another program comes to the same members.
#[test]
fn of_those_who_want_one_place_the_lowest_record_id_has_it() {
    for round in 0..8 {
        let mut st_mary = Org::new(1);
        let mut state = found(&st_mary);
        let id = state.id();
        // One invite, used by ten; eight are kept.
        let shared = st_mary.admit(id, 100 + round);
        let crowd: Vec<Record> = (20..30)
            .map(|seed| Org::new(seed).accept(id, &shared, 100 + round, &format!("crowd-{seed}")))
            .collect();
        // Two invites, used under one name.
        let invites = [st_mary.admit(id, 120 + round), st_mary.admit(id, 130 + round)];
        let twins = [
            Org::new(40).accept(id, &invites[0], 120 + round, "twin"),
            Org::new(41).accept(id, &invites[1], 130 + round, "twin"),
        ];
        for record in [shared].iter().chain(&invites).chain(&crowd).chain(&twins) {
            state.handle_record(record);
        }
        let winners: Vec<_> = state.members().filter_map(|(_, member)| member.acceptance).collect();
        let lowest = |records: &[Record]| records.iter().map(Record::id).min().expect("some");
        assert_eq!(winners.len(), 2);
        assert!(winners.contains(&lowest(&crowd)) && winners.contains(&lowest(&twins)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_records_decides_nothing(
        order in Just((0..everything().1.len()).collect::<Vec<_>>()).prop_shuffle(),
        kept in any::<prop::sample::Index>(),
        again in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let (founder, records) = everything();
        // Any part of the records, some of them twice.
        let mut order = order[..=kept.index(order.len())].to_vec();
        let twice: Vec<usize> = again.iter().map(|index| order[index.index(order.len())]).collect();
        order.extend(twice);
        let pick = |order: &[usize]| order.iter().map(|at| records[*at].clone()).collect::<Vec<_>>();
        let shuffled = fold(&founder, &pick(&order));
        order.sort_unstable();
        prop_assert_eq!(shuffled, fold(&founder, &pick(&order)));
    }
}
