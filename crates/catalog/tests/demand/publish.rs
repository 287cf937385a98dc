//! What of the counts is published: when, how much, and nothing about anybody.

use guildhall_catalog::demand::{LEAST, PERIOD_MS, Period, WITHHELD_MS, Watch};
use guildhall_protocol::body::{Demand, RecordBody as _};
use guildhall_protocol::interface::{MediaTypes, PortType};
use guildhall_protocol::limits::{DEMAND_MAX_ENTRIES, RECORD_MAX_BYTES};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::query::{Gap, Query};
use guildhall_protocol::{FederationId, Hash, cbor};
use proptest::prelude::*;

use crate::{DAY_MS, HOUR_MS, START_MS, id, miss, package, query, unmet};

/// A watch that began a day ago.
fn day_old() -> Watch {
    let mut watch = Watch::default();
    watch.poll(START_MS - DAY_MS);
    watch
}

fn record(period: Period) -> Demand {
    let Period { from_ms, until_ms, unmet } = period;
    Demand { federation: FederationId(Hash::of(b"federation")), from_ms, until_ms, unmet }
}

#[test]
fn what_was_missed_three_times_is_published_once_a_day_rounded_down() {
    let mut watch = day_old();
    miss(&mut watch, "vision/ocr", 7, START_MS - HOUR_MS);
    miss(&mut watch, "nlp/translation", 3, START_MS - HOUR_MS);
    miss(&mut watch, "audio/speech", 2, START_MS - HOUR_MS);
    assert_eq!(watch.due(START_MS - 1, Clone::clone), None);
    let period = watch.due(START_MS, Clone::clone).unwrap();
    assert_eq!(period.unmet, [unmet("vision/ocr", 4), unmet("nlp/translation", 2)]);
    assert_eq!((period.from_ms, period.until_ms), (START_MS - DAY_MS, START_MS));
    record(period.clone()).check().unwrap();
    watch.handle_published(&record(period));
    assert_eq!(watch.due(START_MS + PERIOD_MS, Clone::clone), None, "there is nothing more to say");
}

#[test]
fn fewer_wait_for_more_and_after_a_week_no_longer() {
    let mut watch = day_old();
    miss(&mut watch, "vision/ocr", 2, START_MS);
    assert_eq!(watch.due(START_MS, Clone::clone), None);
    miss(&mut watch, "vision/ocr", 1, START_MS + DAY_MS);
    let period = watch.due(START_MS + 2 * DAY_MS, Clone::clone).unwrap();
    assert_eq!(period.unmet, [unmet("vision/ocr", 2)]);
    watch.handle_published(&record(period));

    miss(&mut watch, "audio/speech", 2, START_MS + 2 * DAY_MS);
    assert_eq!(watch.due(START_MS + 2 * DAY_MS + WITHHELD_MS, Clone::clone), None);
    miss(&mut watch, "audio/speech", 1, START_MS + 3 * DAY_MS + WITHHELD_MS);
    assert_eq!(
        watch.due(START_MS + 4 * DAY_MS + WITHHELD_MS, Clone::clone),
        None,
        "the two are too old"
    );
}

#[test]
fn a_need_that_names_nothing_is_counted_here_and_never_published() {
    let mut watch = day_old();
    for number in 0..LEAST.into() {
        let words = Query { text: Some(format!("words {number}")), ..Query::default() };
        watch.handle_answer(id(number), &words, &[], START_MS - HOUR_MS);
    }
    assert_eq!(watch.report().unmet.len(), 1);
    assert_eq!(watch.due(START_MS, Clone::clone), None);
}

#[test]
fn a_record_that_was_not_written_is_due_again_and_one_that_was_is_not() {
    let mut watch = day_old();
    miss(&mut watch, "vision/ocr", 4, START_MS - HOUR_MS);
    let period = watch.due(START_MS, Clone::clone).unwrap();
    watch.give_up();
    miss(&mut watch, "vision/ocr", 4, START_MS);
    let again = watch.due(START_MS + 1, Clone::clone).unwrap();
    assert_eq!((again.from_ms, again.unmet), (period.from_ms, vec![unmet("vision/ocr", 8)]));

    // Asked for while the record is on its way.
    miss(&mut watch, "vision/ocr", 3, START_MS + HOUR_MS);
    let told = Demand { until_ms: START_MS + 1, ..record(period) };
    watch.handle_published(&told);
    let next = watch.due(START_MS + 1 + PERIOD_MS, Clone::clone).unwrap();
    assert_eq!(next.unmet, [unmet("vision/ocr", 2)]);
    assert_eq!(next.from_ms, START_MS + 1);
}

