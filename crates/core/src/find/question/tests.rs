//! A question in any order of what can happen to it.

use guildhall_protocol::SecretKey;
use proptest::prelude::*;

use super::super::questions::Questions;
use super::super::take::Refused;
use super::*;

/// Something happens.
#[derive(Clone, Debug)]
enum Input {
    Open(u64),
    Located { named: bool },
    Answer { node: u8, is_lie: bool },
    Fail(u8),
    Admit(u8),
    Back(u8),
    News,
    Tick,
}

fn input() -> impl Strategy<Value = Input> {
    let node = 0..10_u8;
    prop_oneof![
        2 => (0..3_u64).prop_map(Input::Open),
        2 => any::<bool>().prop_map(|named| Input::Located { named }),
        6 => (node.clone(), any::<bool>()).prop_map(|(node, is_lie)| Input::Answer { node, is_lie }),
        2 => node.clone().prop_map(Input::Fail),
        3 => node.clone().prop_map(Input::Admit),
        1 => node.prop_map(Input::Back),
        1 => Just(Input::News),
        3 => Just(Input::Tick),
    ]
}

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes(*SecretKey::from_seed(&[number; 32]).public().as_bytes())
}

fn candidates() -> Vec<Candidate> {
    let org = |number: u8| format!("org-{number}").parse().unwrap();
    let candidate = |number| Candidate { node: key(number), org: org(number), whole: number < 8 };
    (0..10).map(candidate).collect()
}

/// The table, and what a shell around it does: it asks whom it is told to ask, and hands answers out.
#[derive(Default)]
struct Shell {
    questions: Questions,
    now: Moment,
    next_ask: u64,
    open: Vec<Hash>,
}

impl Shell {
    fn ids(&self) -> Vec<Hash> {
        self.questions.iter().map(|(id, _)| *id).collect()
    }

    fn handle(&mut self, input: &Input) {
        let now = self.now;
        match *input {
            Input::Open(limit) => {
                self.next_ask += 1;
                let ask = Hash::of(&self.next_ask.to_le_bytes());
                let query = Query { max_len_bytes: Some(limit), ..Query::default() };
                let (_, question, is_idle) =
                    self.questions.try_open(now, Waiting { ask, query }).unwrap();
                if is_idle {
                    question.begin(now);
                }
                self.open.push(ask);
            }
            Input::Tick => {
                self.now = Moment { tick: now.tick + 1, ms: now.ms + 1_000 };
                self.questions.forget_old(self.now);
            }
            _ => {}
        }
        for id in self.ids() {
            let question = self.questions.get_mut(&id).unwrap();
            match *input {
                Input::Located { named } if question.is_locating() => {
                    let via = if named { Via::Dht } else { Via::Members };
                    let located = Located { via, holders: 0, candidates: candidates() };
                    question.handle_located(now, located);
                }
                Input::Answer { node, is_lie } => {
                    if let Some(mut got) = question.got(&key(node)) {
                        got.refused = Refused::of_lies(u64::from(is_lie));
                        question.handle_answer(&key(node), got, now);
                    }
                }
                Input::Fail(node) => {
                    question.handle_failure(&key(node), AskOutcome::Unreachable, now);
                }
                Input::Admit(node) => drop(question.try_send(&key(node))),
                Input::Back(node) => question.handle_back(&key(node)),
                Input::News => question.handle_news(now),
                _ => {}
            }
            self.go_on(id);
        }
    }

    fn go_on(&mut self, id: Hash) {
        let question = self.questions.get_mut(&id).unwrap();
        while question.next_to_ask(self.now).is_some() {}
        check(question, self.now);
        if question.is_done(self.now) {
            let (waiting, asking) = self.questions.end(&id, self.now).unwrap();
            for Waiting { ask, .. } in waiting {
                let at = self.open.iter().position(|open| *open == ask);
                self.open.remove(at.expect("answered once"));
            }
            assert!(asking.nodes.len() <= ASKED_MAX);
        }
    }
}

fn check(question: &Question, now: Moment) {
    assert_eq!(question.waiting.is_empty(), question.round.is_none(), "a round is for somebody");
    let Some(round) = &question.round else { return };
    let distinct: BTreeSet<&PublicKey> = round.asked.iter().collect();
    assert_eq!(distinct.len(), round.asked.len(), "nobody is asked twice");
    assert!(round.asked.len() <= ASKED_MAX);
    let is_over = now.tick >= round.begun.tick + ROUND_TICKS;
    assert!(!is_over || question.is_done(now), "no round goes on for ever");
    let more =
        round.found.is_some() && !round.candidates.is_empty() && round.asked.len() < ASKED_MAX;
    assert!(!more || question.credit(now) >= ENOUGH, "as many are asked as may be needed");
}

proptest! {
    #[test]
    fn everybody_who_asks_is_answered_once_and_in_time(
        inputs in prop::collection::vec(input(), 0..120),
    ) {
        let mut shell = Shell::default();
        inputs.iter().for_each(|input| shell.handle(input));
        (0..=ROUND_TICKS).for_each(|_| shell.handle(&Input::Tick));
        prop_assert!(shell.open.is_empty());
        (0..60).for_each(|_| shell.handle(&Input::Tick));
        prop_assert!(shell.ids().is_empty(), "nothing is remembered for ever");
    }
}
