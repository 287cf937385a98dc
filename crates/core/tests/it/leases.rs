//! What a node promises to execute, and for whom.

use guildhall_core::{Effect, Event, ReplyId, Settings};
use guildhall_pipeline::lease::HOLD_MAX_MS;
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::{Hardware, LimitSet, NodeLimits};
use guildhall_protocol::wire::{
    JobInput, JobSpec, JobStage, Lease, OfferRequest, Reason, Request, Response,
};
use guildhall_protocol::{Hash, PackageId, RunId};

use crate::fixture::{connect_all, federation};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];

fn request(run: &str) -> OfferRequest {
    OfferRequest {
        run: RunId(Hash::of(run.as_bytes())),
        stages: vec![PackageId(Hash::of(b"package"))],
        engines: vec!["onnx".into()],
        memory_bytes: 1 << 20,
        hardware: Hardware::default(),
        isolation: 0,
        queue_ms: None,
        hold_ms: 0,
    }
}

fn spec(run: &str, lease: &Lease) -> JobSpec {
    let request = request(run);
    let stage = |package: &PackageId| JobStage {
        package: *package,
        engine: None,
        config: std::collections::BTreeMap::new(),
        listing: LimitSet::default(),
    };
    JobSpec {
        lease: lease.lease,
        run: request.run,
        nonce: Hash::of(b"nonce"),
        stages: request.stages.iter().map(stage).collect(),
        limits: LimitSet::default(),
        input: JobInput::Stream,
        holders: Vec::new(),
    }
}

/// alpha, with slots to lend or none --- bravo --- charlie
fn lender(slots: u32) -> World {
    let mut world = federation(1, &[ALL, ALL, ALL]);
    connect_all(&mut world);
    let mut settings = world.nodes[0].core.settings().clone();
    settings.offer = (slots > 0).then(|| HardwareOffer {
        slots,
        hardware: Hardware::default(),
        limits: NodeLimits::default(),
        orgs: Vec::new(),
        ..HardwareOffer::default()
    });
    world.nodes[0].core.set_settings(settings);
    world.describe(0);
    world.run_for(1_000);
    world
}

