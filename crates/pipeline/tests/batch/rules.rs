//! The rules one by one, by hand.

use std::collections::VecDeque;

use guildhall_pipeline::batch::{
    Accepted, Action, EXECUTORS_MAX, FAILED_IN_A_ROW_MAX, FAULTS_IN_A_ROW_MAX, FRUITLESS_MAX,
    Fault, InputError, OVERTAKEN_MAX, Outcome, State, Violation,
};

use crate::network::spec;

const CAME: Outcome = Outcome::Came;
const FAULT: Outcome = Outcome::Failed { fault: Fault::Executor };
const FAILED: Outcome = Outcome::Failed { fault: Fault::Record };

/// So many records, all read as far as there is room, and these executors ready.
fn state(records: u64, executors: u32) -> State {
    let mut state = State::new(spec(Some(records)));
    while state.wants_input() {
        state.handle_input(100).unwrap();
    }
    for executor in 0..executors {
        state.handle_ready(executor, 0);
    }
    state
}

fn poll_all(state: &mut State, now_us: u64) -> Vec<Action> {
    let actions = std::iter::from_fn(|| state.poll(now_us)).collect();
    assert_eq!(state.check_invariants(), Ok(()));
    actions
}

fn sent(actions: &[Action]) -> Vec<(u32, u64, Vec<u64>)> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { executor, part, records } => Some((*executor, *part, records.clone())),
        _ => None,
    });
    sent.collect()
}

#[test]
fn the_first_parts_have_one_record_and_growth_is_bounded() {
    let mut state = state(1_000, 1);
    let first = sent(&poll_all(&mut state, 0));
    assert_eq!(first, [(0, 0, vec![0]), (0, 1, vec![1]), (0, 2, vec![2])]);
    assert_eq!(state.handle_result(0, 0, 0, CAME, 1, 10), Ok(Accepted::Keep));
    state.handle_part_over(0, 0, 10, 10).unwrap();
    let actions = poll_all(&mut state, 10);
    assert_eq!(actions[0], Action::Deliver { record: 0 });
    assert_eq!(sent(&actions), [(0, 3, vec![3, 4, 5, 6])]);
}

#[test]
fn neither_the_producers_batch_nor_the_bytes_of_a_part_are_exceeded() {
    for (batch_max, part_max_bytes, most) in [(3, 1 << 20, 3), (100, 500, 5), (0, 0, 1)] {
        let spec = guildhall_pipeline::batch::Spec { batch_max, part_max_bytes, ..spec(None) };
        let mut state = State::new(spec);
        for _ in 0..1_000 {
            state.handle_input(100).unwrap();
        }
        state.handle_ready(0, 0);
        let mut longest = 0;
        for now_us in 0..100 {
            for (executor, part, records) in sent(&poll_all(&mut state, now_us)) {
                longest = longest.max(records.len());
                for record in records {
                    state.handle_result(executor, part, record, CAME, 1, now_us).unwrap();
                    // Parts are answered before the next one comes.
                }
                state.handle_part_over(executor, part, 10, now_us).unwrap();
            }
        }
        assert_eq!(longest, most);
    }
}

#[test]
fn long_results_make_parts_small() {
    let spec = guildhall_pipeline::batch::Spec { part_max_bytes: 10_000, ..spec(None) };
    let mut state = State::new(spec);
    for _ in 0..1_000 {
        state.handle_input(1).unwrap();
    }
    state.handle_ready(0, 0);
    for now_us in 0..20 {
        for (executor, part, records) in sent(&poll_all(&mut state, now_us)) {
            assert!(records.len() <= 4 || part < 3, "{} results of 2,500 bytes", records.len());
            for record in records {
                state.handle_result(executor, part, record, CAME, 2_500, now_us).unwrap();
            }
            state.handle_part_over(executor, part, 10, now_us).unwrap();
        }
    }
}

