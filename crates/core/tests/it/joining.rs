//! How orgs come into a federation, and how they are refused.

use guildhall_core::Event;
use guildhall_protocol::wire::Invite;

use crate::fixture::{
    DAY_MS, add_alone, assert_restart_changes_nothing, founding, identity, listed, members,
    publish, settings,
};
use guildhall_sim::World;

const ALL: &[&str] = &["*"];

// alpha <--invite-- bravo
#[test]
fn two_nodes_become_a_federation_by_one_invite() {
    let mut world = World::new(1);
    let (a, b) = (add_alone(&mut world, "alpha", ALL), add_alone(&mut world, "bravo", ALL));
    let invite = world.invite(a, DAY_MS);
    world.join(b, a, &invite).unwrap();
    world.run_for(5_000);
    for node in [a, b] {
        assert_eq!(members(&world, node), ["alpha", "bravo"]);
        assert_eq!(world.nodes[node].core.nodes().count(), 2, "each described itself to the other");
        assert_eq!(world.nodes[node].core.peers_admitted(), 1);
        assert_restart_changes_nothing(&world, node);
    }
}

// alpha <--invite-- bravo <--invite-- charlie, and no link from charlie to alpha
#[test]
fn an_org_that_joins_by_a_member_that_is_not_the_founder_sees_everybody() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let [a, b, c] = ["alpha", "bravo", "charlie"].map(|org| add_alone(&mut world, org, ALL));
        world.cut(a, c);
        let invite = world.invite(a, DAY_MS);
        world.join(b, a, &invite).unwrap();
        let joined = world.converge(5_000, |world| members(world, b).len() == 2);
        assert!(joined, "seed {seed}");
        let invite = world.invite(b, DAY_MS);
        world.join(c, b, &invite).unwrap();
        let quickly = world
            .converge(5_000, |world| [a, b, c].iter().all(|node| members(world, *node).len() == 3));
        assert!(quickly, "seed {seed}");
        world.run_for(5_000);
        let key = world.nodes[b].key();
        let authority = world.nodes[c].core.authority(&key).unwrap();
        assert_eq!(authority.org.as_str(), "bravo", "not the founder, whom the invite names");
        assert_eq!(authority.root, identity("bravo").root);
        assert_restart_changes_nothing(&world, c);
    }
}

// alpha <--invite-- bravo, who listed something before
#[test]
fn what_an_org_listed_before_it_joined_is_listed_in_the_federation() {
    let mut world = World::new(2);
    let (a, b) = (add_alone(&mut world, "alpha", ALL), add_alone(&mut world, "bravo", ALL));
    publish(&mut world, b, "digits", "vision/ocr");
    let invite = world.invite(a, DAY_MS);
    world.join(b, a, &invite).unwrap();
    assert!(world.converge(5_000, |world| !listed(&world.nodes[a].core, "vision").is_empty()));
    world.run_for(2_000);
    assert_eq!(listed(&world.nodes[a].core, "vision"), ["bravo/digits@1.0.0"]);
    assert_eq!(listed(&world.nodes[b].core, "vision"), ["bravo/digits@1.0.0"]);
    assert_restart_changes_nothing(&world, a);
}

// alpha <--invite-- bravo, charlie with the same one
#[test]
fn a_used_expired_foreign_or_unknown_invite_is_refused_with_words() {
    let mut world = World::new(3);
    let a = add_alone(&mut world, "alpha", ALL);
    let [b, c, d] = ["bravo", "charlie", "delta"].map(|org| add_alone(&mut world, org, ALL));
    let invite = world.invite(a, DAY_MS);
    world.join(b, a, &invite).unwrap();

    let refusal = world.join(c, a, &invite).unwrap_err();
    assert!(refusal.contains("already used by `bravo`"), "{refusal}");

    let late = world.invite(a, 60_000);
    world.run_for(60_000);
    let refusal = world.join(c, a, &late).unwrap_err();
    assert!(refusal.contains("expired"), "{refusal}");

    let foreign = world.invite(d, DAY_MS);
    let refusal = world.join(c, a, &foreign).unwrap_err();
    assert!(refusal.contains("no valid acceptance"), "{refusal}");

    let good = world.invite(a, DAY_MS);
    let unknown = Invite { admission: late.admission, ..good.clone() };
    let refusal = world.join(c, a, &unknown).unwrap_err();
    assert!(refusal.contains("expired") || refusal.contains("unknown"), "{refusal}");

    assert_eq!(members(&world, a), ["alpha", "bravo"]);
    // All that came to nothing stands in its log, and does not keep it from joining in the end.
    world.join(c, a, &good).unwrap();
    world.run_for(5_000);
    assert_eq!(members(&world, c), ["alpha", "bravo", "charlie"]);
}

#[test]
fn a_name_that_a_member_has_is_refused() {
    let mut world = World::new(4);
    let a = add_alone(&mut world, "alpha", ALL);
    let mut other = identity("bravo");
    other.org = "alpha".parse().unwrap();
    let b = world.add((other, settings("bravo", ALL)), founding("bravo"), []);
    let invite = world.invite(a, DAY_MS);
    let refusal = world.join(b, a, &invite).unwrap_err();
    assert!(refusal.contains("the name `alpha` is taken"), "{refusal}");
}

