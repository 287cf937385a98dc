//! Who is a member after which records, however the logs that they are in were mixed.

mod common;

use std::collections::BTreeMap;

use common::{DAY_MS, NOW_MS, Org, acceptance, found, founding, invite_key, names, take_all};
use guildhall_federation::{Change, State};
use guildhall_protocol::body::{Acceptance, Admission};
use guildhall_protocol::record::Record;
use guildhall_protocol::{FederationId, Hash, PublicKey};
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
    let [admission, acceptance, confirmation] = st_mary.bring_in(state.id(), &mut lab, 1, "lab");
    assert_eq!(state.handle_record(&admission), Change::None);
    assert_eq!(state.handle_record(&acceptance), Change::None);
    assert_eq!(state.handle_record(&confirmation), Change::Members);
    for record in [admission, acceptance.clone(), confirmation] {
        assert_eq!(state.handle_record(&record), Change::None, "once is enough");
    }
    let member = state.member(&lab.root.public()).expect("a member");
    let said = (member.org.as_str(), member.claimed.as_str(), member.acceptance);
    assert_eq!(said, ("lab", "lab", Some(acceptance.id())));
    assert_eq!(state.root_of(&member.org), Some(lab.root.public()));
}

#[test]
fn an_invite_that_would_live_too_long_admits_nobody() {
    let (mut st_mary, mut lab) = (Org::new(1), Org::new(2));
    let mut state = found(&st_mary);
    let id = state.id();
    let mut invited = |life_ms| {
        let invite = invite_key(1).public();
        let body = Admission { federation: id, invite, expires_ms: NOW_MS + life_ms };
        let admission = st_mary.write(&body, NOW_MS);
        let acceptance = lab.accept(id, &admission, 1, "lab");
        let confirmation = st_mary.confirm(id, &admission, &acceptance);
        [admission, acceptance, confirmation]
    };
    assert_eq!(take_all(&mut state, &invited(7 * DAY_MS + 1)), Change::None);
    assert_eq!(names(&state), ["st-mary"]);
    assert_eq!(take_all(&mut state, &invited(7 * DAY_MS)), Change::Members);
}

#[test]
fn whoever_was_admitted_may_admit() {
    let orgs: Vec<Org> = (1..=5).map(Org::new).collect();
    let mut state = found(&orgs[0]);
    let id = state.id();
    let mut orgs = orgs.into_iter();
    let mut before = orgs.next().expect("the founder");
    for (invite, mut org) in (10..).zip(orgs) {
        let invited = before.bring_in(id, &mut org, invite, &format!("org-{invite}"));
        assert_eq!(take_all(&mut state, &invited), Change::Members);
        before = org;
    }
    assert_eq!(state.members().count(), 5);
}

#[test]
fn whom_a_stranger_invited_comes_in_with_the_stranger() {
    let (mut st_mary, mut lab, mut guest) = (Org::new(1), Org::new(2), Org::new(3));
    let mut state = found(&st_mary);
    let early = lab.bring_in(state.id(), &mut guest, 2, "guest");
    assert_eq!(take_all(&mut state, &early), Change::None);
    assert_eq!(names(&state), ["st-mary"]);
    let invited = st_mary.bring_in(state.id(), &mut lab, 1, "lab");
    assert_eq!(take_all(&mut state, &invited), Change::Members);
    assert_eq!(names(&state), ["guest", "lab", "st-mary"]);
}

#[test]
fn strangers_who_let_each_other_in_stay_outside() {
    let (st_mary, mut one, mut other) = (Org::new(1), Org::new(2), Org::new(3));
    let mut state = found(&st_mary);
    let there = one.bring_in(state.id(), &mut other, 2, "other");
    let back = other.bring_in(state.id(), &mut one, 3, "one");
    let itself = one.second_node().bring_in(state.id(), &mut one, 4, "one");
    for records in [there, back, itself] {
        assert_eq!(take_all(&mut state, &records), Change::None);
    }
    assert_eq!(names(&state), ["st-mary"]);
}