#[test]
fn what_is_out_of_order_or_not_asked_for_is_a_violation() {
    let mut state = state(100, 1);
    poll_all(&mut state, 0);
    let result = |state: &mut State, executor, part, record| {
        state.handle_result(executor, part, record, CAME, 1, 1).unwrap_err()
    };
    assert_eq!(result(&mut state, 7, 0, 0), Violation::UnknownExecutor { executor: 7 });
    assert_eq!(result(&mut state, 0, 9, 0), Violation::UnknownPart { executor: 0, part: 9 });
    assert_eq!(result(&mut state, 0, 1, 1), Violation::PartOutOfOrder { expected: 0, part: 1 });
    assert_eq!(
        result(&mut state, 0, 0, 1),
        Violation::RecordOutOfOrder { part: 0, expected: 0, record: 1 }
    );
    assert_eq!(state.handle_result(0, 0, 0, CAME, 1, 1), Ok(Accepted::Keep));
    assert_eq!(result(&mut state, 0, 0, 0), Violation::TooMany { part: 0, record: 0 });
    assert_eq!(
        state.handle_part_over(0, 1, 1, 1),
        Err(Violation::PartOutOfOrder { expected: 0, part: 1 })
    );
    state.handle_part_over(0, 0, 1, 1).unwrap();
    assert_eq!(
        state.handle_part_over(0, 0, 1, 1),
        Err(Violation::UnknownPart { executor: 0, part: 0 })
    );
    assert_eq!(state.check_invariants(), Ok(()));
}

#[test]
fn records_that_were_not_touched_come_again_first_but_not_for_ever() {
    let mut state = state(100, 1);
    poll_all(&mut state, 0);
    state.handle_part_over(0, 0, 1, 1).unwrap();
    assert_eq!(sent(&poll_all(&mut state, 1)), [(0, 3, vec![0])]);
    for part in 1..u64::from(FRUITLESS_MAX) - 1 {
        state.handle_part_over(0, part, 1, 1).unwrap();
    }
    let part = u64::from(FRUITLESS_MAX) - 1;
    assert_eq!(state.handle_part_over(0, part, 1, 1), Err(Violation::NoProgress { executor: 0 }));
}

#[test]
fn what_a_node_that_left_had_goes_to_another_and_its_results_stay() {
    let mut state = state(4, 1);
    poll_all(&mut state, 0);
    state.handle_result(0, 0, 0, CAME, 1, 1).unwrap();
    state.handle_gone(0, 2);
    assert_eq!(
        state.handle_result(0, 1, 1, CAME, 1, 2),
        Err(Violation::UnknownExecutor { executor: 0 })
    );
    assert_eq!(poll_all(&mut state, 2), [Action::Deliver { record: 0 }]);
    state.handle_ready(1, 3);
    let records: Vec<_> = sent(&poll_all(&mut state, 3)).into_iter().map(|part| part.2).collect();
    assert_eq!(records, [[1], [2], [3]]);
}

#[test]
fn a_failure_that_is_the_executors_own_is_tried_elsewhere_and_stands_after_three() {
    let mut state = state(1, 1);
    assert_eq!(sent(&poll_all(&mut state, 0)), [(0, 0, vec![0])]);
    state.handle_ready(1, 0);
    assert_eq!(state.handle_result(0, 0, 0, FAULT, 0, 1), Ok(Accepted::Retry));
    state.handle_part_over(0, 0, 1, 1).unwrap();
    // Executor 0 would be first, but failed on it.
    assert_eq!(sent(&poll_all(&mut state, 1)), [(1, 1, vec![0])]);
    assert_eq!(state.handle_result(1, 1, 0, FAULT, 0, 2), Ok(Accepted::Retry));
    state.handle_part_over(1, 1, 1, 2).unwrap();
    let last = sent(&poll_all(&mut state, 2));
    assert_eq!(last.len(), 1, "both failed on it, so either may try again");
    let (executor, part, _) = last[0].clone();
    assert_eq!(state.handle_result(executor, part, 0, FAULT, 0, 3), Ok(Accepted::Keep));
    let actions = poll_all(&mut state, 3);
    assert_eq!(actions[0], Action::Deliver { record: 0 });
    assert_eq!(actions.last(), Some(&Action::Done));
}

#[test]
fn an_executor_that_fails_again_and_again_is_closed_when_there_is_another() {
    let mut state = state(1_000, 2);
    let mut closed = Vec::new();
    for now_us in 0..200 {
        let actions = poll_all(&mut state, now_us);
        closed.extend(
            actions.iter().filter(|action| matches!(action, Action::Close { .. })).cloned(),
        );
        for (executor, part, records) in sent(&actions) {
            let outcome = if executor == 0 { FAULT } else { CAME };
            for record in records {
                state.handle_result(executor, part, record, outcome, 1, now_us).unwrap();
            }
            state.handle_part_over(executor, part, 1_000, now_us).unwrap();
        }
        if !closed.is_empty() {
            break;
        }
    }
    assert_eq!(closed, [Action::Close { executor: 0 }]);
    let scored = state.progress().executors;
    assert!(scored[0].records == 0 && scored[0].parts <= u64::from(FAULTS_IN_A_ROW_MAX));
    // What still comes of it is no violation.
    assert_eq!(state.handle_result(0, 99, 99, CAME, 1, 300), Ok(Accepted::Duplicate));
    assert_eq!(state.handle_part_over(0, 99, 1, 300), Ok(()));
}

