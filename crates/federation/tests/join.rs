//! What the node that made an invite says to whoever uses it.

mod common;

use common::{DAY_MS, NOW_MS, Org, acceptance, found, name_of, names, take_all, with_key};
use guildhall_federation::{Change, JoinError, Joining, State};
use guildhall_protocol::body::{Acceptance, Confirmation};
use guildhall_protocol::name::OrgName;
use guildhall_protocol::record::Record;
use guildhall_protocol::{FederationId, Hash};

fn name(text: &str) -> OrgName {
    text.parse().expect("a name")
}

/// `st-mary` alone, with an admission by invite 1.
fn one() -> (State, Org, Record) {
    let mut st_mary = Org::new(1);
    let mut state = found(&st_mary);
    let admission = st_mary.admit(state.id(), 1);
    state.handle_record(&admission);
    (state, st_mary, admission)
}

fn check(state: &State, by: &Org, acceptance: &Record) -> Result<Joining, JoinError> {
    state.check_join(acceptance, by.node.public(), NOW_MS)
}

#[test]
fn whoever_may_come_in_is_to_be_confirmed_by_these_words() {
    let (mut state, mut st_mary, admission) = one();
    let mut lab = Org::new(2);
    let acceptance = lab.accept(state.id(), &admission, 1, "lab");
    let confirm = Confirmation {
        federation: state.id(),
        admission: admission.id(),
        acceptance: acceptance.id(),
    };
    let joining = Joining { root: lab.root.public(), org: name("lab"), confirm: Some(confirm) };
    let before = state.clone();
    assert_eq!(check(&state, &st_mary, &acceptance), Ok(joining));
    assert_eq!(state, before, "a check changes nothing");
    // Written down, they are what lets the org in.
    let written = st_mary.write(&confirm, NOW_MS);
    assert_eq!(take_all(&mut state, &[acceptance, written]), Change::Members);
    assert_eq!(names(&state), ["lab", "st-mary"]);
}

#[test]
fn an_org_that_asks_again_is_a_member_already() {
    let (mut state, mut st_mary, admission) = one();
    let mut lab = Org::new(2);
    let acceptance = lab.accept(state.id(), &admission, 1, "lab");
    let confirmation = st_mary.confirm(state.id(), &admission, &acceptance);
    take_all(&mut state, &[acceptance.clone(), confirmation]);
    let member = Joining { root: lab.root.public(), org: name("lab"), confirm: None };
    assert_eq!(check(&state, &st_mary, &acceptance), Ok(member.clone()));
    // Also after the end of the invite, or by an invite that it has no need of.
    let late = state.check_join(&acceptance, st_mary.node.public(), NOW_MS + 8 * DAY_MS);
    assert_eq!(late, Ok(member.clone()));
    let second = st_mary.admit(state.id(), 2);
    state.handle_record(&second);
    let again = lab.accept(state.id(), &second, 2, "laboratory");
    assert_eq!(check(&state, &st_mary, &again), Ok(member));
    // It hears what it is called here, not what it claims.
    let mut rival = Org::new(3);
    let invited = st_mary.bring_in(state.id(), &mut rival, 3, "lab");
    take_all(&mut state, &invited);
    let called = check(&state, &st_mary, &acceptance).expect("a member").org;
    assert_eq!(
        (called.as_str(), name_of(&state, &lab)),
        (&*with_key("lab", &lab), Some(called.to_string()))
    );
}

#[test]
fn an_invite_is_used_once() {
    let (mut state, mut st_mary, admission) = one();
    let first = Org::new(2).accept(state.id(), &admission, 1, "lab");
    let second = Org::new(3).accept(state.id(), &admission, 1, "other");
    take_all(&mut state, &[second.clone(), first.clone()]);
    assert!(check(&state, &st_mary, &second).is_ok(), "nobody is confirmed yet");
    state.handle_record(&st_mary.confirm(state.id(), &admission, &first));
    let used = JoinError::Used { by: name("lab") };
    assert_eq!(check(&state, &st_mary, &second), Err(used.clone()));
    assert_eq!(used.to_string(), "the invite was already used by `lab`; ask for a new one");
}

#[test]
fn an_invite_expires() {
    let (state, st_mary, admission) = one();
    let end = NOW_MS + 7 * DAY_MS;
    // By the clock of the node that decides, not by the joiner's.
    for time_ms in [0, NOW_MS, end, u64::MAX] {
        let acceptance = Org::new(2).accept_at(time_ms, state.id(), admission.id(), 1, "lab");
        let at = |now_ms| state.check_join(&acceptance, st_mary.node.public(), now_ms);
        assert!(at(end - 1).is_ok());
        assert_eq!(at(end), Err(JoinError::Expired));
    }
}