#[test]
fn records_of_another_federation_change_nothing() {
    let (mut st_mary, mut lab) = (Org::new(1), Org::new(2));
    let mut state = found(&st_mary);
    let before = state.clone();
    let elsewhere = st_mary.bring_in(foreign(), &mut lab, 1, "lab");
    assert_eq!(take_all(&mut state, &elsewhere), Change::None);
    assert_eq!(state, before);
    // An acceptance for here around an invite use for there.
    let here = st_mary.admit(state.id(), 1);
    let mixed = acceptance(foreign(), here.id(), 1, lab.root.public(), "lab");
    let mixed = lab.write(&Acceptance { federation: state.id(), ..mixed }, NOW_MS);
    let confirmation = st_mary.confirm(state.id(), &here, &mixed);
    assert_eq!(take_all(&mut state, &[here, mixed, confirmation]), Change::None);
    assert_eq!(names(&state), ["st-mary"]);
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
    let confirmation = st_mary.confirm(state.id(), &admission, &acceptance);
    assert_eq!(take_all(&mut state, &[acceptance, confirmation]), Change::Members);
    assert_eq!(names(&state), ["lab", "st-mary"]);
}

/// What docs/protocol.md promises: of the records of one log, the first ten thousand count, and of every log as many.
#[test]
fn ten_thousand_membership_records_of_a_log_count_and_no_more() {
    let (mut st_mary, mut lab, mut late) = (Org::new(1), Org::new(2), Org::new(3));
    let mut state = found(&st_mary);
    let id = state.id();
    // What does not count takes no room: other federations, what was confirmed before, what came before.
    let invited = st_mary.bring_in(id, &mut lab, 1, "lab");
    take_all(&mut state, &invited);
    let again = st_mary.confirm(id, &invited[0], &invited[1]);
    take_all(&mut state, &[st_mary.admit(foreign(), 2), again, invited[0].clone()]);
    let last = st_mary.admit(id, 3);
    state.handle_record(&last);
    for _ in 3..9_998 {
        state.handle_record(&st_mary.admit(id, 4));
    }
    let too_late = st_mary.admit(id, 5);
    let accepted = [late.accept(id, &last, 3, "late"), late.accept(id, &too_late, 5, "too-late")];
    let room_for_one = state.clone();
    let first = st_mary.confirm(id, &last, &accepted[0]);
    take_all(&mut state, &accepted);
    assert_eq!(state.handle_record(&first), Change::Members, "number 9,999");

    let mut state = room_for_one;
    take_all(&mut state, &accepted);
    state.handle_record(&st_mary.admit(id, 4));
    state.handle_record(&st_mary.admit(id, 4));
    let full = state.clone();
    let confirmed = st_mary.confirm(id, &too_late, &accepted[1]);
    assert_eq!(take_all(&mut state, &[too_late, confirmed, first]), Change::None, "number 10,001");
    assert_eq!(state, full);
    // Another log has room of its own.
    let invited = lab.bring_in(id, &mut late, 6, "late");
    assert_eq!(take_all(&mut state, &invited), Change::Members);
    assert_eq!(names(&state), ["lab", "late", "st-mary"]);
}

/// ```text
/// st-mary --> lab --> clinic --> ward        a chain
///    |---> x1, x2: one invite, accepted by both, confirmed for x1 and then for x2
///    |---> twin, and ward ---> twin: one name; clinic ---> squatter: called as one twin is
///    |---> double: two invites, two names
///    |---> crowd: one invite, used by ten, confirmed for one
///    |---> nobody: confirmed for what does not exist
///    |---> other: an invite that others confirm
/// stranger --> friend
/// ```
fn everything() -> (Org, Vec<Vec<Record>>) {
    let mut st_mary = Org::new(1);
    let id = found(&st_mary).id();
    let mut records = Vec::new();
    let mut join = |by: &mut Org, org: &mut Org, invite: u8, name: &str| {
        records.extend(by.bring_in(id, org, invite, name));
    };
    let mut orgs: Vec<Org> = (0..9).map(Org::new).collect();
    let [_, _, lab, clinic, ward, twin, second, stranger, double] = &mut orgs[..] else {
        unreachable!("nine orgs")
    };
    join(&mut st_mary, lab, 2, "lab");
    join(lab, clinic, 3, "clinic");
    join(clinic, ward, 4, "ward");
    join(&mut st_mary, twin, 5, "twin");
    join(ward, second, 6, "twin");
    join(clinic, &mut Org::new(9), 7, &common::with_key("twin", twin));
    join(stranger, &mut Org::new(10), 8, "friend");
    join(&mut st_mary, double, 9, "double-1");
    join(&mut st_mary, double, 10, "double-2");
    let shared = st_mary.admit(id, 11);
    let twice = [("x1", 11), ("x2", 12)].map(|(n, seed)| Org::new(seed).accept(id, &shared, 11, n));
    records.extend(twice.iter().map(|acceptance| st_mary.confirm(id, &shared, acceptance)));
    let crowd = lab.admit(id, 12);
    let crowded: Vec<Record> = (20..30)
        .map(|seed| Org::new(seed).accept(id, &crowd, 12, &format!("crowd-{seed}")))
        .collect();
    records.push(lab.confirm(id, &crowd, &crowded[7]));
    let others = ward.admit(id, 13);
    let other = Org::new(13).accept(id, &others, 13, "other");
    records.push(ward.second_node().confirm(id, &others, &other));
    records.push(twin.confirm(id, &others, &other));
    let unused = ward.admit(id, 14);
    records.push(ward.confirm(id, &unused, &other));
    records.push(Org::new(14).accept(id, &unused, 14, "nobody"));
    records.push(Org::new(15).admit(foreign(), 15));
    records.extend(twice.into_iter().chain(crowded));
    records.extend([shared, crowd, others, other, unused]);
    let mut logs: BTreeMap<PublicKey, Vec<Record>> = BTreeMap::new();
    for record in records {
        logs.entry(record.header().author).or_default().push(record);
    }
    let mut logs: Vec<Vec<Record>> = logs.into_values().collect();
    logs.iter_mut().for_each(|log| log.sort_by_key(|record| record.header().seq));
    (st_mary, logs)
}

