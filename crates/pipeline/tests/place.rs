//! Where a plan may run, in which order, and what is said of the nodes that cannot.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should panic")]

mod common;

use common::{contract, org, secret, stage};
use guildhall_pipeline::{Candidate, PlaceError, Plan, StageInfo, place, plan};
use guildhall_protocol::api::Placement;
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::{Contract, Hardware, NodeLimits};
use guildhall_protocol::interface::PortType;

/// Two stages, `wasm` and `onnx`, 64 MiB, no GPU.
fn a_plan() -> Plan {
    let first = stage("prepare", PortType::Text, PortType::Text);
    let second = stage("score", PortType::Text, PortType::Text);
    let engine = Some("onnx".to_owned());
    plan(&[first, StageInfo { engine, contract: Some(contract(64 << 20)), ..second }]).unwrap()
}

#[test]
fn a_plan_needs_the_engines_of_its_stages_models_too() {
    let asking = stage("ask", PortType::Text, PortType::Text);
    let further_engines = vec!["onnxruntime".to_owned()];
    let plan = plan(&[StageInfo { further_engines, ..asking }]).unwrap();
    assert_eq!(plan.engines, ["onnxruntime", "wasm"]);
    let placed = |engines: &[&str]| {
        let engines = engines.iter().map(|engine| (*engine).to_owned()).collect();
        let candidate = Candidate { engines, ..node("a", "mine") };
        place(&plan, &org("mine"), &Placement::Auto, 2, &[candidate]).is_ok()
    };
    assert!(placed(&["onnx", "onnxruntime", "wasm"]));
    assert!(!placed(&["onnx", "wasm"]) && !placed(&["onnxruntime"]));
}

fn offer() -> HardwareOffer {
    HardwareOffer {
        slots: 2,
        hardware: Hardware::default(),
        limits: NodeLimits::default(),
        orgs: Vec::new(),
        ..HardwareOffer::default()
    }
}

/// A connected node that lends to everybody and has every engine. Its key follows from its name.
fn node(name: &str, of: &str) -> Candidate {
    Candidate {
        node: secret(name).public(),
        peer_id: format!("12D3Koo-{name}"),
        org: org(of),
        is_self: false,
        is_producer_org: false,
        offer: Some(offer()),
        engines: vec!["onnx".into(), "wasm".into()],
        isolation: 2,
        draining: false,
        connected: true,
        warm: None,
        load_percent: None,
        holds: None,
        rtt_us: None,
    }
}

/// The requester's own node, lending nothing.
fn this_node() -> Candidate {
    Candidate { is_self: true, offer: None, connected: false, ..node("this", "mine") }
}

/// The names of the nodes in the order in which they are tried.
fn tried(placement: &Placement, candidates: &[Candidate]) -> Result<Vec<String>, PlaceError> {
    let placed = place(&a_plan(), &org("mine"), placement, 2, candidates)?;
    let name = |placed: &guildhall_pipeline::Placed| {
        let found = candidates.iter().find(|candidate| candidate.node == placed.node).unwrap();
        found.peer_id.trim_start_matches("12D3Koo-").to_owned()
    };
    Ok(placed.iter().map(name).collect())
}