#[test]
fn the_run_is_given_up_after_many_failures_in_a_row_but_not_when_one_came_between() {
    for came_between in [false, true] {
        let mut state = state(1_000, 1);
        let mut actions = Vec::new();
        for now_us in 0..2_000 {
            let new = poll_all(&mut state, now_us);
            for (executor, part, records) in sent(&new) {
                for record in records {
                    let comes = came_between && record % u64::from(FAILED_IN_A_ROW_MAX) == 50;
                    let outcome = if comes { CAME } else { FAILED };
                    state.handle_result(executor, part, record, outcome, 1, now_us).unwrap();
                }
                state.handle_part_over(executor, part, 100, now_us).unwrap();
            }
            actions.extend(new);
        }
        let last = actions.pop().unwrap();
        if came_between {
            assert_eq!(last, Action::Done);
        } else {
            let Action::GiveUp { came: 0, failed, last } = last else { panic!("{last:?}") };
            assert_eq!(last + 1, u64::from(FAILED_IN_A_ROW_MAX));
            assert!(failed >= u64::from(FAILED_IN_A_ROW_MAX));
            assert_eq!(actions.pop(), Some(Action::Close { executor: 0 }));
        }
    }
}

#[test]
fn what_a_silent_executor_has_is_scored_by_an_idle_one_and_the_first_result_counts() {
    let mut state = state(2, 2);
    let first = sent(&poll_all(&mut state, 0));
    assert_eq!(first, [(0, 0, vec![0]), (1, 1, vec![1])]);
    state.handle_result(1, 1, 1, CAME, 1, 1_000).unwrap();
    state.handle_part_over(1, 1, 1_000, 1_000).unwrap();
    let mut now_us = 1_000;
    let mut copy = sent(&poll_all(&mut state, now_us));
    while copy.is_empty() {
        now_us = state.next_wake_us().expect("somebody is late some time");
        copy = sent(&poll_all(&mut state, now_us));
    }
    assert_eq!(copy, [(1, 2, vec![0])]);
    let later_us = state.next_wake_us().unwrap();
    assert_eq!(poll_all(&mut state, later_us), [], "there are no more than two copies");
    assert_eq!(state.handle_result(1, 2, 0, CAME, 1, now_us), Ok(Accepted::Keep));
    assert_eq!(state.handle_result(0, 0, 0, CAME, 1, now_us), Ok(Accepted::Duplicate));
    let actions = poll_all(&mut state, now_us);
    let close = |executor| Action::Close { executor };
    let deliver = |record| Action::Deliver { record };
    assert_eq!(actions, [deliver(0), deliver(1), close(0), close(1), Action::Done]);
    assert_eq!(state.poll(now_us), None);
}

#[test]
fn an_executor_that_others_are_faster_than_again_and_again_is_closed() {
    let mut state = State::new(spec(None));
    state.handle_ready(0, 0);
    state.handle_ready(1, 0);
    let mut slow = VecDeque::new();
    for round in 0..4 * u64::from(OVERTAKEN_MAX) {
        while state.wants_input() {
            state.handle_input(100).unwrap();
        }
        // Long after what it had was overdue.
        let now_us = round * 60_000_000;
        let actions = poll_all(&mut state, now_us);
        if actions.contains(&Action::Close { executor: 0 }) {
            assert!(round >= u64::from(OVERTAKEN_MAX));
            assert_eq!(state.progress().executors[0].records, 0);
            return;
        }
        let late = slow.pop_front();
        for (executor, part, records) in sent(&actions) {
            if executor == 0 {
                slow.push_back((part, records));
                continue;
            }
            for record in records {
                state.handle_result(1, part, record, CAME, 1, now_us).unwrap();
            }
            state.handle_part_over(1, part, 1_000, now_us).unwrap();
        }
        if let Some((part, records)) = late {
            for record in records {
                let accepted = state.handle_result(0, part, record, CAME, 1, now_us);
                assert_eq!(accepted, Ok(Accepted::Duplicate));
            }
            state.handle_part_over(0, part, 1_000, now_us).unwrap();
        }
    }
    panic!("it was never closed");
}

