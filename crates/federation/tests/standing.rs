//! By whose authority a key speaks, and when that ends.

mod common;

use common::{DAY_MS, NOW_MS, Org, found, invite_key, names};
use guildhall_federation::{Outsider, State, check_delegation, check_record};
use guildhall_protocol::body::Admission;
use guildhall_protocol::limits::CLOCK_SKEW_MAX_MS;
use guildhall_protocol::statement::{Delegation, Role, Signed};

/// A federation of `st-mary` and `lab`.
fn two() -> (State, Org, Org) {
    let (mut st_mary, mut lab) = (Org::new(1), Org::new(2));
    let mut state = found(&st_mary);
    for record in st_mary.bring_in(state.id(), &mut lab, 1, "lab") {
        state.handle_record(&record);
    }
    assert_eq!(names(&state), ["lab", "st-mary"]);
    (state, st_mary, lab)
}

#[test]
fn a_member_speaks_through_the_node_that_its_root_names() {
    let (state, _, lab) = two();
    let signed = Signed::new(&lab.delegation(), &lab.root);
    let authority = check_delegation(&state, &signed, lab.node.public(), NOW_MS).expect("holds");
    assert_eq!((authority.root, authority.org.as_str()), (lab.root.public(), "lab"));
}

#[test]
fn a_delegation_that_does_not_hold_says_why() {
    let (state, st_mary, lab) = two();
    let key = lab.node.public();
    let check = |change: &dyn Fn(&mut Delegation), now_ms: u64| {
        let mut delegation = lab.delegation();
        change(&mut delegation);
        check_delegation(&state, &Signed::new(&delegation, &lab.root), key, now_ms).map(drop)
    };
    let nothing = |_: &mut Delegation| ();
    let end = NOW_MS + 90 * DAY_MS;
    assert_eq!(check(&nothing, NOW_MS), Ok(()));
    assert_eq!(check(&nothing, end - 1), Ok(()));
    assert_eq!(check(&nothing, end), Err(Outsider::Expired));
    assert_eq!(check(&nothing, u64::MAX), Err(Outsider::Expired));
    assert_eq!(check(&nothing, NOW_MS - CLOCK_SKEW_MAX_MS), Ok(()));
    assert_eq!(check(&nothing, NOW_MS - CLOCK_SKEW_MAX_MS - 1), Err(Outsider::Future));
    assert_eq!(check(&|d| d.expires_ms += 1, NOW_MS), Err(Outsider::TooLong));
    assert_eq!(check(&|d| d.expires_ms = d.issued_ms - 1, NOW_MS), Err(Outsider::Expired));
    let producer = Outsider::Role(Role::Producer);
    assert_eq!(check(&|d| d.role = Role::Producer, NOW_MS), Err(producer));
    assert_eq!(check(&|d| d.key = st_mary.node.public(), NOW_MS), Err(Outsider::OtherKey));
    // Signed by lab's root, but in the name of another.
    let forged = check(&|d| d.root = st_mary.root.public(), NOW_MS);
    assert!(matches!(forged, Err(Outsider::Delegation(_))), "{forged:?}");
    let stranger = Org::new(9);
    let signed = Signed::new(&stranger.delegation(), &stranger.root);
    let judged = check_delegation(&state, &signed, stranger.node.public(), NOW_MS);
    assert_eq!(judged.map(drop), Err(Outsider::NotMember));
}

/// T05: a key that nobody renews falls silent by itself, and no clock within five minutes changes that much.
#[test]
fn t05_a_record_is_taken_between_its_delegations_ends_only() {
    let mut lab = Org::new(2);
    let body = Admission {
        federation: found(&Org::new(1)).id(),
        invite: invite_key(1).public(),
        expires_ms: NOW_MS,
    };
    let mut at = |time_ms: u64| lab.write(&body, time_ms);
    let record = at(NOW_MS);
    let end = NOW_MS + 90 * DAY_MS;
    for (now_ms, expected) in [
        (NOW_MS - CLOCK_SKEW_MAX_MS - 1, Err(Outsider::Future)),
        (NOW_MS - CLOCK_SKEW_MAX_MS, Ok(())),
        (NOW_MS, Ok(())),
        (end - 1, Ok(())),
        (end, Err(Outsider::Expired)),
    ] {
        assert_eq!(check_record(&record, now_ms), expected, "{now_ms}");
    }
    assert_eq!(check_record(&at(u64::MAX), NOW_MS), Err(Outsider::Future));
    assert_eq!(check_record(&at(0), NOW_MS), Ok(()), "the author's clock orders nothing");
}
