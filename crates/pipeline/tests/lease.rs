//! Leases: who gets one, who may open it, and that slots are never oversold.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use std::collections::BTreeMap;

use common::{org, package, secret};
use guildhall_pipeline::lease::{
    Asker, Book, GRANTED_PER_NODE_MAX, OPEN_GRACE_MS, OPEN_WITHIN_MS, OWN_SLOTS, PLACE_GRACE_MS,
    Policy, RETRY_MAX_MS,
};
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::{Hardware, LimitSet, NodeLimits};
use guildhall_protocol::name::OrgName;
use guildhall_protocol::wire::{JobInput, JobSpec, JobStage, Lease, OfferRequest, Reason, Refusal};
use guildhall_protocol::{Hash, PublicKey, RunId};
use proptest::prelude::*;

const TOTAL_MS: u64 = 5_000;

/// After that nobody has a place who did not ask again.
const PLACE_MAX_MS: u64 = 2 * RETRY_MAX_MS + PLACE_GRACE_MS;

fn offer(slots: u32) -> HardwareOffer {
    HardwareOffer {
        slots,
        hardware: Hardware::default(),
        limits: NodeLimits { total_ms: TOTAL_MS, ..NodeLimits::default() },
        orgs: vec![org("lab"), org("mercy")],
        ..HardwareOffer::default()
    }
}

fn request() -> OfferRequest {
    OfferRequest {
        run: RunId(Hash::of(b"run")),
        stages: vec![package("a"), package("b")],
        engines: vec!["wasm".into()],
        memory_bytes: 1 << 20,
        hardware: Hardware::default(),
        isolation: 0,
        queue_ms: None,
        hold_ms: 0,
    }
}

fn lease(n: u64) -> Hash {
    Hash::of(&n.to_le_bytes())
}

fn key(n: u64) -> PublicKey {
    secret(&n.to_string()).public()
}

fn spec(lease: Hash) -> JobSpec {
    let request = request();
    let stage = |package| JobStage {
        package,
        engine: None,
        config: BTreeMap::new(),
        listing: LimitSet::default(),
    };
    JobSpec {
        lease,
        run: request.run,
        nonce: Hash::of(b"nonce"),
        stages: request.stages.into_iter().map(stage).collect(),
        limits: LimitSet::default(),
        input: JobInput::Stream,
        holders: Vec::new(),
    }
}

struct Node {
    book: Book,
    offer: Option<HardwareOffer>,
    engines: Vec<String>,
    isolation: u8,
}

impl Node {
    fn new(slots: u32) -> Self {
        Self {
            book: Book::default(),
            offer: Some(offer(slots)),
            engines: vec!["wasm".into()],
            isolation: 2,
        }
    }

