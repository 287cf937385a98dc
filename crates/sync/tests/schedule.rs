//! Pulls: never two for one log, none without hope, and in the end everybody has everything.

mod common;

use std::collections::BTreeSet;

use common::{author, authors};
use guildhall_protocol::PublicKey;
use guildhall_protocol::wire::LogHead;
use guildhall_sync::{Logs, PULLS_PER_PEER_MAX, Pull, Schedule};
use proptest::prelude::*;

fn peer(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn head(author: PublicKey, len: u64) -> LogHead {
    LogHead { author, len }
}

#[test]
fn one_log_is_pulled_from_one_peer_at_a_time() {
    let a = authors()[0].key;
    let logs = Logs::default();
    let mut schedule = Schedule::default();
    schedule.handle_heads(peer(1), None, &[head(a, 5)], &logs);
    schedule.handle_heads(peer(2), None, &[head(a, 9)], &logs);
    assert!(!schedule.is_idle(&logs));
    assert_eq!(schedule.poll_pulls(&logs), [Pull { peer: peer(1), author: a, from_seq: 0 }]);
    assert_eq!(schedule.poll_pulls(&logs), [], "one is under way");
    assert!(!schedule.is_idle(&logs));
    // The first peer brought nothing: the other one is asked, then nobody until somebody says more.
    schedule.handle_pulled(peer(1), a, false);
    assert_eq!(schedule.poll_pulls(&logs), [Pull { peer: peer(2), author: a, from_seq: 0 }]);
    schedule.handle_pulled(peer(2), a, false);
    assert_eq!(schedule.poll_pulls(&logs), []);
    assert!(schedule.is_idle(&logs));
    schedule.handle_heads(peer(1), None, &[head(a, 5)], &logs);
    assert_eq!(schedule.poll_pulls(&logs).len(), 1, "new heads are a new chance");
    schedule.handle_pulled(peer(1), a, false);
    schedule.handle_glimpse(peer(2), a, 3);
    let again = schedule.poll_pulls(&logs);
    assert_eq!(again, [Pull { peer: peer(2), author: a, from_seq: 0 }], "and so is a record");
}

#[test]
fn the_answer_of_one_peer_does_not_end_the_pull_at_another() {
    let a = authors()[0].key;
    let logs = Logs::default();
    let mut schedule = Schedule::default();
    schedule.handle_heads(peer(1), None, &[head(a, 5)], &logs);
    schedule.poll_pulls(&logs);
    schedule.handle_heads(peer(2), None, &[head(a, 5)], &logs);
    schedule.handle_pulled(peer(2), a, true);
    assert_eq!(schedule.poll_pulls(&logs), []);
    schedule.handle_gone(&peer(1));
    assert_eq!(schedule.poll_pulls(&logs), [Pull { peer: peer(2), author: a, from_seq: 0 }]);
}

#[test]
fn a_peer_has_a_few_pulls_at_a_time() {
    let logs = Logs::default();
    let mut schedule = Schedule::default();
    let heads: Vec<LogHead> = (10..30).map(|number| head(peer(number), 1)).collect();
    schedule.handle_heads(peer(1), None, &heads, &logs);
    let mut done = 0;
    loop {
        let pulls = schedule.poll_pulls(&logs);
        if pulls.is_empty() {
            break;
        }
        assert!(pulls.len() <= PULLS_PER_PEER_MAX);
        done += pulls.len();
        assert!(done <= 20, "a pull without hope is not repeated");
        pulls.iter().for_each(|pull| schedule.handle_pulled(pull.peer, pull.author, false));
    }
    assert_eq!(done, 20, "and each gets its turn");
}

#[test]
fn a_forked_log_is_not_pulled() {
    let (ours, theirs) = (author(1, 3, None), author(1, 3, Some(1)));
    let mut logs = Logs::default();
    logs.offer(&ours.records[0]);
    logs.offer(&ours.records[1]);
    logs.offer(&theirs.records[1]);
    let mut schedule = Schedule::default();
    schedule.handle_heads(peer(1), None, &[head(ours.key, 3)], &logs);
    assert_eq!(schedule.poll_pulls(&logs), []);
    assert!(schedule.is_idle(&logs));
}

#[test]
fn only_logs_that_are_longer_at_a_peer_are_remembered_and_only_until_they_are_here() {
    let mut logs = Logs::default();
    for author in authors() {
        author.records[..5].iter().for_each(|record| drop(logs.offer(record)));
    }
    let heads = |lens: [u64; 3]| -> Vec<LogHead> {
        authors().iter().zip(lens).map(|(author, len)| head(author.key, len)).collect()
    };
    let mut schedule = Schedule::default();
    schedule.handle_heads(peer(1), None, &heads([5, 4, 1]), &logs);
    assert_eq!(schedule.wanted_from(&peer(1)), 0);
    schedule.handle_heads(peer(1), None, &heads([5, 6, 7]), &logs);
    assert_eq!(schedule.wanted_from(&peer(1)), 2);
    // Gossip is faster.
    authors()[2].records[5..7].iter().for_each(|record| drop(logs.offer(record)));
    assert_eq!(schedule.poll_pulls(&logs).len(), 1);
    assert_eq!(schedule.wanted_from(&peer(1)), 1);
    logs.offer(&authors()[1].records[5]);
    schedule.handle_pulled(peer(1), authors()[1].key, true);
    assert_eq!(schedule.poll_pulls(&logs), []);
    assert_eq!(schedule.wanted_from(&peer(1)), 0);
}

#[test]
fn what_a_peer_may_have_us_remember_is_bounded() {
    let logs = Logs::default();
    let mut schedule = Schedule::default();
    let key = |number: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        PublicKey::from_bytes(bytes)
    };
    let page = |from: u32| (from..from + 8_192).map(|at| head(key(at), 1)).collect::<Vec<_>>();
    schedule.handle_heads(peer(1), None, &page(0), &logs);
    for from in 1..5 {
        schedule.handle_heads(peer(1), Some(key(from * 8_192 - 1)), &page(from * 8_192), &logs);
    }
    schedule.handle_glimpse(peer(1), key(1 << 30), 9);
    assert_eq!(schedule.wanted_from(&peer(1)), 16_384);
    schedule.handle_glimpse(peer(1), key(3), 9);
    assert_eq!(schedule.wanted_from(&peer(1)), 16_384);
}