#[test]
fn nodes_are_tried_in_the_stated_order() {
    let lending = Candidate { offer: Some(offer()), ..this_node() };
    let sibling = node("sibling", "mine");
    let (near, far) = (
        Candidate { rtt_us: Some(1_000), ..node("near", "lab") },
        Candidate { rtt_us: Some(90_000), ..node("far", "lab") },
    );
    let holder = Candidate { holds: Some(2), ..node("holder", "mercy") };
    let producer = Candidate { is_producer_org: true, holds: Some(2), ..node("producer", "maker") };
    let own_producer = Candidate { is_producer_org: true, ..sibling.clone() };
    let auto = Placement::Auto;
    let cases: Vec<(&str, Placement, Vec<Candidate>, &[&str])> = vec![
        (
            "this node first when it lends",
            auto.clone(),
            vec![holder.clone(), sibling.clone(), lending],
            &["this", "sibling", "holder"],
        ),
        (
            "this node last when it lends nothing",
            auto.clone(),
            vec![this_node(), holder.clone(), sibling],
            &["sibling", "holder", "this"],
        ),
        (
            "held packages before distance, an unknown distance last",
            auto.clone(),
            vec![node("unknown", "lab"), far.clone(), near.clone(), holder.clone()],
            &["holder", "near", "far", "unknown"],
        ),
        (
            "warm workers before held packages, little load before distance",
            auto.clone(),
            vec![
                holder.clone(),
                Candidate { load_percent: Some(90), ..near.clone() },
                Candidate { load_percent: Some(10), ..far.clone() },
                Candidate { warm: Some(1), ..node("warm", "lab") },
            ],
            &["warm", "holder", "far", "near"],
        ),
        (
            "loads that differ little do not outweigh distance",
            auto.clone(),
            vec![
                Candidate { load_percent: Some(70), ..near.clone() },
                Candidate { load_percent: Some(55), ..far.clone() },
            ],
            &["near", "far"],
        ),
        (
            "never the producer's org by itself",
            auto.clone(),
            vec![producer.clone(), far.clone()],
            &["far"],
        ),
        ("the producer's own node of one's own org", auto, vec![own_producer], &["sibling"]),
        (
            "the producer when named",
            Placement::Org(org("maker")),
            vec![producer.clone()],
            &["producer"],
        ),
        (
            "the producer's node when named",
            Placement::Node("12D3Koo-producer".into()),
            vec![producer, far.clone()],
            &["producer"],
        ),
        (
            "local means this node, though it lends nothing",
            Placement::Local,
            vec![holder.clone(), this_node()],
            &["this"],
        ),
        (
            "one's own org includes this node",
            Placement::Org(org("mine")),
            vec![holder, this_node()],
            &["this"],
        ),
        (
            "an org's nodes only",
            Placement::Org(org("lab")),
            vec![this_node(), far, near],
            &["near", "far"],
        ),
    ];
    for (what, placement, mut candidates, expected) in cases {
        assert_eq!(tried(&placement, &candidates).unwrap(), expected, "{what}");
        candidates.reverse();
        assert_eq!(tried(&placement, &candidates).unwrap(), expected, "{what}, reversed");
    }
}

#[test]
fn every_obstacle_is_told_in_words() {
    let with_offer = |change: fn(&mut HardwareOffer)| {
        let mut offer = offer();
        change(&mut offer);
        Candidate { offer: Some(offer), ..node("one", "lab") }
    };
    let cases: Vec<(Placement, Candidate, &str)> = vec![
        (
            Placement::Auto,
            Candidate { connected: false, ..node("one", "lab") },
            "lab (12D3Koo-one): it is not connected",
        ),
        (
            Placement::Auto,
            Candidate { offer: None, ..node("one", "lab") },
            "lab (12D3Koo-one): it lends no hardware",
        ),
        (Placement::Auto, with_offer(|o| o.slots = 0), "lab (12D3Koo-one): it lends no hardware"),
        (
            Placement::Auto,
            with_offer(|o| o.orgs = vec![org("mercy")]),
            "lab (12D3Koo-one): it does not lend to mine",
        ),
        (
            Placement::Auto,
            Candidate { draining: true, ..node("one", "lab") },
            "lab (12D3Koo-one): it finishes what it has and takes no more for now",
        ),
        (
            Placement::Auto,
            Candidate { isolation: 1, ..node("one", "lab") },
            "lab (12D3Koo-one): its workers are shut in at level `limits` (1), `filtered` (2) is \
             demanded",
        ),
        (
            Placement::Local,
            Candidate { isolation: 0, draining: true, ..this_node() },
            "mine (12D3Koo-this): its workers are shut in at level `none` (0), `filtered` (2) is \
             demanded",
        ),
        (
            Placement::Auto,
            with_offer(|o| o.engines = vec!["wasm".into()]),
            "lab (12D3Koo-one): it has no engine `onnx`",
        ),
        (
            Placement::Auto,
            Candidate { engines: vec!["onnx".into()], ..node("one", "lab") },
            "lab (12D3Koo-one): it has no engine `wasm`",
        ),
        (
            Placement::Local,
            Candidate { engines: Vec::new(), ..this_node() },
            "mine (12D3Koo-this): it has no engine `onnx`, `wasm`",
        ),
        (
            Placement::Auto,
            with_offer(|o| o.limits.memory_bytes = 1000),
            "lab (12D3Koo-one): 67108864 bytes of memory are needed, it lends 1000",
        ),
        (
            Placement::Auto,
            Candidate { is_producer_org: true, ..node("one", "lab") },
            "lab (12D3Koo-one): its org produced a package of this run, so it gets the input only \
             when it is named",
        ),
    ];
    for (placement, candidate, expected) in cases {
        let error = tried(&placement, &[candidate]).unwrap_err().to_string();
        assert_eq!(error, format!("no node can execute this: {expected}"));
    }
}