    fn ask(
        &mut self,
        now_ms: u64,
        asker: (Asker<'_>, PublicKey),
        request: &OfferRequest,
        id: Hash,
    ) -> Result<Lease, Refusal> {
        let policy = Policy {
            offer: self.offer.as_ref(),
            engines: &self.engines,
            isolation: self.isolation,
        };
        self.book.grant(now_ms, request, policy, asker, id)
    }

    fn lab(&mut self, now_ms: u64, n: u64) -> Result<Lease, Reason> {
        let lab: OrgName = org("lab");
        self.ask(now_ms, (Asker::Member(&lab), key(n)), &request(), lease(n))
            .map_err(|refusal| refusal.reason)
    }
}

fn cores(node: &mut Node, ask: &mut OfferRequest, lent: u32, needed: u32) {
    ask.hardware.cores = needed;
    node.offer.as_mut().unwrap().cores = lent;
}

fn memory(node: &mut Node, lent_bytes: u64) {
    node.offer.as_mut().unwrap().memory_bytes = lent_bytes;
}

fn lend_only(node: &mut Node, engine: &str) {
    node.offer.as_mut().unwrap().engines = vec![engine.to_owned()];
}

#[test]
fn what_is_not_lent_or_cannot_be_done_is_refused_with_its_reason() {
    type Change = fn(&mut Node, &mut OfferRequest);
    let (lab, other) = (org("lab"), org("other"));
    let cases: Vec<(Asker<'_>, Change, Result<(), Reason>)> = vec![
        (Asker::Member(&lab), |_, _| {}, Ok(())),
        (Asker::Member(&other), |_, _| {}, Err(Reason::NotLent)),
        (Asker::OwnOrg, |_, _| {}, Ok(())),
        (Asker::OwnOrg, |node, _| node.offer = None, Err(Reason::NotLent)),
        (Asker::Member(&lab), |node, _| node.offer = None, Err(Reason::NotLent)),
        (Asker::Member(&lab), |node, _| node.offer = Some(offer(0)), Err(Reason::NotLent)),
        (Asker::ThisNode, |node, _| node.offer = None, Ok(())),
        (Asker::ThisNode, |node, _| node.offer = Some(offer(0)), Ok(())),
        (Asker::ThisNode, |_, ask| ask.engines.push("onnx".into()), Err(Reason::Unable)),
        (Asker::Member(&lab), |_, ask| ask.engines.push("onnx".into()), Err(Reason::Unable)),
        (Asker::Member(&lab), |_, ask| ask.memory_bytes = u64::MAX, Err(Reason::Unable)),
        (Asker::Member(&lab), |_, ask| ask.isolation = 2, Ok(())),
        (Asker::Member(&lab), |_, ask| ask.isolation = 3, Err(Reason::Unable)),
        (Asker::ThisNode, |_, ask| ask.isolation = 3, Err(Reason::Unable)),
        (Asker::Member(&lab), |_, ask| ask.hardware.gpu_memory_bytes = 1, Err(Reason::Unable)),
        (Asker::OwnOrg, |_, ask| ask.hardware.gpu_memory_bytes = 1, Err(Reason::Unable)),
        (Asker::ThisNode, |_, ask| ask.hardware.gpu_memory_bytes = 1, Ok(())),
        (Asker::Member(&lab), |_, ask| ask.hardware.cores = 64, Ok(())),
        (Asker::Member(&lab), |node, ask| cores(node, ask, 2, 2), Ok(())),
        (Asker::Member(&lab), |node, ask| cores(node, ask, 2, 3), Err(Reason::Unable)),
        (Asker::Member(&lab), |node, _| memory(node, 2 << 20), Ok(())),
        (Asker::Member(&lab), |node, _| memory(node, (2 << 20) - 1), Err(Reason::Unable)),
        (Asker::Member(&lab), |node, _| lend_only(node, "onnx"), Err(Reason::Unable)),
        (Asker::ThisNode, |node, _| lend_only(node, "onnx"), Ok(())),
        (Asker::Member(&lab), |node, _| node.book.drain(true), Err(Reason::Draining)),
        (Asker::OwnOrg, |node, _| node.book.drain(true), Err(Reason::Draining)),
        (Asker::ThisNode, |node, _| node.book.drain(true), Ok(())),
        (Asker::Member(&other), |node, _| node.book.drain(true), Err(Reason::NotLent)),
        (Asker::Member(&lab), |_, ask| ask.stages.clear(), Err(Reason::Invalid)),
        (Asker::Member(&lab), |_, ask| ask.stages = vec![package("a"); 65], Err(Reason::Invalid)),
        (Asker::Member(&lab), |_, ask| ask.engines = vec!["wasm".into(); 65], Err(Reason::Invalid)),
    ];
    for (place, (asker, change, expected)) in cases.into_iter().enumerate() {
        let (mut node, mut request) = (Node::new(1), request());
        change(&mut node, &mut request);
        let found = node.ask(0, (asker, key(1)), &request, lease(1));
        assert_eq!(found.map(|_| ()).map_err(|refusal| refusal.reason), expected, "case {place}");
    }
}

#[test]
fn slots_are_bounded_and_the_nodes_own_jobs_have_their_own() {
    let mut node = Node::new(2);
    let mercy = org("mercy");
    assert!(node.lab(0, 1).is_ok());
    assert!(node.ask(0, (Asker::Member(&mercy), key(2)), &request(), lease(2)).is_ok());
    assert_eq!(node.lab(0, 3), Err(Reason::Busy));
    for n in 0..OWN_SLOTS {
        let id = lease(100 + u64::try_from(n).unwrap());
        assert!(node.ask(0, (Asker::ThisNode, key(0)), &request(), id).is_ok());
    }
    let refusal = node.ask(0, (Asker::ThisNode, key(0)), &request(), lease(200)).unwrap_err();
    assert_eq!(refusal.reason, Reason::Busy);
    assert!(node.book.close(&lease(1)));
    assert!(!node.book.close(&lease(1)));
    assert!(node.lab(0, 3).is_ok());
}

#[test]
fn one_member_leaves_a_slot_to_the_others_if_there_are_others() {
    let (lab, mercy) = (org("lab"), org("mercy"));
    let held = |slots: u32, orgs: &[&str], asker: Asker<'_>| {
        let mut node = Node::new(slots);
        let orgs = orgs.iter().map(|name| org(name)).collect();
        node.offer = Some(HardwareOffer { orgs, ..offer(slots) });
        // From a new node each time: nodes are cheap, members are not.
        let granted: Vec<u64> = (0..9)
            .filter(|n| node.ask(0, (asker, key(*n)), &request(), lease(*n)).is_ok())
            .collect();
        for n in &granted {
            node.book.open(0, &spec(lease(*n)), key(*n)).unwrap();
        }
        let more = node.ask(0, (asker, key(20)), &request(), lease(20));
        assert!(more.is_err(), "an open job counts as well");
        let other = node.ask(0, (Asker::Member(&mercy), key(30)), &request(), lease(30));
        (granted.len(), other.is_ok())
    };
    let member = Asker::Member(&lab);
    assert_eq!(held(3, &[], member), (2, true));
    assert_eq!(held(2, &["lab", "mercy"], member), (1, true));
    assert_eq!(held(1, &[], member), (1, false), "the only slot goes to whoever comes first");
    assert_eq!(held(3, &["lab"], member), (3, false), "nobody else may come");
    assert_eq!(held(3, &[], Asker::OwnOrg), (3, false), "the lender's own org is not bounded");
}