#[test]
fn a_run_without_records_or_with_fewer_than_announced_ends() {
    let mut state = State::new(spec(Some(0)));
    assert!(!state.wants_input());
    assert_eq!(state.handle_input(1), Err(InputError::Ended { record: 0 }));
    assert_eq!(poll_all(&mut state, 0), [Action::Done]);

    let mut state = State::new(spec(Some(5)));
    state.handle_input(1).unwrap();
    state.handle_input_end();
    state.handle_ready(0, 0);
    assert_eq!(sent(&poll_all(&mut state, 0)).len(), 1);
    state.handle_result(0, 0, 0, CAME, 1, 1).unwrap();
    assert_eq!(state.progress().records, Some(1));
    assert_eq!(poll_all(&mut state, 1).last(), Some(&Action::Done));
}

#[test]
fn progress_tells_what_was_done_by_whom_and_how_long_it_takes() {
    let mut state = state(11, 1);
    assert_eq!(state.progress().left_us, None);
    poll_all(&mut state, 0);
    state.handle_result(0, 0, 0, CAME, 1, 2_000).unwrap();
    state.handle_part_over(0, 0, 2_000, 2_000).unwrap();
    poll_all(&mut state, 2_000);
    let progress = state.progress();
    assert_eq!((progress.delivered, progress.came, progress.failed), (1, 1, 0));
    assert_eq!(progress.left_us, Some(20_000));
    let executor = progress.executors[0];
    assert_eq!((executor.records, executor.parts, executor.wall_us), (1, 1, 2_000));
    assert!((executor.rate - 500.0).abs() < 1e-6);
}

#[test]
fn nothing_is_expected_of_executors_that_are_all_overdue() {
    let mut state = state(100, 2);
    assert!(!state.is_stalled(0), "they have nothing to do");
    poll_all(&mut state, 0);
    assert!(!state.is_stalled(1_000));
    let much_later_us = 60_000_000;
    assert!(state.is_stalled(much_later_us));
    state.handle_result(1, 1, 1, CAME, 1, much_later_us).unwrap();
    assert!(!state.is_stalled(much_later_us), "one has come back to life");
    state.handle_gone(0, much_later_us);
    state.handle_gone(1, much_later_us);
    assert!(state.is_stalled(much_later_us), "nobody is left");
}

#[test]
fn an_executor_that_denies_how_slow_it_is_is_believed_for_a_moment_only() {
    let spec = guildhall_pipeline::batch::Spec { batch_max: 1, ..spec(Some(1_000)) };
    let mut state = State::new(spec);
    while state.wants_input() {
        state.handle_input(100).unwrap();
    }
    state.handle_ready(0, 0);
    let (mut waiting, mut left_us) = (VecDeque::new(), Vec::new());
    for round in 0..10 {
        let now_us = round * 500_000;
        waiting.extend(sent(&poll_all(&mut state, now_us)));
        let (executor, part, records) = waiting.pop_front().unwrap();
        // It took half a second, and is said to have taken none.
        state.handle_result(executor, part, records[0], CAME, 1, now_us).unwrap();
        state.handle_part_over(executor, part, 1, now_us).unwrap();
        left_us.push(state.progress().left_us);
    }
    assert!(left_us[1] < Some(2_000_000), "{left_us:?}");
    // Two records a second, of nearly a thousand.
    assert!(left_us[9] > Some(300_000_000), "{left_us:?}");
}

#[test]
fn more_executors_than_there_is_room_for_are_closed_at_once() {
    let most = u32::try_from(EXECUTORS_MAX).unwrap();
    let mut state = state(0, most);
    state.handle_ready(most, 0);
    let mut state_of_one = State::new(spec(Some(10)));
    assert_eq!(state.poll(0), Some(Action::Close { executor: 0 }));
    for executor in 0..most {
        state_of_one.handle_ready(executor, 0);
    }
    state_of_one.handle_ready(most, 0);
    assert_eq!(state_of_one.poll(0), Some(Action::Close { executor: most }));
    state_of_one.handle_gone(3, 0);
    state_of_one.handle_ready(most + 1, 0);
    assert_eq!(state_of_one.poll(0), None);
}
