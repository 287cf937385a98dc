//! Whose turn it is: places in the queue, fairness among orgs, quotas, draining.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{org, package, secret};
use guildhall_pipeline::lease::{
    Asker, Book, KEPT_MS, Policy, RETRY_MAX_MS, RETRY_MS, Usage, User, WAITING_MAX,
    WAITING_PER_ORG_MAX,
};
use guildhall_protocol::body::{HardwareOffer, OrgQuota};
use guildhall_protocol::contract::{Hardware, LimitSet};
use guildhall_protocol::name::OrgName;
use guildhall_protocol::wire::{JobInput, JobSpec, JobStage, Lease, OfferRequest, Reason, Refusal};
use guildhall_protocol::{Hash, PublicKey, RunId};
use proptest::prelude::*;

const HOUR_MS: u64 = 3_600_000;

fn request(run: u64) -> OfferRequest {
    OfferRequest {
        run: RunId(Hash::of(&run.to_le_bytes())),
        stages: vec![package("a")],
        engines: Vec::new(),
        memory_bytes: 1 << 20,
        hardware: Hardware::default(),
        isolation: 0,
        queue_ms: None,
        hold_ms: 0,
    }
}

/// A node that lends, and what it granted.
struct Lender {
    book: Book,
    offer: HardwareOffer,
    next: u64,
    out: BTreeMap<Hash, OrgName>,
    users: BTreeMap<Hash, User>,
    queued_ms: BTreeMap<Hash, u64>,
    nodes: BTreeMap<String, PublicKey>,
}

