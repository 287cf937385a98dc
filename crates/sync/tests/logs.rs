//! Logs under random sequences of records: whatever comes in whatever order, a log is whole or it has stopped.

mod common;

use std::collections::BTreeMap;

use common::{Author, author, authors};
use guildhall_protocol::record::Record;
use guildhall_sync::{
    Fork, Logs, Offered, WAITING_MAX, WAITING_MAX_BYTES, WAITING_PER_LOG_MAX, Waiting,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// What a log must look like: which records were offered, and whether any of them had a body.
#[derive(Default)]
struct Model {
    with_body: BTreeMap<u64, bool>,
}

impl Model {
    fn len(&self) -> u64 {
        (0..).take_while(|seq| self.with_body.contains_key(seq)).count() as u64
    }

    fn without_body(&self) -> Vec<u64> {
        (0..self.len()).filter(|seq| !self.with_body[seq]).collect()
    }
}

fn check_invariants(logs: &Logs, models: &[Model]) {
    let mut heads = Vec::new();
    for (Author { key, records, .. }, model) in authors().iter().zip(models) {
        let len = model.len();
        assert_eq!(logs.len_of(key), len);
        assert_eq!(logs.fork_of(key), None, "an honest log has no fork");
        assert_eq!(logs.without_body(key), model.without_body());
        for (seq, record) in (0..len).zip(records) {
            assert_eq!(logs.id_at(key, seq), Some(record.id()));
        }
        assert_eq!(logs.id_at(key, len), None);
        let next = logs.next_position(key);
        assert_eq!(
            (next.seq, next.prev),
            (len, len.checked_sub(1).map(|at| records[at as usize].id()))
        );
        heads.extend((len > 0).then_some((*key, len)));
    }
    heads.sort();
    assert_eq!(logs.records(), heads.iter().map(|(_, len)| len).sum::<u64>());
    assert_eq!(logs.heads().iter().map(|head| (head.author, head.len)).collect::<Vec<_>>(), heads);
}

/// One offered record: whose, which, and whether its body was left out on the way.
fn offers() -> impl Strategy<Value = Vec<(Index, Index, bool)>> {
    proptest::collection::vec((any::<Index>(), any::<Index>(), any::<bool>()), 0..150)
}

fn offer(logs: &mut Logs, model: &mut Model, record: &Record, erased: bool) {
    let (seq, before) = (record.header().seq, model.len());
    let known = model.with_body.get(&seq).copied();
    let offered = logs.offer(&if erased { record.without_body() } else { record.clone() });
    if before > 0 || seq == 0 {
        *model.with_body.entry(seq).or_default() |= !erased;
    }
    match offered {
        Offered::Appended(appended) => {
            assert_eq!(seq, before);
            let seqs: Vec<u64> = appended.iter().map(|record| record.header().seq).collect();
            assert_eq!(seqs, (before..model.len()).collect::<Vec<_>>());
            for record in appended {
                assert_eq!(record.body().is_some(), model.with_body[&record.header().seq]);
            }
        }
        Offered::Filled => assert!(seq < before && known == Some(false) && !erased),
        Offered::Known => assert!(seq < before && (known == Some(true) || erased)),
        Offered::Waiting { from_seq } => assert!(from_seq == before && seq > before),
        Offered::Forked(fork) => panic!("{fork:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_is_whole_after_every_record(offers in offers()) {
        let mut logs = Logs::default();
        let mut models: Vec<Model> = authors().iter().map(|_| Model::default()).collect();
        for (whose, which, erased) in offers {
            let whose = whose.index(models.len());
            let records = &authors()[whose].records;
            offer(&mut logs, &mut models[whose], &records[which.index(records.len())], erased);
            check_invariants(&logs, &models);
        }
    }

    #[test]
    fn the_order_of_records_decides_nothing(
        order in Just((0..authors().len() * 40).collect::<Vec<usize>>()).prop_shuffle(),
        hollow in proptest::collection::vec(any::<bool>(), authors().len() * 40),
    ) {
        // Every record comes with its body; some come without it as well, before or after.
        let mut logs = Logs::default();
        // The first of each log first: what comes before it is not kept.
        let (first, rest): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|at| at % 40 == 0);
        for at in first.into_iter().chain(rest) {
            let record = &authors()[at / 40].records[(at % 40) / 2];
            let bodyless = at % 2 == 1;
            if !bodyless || hollow[at] {
                logs.offer(&if bodyless { record.without_body() } else { record.clone() });
            }
        }
        let mut expected = Logs::default();
        for author in authors() {
            author.records.iter().for_each(|record| drop(expected.offer(record)));
        }
        prop_assert_eq!(logs.waiting(), Waiting::default());
        prop_assert_eq!(logs, expected);
    }

    /// T11: both sides of a fork, in any order and with gaps: it is found, and the log takes nothing more.
    #[test]
    fn t11_a_fork_is_found_in_whatever_order_its_sides_come(
        at in 0_u64..8,
        order in Just((0..26).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let ours = author(1, 13, None);
        let theirs = author(1, 13, Some(at));
        let mut logs = Logs::default();
        let mut stopped: Option<(Fork, u64)> = None;
        // Twice: what came before the first record was not kept.
        for pick in order.iter().chain(&order).copied() {
            let side = if pick < 13 { &ours } else { &theirs };
            let offered = logs.offer(&side.records[pick % 13]);
            let len = logs.len_of(&ours.key);
            if let Some((fork, len_then)) = stopped {
                prop_assert_eq!(offered, Offered::Forked(fork));
                prop_assert_eq!(len, len_then);
            }
            stopped = logs.fork_of(&ours.key).map(|fork| (fork, stopped.map_or(len, |(_, len)| len)));
            let chain: Vec<_> = (0..len).map(|seq| logs.id_at(&ours.key, seq)).collect();
            let of = |author: &Author| author.records.iter().map(|r| Some(r.id())).take(chain.len()).collect::<Vec<_>>();
            prop_assert!(chain == of(&ours) || chain == of(&theirs), "a log never mixes two sides");
        }
        let (fork, len) = stopped.expect("both sides were here");
        prop_assert!(fork.seq >= at && fork.ours != fork.theirs, "{fork:?}");
        let next = ours.records[len as usize % 13].clone();
        prop_assert_eq!(logs.offer(&next), Offered::Forked(fork));
        prop_assert_eq!(logs.fork_of(&authors()[2].key), None);
    }
}

#[test]
fn a_fork_names_its_position_and_both_records() {
    let (ours, theirs) = (author(1, 4, None), author(1, 4, Some(2)));
    let mut logs = Logs::default();
    ours.records.iter().for_each(|record| drop(logs.offer(record)));
    let offered = logs.offer(&theirs.records[2]);
    let fork = Fork { seq: 2, ours: ours.records[2].id(), theirs: theirs.records[2].id() };
    assert_eq!(offered, Offered::Forked(fork));
    assert_eq!(logs.len_of(&ours.key), 4, "what was taken in stays");
}

/// One record of the other side is enough, if it waits behind the place where the sides part.
#[test]
fn t11_a_record_that_waited_for_another_predecessor_shows_the_fork() {
    let (ours, theirs) = (author(1, 4, None), author(1, 4, Some(1)));
    let mut logs = Logs::default();
    logs.offer(&ours.records[0]);
    assert_eq!(logs.offer(&theirs.records[2]), Offered::Waiting { from_seq: 1 });
    assert!(matches!(logs.offer(&ours.records[1]), Offered::Appended(_)));
    let fork = Fork { seq: 1, ours: ours.records[1].id(), theirs: theirs.records[1].id() };
    assert_eq!(logs.fork_of(&ours.key), Some(fork));
    assert_eq!(logs.offer(&ours.records[2]), Offered::Forked(fork));
}

#[test]
fn t11_two_records_that_wait_at_one_position_are_a_fork() {
    let (ours, theirs) = (author(1, 4, None), author(1, 4, Some(1)));
    let mut logs = Logs::default();
    logs.offer(&ours.records[0]);
    assert_eq!(logs.offer(&ours.records[2]), Offered::Waiting { from_seq: 1 });
    let fork = Fork { seq: 2, ours: ours.records[2].id(), theirs: theirs.records[2].id() };
    assert_eq!(logs.offer(&theirs.records[2]), Offered::Forked(fork));
    assert_eq!(logs.offer(&ours.records[1]), Offered::Forked(fork));
    assert_eq!(logs.len_of(&ours.key), 1);
    assert_eq!(logs.waiting(), Waiting::default(), "a log that stopped keeps nothing waiting");
}

#[test]
fn records_that_wait_are_bounded() {
    let long = author(3, WAITING_PER_LOG_MAX as u64 + 40, None);
    let mut logs = Logs::default();
    logs.offer(&long.records[0]);
    for record in &long.records[2..] {
        assert_eq!(logs.offer(record), Offered::Waiting { from_seq: 1 });
    }
    assert_eq!(logs.waiting().records, WAITING_PER_LOG_MAX);
    let Offered::Appended(mut appended) = logs.offer(&long.records[1]) else { panic!("the next") };
    assert_eq!(appended.len(), 1 + WAITING_PER_LOG_MAX);
    assert_eq!(logs.waiting(), Waiting::default());
    appended.push(long.records[0].clone());
    // What was dropped is pulled again.
    for record in &long.records[appended.len()..] {
        assert!(matches!(logs.offer(record), Offered::Appended(_)));
    }
    assert_eq!(logs.len_of(&long.key), long.records.len() as u64);
}

#[test]
fn a_record_in_front_of_a_log_that_is_not_here_makes_no_log_and_is_not_kept() {
    let mut logs = Logs::default();
    for author in authors() {
        assert_eq!(logs.offer(&author.records[5]), Offered::Waiting { from_seq: 0 });
    }
    assert_eq!(logs, Logs::default());
}

/// A log by a fresh key, as anybody can make any number of them: its first record, and others in front of a gap.
fn fresh(number: u64, len_bytes: usize, early: u64) -> Vec<Record> {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let filler = vec![7; len_bytes];
    let seqs = std::iter::once(0).chain(2..2 + early);
    seqs.map(|seq| common::record_at(&seed, seq, &filler)).collect()
}

#[test]
fn records_that_wait_in_many_logs_are_bounded_in_bytes() {
    let mut logs = Logs::default();
    let mut offered_bytes = 0;
    for number in 0..100 {
        for record in fresh(number, 59 * 1024, 4) {
            offered_bytes += record.bytes().len();
            logs.offer(&record);
            assert!(logs.waiting().len_bytes <= WAITING_MAX_BYTES);
        }
    }
    assert!(offered_bytes > WAITING_MAX_BYTES + 1_000_000);
    assert!(logs.waiting().len_bytes > WAITING_MAX_BYTES - 64 * 1024, "it is used up");
    let before = logs.waiting();
    let log = fresh(1_000, 59 * 1024, 1);
    logs.offer(&log[0]);
    assert_eq!(logs.offer(&log[1]), Offered::Waiting { from_seq: 1 }, "the pull brings it");
    assert_eq!(logs.waiting(), before);
}

#[test]
fn records_that_wait_in_many_logs_are_bounded_in_number() {
    let mut logs = Logs::default();
    for number in 0..(WAITING_MAX / WAITING_PER_LOG_MAX) as u64 + 2 {
        fresh(number, 1, WAITING_PER_LOG_MAX as u64)
            .iter()
            .for_each(|record| drop(logs.offer(record)));
    }
    assert_eq!(logs.waiting().records, WAITING_MAX);
}

#[test]
fn heads_come_in_pages_in_order_of_the_authors() {
    let mut logs = Logs::default();
    authors().iter().for_each(|author| drop(logs.offer(&author.records[0])));
    let all = logs.heads();
    assert_eq!(all.len(), 3);
    assert_eq!(logs.heads_after(Some(all[0].author)).collect::<Vec<_>>(), all[1..]);
    assert_eq!(logs.heads_after(Some(all[2].author)).collect::<Vec<_>>(), []);
}