#[test]
fn joining_twice_by_one_invite_gives_the_same_answer() {
    let mut world = World::new(5);
    let (a, b) = (add_alone(&mut world, "alpha", ALL), add_alone(&mut world, "bravo", ALL));
    let invite = world.invite(a, DAY_MS);
    world.connect(a, b);
    // The first answer is lost together with the connection.
    let acceptance = world.nodes[b].core.acceptance(&invite);
    world.write_as_node(b, &acceptance);
    let own = world.nodes[b].key();
    let log = world.nodes[b].store.range((own, 0)..).map(|(_, record)| record.bytes().to_vec());
    let records = log.map(serde_bytes::ByteBuf::from).collect();
    let request = guildhall_protocol::wire::Request::Join { records };
    world.ask(b, a, &request).unwrap();
    world.disconnect(a, b);
    world.join(b, a, &invite).unwrap();
    world.run_for(5_000);
    assert_eq!(members(&world, a), members(&world, b));
}

// alpha <--invite-- bravo <--invite-- charlie, who stops before anything came
#[test]
fn a_node_that_stops_between_joining_and_its_first_pull_catches_up_when_it_meets_a_member() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let [a, b, c] = ["alpha", "bravo", "charlie"].map(|org| add_alone(&mut world, org, ALL));
        world.cut(a, c);
        let invite = world.invite(a, DAY_MS);
        world.join(b, a, &invite).unwrap();
        assert!(world.converge(5_000, |world| members(world, b).len() == 2));
        let invite = world.invite(b, DAY_MS);
        world.join(c, b, &invite).unwrap();
        world.restart(c, |_| {});
        assert_eq!(members(&world, c), ["alpha"], "it has the founding and its own log");
        world.connect(b, c);
        let done = world.converge(10_000, |world| members(world, c).len() == 3);
        assert!(done, "seed {seed}: {:?}", world.nodes[c].notes);
        world.run_for(5_000);
        assert_eq!(world.nodes[c].core.peers_admitted(), 1);
    }
}

#[test]
fn a_member_takes_no_records_from_a_node_whose_org_it_does_not_know() {
    let mut world = crate::fixture::federation(6, &[ALL, ALL]);
    let stranger =
        world.add((identity("mallory"), settings("mallory", ALL)), founding("alpha"), []);
    let records = world.nodes[0].core.logs().records();
    world.connect(0, stranger);
    world.run_for(30_000);
    assert_eq!(world.nodes[0].core.logs().records(), records);
    assert!(world.nodes[0].core.authority(&world.nodes[stranger].key()).is_none());
    assert!(!world.is_linked(0, stranger), "who is never admitted is cut off");
}

// alpha --- bravo   |   xray joins at alpha, yankee tries at bravo, with one invite of alpha's
#[test]
fn an_invite_used_on_both_sides_of_a_partition_brings_one_org_in() {
    for seed in 0..10 {
        let mut world = crate::fixture::federation(seed, &[ALL, ALL]);
        crate::fixture::connect_all(&mut world);
        let [x, y] = ["xray", "yankee"].map(|org| add_alone(&mut world, org, ALL));
        let invite = world.invite(0, DAY_MS);
        world.run_for(2_000);
        for (a, b) in [(0, 1), (0, y), (1, x), (x, y)] {
            world.cut(a, b);
        }
        world.join(x, 0, &invite).unwrap();
        let refusal = world.join(y, 1, &invite).unwrap_err();
        assert!(refusal.contains("another node"), "{refusal}");
        publish(&mut world, x, "of-xray", "vision/ocr");
        world.run_for(2_000);
        world.heal();
        let agreed = world.converge(60_000, |world| {
            [0, 1, x].iter().all(|node| {
                members(world, *node) == ["alpha", "bravo", "xray"]
                    && listed(&world.nodes[*node].core, "vision") == ["xray/of-xray@1.0.0"]
            })
        });
        assert!(agreed, "seed {seed}");
        let key = world.nodes[y].key();
        for node in [0, 1] {
            assert!(world.nodes[node].core.authority(&key).is_none(), "seed {seed}");
            assert_restart_changes_nothing(&world, node);
        }
    }
}

#[test]
fn a_log_of_somebody_else_does_not_let_a_node_join() {
    let mut world = World::new(7);
    let (a, b) = (add_alone(&mut world, "alpha", ALL), add_alone(&mut world, "bravo", ALL));
    let thief = add_alone(&mut world, "mallory", ALL);
    let invite = world.invite(a, DAY_MS);
    let acceptance = world.nodes[b].core.acceptance(&invite);
    world.write_as_node(b, &acceptance);
    let own = world.nodes[b].key();
    let log = world.nodes[b].store.range((own, 0)..).map(|(_, record)| record.bytes().to_vec());
    let records = log.map(serde_bytes::ByteBuf::from).collect();
    let peer = world.nodes[thief].key();
    let request = guildhall_protocol::wire::Request::Join { records };
    let reply = guildhall_core::ReplyId(0);
    let now_ms = world.now_ms;
    let effects = world.nodes[a].core.handle(now_ms, Event::Request { peer, reply, request });
    assert!(format!("{effects:?}").contains("not the log of the node that sent them"));
    assert_eq!(members(&world, a), ["alpha"]);
}