impl Lender {
    fn new(slots: u32) -> Self {
        let offer = HardwareOffer { slots, ..HardwareOffer::default() };
        Self {
            book: Book::default(),
            offer,
            next: 0,
            out: BTreeMap::new(),
            users: BTreeMap::new(),
            queued_ms: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// The org's node asks; each of its leases counts as opened, so that it may hold several.
    fn ask(&mut self, now_ms: u64, name: &str, request: &OfferRequest) -> Result<Lease, Refusal> {
        let node = *self.nodes.entry(name.to_owned()).or_insert_with(|| secret(name).public());
        let (policy, asker) =
            (Policy { offer: Some(&self.offer), engines: &[], isolation: 0 }, org(name));
        self.next += 1;
        let lease = Hash::of(&self.next.to_le_bytes());
        let granted =
            self.book.grant(now_ms, request, policy, (Asker::Member(&asker), node), lease)?;
        let spec = JobSpec {
            lease,
            run: request.run,
            nonce: lease,
            stages: vec![JobStage {
                package: package("a"),
                engine: None,
                config: BTreeMap::new(),
                listing: LimitSet::default(),
            }],
            limits: LimitSet::default(),
            input: JobInput::Stream,
            holders: Vec::new(),
        };
        let opened = self.book.open(now_ms, &spec, node).unwrap();
        assert_eq!((&opened.user.org, opened.memory_bytes), (&Some(asker.clone()), 1 << 20));
        self.users.insert(lease, opened.user);
        self.queued_ms.insert(lease, opened.queued_ms);
        self.out.insert(lease, asker);
        Ok(granted)
    }

    fn busy(&mut self, now_ms: u64, name: &str, run: u64) -> u64 {
        let refusal = self.ask(now_ms, name, &request(run)).unwrap_err();
        assert_eq!(refusal.reason, Reason::Busy, "{}", refusal.detail);
        refusal.retry_after_ms.unwrap()
    }
}

#[test]
fn a_run_waits_as_long_as_its_limits_and_the_nodes_allow_and_it_is_counted() {
    let waits = |run, queue_ms| OfferRequest { queue_ms: Some(queue_ms), ..request(run) };
    let mut lender = Lender::new(1);
    lender.offer.limits.queue_ms = 1_000;
    let first = lender.ask(0, "lab", &waits(1, 0)).unwrap();
    assert_eq!(lender.queued_ms[&first.lease], 0);
    let refusal = lender.ask(5, "mercy", &waits(2, 0)).unwrap_err();
    assert_eq!((refusal.reason, refusal.retry_after_ms), (Reason::QueueTimeout, None));
    assert!(lender.book.standings(5).values().all(|one| one.waiting == 0), "it has no place");

    let refusal = lender.ask(10, "mercy", &waits(2, 300)).unwrap_err();
    assert_eq!((refusal.reason, refusal.retry_after_ms), (Reason::Busy, Some(RETRY_MS)));
    let refusal = lender.ask(260, "mercy", &waits(2, 300)).unwrap_err();
    assert_eq!(refusal.retry_after_ms, Some(50), "a last time");
    let refusal = lender.ask(310, "mercy", &waits(2, 300)).unwrap_err();
    assert_eq!(refusal.reason, Reason::QueueTimeout);
    assert!(refusal.detail.contains("waited 300 ms"), "{}", refusal.detail);

    // The node's own limit is smaller than what this one would wait.
    assert_eq!(lender.busy(400, "other", 3), RETRY_MS);
    assert_eq!(lender.ask(1_400, "other", &request(3)).unwrap_err().reason, Reason::QueueTimeout);

    assert_eq!(lender.busy(2_000, "late", 4), RETRY_MS);
    lender.book.close(&first.lease);
    let granted = lender.ask(2_250, "late", &request(4)).unwrap();
    assert_eq!(lender.queued_ms[&granted.lease], 250);
}

#[test]
fn a_turn_that_comes_after_the_time_to_wait_is_no_turn() {
    let mut lender = Lender::new(1);
    let first = lender.ask(0, "lab", &request(1)).unwrap();
    let waits = OfferRequest { queue_ms: Some(100), ..request(2) };
    assert_eq!(lender.ask(0, "mercy", &waits).unwrap_err().reason, Reason::Busy);
    lender.book.close(&first.lease);
    assert_eq!(lender.ask(101, "mercy", &waits).unwrap_err().reason, Reason::QueueTimeout);
    assert!(lender.ask(102, "mercy", &waits).is_ok(), "whoever comes anew waits anew");
}

#[test]
fn a_free_slot_goes_to_whoever_waits_longest_and_a_place_is_said_in_words() {
    let mut lender = Lender::new(1);
    let first = lender.ask(0, "lab", &request(1)).unwrap();
    let refusal = lender.ask(1, "mercy", &request(2)).unwrap_err();
    assert_eq!(refusal.detail, "all 1 slots are taken; place 1 of those who wait");
    assert_eq!(refusal.retry_after_ms, Some(RETRY_MS));
    assert_eq!(lender.busy(2, "other", 3), 2 * RETRY_MS);
    lender.book.close(&first.lease);
    // A slot is free, and it is mercy's turn.
    let refusal = lender.ask(3, "other", &request(3)).unwrap_err();
    assert!(refusal.detail.contains("kept for others"), "{}", refusal.detail);
    assert_eq!(lender.busy(3, "lab", 4), 3 * RETRY_MS);
    let second = lender.ask(4, "mercy", &request(2)).unwrap();
    lender.book.close(&second.lease);
    assert!(lender.ask(5, "other", &request(3)).is_ok());
}

#[test]
fn a_slot_is_not_kept_for_longer_than_said_and_who_comes_late_is_next() {
    let mut lender = Lender::new(1);
    let first = lender.ask(0, "lab", &request(1)).unwrap();
    // Far back in the queue, so that it is told to come late and keeps its place for long.
    for run in 0..20 {
        lender.busy(0, "flood", 100 + run);
    }
    lender.busy(0, "slow", 2);
    lender.busy(0, "keen", 3);
    lender.book.close(&first.lease);
    // It is the flood's turn first, and nobody of it comes; then slow's, which does not come either.
    let comes = |lender: &mut Lender, mut now_ms, name, run| {
        let since_ms = now_ms;
        loop {
            now_ms += 100;
            assert!(now_ms - since_ms <= 3 * KEPT_MS, "{name} waits since {since_ms}");
            if let Ok(lease) = lender.ask(now_ms, name, &request(run)) {
                return (now_ms, now_ms - since_ms, lease);
            }
        }
    };
    let (now_ms, waited_ms, granted) = comes(&mut lender, 0, "keen", 3);
    assert!(waited_ms >= KEPT_MS - 100, "the others had their turns: {waited_ms}");
    lender.busy(now_ms, "slow", 2);
    lender.book.close(&granted.lease);
    let (_, waited_ms, _) = comes(&mut lender, now_ms, "slow", 2);
    assert!(waited_ms <= KEPT_MS + 200, "the flood had one turn more: {waited_ms}");
}

#[test]
fn a_large_job_is_waited_for_and_small_ones_do_not_starve_it() {
    let mut lender = Lender::new(4);
    lender.offer.cores = 4;
    let small =
        |run| OfferRequest { hardware: Hardware { cores: 1, gpu_memory_bytes: 0 }, ..request(run) };
    let large = OfferRequest { hardware: Hardware { cores: 4, gpu_memory_bytes: 0 }, ..request(9) };
    let one = lender.ask(0, "lab", &small(1)).unwrap();
    let two = lender.ask(0, "mercy", &small(2)).unwrap();
    assert_eq!(lender.ask(1, "other", &large).unwrap_err().reason, Reason::Busy);
    // Two cores are free, but it is the large job's turn.
    assert_eq!(lender.busy(2, "lab", 3), 2 * RETRY_MS);
    lender.book.close(&one.lease);
    lender.book.close(&two.lease);
    assert!(lender.ask(3, "other", &large).is_ok());
    // And memory counts as cores do.
    let mut lender = Lender::new(4);
    lender.offer.memory_bytes = 3 << 20;
    let held: Vec<Lease> = (0..3).map(|run| lender.ask(0, "lab", &request(run)).unwrap()).collect();
    lender.busy(0, "mercy", 7);
    lender.book.close(&held[0].lease);
    assert!(lender.ask(0, "mercy", &request(7)).is_ok());
}

#[test]
fn places_are_bounded_and_the_org_with_the_most_gives_way() {
    let mut lender = Lender::new(1);
    lender.ask(0, "holder", &request(0)).unwrap();
    for run in 0..1_000 {
        let refusal = lender.ask(0, "flood", &request(run)).unwrap_err();
        let is_over = run >= WAITING_PER_ORG_MAX as u64;
        assert_eq!(refusal.detail.contains("too many wait"), is_over, "{run}: {}", refusal.detail);
        assert_eq!(refusal.retry_after_ms == Some(RETRY_MAX_MS) && is_over, is_over);
    }
    let orgs = WAITING_MAX / WAITING_PER_ORG_MAX;
    for of in 1..orgs {
        for run in 0..WAITING_PER_ORG_MAX as u64 {
            lender.busy(0, &format!("org-{of}"), run);
        }
    }
    let waiting = |lender: &Lender| {
        let standings = lender.book.standings(0);
        let sum: usize = standings.values().map(|one| one.waiting).sum();
        (sum, standings.get(&Some(org("late"))).map_or(0, |one| one.waiting))
    };
    assert_eq!(waiting(&lender), (WAITING_MAX, 0));
    let refusal = lender.ask(0, "late", &request(1)).unwrap_err();
    let place = format!("place {} ", orgs + 1);
    assert!(refusal.detail.contains(&place), "behind one of each org: {}", refusal.detail);
    assert_eq!(waiting(&lender), (WAITING_MAX, 1));
}

#[test]
fn an_org_that_used_up_its_quota_is_told_when_to_come_back() {
    let mut lender = Lender::new(2);
    lender.offer.quota_core_seconds_per_day = 10;
    let mercy = OrgQuota { org: org("mercy"), core_seconds_per_day: 0 };
    lender.offer.quotas = vec![mercy];
    let start_ms = 1_000 * HOUR_MS + 5;
    let seconds = |lease: &Lease, lender: &mut Lender, at_ms, seconds: u64| {
        // The lease may be closed by then.
        lender.book.close(&lease.lease);
        assert!(lender.book.used(at_ms, &lender.users[&lease.lease], seconds * 1_000_000));
    };
    let lease = lender.ask(start_ms, "lab", &request(1)).unwrap();
    seconds(&lease, &mut lender, start_ms, 6);
    let lease = lender.ask(start_ms + HOUR_MS, "lab", &request(2)).unwrap();
    seconds(&lease, &mut lender, start_ms + HOUR_MS, 5);
    let refusal = lender.ask(start_ms + HOUR_MS, "lab", &request(3)).unwrap_err();
    assert_eq!(refusal.reason, Reason::Quota);
    assert_eq!(
        refusal.detail,
        "lab used 11 of the 10 core-seconds that it may use of this node within 24 hours"
    );
    // What it used first counts until 24 hours after that hour began.
    assert_eq!(refusal.retry_after_ms, Some(23 * HOUR_MS - 5));
    let freed_ms = start_ms + HOUR_MS + refusal.retry_after_ms.unwrap();
    assert!(lender.ask(freed_ms - 1, "lab", &request(3)).is_err());
    assert!(lender.ask(freed_ms, "lab", &request(3)).is_ok());
    // Whoever has a quota of its own is not bound by the general one.
    let lease = lender.ask(start_ms, "mercy", &request(4)).unwrap();
    seconds(&lease, &mut lender, start_ms, 1_000);
    assert!(lender.ask(start_ms, "mercy", &request(5)).is_ok());
}

#[test]
fn use_counts_by_cores_survives_being_kept_and_is_forgotten_after_a_day() {
    let mut lender = Lender::new(2);
    let four = OfferRequest { hardware: Hardware { cores: 4, gpu_memory_bytes: 0 }, ..request(1) };
    let now_ms = 500 * HOUR_MS;
    let lease = lender.ask(now_ms, "lab", &four).unwrap();
    assert!(lender.book.used(now_ms, &lender.users[&lease.lease], 3_000_000));
    assert!(!lender.book.used(now_ms, &User { org: None, cores: 1 }, 1));
    let used = |book: &Book, at_ms| {
        book.standings(at_ms).get(&Some(org("lab"))).map_or(0, |standing| standing.used_us)
    };
    assert_eq!(used(&lender.book, now_ms), 12_000_000);
    let mut next = Book::default();
    next.restore(now_ms + HOUR_MS, lender.book.usage().clone());
    assert_eq!(used(&next, now_ms + HOUR_MS), 12_000_000);
    assert_eq!(used(&next, now_ms + 24 * HOUR_MS), 0);
    // A clock that was ahead: what it counted then is of the present hour.
    let mut back = Book::default();
    back.restore(now_ms - 100 * HOUR_MS, lender.book.usage().clone());
    assert_eq!(used(&back, now_ms - 100 * HOUR_MS), 12_000_000);
    assert_eq!(used(&back, now_ms - 76 * HOUR_MS), 0);
    assert_eq!(Book::default().usage(), &Usage::default());
}

#[test]
fn a_draining_node_takes_nothing_more_and_says_when_nothing_is_left() {
    let mut lender = Lender::new(2);
    let lease = lender.ask(0, "lab", &request(1)).unwrap();
    lender.book.drain(true);
    assert_eq!(lender.ask(1, "lab", &request(2)).unwrap_err().reason, Reason::Draining);
    assert!(!lender.book.drained());
    lender.book.close(&lease.lease);
    assert!(lender.book.drained());
    lender.book.drain(false);
    assert!(!lender.book.drained());
    assert!(lender.ask(2, "lab", &request(2)).is_ok());
}

/// An org that runs one run after the other and asks again when it is told to.
#[derive(Debug)]
struct Keen {
    name: String,
    run: u64,
    ask_at_ms: u64,
    /// Grants to others since it asked for this run first.
    passed_over: Option<usize>,
    /// When it asked for this run first.
    since_ms: u64,
    served: usize,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Some orgs run one run after the other, one asks for a thousand whenever it may; jobs take their time. Who asks
    /// all the time is passed over by as many grants as there are other orgs and slots at most; who asks when it is told
    /// to waits for no longer than each of those would take.
    #[test]
    fn every_org_that_keeps_asking_is_served_soon_however_many_ask(
        (slots, orgs, flood, job_ms, seed, is_polite) in
            (1..6_u32, 1..6_usize, any::<bool>(), 1..2_000_u64, any::<u64>(), any::<bool>()),
    ) {
        let mut lender = Lender::new(slots);
        let mut random = seed | 1;
        let mut draw = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut keen: Vec<Keen> = (0..orgs)
            .map(|of| Keen {
                name: format!("org-{of}"), run: 0, ask_at_ms: draw(500), passed_over: None, since_ms: 0,
                served: 0,
            })
            .collect();
        let mut ends: BTreeSet<(u64, Hash)> = BTreeSet::new();
        let mut flood_runs: BTreeMap<u64, u64> = if flood { (0..1_000).map(|run| (run, 0)).collect() } else { BTreeMap::new() };
        // Before each of them stand at most one job of every other org, and the jobs that were running.
        let most = orgs + usize::from(flood) + slots as usize;
        let mut now_ms = 0;
        while now_ms < 30_000 {
            now_ms += 50;
            while let Some((at_ms, lease)) = ends.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
                ends.remove(&(at_ms, lease));
                lender.book.close(&lease);
                lender.out.remove(&lease);
            }
            let mut granted: Vec<String> = Vec::new();
            // At most twenty a round: the flood has no turn to lose.
            let due: Vec<u64> = flood_runs.iter().filter(|(_, at)| **at <= now_ms).map(|(run, _)| *run).take(20).collect();
            for run in due {
                match lender.ask(now_ms, "flood", &request(run)) {
                    Ok(lease) => {
                        ends.insert((now_ms + 1 + draw(job_ms), lease.lease));
                        granted.push("flood".into());
                        flood_runs.remove(&run);
                        flood_runs.insert(now_ms + 10_000 + run, now_ms);
                    }
                    Err(refusal) => {
                        flood_runs.insert(run, now_ms + refusal.retry_after_ms.unwrap());
                    }
                }
            }
            for one in keen.iter_mut().filter(|one| one.ask_at_ms <= now_ms) {
                if one.passed_over.is_none() {
                    (one.passed_over, one.since_ms) = (Some(0), now_ms);
                }
                match lender.ask(now_ms, &one.name, &request(one.run)) {
                    Ok(lease) => {
                        let end_ms = now_ms + 1 + draw(job_ms);
                        ends.insert((end_ms, lease.lease));
                        granted.push(one.name.clone());
                        (one.run, one.ask_at_ms, one.served) = (one.run + 1, end_ms + draw(50), one.served + 1);
                        one.passed_over = None;
                    }
                    Err(refusal) if is_polite => {
                        one.ask_at_ms = now_ms + refusal.retry_after_ms.unwrap() + draw(100);
                    }
                    Err(_) => {}
                }
            }
            for one in &mut keen {
                if let Some(passed_over) = &mut one.passed_over {
                    *passed_over += granted.iter().filter(|name| **name != one.name).count();
                    prop_assert!(is_polite || *passed_over <= most, "{one:?} of {most}");
                    let waits_ms = now_ms - one.since_ms;
                    let each_ms = job_ms + KEPT_MS;
                    prop_assert!(waits_ms <= most as u64 * each_ms, "{one:?} waits {waits_ms} ms");
                }
            }
            prop_assert!(lender.out.len() <= slots as usize);
            if slots > 1 {
                let of_flood = lender.out.values().filter(|name| name.as_str() == "flood").count();
                prop_assert!(of_flood < slots as usize);
            }
        }
        for one in &keen {
            prop_assert!(one.served > 0, "{one:?}");
        }
    }
}