#[test]
fn a_start_between_the_record_and_the_saved_counts_tells_nothing_twice() {
    let mut watch = day_old();
    miss(&mut watch, "vision/ocr", 4, START_MS - HOUR_MS);
    let saved = watch.save();
    let told = record(watch.due(START_MS, Clone::clone).unwrap());
    let mut restarted = Watch::restore(saved);
    restarted.handle_published(&told);
    assert_eq!(restarted.due(START_MS + PERIOD_MS, Clone::clone), None);
    assert_eq!(restarted.report().unmet[0].0, unmet("vision/ocr", 4), "here it counts on");
    // An old record of the log says nothing new.
    miss(&mut restarted, "vision/ocr", 4, START_MS + PERIOD_MS);
    restarted.handle_published(&told);
    assert!(restarted.due(START_MS + 2 * PERIOD_MS, Clone::clone).is_some());
}

#[test]
fn counts_that_were_lost_do_not_make_a_node_speak_twice_a_day() {
    let mut watch = day_old();
    miss(&mut watch, "vision/ocr", 4, START_MS - HOUR_MS);
    let told = record(watch.due(START_MS, Clone::clone).unwrap());
    let mut new = Watch::default();
    new.handle_published(&told);
    miss(&mut new, "vision/ocr", 4, START_MS + HOUR_MS);
    assert_eq!(new.due(START_MS + PERIOD_MS - 1, Clone::clone), None);
    assert!(new.due(START_MS + HOUR_MS + PERIOD_MS, Clone::clone).is_some());
}

#[test]
fn the_most_missed_fit_a_record_and_the_others_come_with_the_next() {
    let mut watch = day_old();
    for number in 0..400_u64 {
        let category = format!("vision/x-{}-{number}", "long".repeat(14));
        miss(&mut watch, &category, 3 + number % 2, START_MS - HOUR_MS);
    }
    let mut told = 0;
    for day in 0..2 {
        let demand = record(watch.due(START_MS + day * PERIOD_MS, Clone::clone).unwrap());
        demand.check().unwrap();
        assert!(demand.unmet.len() <= DEMAND_MAX_ENTRIES);
        assert!(cbor::encode(&demand).len() < RECORD_MAX_BYTES - 4096);
        told += demand.unmet.len();
        watch.handle_published(&demand);
    }
    assert_eq!(told, 400);
}

/// Somebody's queries: everything that could give the person away differs with `who`, nothing that is asked for does.
fn ask_all(asked: &[(u8, u8, u16)], who: &str, order: &[usize]) -> Watch {
    let mut watch = day_old();
    let gap = PortType::Image(MediaTypes { media_types: vec![format!("image/{who}")] });
    for (number, index) in (0..).zip(order) {
        let (need, kind, text) = asked[*index];
        let base = query(&format!("vision/x-{need}"), &format!("{who} wants {text}"));
        let asked_for = Query {
            kind: [None, Some(Kind::Model), Some(Kind::Data)][usize::from(kind)],
            licence: Some(format!("{who}-only")),
            metric: Some(who.to_owned()),
            input: Some(format!("image/{who}").parse().unwrap()),
            fits: Gap { input: None, output: Some(gap.clone()) },
            ..base
        };
        let name = Hash::of(format!("{who} {number}").as_bytes());
        watch.handle_answer(name, &asked_for, &[], START_MS - HOUR_MS);
    }
    watch
}

