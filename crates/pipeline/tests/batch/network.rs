//! Nodes that take time, answer late, die, fall silent, slow down, fail or lie, in simulated time; and what records
//! cost on them.

use std::collections::BTreeMap;

use guildhall_pipeline::batch::{
    AHEAD_PARTS, Accepted, Action, Fault, Outcome, Spec, State, Violation,
};

/// One way of a message.
pub(crate) const LATENCY_US: u64 = 1_000;

/// The producer's limit of a call.
pub(crate) const SCORING_MS: u64 = 1_000;

/// Deaths are noticed after this long, microseconds.
const NOTICED_US: u64 = 50_000;

pub(crate) fn spec(records: Option<u64>) -> Spec {
    Spec {
        records,
        first: 0,
        scoring_ms: SCORING_MS,
        batch_max: 1024,
        part_max_records: 1024,
        part_max_bytes: 1 << 20,
        ahead_max: AHEAD_PARTS,
    }
}

/// Numbers that look random (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    Constant,
    Uniform,
    Lognormal,
    Bimodal,
    ByLength,
}

pub(crate) const SPREADS: [Spread; 5] =
    [Spread::Constant, Spread::Uniform, Spread::Lognormal, Spread::Bimodal, Spread::ByLength];

/// Cost in microseconds and length of each record.
pub(crate) fn records(spread: Spread, count: usize, base_us: f64, seed: u64) -> Vec<(f64, usize)> {
    let mut dice = Dice(seed);
    let mut record = || match spread {
        Spread::Constant => (base_us, 100),
        Spread::Uniform => (base_us * (1.0 + 9.0 * dice.unit()), 100),
        Spread::Lognormal => (base_us * (1.5 * dice.normal()).exp(), 100),
        Spread::Bimodal if dice.unit() < 0.01 => (base_us * 100.0, 100),
        Spread::Bimodal => (base_us, 100),
        Spread::ByLength => {
            let len_bytes = 10 + dice.next() % 5_000;
            (base_us * (0.2 + len_bytes as f64 / 1_000.0), usize::try_from(len_bytes).unwrap())
        }
    };
    (0..count).map(|_| record()).collect()
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// How many times longer than usual it takes.
    pub(crate) slowness: f64,
    pub(crate) ready_us: u64,
    /// It leaves.
    pub(crate) dies_us: Option<u64>,
    /// It says nothing more, and nobody notices.
    pub(crate) silent_us: Option<u64>,
    /// From then on, it is that many times slower.
    pub(crate) slower: Option<(u64, f64)>,
    /// From then on, each record fails by its own trouble.
    pub(crate) faulty_us: Option<u64>,
    /// From then on, results come in the wrong order.
    pub(crate) lies_us: Option<u64>,
    /// Results come when the part is over, not one by one.
    pub(crate) is_lump: bool,
}

pub(crate) const NODE: Node = Node {
    slowness: 1.0,
    ready_us: 0,
    dies_us: None,
    silent_us: None,
    slower: None,
    faulty_us: None,
    lies_us: None,
    is_lump: false,
};

#[derive(Clone, Debug)]
enum Event {
    Ready,
    Gone,
    Arrived(u64, Vec<u64>),
    Result(u64, u64, Outcome),
    Over(u64, u64),
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) delivered: Vec<u64>,
    pub(crate) actions: Vec<Action>,
    /// Result of each record that was kept, until it is delivered.
    pub(crate) kept: BTreeMap<u64, Outcome>,
    pub(crate) failed: u64,
    pub(crate) ended: Option<Action>,
    pub(crate) end_us: u64,
    /// Parts with several records that were over the limit by more than five per cent although none of them needed nine
    /// tenths of it alone.
    pub(crate) over: usize,
    pub(crate) longest_us: f64,
    pub(crate) parts: usize,
    pub(crate) sent: usize,
    pub(crate) violations: Vec<Violation>,
    pub(crate) kept_max_bytes: usize,
}

struct Network<'a> {
    state: State,
    nodes: &'a [Node],
    records: &'a [(f64, usize)],
    output_bytes: usize,
    events: BTreeMap<(u64, u64), (usize, Event)>,
    next_event: u64,
    busy_until_us: Vec<f64>,
    is_gone: Vec<bool>,
    given: usize,
    report: Report,
}

pub(crate) fn run(
    spec: Spec,
    nodes: &[Node],
    records: &[(f64, usize)],
    output_bytes: usize,
) -> Report {
    let mut network = Network {
        state: State::new(spec),
        nodes,
        records,
        output_bytes,
        events: BTreeMap::new(),
        next_event: 0,
        busy_until_us: vec![0.0; nodes.len()],
        is_gone: vec![false; nodes.len()],
        given: usize::try_from(spec.first).unwrap(),
        report: Report::default(),
    };
    for (id, node) in nodes.iter().enumerate() {
        network.push(node.ready_us, id, Event::Ready);
        if let Some(dies_us) = node.dies_us {
            network.push(dies_us.max(node.ready_us) + NOTICED_US, id, Event::Gone);
        }
    }
    network.run();
    network.report
}

