//! What members and strangers write to get another org out, or to bring in one that was not let in, changes nothing.

mod common;

use common::{NOW_MS, Org, acceptance, found, invite_key, name_of, names, take_all};
use guildhall_federation::{Change, State};
use guildhall_protocol::body::{Admission, Confirmation};
use guildhall_protocol::record::Record;
use guildhall_protocol::{FederationId, Hash, RecordId};

/// ```text
/// st-mary --> victim      by invite 1: admission, acceptance, confirmation
///    '------> rival       by invite 2
/// ```
struct Town {
    state: State,
    id: FederationId,
    st_mary: Org,
    victim: Org,
    rival: Org,
    /// How the victim came in.
    invited: [Record; 3],
}

impl Town {
    fn new() -> Self {
        let (mut st_mary, mut victim, mut rival) = (Org::new(1), Org::new(2), Org::new(3));
        let mut state = found(&st_mary);
        let id = state.id();
        let invited = st_mary.bring_in(id, &mut victim, 1, "victim");
        assert_eq!(take_all(&mut state, &invited), Change::Members);
        let rivals = st_mary.bring_in(id, &mut rival, 2, "rival");
        assert_eq!(take_all(&mut state, &rivals), Change::Members);
        Self { state, id, st_mary, victim, rival, invited }
    }

    /// The members are who they were.
    #[track_caller]
    fn assert_unmoved_by(&mut self, attack: &[Record]) {
        let before: Vec<_> = self.state.members().map(|(key, m)| (*key, m.clone())).collect();
        for record in attack {
            assert_eq!(self.state.handle_record(record), Change::None);
        }
        assert!(before.iter().map(|(key, member)| (key, member)).eq(self.state.members()));
        assert_eq!(names(&self.state), ["rival", "st-mary", "victim"]);
        assert_eq!(name_of(&self.state, &self.victim).as_deref(), Some("victim"));
    }
}

/// An acceptance of the admission with a lower id: the author tries times until it has one.
fn ground_below(id: FederationId, admission: &Record, limit: RecordId, node: &Org) -> Record {
    (0..4096)
        .map(|back_ms| {
            let time_ms = NOW_MS - 1_000_000 + back_ms;
            node.on_another_branch().accept_at(time_ms, id, admission.id(), 1, "victim")
        })
        .find(|record| record.id() < limit)
        .expect("one of many ids is lower")
}

#[test]
fn a_used_invite_is_not_used_again_by_an_acceptance_with_a_lower_id_and_an_earlier_time() {
    let mut town = Town::new();
    let accomplice = Org::new(9);
    let earlier = ground_below(town.id, &town.invited[0], town.invited[1].id(), &accomplice);
    assert!(earlier.id() < town.invited[1].id() && earlier.header().time_ms < NOW_MS);
    town.assert_unmoved_by(std::slice::from_ref(&earlier));
    // Nor where it is the first that a node hears of the invite.
    let mut other = found(&town.st_mary);
    other.handle_record(&earlier);
    assert_eq!(take_all(&mut other, &town.invited), Change::Members);
    assert_eq!(names(&other), ["st-mary", "victim"]);
}

#[test]
fn the_second_confirmation_of_an_admission_changes_nothing() {
    let mut town = Town::new();
    let late = Org::new(9).accept(town.id, &town.invited[0], 1, "late");
    let second = town.st_mary.confirm(town.id, &town.invited[0], &late);
    town.assert_unmoved_by(&[late, second]);
}

#[test]
fn a_confirmation_is_spent_on_what_it_names_whether_that_holds_or_not() {
    let mut town = Town::new();
    let id = town.id;
    let admission = town.st_mary.admit(id, 5);
    let other = town.st_mary.admit(id, 6);
    let guest = Org::new(9).accept(id, &admission, 5, "guest");
    let elsewhere = Org::new(10).accept(id, &other, 6, "elsewhere");
    // What it names belongs to another admission; and what it names is nothing at all.
    let crossed = town.st_mary.confirm(id, &admission, &elsewhere);
    let nothing = RecordId(Hash::from_bytes([7; 32]));
    let void = Confirmation { federation: id, admission: other.id(), acceptance: nothing };
    let void = town.st_mary.write(&void, NOW_MS);
    let again = [
        town.st_mary.confirm(id, &admission, &guest),
        town.st_mary.confirm(id, &other, &elsewhere),
    ];
    town.assert_unmoved_by(&[admission, other, guest, elsewhere, crossed, void]);
    town.assert_unmoved_by(&again);
}

#[test]
fn nobody_but_the_key_that_made_an_admission_confirms_it() {
    let mut town = Town::new();
    let id = town.id;
    let admission = town.st_mary.admit(id, 5);
    let guest = Org::new(9).accept(id, &admission, 5, "guest");
    let mut stranger = Org::new(20);
    let mut guest_itself = Org::new(9);
    let attack = [
        admission.clone(),
        guest.clone(),
        town.st_mary.second_node().confirm(id, &admission, &guest),
        town.rival.confirm(id, &admission, &guest),
        stranger.confirm(id, &admission, &guest),
        guest_itself.confirm(id, &admission, &guest),
    ];
    town.assert_unmoved_by(&attack);
    // None of them used the invite up.
    let confirmation = town.st_mary.confirm(id, &admission, &guest);
    assert_eq!(town.state.handle_record(&confirmation), Change::Members);
    assert_eq!(names(&town.state), ["guest", "rival", "st-mary", "victim"]);
}