proptest! {
    #[test]
    fn nothing_in_a_demand_record_depends_on_who_asked(
        asked in prop::collection::vec((0..4_u8, 0..3_u8, any::<u16>()), 1..60),
        seed in any::<u64>()
    ) {
        let order: Vec<usize> = (0..asked.len()).collect();
        let mut shuffled = order.clone();
        shuffled.sort_by_key(|index| Hash::of(format!("{seed} {index}").as_bytes()));
        let one = ask_all(&asked, "zebedee", &order).due(START_MS, Clone::clone).map(record);
        let other = ask_all(&asked, "quentin", &shuffled).due(START_MS, Clone::clone).map(record);
        prop_assert_eq!(&one, &other);
        let Some(demand) = one else { return Ok(()) };
        let bytes = cbor::encode(&demand);
        prop_assert!(!bytes.windows(7).any(|window| window == b"zebedee"));
        for unmet in &demand.unmet {
            prop_assert!(unmet.count.is_power_of_two());
            let like_it = |(need, kind, _): &&(u8, u8, u16)| {
                unmet.category.as_str() == format!("vision/x-{need}")
                    && unmet.kind == [None, Some(Kind::Model), Some(Kind::Data)][usize::from(*kind)]
            };
            let mut texts: Vec<u16> = asked.iter().filter(like_it).map(|it| it.2).collect();
            texts.sort_unstable();
            texts.dedup();
            prop_assert!(texts.len() >= LEAST as usize && unmet.count as usize <= texts.len());
        }
    }

    #[test]
    fn whatever_is_missed_in_whatever_order_is_published_once(
        days in prop::collection::vec(prop::collection::vec((0..3_u8, 1..6_u64), 0..4), 1..20),
        lost in prop::collection::vec(any::<bool>(), 20)
    ) {
        let mut watch = day_old();
        let (mut missed, mut told, mut now_ms) = ([0_u64; 3], [0_u64; 3], START_MS);
        for (day, is_lost) in days.iter().zip(lost) {
            for (category, times) in day {
                now_ms += 60_000;
                miss(&mut watch, &format!("vision/x-{category}"), *times, now_ms);
                missed[usize::from(*category)] += times;
            }
            now_ms += DAY_MS;
            let Some(period) = watch.due(now_ms, Clone::clone) else { continue };
            if is_lost {
                watch.give_up();
                continue;
            }
            for (number, told) in told.iter_mut().enumerate() {
                let name = format!("vision/x-{number}");
                let here = period.unmet.iter().filter(|unmet| unmet.category.as_str() == name);
                *told += here.map(|unmet| u64::from(unmet.count)).sum::<u64>();
            }
            watch.handle_published(&record(period));
        }
        for (missed, told) in missed.iter().zip(told) {
            prop_assert!(told <= *missed);
        }
    }
}

#[test]
fn a_package_that_was_used_is_in_no_record() {
    let mut watch = day_old();
    for number in 0..5 {
        let asked = query("vision/ocr", &number.to_string());
        watch.handle_answer(id(number), &asked, &[package(number)], START_MS - 3 * HOUR_MS);
        watch.handle_used(Some(id(number)), package(number), START_MS - 3 * HOUR_MS);
    }
    assert_eq!(watch.due(START_MS, Clone::clone), None);
}

#[test]
fn a_category_that_somebody_made_up_is_told_as_one_that_it_lies_in() {
    let said = |category: &CategoryPrefix| match category.as_str().split_once("/x-") {
        Some((known, _)) => known.parse().unwrap(),
        None => category.clone(),
    };
    let mut watch = day_old();
    for category in ["vision/x-secret", "vision/x-other", "vision"] {
        miss(&mut watch, category, 2, START_MS - HOUR_MS);
    }
    miss(&mut watch, "nlp/x-secret", 2, START_MS - HOUR_MS);
    let saved = watch.save();
    let period = watch.due(START_MS, said).unwrap();
    assert_eq!(period.unmet, [unmet("vision", 4)], "six, together");
    assert_eq!(watch.report().unmet.len(), 4, "here they stay apart");
    for mut watch in [watch, Watch::restore(saved)] {
        watch.handle_published(&record(period.clone()));
        miss(&mut watch, "vision/x-secret", 2, START_MS + HOUR_MS);
        assert_eq!(watch.due(START_MS + PERIOD_MS, said), None, "the six were told");
        miss(&mut watch, "nlp/x-secret", 1, START_MS + PERIOD_MS);
        assert_eq!(watch.due(START_MS + 2 * PERIOD_MS, said).unwrap().unmet, [unmet("nlp", 2)]);
    }
}