impl Network<'_> {
    fn push(&mut self, at_us: u64, id: usize, event: Event) {
        self.events.insert((at_us, self.next_event), (id, event));
        self.next_event += 1;
    }

    fn run(&mut self) {
        let mut now_us = 0;
        for step in 0.. {
            while self.state.wants_input() && self.given < self.records.len() {
                self.state.handle_input(self.records[self.given].1).unwrap();
                self.given += 1;
            }
            if self.given == self.records.len() {
                self.state.handle_input_end();
            }
            while let Some(action) = self.state.poll(now_us) {
                self.act(action, now_us);
                if self.state.wants_input() && self.given < self.records.len() {
                    break;
                }
            }
            if self.records.len() <= 300 || step % 997 == 0 {
                assert_eq!(self.state.check_invariants(), Ok(()));
            }
            if self.report.ended.is_some() {
                assert_eq!(self.state.poll(now_us), None, "nothing follows the end");
                return;
            }
            if self.state.wants_input() && self.given < self.records.len() {
                continue;
            }
            let event = self.events.first_key_value().map(|(key, _)| *key);
            let wake_us = self.state.next_wake_us();
            match (event, wake_us) {
                (None, None) => return,
                (Some((at_us, _)), Some(wake_us)) if wake_us < at_us => now_us = wake_us,
                (None, Some(wake_us)) => now_us = wake_us,
                (Some(key), _) => {
                    now_us = key.0;
                    let (id, event) = self.events.remove(&key).unwrap();
                    self.happen(id, event, now_us);
                }
            }
            assert!(step < 3_000_000, "it goes round in circles");
        }
    }

    fn act(&mut self, action: Action, now_us: u64) {
        self.report.actions.push(action.clone());
        match action {
            Action::Send { executor, part, records } => {
                self.report.parts += 1;
                self.report.sent += records.len();
                let id = usize::try_from(executor).unwrap();
                assert!(!records.is_empty() && !self.is_gone[id]);
                self.push(now_us + LATENCY_US, id, Event::Arrived(part, records));
            }
            Action::Deliver { record } => {
                let outcome = self.report.kept.remove(&record).expect("it was kept");
                self.report.failed += u64::from(outcome != Outcome::Came);
                self.report.delivered.push(record);
                self.report.end_us = now_us;
            }
            Action::Close { executor } => self.is_gone[usize::try_from(executor).unwrap()] = true,
            Action::Done | Action::GiveUp { .. } => self.report.ended = Some(action),
        }
    }

    fn happen(&mut self, id: usize, event: Event, now_us: u64) {
        let executor = u32::try_from(id).unwrap();
        let node = self.nodes[id];
        let speaks = node.silent_us.is_none_or(|silent_us| now_us < silent_us)
            && node.dies_us.is_none_or(|dies_us| now_us < dies_us.max(node.ready_us));
        let violation = match event {
            Event::Ready => {
                self.state.handle_ready(executor, now_us);
                None
            }
            _ if self.is_gone[id] => None,
            Event::Gone => {
                self.is_gone[id] = true;
                self.state.handle_gone(executor, now_us);
                None
            }
            Event::Arrived(part, records) => {
                self.score(id, part, records, now_us);
                None
            }
            Event::Result(part, record, outcome) if speaks => {
                let bytes = if outcome == Outcome::Came { self.output_bytes } else { 0 };
                match self.state.handle_result(executor, part, record, outcome, bytes, now_us) {
                    Ok(Accepted::Keep) => {
                        assert!(self.report.kept.insert(record, outcome).is_none());
                        let kept_bytes = self.report.kept.len() * self.output_bytes;
                        self.report.kept_max_bytes = self.report.kept_max_bytes.max(kept_bytes);
                        None
                    }
                    Ok(Accepted::Duplicate | Accepted::Retry) => None,
                    Err(violation) => Some(violation),
                }
            }
            Event::Over(part, wall_us) if speaks => {
                self.state.handle_part_over(executor, part, wall_us, now_us).err()
            }
            Event::Result(..) | Event::Over(..) => None,
        };
        if let Some(violation) = violation {
            self.report.violations.push(violation);
            self.is_gone[id] = true;
            self.state.handle_gone(executor, now_us);
        }
    }

    /// What a node does with a part: a call of all records, and if one of them alone is over the limit, it fails.
    fn score(&mut self, id: usize, part: u64, mut records: Vec<u64>, now_us: u64) {
        let node = self.nodes[id];
        let limit_us = SCORING_MS as f64 * 1_000.0;
        let start_us = self.busy_until_us[id].max(now_us as f64);
        let count = records.len();
        let mut at_us = start_us;
        let mut is_one_dear = false;
        let mut events = Vec::new();
        if node.lies_us.is_some_and(|lies_us| start_us >= lies_us as f64) {
            records.reverse();
        }
        for record in records {
            let slower = node.slower.filter(|(from_us, _)| at_us >= *from_us as f64);
            let cost_us = self.records[usize::try_from(record).unwrap()].0
                * node.slowness
                * slower.map_or(1.0, |(_, factor)| factor);
            let mut outcome = Outcome::Came;
            is_one_dear |= cost_us > 0.9 * limit_us;
            if cost_us > limit_us {
                outcome = Outcome::Failed { fault: Fault::Record };
            }
            if node.faulty_us.is_some_and(|faulty_us| at_us >= faulty_us as f64) {
                outcome = Outcome::Failed { fault: Fault::Executor };
            }
            at_us += cost_us.min(limit_us);
            events.push((at_us, Event::Result(part, record, outcome)));
        }
        let wall_us = at_us - start_us;
        if count > 1 && !is_one_dear {
            self.report.longest_us = self.report.longest_us.max(wall_us);
            self.report.over += usize::from(wall_us > 1.05 * limit_us);
        }
        events.push((at_us, Event::Over(part, wall_us as u64)));
        self.busy_until_us[id] = at_us;
        for (event_us, event) in events {
            let seen_us = if node.is_lump { at_us } else { event_us };
            self.push(seen_us as u64 + LATENCY_US, id, event);
        }
    }
}

pub(crate) fn ideal_us(records: &[(f64, usize)], rate: f64) -> f64 {
    records.iter().map(|(cost_us, _)| cost_us).sum::<f64>() / rate
}

pub(crate) fn all(count: usize) -> Vec<u64> {
    (0..u64::try_from(count).unwrap()).collect()
}