#[test]
fn a_member_cannot_confirm_in_advance_what_another_one_admits() {
    let mut town = Town::new();
    let (id, mut st_mary) = (town.id, Org::new(1));
    let mut state = found(&st_mary);
    let admission = st_mary.admit(id, 1);
    let mine = Org::new(9).accept(id, &admission, 1, "mine");
    // The rival's word is the first that this node hears of the admission.
    let early = town.rival.confirm(id, &admission, &mine);
    let honest = town.victim.on_another_branch().accept(id, &admission, 1, "victim");
    let confirmation = st_mary.confirm(id, &admission, &honest);
    for record in [&early, &mine, &admission, &early] {
        assert_eq!(state.handle_record(record), Change::None);
    }
    assert_eq!(take_all(&mut state, &[honest, confirmation]), Change::Members);
    assert_eq!(names(&state), ["st-mary", "victim"]);
}

#[test]
fn a_confirmation_without_its_acceptance_lets_nobody_in_until_that_comes() {
    let mut st_mary = Org::new(1);
    let mut state = found(&st_mary);
    let id = state.id();
    let mut lab = Org::new(2);
    let [admission, acceptance, confirmation] = st_mary.bring_in(id, &mut lab, 1, "lab");
    // Another acceptance of the same invite fills no gap.
    let other = Org::new(9).accept(id, &admission, 1, "other");
    assert_eq!(take_all(&mut state, &[other, admission, confirmation]), Change::None);
    assert_eq!(names(&state), ["st-mary"]);
    assert_eq!(state.handle_record(&acceptance), Change::Members);
    assert_eq!(names(&state), ["lab", "st-mary"]);
}

#[test]
fn an_acceptance_alone_lets_nobody_in() {
    let mut town = Town::new();
    let admission = town.st_mary.admit(town.id, 5);
    let guest = Org::new(9).accept(town.id, &admission, 5, "guest");
    town.assert_unmoved_by(&[admission, guest]);
}

#[test]
fn a_confirmed_acceptance_whose_invite_or_org_is_another_one_lets_nobody_in() {
    let mut town = Town::new();
    let (id, mut guest) = (town.id, Org::new(9));
    let admissions: Vec<Record> = (5..8).map(|invite| town.st_mary.admit(id, invite)).collect();
    let other_key = guest.accept(id, &admissions[0], 20, "guest");
    let for_other = acceptance(id, admissions[1].id(), 6, town.rival.root.public(), "guest");
    let for_other = guest.write(&for_other, NOW_MS);
    let mut unsigned = acceptance(id, admissions[2].id(), 7, guest.root.public(), "guest");
    unsigned.invite_use.signature =
        acceptance(id, admissions[2].id(), 8, guest.root.public(), "x1").invite_use.signature;
    let unsigned = guest.write(&unsigned, NOW_MS);
    for (admission, acceptance) in admissions.iter().zip([other_key, for_other, unsigned]) {
        let confirmation = town.st_mary.confirm(id, admission, &acceptance);
        town.assert_unmoved_by(&[admission.clone(), acceptance, confirmation]);
    }
}

#[test]
fn an_admission_that_is_confirmed_in_another_federation_stays_unused() {
    let mut town = Town::new();
    let foreign = FederationId(Hash::from_bytes([9; 32]));
    let admission = town.st_mary.admit(town.id, 5);
    let guest = Org::new(9).accept(town.id, &admission, 5, "guest");
    let elsewhere = town.st_mary.confirm(foreign, &admission, &guest);
    town.assert_unmoved_by(&[admission.clone(), guest.clone(), elsewhere]);
    let here = town.st_mary.confirm(town.id, &admission, &guest);
    assert_eq!(town.state.handle_record(&here), Change::Members);
}

/// An expired invite is the inviting node's to refuse. What it confirmed holds, whatever times others wrote.
#[test]
fn no_time_in_a_record_decides_over_a_membership() {
    let mut town = Town::new();
    let end = NOW_MS + 7 * common::DAY_MS;
    let invite = invite_key(5).public();
    let admission = Admission { federation: town.id, invite, expires_ms: end };
    let admission = town.st_mary.write(&admission, NOW_MS);
    let late = Org::new(9).accept_at(end + 1, town.id, admission.id(), 5, "guest");
    let confirmation = town.st_mary.confirm(town.id, &admission, &late);
    assert_eq!(take_all(&mut town.state, &[admission, late, confirmation]), Change::Members);
    assert_eq!(names(&town.state), ["guest", "rival", "st-mary", "victim"]);
}

/// The rival admits the key of somebody else's invite, and confirms what that one's owner has not decided about yet.
#[test]
fn an_acceptance_is_confirmed_for_the_admission_that_it_names_only() {
    let mut town = Town::new();
    let id = town.id;
    let admission = town.st_mary.admit(id, 5);
    let guest = Org::new(9).accept(id, &admission, 5, "guest");
    let copied = town.rival.admit(id, 5);
    let confirmed = town.rival.confirm(id, &copied, &guest);
    town.assert_unmoved_by(&[admission, guest, copied, confirmed]);
}