/// Folds records and checks after each what has to hold at all times.
fn fold<'a>(founder: &Org, records: impl IntoIterator<Item = &'a Record>) -> State {
    let mut state = found(founder);
    for record in records {
        let before = state.clone();
        let change = state.handle_record(record);
        assert_eq!(change == Change::Members, !state.members().eq(before.members()));
        for (root, member) in before.members() {
            let now = state.member(root).expect("who is a member stays one");
            assert!(now.acceptance <= member.acceptance, "and goes by another name by itself only");
        }
        let mut names = names(&state);
        names.dedup();
        assert_eq!(names.len(), state.members().count(), "one name, one member");
        assert_eq!(common::name_of(&state, founder).as_deref(), Some("st-mary"));
    }
    state
}

#[test]
fn the_whole_federation_has_the_members_that_it_should() {
    let (founder, logs) = everything();
    let state = fold(&founder, logs.iter().flatten());
    let mut claimed: Vec<&str> = state.members().map(|(_, m)| m.claimed.as_str()).collect();
    claimed.sort_unstable();
    let squatted = common::with_key("twin", &Org::new(5));
    let double = claimed.iter().find(|name| name.starts_with("double-")).expect("one of two");
    let mut expected =
        ["st-mary", "lab", "clinic", "ward", "twin", "twin", "x1", "crowd-27", &squatted, double];
    expected.sort_unstable();
    assert_eq!(claimed, expected);
}

/// Records in an order in which each log's own are in order, some of them more than once: `picks` says from which of
/// the logs that are not at their end the next one is, or that an earlier one comes again.
fn interleaved<'a>(
    logs: &[&'a [Record]],
    picks: &[(prop::sample::Index, bool)],
) -> Vec<&'a Record> {
    let mut taken: Vec<&Record> = Vec::new();
    let mut rest = logs.to_vec();
    for (pick, again) in picks.iter().cycle() {
        rest.retain(|log| !log.is_empty());
        if rest.is_empty() {
            break;
        }
        if *again && !taken.is_empty() {
            taken.push(taken[pick.index(taken.len())]);
        }
        let at = pick.index(rest.len());
        let log = &mut rest[at];
        if let [first, behind @ ..] = *log {
            taken.push(first);
            *log = behind;
        }
    }
    taken
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn how_logs_are_mixed_decides_nothing(
        picks in prop::collection::vec((any::<prop::sample::Index>(), prop::bool::weighted(0.2)), 16..96),
        kept in prop::collection::vec((any::<prop::sample::Index>(), prop::bool::weighted(0.3)), 40),
    ) {
        let (founder, logs) = everything();
        prop_assert!(logs.len() <= kept.len());
        // The start of each log, the whole of most.
        let parts: Vec<&[Record]> = logs.iter().zip(&kept).map(|(log, (len, is_part))| {
            if *is_part { &log[..len.index(log.len() + 1)] } else { &log[..] }
        }).collect();
        let one_by_one = fold(&founder, parts.iter().copied().flatten());
        let mixed = interleaved(&parts, &picks);
        prop_assert!(mixed.len() >= parts.iter().map(|log| log.len()).sum());
        prop_assert_eq!(fold(&founder, mixed), one_by_one);
    }
}