#[test]
fn only_the_node_that_made_an_invite_takes_it() {
    let (mut state, mut st_mary, admission) = one();
    let mut lab = Org::new(2);
    let invited = st_mary.bring_in(state.id(), &mut lab, 2, "lab");
    take_all(&mut state, &invited);
    let acceptance = Org::new(3).accept(state.id(), &admission, 1, "guest");
    for other in [&lab, &st_mary.second_node(), &Org::new(3)] {
        assert_eq!(check(&state, other, &acceptance), Err(JoinError::OtherNode));
    }
    assert!(check(&state, &st_mary, &acceptance).is_ok());
}

#[test]
fn a_name_that_a_member_has_or_claims_is_taken() {
    let (mut state, mut st_mary, admission) = one();
    let (mut lab, mut rival) = (Org::new(2), Org::new(3));
    for (invite, org) in [(2, &mut lab), (3, &mut rival)] {
        let invited = st_mary.bring_in(state.id(), org, invite, "lab");
        take_all(&mut state, &invited);
    }
    for taken in ["st-mary", "lab", &with_key("lab", &lab)] {
        let acceptance = Org::new(4).accept(state.id(), &admission, 1, taken);
        let error = check(&state, &st_mary, &acceptance).expect_err("taken");
        assert_eq!(error, JoinError::NameTaken { org: name(taken) });
        assert!(error.to_string().contains("guild init --org"), "{error}");
    }
    let free = Org::new(4).accept(state.id(), &admission, 1, "lab-2");
    assert!(check(&state, &st_mary, &free).is_ok(), "none of them used the invite up");
}

#[test]
fn an_invite_by_an_org_that_is_no_member_is_unknown() {
    let (mut state, _, _) = one();
    let (mut stranger, mut guest) = (Org::new(2), Org::new(3));
    let admission = stranger.admit(state.id(), 2);
    let acceptance = guest.accept(state.id(), &admission, 2, "guest");
    take_all(&mut state, &[admission, acceptance.clone()]);
    assert_eq!(check(&state, &stranger, &acceptance), Err(JoinError::UnknownInvite));
}

#[test]
fn a_node_that_may_confirm_no_more_says_so() {
    let (mut state, mut st_mary, admission) = one();
    for _ in 1..9_999 {
        state.handle_record(&st_mary.admit(state.id(), 2));
    }
    let acceptance = Org::new(3).accept(state.id(), &admission, 1, "guest");
    assert!(check(&state, &st_mary, &acceptance).is_ok(), "there is room for one");
    state.handle_record(&st_mary.admit(state.id(), 2));
    assert_eq!(check(&state, &st_mary, &acceptance), Err(JoinError::LogFull));
}

#[test]
fn an_acceptance_that_does_not_hold_says_why() {
    let mut st_mary = Org::new(1);
    let mut state = found(&st_mary);
    let id = state.id();
    let (mut lab, other) = (Org::new(2), Org::new(3));
    let admission = st_mary.admit(id, 1);
    let honest = lab.accept(id, &admission, 1, "lab");
    let check = |state: &State, record: &Record| check(state, &st_mary, record).map(drop);
    assert_eq!(check(&state, &honest), Err(JoinError::UnknownInvite), "not seen yet");
    state.handle_record(&admission);
    assert_eq!(check(&state, &admission), Err(JoinError::NotAnAcceptance));
    assert_eq!(check(&state, &honest.without_body()), Err(JoinError::NotAnAcceptance));
    let other_key = lab.accept(id, &admission, 2, "lab");
    assert_eq!(check(&state, &other_key), Err(JoinError::UnknownInvite));
    let for_other = acceptance(id, admission.id(), 1, other.root.public(), "lab");
    assert_eq!(check(&state, &lab.write(&for_other, NOW_MS)), Err(JoinError::NotAnAcceptance));
    let mut unsigned = acceptance(id, admission.id(), 1, lab.root.public(), "lab");
    unsigned.invite_use.statement.push(0);
    assert_eq!(check(&state, &lab.write(&unsigned, NOW_MS)), Err(JoinError::NotAnAcceptance));
    let foreign = FederationId(Hash::from_bytes([9; 32]));
    let elsewhere = lab.accept(foreign, &admission, 1, "lab");
    assert_eq!(check(&state, &elsewhere), Err(JoinError::NotAnAcceptance));
    let mixed = acceptance(foreign, admission.id(), 1, lab.root.public(), "lab");
    let mixed = lab.write(&Acceptance { federation: id, ..mixed }, NOW_MS);
    assert_eq!(check(&state, &mixed), Err(JoinError::NotAnAcceptance));
    assert_eq!(check(&state, &honest), Ok(()), "none of them used the invite up");
}