#[test]
fn one_node_cannot_hoard_leases() {
    let mut node = Node::new(100);
    let lab = org("lab");
    let mut ask = |n| node.ask(0, (Asker::Member(&lab), key(1)), &request(), lease(n));
    let granted = (0..20).filter(|n| ask(*n).is_ok()).count();
    assert_eq!(granted, GRANTED_PER_NODE_MAX);
    assert!(node.lab(0, 99).is_ok(), "another node still gets one");
    assert!(node.book.open(0, &spec(lease(0)), key(1)).is_ok());
    let again = node.ask(0, (Asker::Member(&lab), key(1)), &request(), lease(50));
    assert!(again.is_ok(), "an opened lease is no hoard");
}

#[test]
fn a_lease_is_opened_once_by_its_node_for_its_packages_and_in_time() {
    let mut node = Node::new(1);
    node.lab(0, 1).unwrap();
    let mut open = |now_ms, spec: &JobSpec, from| {
        node.book.open(now_ms, spec, from).map_err(|refusal| refusal.reason)
    };
    let right = spec(lease(1));
    assert_eq!(open(0, &right, key(2)), Err(Reason::Unknown), "another node");
    assert_eq!(open(0, &spec(lease(2)), key(1)), Err(Reason::Unknown), "another lease");
    let other_run = JobSpec { run: RunId(Hash::of(b"other")), ..right.clone() };
    assert_eq!(open(0, &other_run, key(1)), Err(Reason::Invalid));
    let fewer = JobSpec { stages: right.stages[..1].to_vec(), ..right.clone() };
    assert_eq!(open(0, &fewer, key(1)), Err(Reason::Invalid));
    let opened = open(OPEN_WITHIN_MS - 1, &right, key(1)).unwrap();
    assert_eq!(opened.until_ms, OPEN_WITHIN_MS - 1 + TOTAL_MS + OPEN_GRACE_MS);
    assert_eq!(open(OPEN_WITHIN_MS - 1, &right, key(1)), Err(Reason::Invalid), "twice");

    let mut late = Node::new(1);
    late.lab(0, 1).unwrap();
    let refusal = late.book.open(OPEN_WITHIN_MS, &right, key(1)).unwrap_err();
    assert_eq!(refusal.reason, Reason::Unknown);
    assert!(late.lab(OPEN_WITHIN_MS, 2).is_ok(), "the slot is free again");
}

#[test]
fn a_job_that_is_over_keeps_its_slot_until_the_caller_stops_it() {
    let mut node = Node::new(1);
    node.lab(0, 1).unwrap();
    assert_eq!(node.book.next_expiry_ms(), Some(OPEN_WITHIN_MS));
    let opened = node.book.open(5, &spec(lease(1)), key(1)).unwrap();
    assert_eq!(node.book.next_expiry_ms(), Some(opened.until_ms));
    assert_eq!(node.lab(opened.until_ms, 2), Err(Reason::Busy));
    assert!(node.book.expire(opened.until_ms - 1).is_empty());
    let expired = node.book.expire(opened.until_ms);
    assert!(matches!(expired.as_slice(), [one] if one.was_open && one.lease == lease(1)));
    assert!(node.lab(opened.until_ms, 2).is_ok());
}

