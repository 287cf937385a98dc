//! How stale a node is, who disagrees with it, and where the clocks of others stand: in virtual time.

use guildhall_core::{Event, GossipId, REFUSE_AFTER_MS, STALE_AFTER_MS};
use guildhall_protocol::PackageId;
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::{Hardware, NodeLimits};
use guildhall_protocol::wire::{OfferRequest, Reason, Refusal, Request, Response};
use guildhall_protocol::{Hash, RunId};

use crate::fixture::{
    ORGS, START_MS, add_alone, another_node, connect_all, federation, founding, logs_of, publish,
    settings,
};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];
const HOUR_MS: u64 = 60 * 60 * 1_000;
const TEN_YEARS_MS: u64 = 10 * 365 * 24 * HOUR_MS;

fn package(name: &str) -> PackageId {
    PackageId(Hash::of(name.as_bytes()))
}

/// Lets a node live through time in which nothing reaches it, but for the last seconds without ticks.
fn pass(world: &mut World, node: usize, ms: u64) {
    world.drive(node, Event::Missed { ms: ms - 5_000 });
    world.run_for(5_000);
}

fn is_stale(world: &World, node: usize) -> Option<bool> {
    world.nodes[node].core.stale().map(|stale| stale.refuses)
}

fn asks_for_a_slot(world: &mut World, from: usize, stage: &str) -> Result<(), Refusal> {
    let request = OfferRequest {
        run: RunId(Hash::of(stage.as_bytes())),
        stages: vec![package(stage)],
        engines: vec!["onnx".into()],
        memory_bytes: 1 << 20,
        hardware: Hardware::default(),
        isolation: 0,
        queue_ms: None,
        hold_ms: 0,
    };
    match world.ask(from, 0, &Request::Offer(Box::new(request))).unwrap() {
        Response::Lease(_) => Ok(()),
        Response::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// ```text
///   alpha's two nodes, the first of which lends --- bravo and charlie
/// ```
fn lender() -> World {
    let mut world = federation(1, &[ALL, ALL, ALL]);
    let records: Vec<_> = world.nodes[0].store.values().cloned().collect();
    world.add((another_node("alpha", 2), settings("alpha", ALL)), founding(ORGS[0]), records);
    let mut lends = world.nodes[0].core.settings().clone();
    lends.offer = Some(HardwareOffer {
        slots: 8,
        hardware: Hardware::default(),
        limits: NodeLimits::default(),
        orgs: Vec::new(),
        ..HardwareOffer::default()
    });
    world.nodes[0].core.set_settings(lends);
    world.describe(0);
    connect_all(&mut world);
    publish(&mut world, 0, "ours", "vision/image-classification");
    publish(&mut world, 1, "theirs", "vision/image-classification");
    world.run_for(30_000);
    world
}

#[test]
fn after_a_day_of_silence_a_node_is_stale_and_after_a_week_it_executes_its_own_code_only() {
    let mut world = lender();
    assert!(asks_for_a_slot(&mut world, 3, "theirs").is_ok());
    for others in [1, 2] {
        world.cut(0, others);
        world.cut(3, others);
    }
    // What was compared last took a tick or two.
    pass(&mut world, 0, STALE_AFTER_MS - 20_000);
    assert_eq!(is_stale(&world, 0), None);
    world.run_for(40_000);
    assert_eq!(is_stale(&world, 0), Some(false), "though the org's own other node is heard");
    assert!(world.nodes[0].core.heard_s().unwrap() < 60);
    assert!(asks_for_a_slot(&mut world, 3, "theirs").is_ok());

    pass(&mut world, 0, REFUSE_AFTER_MS - STALE_AFTER_MS - 40_000);
    assert_eq!(is_stale(&world, 0), Some(false));
    world.run_for(40_000);
    assert_eq!(is_stale(&world, 0), Some(true));
    let refusal = asks_for_a_slot(&mut world, 3, "theirs").unwrap_err();
    assert_eq!(refusal.reason, Reason::Unable);
    assert!(refusal.detail.contains("for 7 days"), "{}", refusal.detail);
    assert!(asks_for_a_slot(&mut world, 3, "ours").is_ok());
    let core = &world.nodes[0].core;
    assert!(core.check_fresh(&[package("ours")]).is_ok());
    assert!(core.check_fresh(&[package("ours"), package("theirs")]).is_err());
    assert!(core.check_fresh(&[package("nobody's")]).is_err());

    world.mend(0, 2);
    world.run_for(3_000);
    assert_eq!(is_stale(&world, 0), None);
    assert!(asks_for_a_slot(&mut world, 3, "theirs").is_ok());
}

#[test]
fn a_lease_that_was_granted_in_time_is_not_opened_once_the_node_is_too_stale() {
    let mut world = lender();
    let request = OfferRequest {
        run: RunId(Hash::of(b"run")),
        stages: vec![package("theirs")],
        engines: vec!["onnx".into()],
        memory_bytes: 1 << 20,
        hardware: Hardware::default(),
        isolation: 0,
        queue_ms: None,
        hold_ms: 0,
    };
    let offer = Request::Offer(Box::new(request.clone()));
    let Ok(Response::Lease(lease)) = world.ask(1, 0, &offer) else { panic!("no lease") };
    world.drive(0, Event::Missed { ms: REFUSE_AFTER_MS });
    let spec = guildhall_protocol::wire::JobSpec {
        lease: lease.lease,
        run: request.run,
        nonce: Hash::of(b"nonce"),
        stages: vec![guildhall_protocol::wire::JobStage {
            package: package("theirs"),
            engine: None,
            config: Default::default(),
            listing: Default::default(),
        }],
        limits: Default::default(),
        input: guildhall_protocol::wire::JobInput::Stream,
        holders: Vec::new(),
    };
    let (now_ms, from) = (world.now_ms, world.nodes[1].key());
    let refusal = world.nodes[0].core.open_lease(now_ms, &spec, from).unwrap_err();
    assert!(refusal.detail.contains("for 7 days"), "{}", refusal.detail);
}

#[test]
fn no_clock_that_is_set_makes_a_node_stale_or_fresh() {
    let mut world = lender();
    (1..4).for_each(|other| world.cut(0, other));
    let core = &mut world.nodes[0].core;
    let jumps = [
        START_MS + TEN_YEARS_MS,
        START_MS - TEN_YEARS_MS,
        START_MS + 10 * 60_000,
        START_MS - 10 * 60_000,
        START_MS + HOUR_MS,
        START_MS - HOUR_MS,
        0,
        u64::MAX,
    ];
    for now_ms in jumps {
        let _effects = core.handle(now_ms, Event::Tick);
        assert_eq!(core.stale(), None, "at {now_ms}");
    }
    let _effects = core.handle(START_MS, Event::Missed { ms: REFUSE_AFTER_MS });
    for now_ms in jumps {
        let _effects = core.handle(now_ms, Event::Tick);
        let stale = core.stale().unwrap_or_else(|| panic!("fresh at {now_ms}"));
        assert!(stale.refuses);
        // To within the ticks.
        assert!(stale.heard_s.abs_diff(REFUSE_AFTER_MS / 1_000) < 60, "{stale:?} at {now_ms}");
    }
}

#[test]
fn a_day_of_ticks_is_a_day_and_the_tick_that_ends_the_week_refuses() {
    let mut world = lender();
    (1..4).for_each(|other| world.cut(0, other));
    let core = &mut world.nodes[0].core;
    core.restore_silence(0);
    for tick in 1..=REFUSE_AFTER_MS / 1_000 {
        // The wall's clock stands still.
        let _effects = core.handle(START_MS, Event::Tick);
        let refuses = core.stale().map(|stale| stale.refuses);
        let is_stale = tick >= STALE_AFTER_MS / 1_000;
        assert_eq!(refuses, is_stale.then_some(tick == REFUSE_AFTER_MS / 1_000), "tick {tick}");
        assert_eq!(core.check_fresh(&[package("theirs")]).is_err(), refuses == Some(true));
    }
}

#[test]
fn an_org_alone_is_never_stale_and_waits_for_others_from_when_they_come() {
    let mut world = World::new(3);
    let alone = add_alone(&mut world, "alpha", ALL);
    pass(&mut world, alone, 30 * STALE_AFTER_MS);
    assert_eq!(is_stale(&world, alone), None);
    assert_eq!(world.nodes[alone].core.silence_ms(), 0, "nobody is silent");
    assert!(world.nodes[alone].core.check_fresh(&[package("anybody's")]).is_ok());
    let joins = add_alone(&mut world, "bravo", ALL);
    let invite = world.invite(alone, HOUR_MS);
    world.join(joins, alone, &invite).unwrap();
    world.run_for(10_000);
    world.cut(alone, joins);
    for node in [alone, joins] {
        pass(&mut world, node, HOUR_MS);
        assert_eq!(is_stale(&world, node), None, "node {node}");
        pass(&mut world, node, STALE_AFTER_MS);
        assert_eq!(is_stale(&world, node), Some(false), "node {node}");
    }
}

#[test]
fn a_silence_that_began_before_the_start_goes_on_until_another_org_is_heard() {
    let mut world = federation(4, &[ALL, ALL]);
    world.cut(0, 1);
    world.nodes[0].core.restore_silence(REFUSE_AFTER_MS - 3_000);
    assert_eq!(is_stale(&world, 0), Some(false));
    world.run_for(3_500);
    assert_eq!(is_stale(&world, 0), Some(true), "nothing was heard meanwhile");
    world.mend(0, 1);
    world.run_for(3_000);
    assert_eq!(is_stale(&world, 0), None);
    assert!(world.nodes[0].core.silence_ms() < 10_000);
}

/// alpha --- bravo, which has `logs` further logs and lets nobody have them.
fn stingy(logs: u32) -> World {
    let mut world = federation(5, &[ALL, ALL]);
    let records = logs_of("bravo", logs);
    world.give(1, &records);
    world.nodes[1].tamper = Some(Box::new(|request, response| match request {
        Request::Pull { .. } => Response::Refused(Refusal::new(Reason::Unable, "no")),
        _ => response,
    }));
    connect_all(&mut world);
    world
}

#[test]
fn who_disagrees_is_known_and_since_when_and_what_is_missing_until_it_is_here() {
    // Compared in pages at first, and in cells where there are more logs.
    for (already, logs) in [(0, 3), (30, 4)] {
        let mut world = stingy(logs);
        let common = logs_of("alpha", already);
        (0..2).for_each(|node| world.give(node, &common));
        world.run_for(60_000);
        let count = u64::from(logs);
        let core = &world.nodes[0].core;
        let held = core.logs().records();
        let disagreeing = core.disagreeing();
        assert_eq!(disagreeing.len(), 1, "{already} {disagreeing:?}");
        assert_eq!(disagreeing[0].org.as_str(), "bravo");
        assert_eq!((disagreeing[0].missing_here, disagreeing[0].missing_there), (count, 0));
        assert!((40_000..=66_000).contains(&disagreeing[0].since_ms), "{disagreeing:?}");
        let there = world.nodes[1].core.disagreeing();
        assert_eq!((there[0].missing_here, there[0].missing_there), (0, count));

        // A pull that brings nothing is forgotten until the next comparison names it again.
        let knows = |world: &World| world.nodes[0].core.records_known() == held + count;
        assert!(world.converge(20_000, knows), "{}", world.nodes[0].core.records_known());
        world.nodes[1].tamper = None;
        let agree = |world: &World| world.nodes.iter().all(|it| it.core.disagreeing().is_empty());
        assert!(world.converge(60_000, agree), "{already}");
        let core = &world.nodes[0].core;
        assert_eq!((core.logs().records(), core.records_known()), (held + count, held + count));
    }
}

#[test]
fn a_clock_that_stands_wrong_is_seen_by_what_others_say() {
    let mut world = federation(6, &[ALL, ALL, ALL]);
    assert_eq!(world.nodes[0].core.clock_view(START_MS), None, "nobody said anything yet");
    connect_all(&mut world);
    world.run_for(600_000);
    let view = |ahead_ms: i64| {
        let now_ms = world.now_ms.checked_add_signed(ahead_ms).unwrap();
        let view = world.nodes[0].core.clock_view(now_ms).unwrap();
        assert_eq!(view.orgs, 2);
        view.off_ms
    };
    let hour_ms = HOUR_MS.cast_signed();
    assert!(view(0).abs() < 2_500, "{}", view(0));
    assert!((view(hour_ms) + hour_ms).abs() < 2_500, "{}", view(hour_ms));
    assert!((view(-hour_ms) - hour_ms).abs() < 2_500, "{}", view(-hour_ms));
}

#[test]
fn what_is_dropped_is_counted() {
    let mut world = federation(7, &[ALL, ALL]);
    connect_all(&mut world);
    assert!(world.nodes[0].core.dropped().is_empty());
    let from = world.nodes[1].key();
    for number in 0..3 {
        let bytes = b"no record".to_vec();
        let event = Event::Gossip { from, message: GossipId(number), bytes };
        let _effects = world.nodes[0].core.handle(START_MS, event);
    }
    let dropped = world.nodes[0].core.dropped();
    assert_eq!((dropped.len(), dropped[0].count), (1, 3));
    assert!(world.nodes[0].core.queued().iter().all(|one| one.count <= one.bound));
}