#[test]
fn a_page_of_heads_adds_to_its_comparison_and_a_new_comparison_replaces_it() {
    let logs = Logs::default();
    let mut schedule = Schedule::default();
    let heads: Vec<LogHead> = (10..30).map(|number| head(peer(number), 1)).collect();
    schedule.handle_heads(peer(1), None, &heads[..10], &logs);
    schedule.handle_heads(peer(1), Some(heads[9].author), &heads[10..], &logs);
    assert_eq!(schedule.wanted_from(&peer(1)), 20);
    schedule.handle_heads(peer(1), None, &heads[..3], &logs);
    assert_eq!(schedule.wanted_from(&peer(1)), 3);
}

/// One node of the simulation.
struct Node {
    key: PublicKey,
    logs: Logs,
    schedule: Schedule,
    under_way: Vec<Pull>,
}

impl Node {
    fn poll(&mut self) {
        self.under_way.extend(self.schedule.poll_pulls(&self.logs));
        let logs: BTreeSet<PublicKey> = self.under_way.iter().map(|pull| pull.author).collect();
        assert_eq!(logs.len(), self.under_way.len(), "never two pulls for one log");
        for of in self.under_way.iter().map(|pull| pull.peer) {
            let at_peer = self.under_way.iter().filter(|pull| pull.peer == of).count();
            assert!(at_peer <= PULLS_PER_PEER_MAX);
        }
    }

    fn hears_heads(&mut self, from: PublicKey, heads: &[LogHead]) {
        self.schedule.handle_heads(from, None, heads, &self.logs);
        self.poll();
    }

    /// Ends a pull with the next `page` records that the other node has; with none if the page was lost.
    fn ends(&mut self, pull: Pull, len_there: u64, page: u64) {
        self.under_way.retain(|other| *other != pull);
        let author = authors().iter().find(|author| author.key == pull.author).expect("known");
        let before = self.logs.len_of(&pull.author);
        let end = len_there.min(pull.from_seq + page);
        (pull.from_seq..end).for_each(|seq| drop(self.logs.offer(&author.records[seq as usize])));
        let progressed = self.logs.len_of(&pull.author) > before;
        self.schedule.handle_pulled(pull.peer, pull.author, progressed);
        self.poll();
    }
}

fn exchange(nodes: &mut [Node], choices: &[(prop::sample::Index, u64)]) {
    let keys: Vec<PublicKey> = nodes.iter().map(|node| node.key).collect();
    let tell_all = |nodes: &mut [Node]| {
        for from in 0..nodes.len() {
            let heads = nodes[from].logs.heads();
            (0..nodes.len()).filter(|to| *to != from).for_each(|to| {
                nodes[to].hears_heads(keys[from], &heads);
            });
        }
    };
    let step = |nodes: &mut [Node], choice: usize, page: u64| {
        let open: Vec<(usize, Pull)> = nodes
            .iter()
            .enumerate()
            .flat_map(|(at, node)| node.under_way.iter().map(move |pull| (at, *pull)))
            .collect();
        let Some((at, pull)) = open.get(choice % open.len().max(1)) else { return false };
        let other = keys.iter().position(|key| *key == pull.peer).expect("a node");
        let len_there = nodes[other].logs.len_of(&pull.author);
        nodes[*at].ends(*pull, len_there, page);
        true
    };
    tell_all(nodes);
    // A while of pages in any order, some of them lost.
    for (choice, page) in choices {
        step(nodes, choice.index(1000), *page);
    }
    // Then nothing is lost any more; every round of heads lets the nodes catch up.
    for _ in 0..=nodes.len() {
        tell_all(nodes);
        let mut steps = 0;
        while step(nodes, 0, 4) {
            steps += 1;
            assert!(steps < 1000, "pulls come to an end");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nodes_that_exchange_logs_end_with_the_same_ones(
        starts in proptest::collection::vec([0_usize..=20, 0..=20, 0..=20], 2..4),
        choices in proptest::collection::vec((any::<prop::sample::Index>(), 0_u64..6), 0..60),
    ) {
        let mut nodes: Vec<Node> = (1..)
            .zip(&starts)
            .map(|(number, lens)| {
                let mut logs = Logs::default();
                for (author, len) in authors().iter().zip(lens) {
                    author.records[..*len].iter().for_each(|record| drop(logs.offer(record)));
                }
                Node { key: peer(number), logs, schedule: Schedule::default(), under_way: Vec::new() }
            })
            .collect();
        exchange(&mut nodes, &choices);
        for (at, author) in authors().iter().enumerate() {
            let longest = starts.iter().map(|lens| lens[at]).max().unwrap_or_default() as u64;
            for node in &nodes {
                prop_assert_eq!(node.logs.len_of(&author.key), longest);
                prop_assert!(node.schedule.is_idle(&node.logs));
            }
        }
    }
}