fn ask(world: &mut World, node: usize, run: &str) -> Result<Lease, Reason> {
    match world.ask(node, 0, &Request::Offer(Box::new(request(run)))).unwrap() {
        Response::Lease(lease) => Ok(lease),
        Response::Refused(refusal) => Err(refusal.reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_lends_nothing_refuses_and_runs_its_own_jobs() {
    let mut world = lender(0);
    assert_eq!(ask(&mut world, 1, "run"), Err(Reason::NotLent));
    let now_ms = world.now_ms;
    assert!(world.nodes[0].core.grant_own(now_ms, &request("own")).is_ok());
}

#[test]
fn what_is_lent_is_granted_until_every_slot_is_taken_and_again_when_one_is_free() {
    let mut world = lender(1);
    let told = world.nodes[1].core.nodes().filter(|(_, view)| view.body.offer.is_some()).count();
    assert_eq!(told, 1, "the offer is in the node's record");
    let lease = ask(&mut world, 1, "first").unwrap();
    assert_eq!(ask(&mut world, 2, "second"), Err(Reason::Busy));
    world.nodes[0].core.close_lease(&lease.lease);
    let second = ask(&mut world, 2, "second").unwrap();
    assert_ne!(second.lease, lease.lease);
    // A lease that nobody opens frees its slot by itself.
    world.run_for(second.open_within_ms + 1_000);
    assert!(ask(&mut world, 1, "third").is_ok());
}

#[test]
fn a_lease_is_opened_once_and_only_by_the_node_it_was_granted_to() {
    let mut world = lender(1);
    let lease = ask(&mut world, 1, "run").unwrap();
    let (bravo, charlie) = (world.nodes[1].key(), world.nodes[2].key());
    let now_ms = world.now_ms;
    let core = &mut world.nodes[0].core;
    let stolen = core.open_lease(now_ms, &spec("run", &lease), charlie).unwrap_err();
    assert_eq!(stolen.reason, Reason::Unknown);
    let swapped = core.open_lease(now_ms, &spec("another", &lease), bravo).unwrap_err();
    assert_eq!(swapped.reason, Reason::Invalid);
    let opened = core.open_lease(now_ms, &spec("run", &lease), bravo).unwrap();
    assert_eq!((opened.node, opened.is_own), (bravo, false));
    let again = core.open_lease(now_ms, &spec("run", &lease), bravo).unwrap_err();
    assert_eq!(again.reason, Reason::Invalid);
}

#[test]
fn an_org_that_is_not_on_the_lenders_list_is_refused() {
    let mut world = lender(2);
    let mut settings = world.nodes[0].core.settings().clone();
    if let Some(offer) = &mut settings.offer {
        offer.orgs = vec!["charlie".parse().unwrap()];
    }
    world.nodes[0].core.set_settings(settings);
    assert_eq!(ask(&mut world, 1, "run"), Err(Reason::NotLent));
    assert!(ask(&mut world, 2, "run").is_ok());
}

#[test]
fn a_missing_engine_is_said_and_an_open_job_that_never_ends_is_noted() {
    let mut world = lender(1);
    let lacking = OfferRequest { engines: vec!["wasm".into()], ..request("run") };
    let response = world.ask(1, 0, &Request::Offer(Box::new(lacking))).unwrap();
    assert!(matches!(response, Response::Refused(refusal) if refusal.reason == Reason::Unable));
    let lease = ask(&mut world, 1, "run").unwrap();
    let bravo = world.nodes[1].key();
    let now_ms = world.now_ms;
    let opened = world.nodes[0].core.open_lease(now_ms, &spec("run", &lease), bravo).unwrap();
    let effects = world.nodes[0].core.handle(opened.until_ms, Event::Tick);
    assert!(format!("{effects:?}").contains("taken for lost"));
    assert!(ask(&mut world, 2, "next").is_ok());
}

/// alpha lends one slot; bravo holds it, charlie waits.
#[test]
fn who_waits_is_told_when_to_ask_again_and_gets_the_slot_before_who_had_one() {
    let mut world = lender(1);
    let lease = ask(&mut world, 1, "first").unwrap();
    let refusal = match world.ask(2, 0, &Request::Offer(Box::new(request("second")))).unwrap() {
        Response::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal.reason, Reason::Busy);
    assert!(refusal.retry_after_ms.is_some() && refusal.detail.contains("place 1"), "{refusal:?}");
    world.nodes[0].core.close_lease(&lease.lease);
    assert_eq!(ask(&mut world, 1, "third"), Err(Reason::Busy), "it is charlie's turn");
    assert!(ask(&mut world, 2, "second").is_ok());
}

/// alpha lends one slot; bravo holds it, charlie waits and goes away.
#[test]
fn a_question_near_its_turn_is_held_if_its_asker_allows_it_and_asked_again_until_there_is_a_lease()
{
    let mut world = lender(1);
    let lease = ask(&mut world, 1, "first").unwrap();
    let (charlie, now_ms) = (world.nodes[2].key(), world.now_ms);
    let offer = OfferRequest { hold_ms: u64::MAX, ..request("second") };
    let core = &mut world.nodes[0].core;
    let event = |offer: &OfferRequest| {
        let request = Request::Offer(Box::new(offer.clone()));
        Event::Request { peer: charlie, reply: ReplyId(7), request }
    };
    let answered = core.handle(now_ms, event(&request("second")));
    assert!(matches!(answered.as_slice(), [Effect::Respond { .. }]), "{answered:?}");
    let held = core.handle(now_ms, event(&offer));
    let [Effect::HoldOffer { reply: ReplyId(7), peer, not_now, .. }] = held.as_slice() else {
        panic!("{held:?}");
    };
    assert_eq!(
        (*peer, not_now.hold_ms),
        (charlie, HOLD_MAX_MS),
        "for no longer than this node wants"
    );
    assert_eq!(core.grant_again(now_ms, charlie, &offer).unwrap_err().refusal.reason, Reason::Busy);
    core.close_lease(&lease.lease);
    let lease = core.grant_again(now_ms, charlie, &offer).unwrap();
    core.close_lease(&lease.lease);

    // Who may wait hears at once of what waiting does not change.
    let settings = core.settings().clone();
    core.set_settings(Settings { draining: true, ..settings });
    let drained = core.grant_again(now_ms, charlie, &offer).unwrap_err();
    assert_eq!((drained.refusal.reason, drained.hold_ms), (Reason::Draining, 0));
    drop(core.handle(now_ms, Event::Disconnected { peer: charlie }));
    let gone = core.grant_again(now_ms, charlie, &offer).unwrap_err();
    assert_eq!((gone.refusal.reason, gone.hold_ms), (Reason::NotAdmitted, 0));
}

#[test]
fn quotas_bind_other_orgs_and_outlive_a_restart() {
    let mut world = lender(1);
    let mut settings = world.nodes[0].core.settings().clone();
    settings.offer.as_mut().unwrap().quota_core_seconds_per_day = 10;
    world.nodes[0].core.set_settings(settings);
    let lease = ask(&mut world, 1, "first").unwrap();
    let now_ms = world.now_ms;
    let bravo = world.nodes[1].key();
    let core = &mut world.nodes[0].core;
    let opened = core.open_lease(now_ms, &spec("first", &lease), bravo).unwrap();
    assert!(core.count_use(now_ms, &opened.user, 11_000_000));
    core.close_lease(&lease.lease);
    let kept = core.usage();
    assert_eq!(ask(&mut world, 1, "second"), Err(Reason::Quota));
    let core = &mut world.nodes[0].core;
    let bravo = core.lent_to(now_ms).into_iter().next().unwrap();
    assert_eq!((bravo.org.as_str(), bravo.used_core_seconds), ("bravo", 11));
    assert_eq!(bravo.quota_core_seconds_per_day, Some(10));
    core.restore_usage(now_ms, guildhall_pipeline::lease::Usage::default());
    assert!(core.lent_to(now_ms).is_empty());
    core.restore_usage(now_ms, kept);
    assert_eq!(ask(&mut world, 1, "third"), Err(Reason::Quota));
    assert!(ask(&mut world, 2, "fourth").is_ok(), "each org has its own");
}

#[test]
fn a_draining_node_finishes_says_so_in_its_record_and_runs_its_own_jobs() {
    let mut world = lender(2);
    let lease = ask(&mut world, 1, "first").unwrap();
    let settings = world.nodes[0].core.settings().clone();
    world.nodes[0].core.set_settings(Settings { draining: true, ..settings.clone() });
    world.describe(0);
    world.run_for(1_000);
    let told = world.nodes[1].core.nodes().filter(|(_, view)| view.body.draining).count();
    assert_eq!(told, 1);
    assert_eq!(ask(&mut world, 2, "second"), Err(Reason::Draining));
    let now_ms = world.now_ms;
    let core = &mut world.nodes[0].core;
    assert!(core.grant_own(now_ms, &request("own")).is_ok());
    assert!(!core.is_drained());
    core.close_lease(&lease.lease);
    assert!(core.is_drained());
    core.set_settings(settings);
    assert!(ask(&mut world, 2, "third").is_ok());
}

#[test]
fn a_lease_tells_what_is_there_already_and_how_much_is_taken() {
    let mut world = lender(4);
    let first = world.nodes[1].core.identity().root;
    world.nodes[0].core.set_warm([(first, PackageId(Hash::of(b"package")))].into());
    let lease = ask(&mut world, 1, "first").unwrap();
    assert_eq!((lease.warm, lease.held, lease.load_percent), (1, 0, 25));
    let lease = ask(&mut world, 2, "second").unwrap();
    assert_eq!((lease.warm, lease.load_percent), (0, 50), "what is warm for others is not told");
}

#[test]
fn a_level_of_isolation_can_be_demanded() {
    let mut world = lender(1);
    let demanding = OfferRequest { isolation: 1, ..request("run") };
    let refused = world.ask(1, 0, &Request::Offer(Box::new(demanding.clone()))).unwrap();
    assert!(matches!(refused, Response::Refused(refusal) if refusal.reason == Reason::Unable
        && refusal.detail.contains("`limits` (1) is demanded")));
    let mut settings = world.nodes[0].core.settings().clone();
    settings.isolation.push("no-new-privs".to_owned());
    world.nodes[0].core.set_settings(settings);
    let granted = world.ask(1, 0, &Request::Offer(Box::new(demanding))).unwrap();
    assert!(matches!(granted, Response::Lease(_)));
}