#[derive(Clone, Debug)]
enum Command {
    Grant { own: bool, node: u64 },
    Open { lease: u64, node: u64 },
    Close { lease: u64 },
    Expire,
    Wait { ms: u64 },
    Lend { slots: Option<u32> },
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        6 => (any::<bool>(), 0..4_u64).prop_map(|(own, node)| Command::Grant { own, node }),
        6 => (0..40_u64, 0..4_u64).prop_map(|(lease, node)| Command::Open { lease, node }),
        2 => (0..40_u64).prop_map(|lease| Command::Close { lease }),
        1 => Just(Command::Expire),
        2 => prop_oneof![0..3_000_u64, Just(OPEN_WITHIN_MS), Just(TOTAL_MS + OPEN_GRACE_MS)]
            .prop_map(|ms| Command::Wait { ms }),
        1 => prop::option::of(0..4_u32).prop_map(|slots| Command::Lend { slots }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A model beside the book: which leases are out, to whom, until when, and which were ever opened.
    #[test]
    fn slots_are_never_oversold_and_no_lease_is_opened_twice(
        commands in prop::collection::vec(command(), 1..120),
    ) {
        struct Out { node: u64, own: bool, open: bool, until_ms: u64 }
        let mut node = Node::new(2);
        let (mut now_ms, mut next) = (0_u64, 0_u64);
        let mut out: BTreeMap<u64, Out> = BTreeMap::new();
        let mut ever_opened: Vec<u64> = Vec::new();
        let mut asked: BTreeMap<(bool, u64), u64> = BTreeMap::new();
        let lab = org("lab");
        for command in commands {
            let expected_slots = node.offer.as_ref().map_or(0, |offer| offer.slots as usize);
            match command {
                Command::Grant { own, node: from } => {
                    let asker = if own { Asker::ThisNode } else { Asker::Member(&lab) };
                    out.retain(|_, one| one.open || now_ms < one.until_ms);
                    let taken = out.values().filter(|one| one.own == own).count();
                    let waiting = out.values().filter(|one| one.node == from && !one.open).count();
                    let slots = match (own, expected_slots) {
                        (true, _) => OWN_SLOTS,
                        (false, several @ 2..) => several - 1,
                        (false, slots) => slots,
                    };
                    let granted = node.ask(now_ms, (asker, key(from)), &request(), lease(next));
                    let may = taken < slots && waiting < GRANTED_PER_NODE_MAX;
                    prop_assert!(may || granted.is_err());
                    // Nobody else waits, so there is no reason to refuse.
                    let is_alone = asked.iter().all(|(one, at)| {
                        *one == (own, from) || now_ms >= at + PLACE_MAX_MS
                    });
                    prop_assert!(granted.is_ok() || !may || !is_alone);
                    asked.insert((own, from), now_ms);
                    if granted.is_ok() {
                        asked.remove(&(own, from));
                    }
                    if granted.is_ok() {
                        let until_ms = now_ms + OPEN_WITHIN_MS;
                        out.insert(next, Out { node: from, own, open: false, until_ms });
                    }
                    next += 1;
                }
                Command::Open { lease: id, node: from } => {
                    out.retain(|_, one| one.open || now_ms < one.until_ms);
                    let opened = node.book.open(now_ms, &spec(lease(id)), key(from));
                    let may = out.get(&id).is_some_and(|one| one.node == from && !one.open);
                    prop_assert_eq!(opened.is_ok(), may);
                    if let Ok(opened) = opened {
                        prop_assert!(!ever_opened.contains(&id), "opened twice");
                        ever_opened.push(id);
                        let one = out.get_mut(&id).unwrap();
                        (one.open, one.until_ms) = (true, opened.until_ms);
                        prop_assert!(opened.until_ms > now_ms);
                    }
                }
                Command::Close { lease: id } => {
                    let known = out.remove(&id).is_some();
                    prop_assert_eq!(node.book.close(&lease(id)), known);
                }
                Command::Expire => {
                    let before = out.len();
                    out.retain(|_, one| now_ms < one.until_ms);
                    prop_assert_eq!(node.book.expire(now_ms).len(), before - out.len());
                }
                Command::Wait { ms } => now_ms += ms,
                Command::Lend { slots } => node.offer = slots.map(offer),
            }
            prop_assert_eq!(node.book.granted() + node.book.open_jobs(), out.len());
            prop_assert_eq!(node.book.open_jobs(), out.values().filter(|one| one.open).count());
            prop_assert_eq!(
                node.book.next_expiry_ms(), out.values().map(|one| one.until_ms).min()
            );
        }
        node.book.expire(u64::MAX);
        prop_assert_eq!(node.book.granted() + node.book.open_jobs(), 0, "expiry frees everything");
    }
}