#[test]
fn a_gpu_must_be_lent_and_cores_count_when_they_are_named() {
    let needs = |hardware| {
        let contract = Some(Contract { hardware, ..contract(1) });
        plan(&[StageInfo { contract, ..stage("a", PortType::Text, PortType::Text) }]).unwrap()
    };
    let lends = |cores, gpu_memory_bytes| Candidate {
        offer: Some(HardwareOffer { hardware: Hardware { cores, gpu_memory_bytes }, ..offer() }),
        ..node("one", "lab")
    };
    for (needed, lent, expected) in [
        ((0, 0), (0, 0), true),
        ((4, 0), (4, 0), true),
        ((4, 0), (2, 0), false),
        ((4, 0), (0, 0), true),
        ((0, 8), (0, 0), false),
        ((0, 8), (0, 7), false),
        ((0, 8), (0, 8), true),
    ] {
        let plan = needs(Hardware { cores: needed.0, gpu_memory_bytes: needed.1 });
        let placed = place(&plan, &org("mine"), &Placement::Auto, 0, &[lends(lent.0, lent.1)]);
        assert_eq!(placed.is_ok(), expected, "{needed:?} on {lent:?}");
    }
}

#[test]
fn who_is_not_there_is_said_too() {
    let nobody = tried(&Placement::Auto, &[]).unwrap_err();
    assert_eq!(nobody, PlaceError::NoNode);
    let unknown = tried(&Placement::Org(org("mercy")), &[this_node()]).unwrap_err();
    assert_eq!(unknown.to_string(), "no node of that name is known: mercy");
    let many: Vec<_> =
        (0..20).map(|n| Candidate { connected: false, ..node(&format!("n{n}"), "lab") }).collect();
    let error = tried(&Placement::Auto, &many).unwrap_err().to_string();
    assert_eq!(error.matches("not connected").count(), 8);
    assert!(error.ends_with("; and 12 more"), "{error}");
}

#[test]
fn a_place_says_why_it_was_chosen() {
    let holder = Candidate { holds: Some(2), rtt_us: Some(1_250), ..node("holder", "lab") };
    let lending = Candidate { holds: Some(0), offer: Some(offer()), ..this_node() };
    let warm = Candidate { warm: Some(1), load_percent: Some(40), ..node("warm", "mercy") };
    let candidates = [holder, lending, warm];
    let placed = place(&a_plan(), &org("mine"), &Placement::Auto, 0, &candidates).unwrap();
    let why: Vec<_> = placed.iter().map(|placed| placed.why.as_str()).collect();
    assert_eq!(
        why,
        [
            "this node, which lends its hardware; holds 0 of 2 packages",
            "a node of mercy, which lends its hardware; 1 warm; 40 % taken",
            "a node of lab, which lends its hardware; holds 2 of 2 packages; 1.2 ms away",
        ]
    );
}
