//! What it costs to find out where two nodes' logs differ: in cells, by ranges (the crate `negentropy`), by pages.
//!
//! `cargo run --release -p guildhall-sync --example reconcile` prints the tables of docs/benchmarks.md. Bytes are those
//! of whole messages as sent, without the transport's own. Times are the least of some repetitions, at one processor.
//! The last table is about peers that lie.
#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use guildhall_protocol::cbor::encode;
use guildhall_protocol::wire::{
    CELL_BYTES, CompareKey, HEADS_PER_PAGE, LogHead, Request, Response, decode_message,
};
use guildhall_protocol::{Hash, PublicKey};
use guildhall_sync::reconcile::{Element as _, Elements, Initiator, Responder, Step};
use negentropy::{Id, Negentropy, NegentropyStorageVector};

/// Repetitions of each case, each with other logs that differ and another key.
const RUNS: u64 = 9;

/// Bytes of one message of the range-based protocol, as large as our own messages may be.
const RANGES_FRAME_BYTES: u64 = 1024 * 1024;

type Set = BTreeMap<PublicKey, u64>;

struct Lens(Set);

impl Elements for Lens {
    type Element = LogHead;

    fn held(&self) -> impl Iterator<Item = LogHead> {
        self.0.iter().map(|(author, len)| LogHead { author: *author, len: *len })
    }
}

/// How the other node is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    /// Logs that both have are longer there.
    Grown,
    /// It has more logs.
    New,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    up_bytes: usize,
    down_bytes: usize,
    round_trips: usize,
    asking: Duration,
    answering: Duration,
}

fn random(seed: u64, number: u64) -> [u8; 32] {
    *Hash::of(&[seed.to_be_bytes(), number.to_be_bytes()].concat()).as_bytes()
}

fn logs(count: usize) -> Set {
    let author = |number| PublicKey::from_bytes(random(0, number));
    (0..count as u64).map(|number| (author(number), 1 + number % 50)).collect()
}

fn ahead(ours: &Set, ahead: Ahead, by: usize, seed: u64) -> Set {
    let mut theirs = ours.clone();
    let step = ours.len().checked_div(by).unwrap_or(1).max(1);
    let offset = usize::try_from(seed).unwrap_or_default() % step;
    match ahead {
        Ahead::Grown => {
            let some = theirs.values_mut().skip(offset).step_by(step).take(by);
            some.enumerate().for_each(|(number, len)| *len += 1 + number as u64 % 3);
        }
        Ahead::New => {
            let author = |number| PublicKey::from_bytes(random(seed + 1, number));
            theirs.extend((0..by as u64).map(|number| (author(number), 3)));
        }
    }
    theirs
}

/// Runs one side and adds what it took.
#[expect(clippy::disallowed_methods, reason = "time is what is measured")]
fn timed<T>(sum: &mut Duration, side: impl FnOnce() -> T) -> T {
    let from = std::time::Instant::now();
    let result = side();
    *sum += from.elapsed();
    result
}

fn in_cells(ours: &Lens, theirs: &Lens, seed: u64) -> (Cost, usize) {
    let mut cost = Cost::default();
    let peer = PublicKey::from_bytes([1; 32]);
    let mut responder = Responder::default();
    let key = CompareKey::from_bytes(random(seed, 99));
    let started = timed(&mut cost.asking, || {
        let (initiator, first) = Initiator::start(key, ours).expect("not too large");
        (initiator, encode(&Request::Compare(first)))
    });
    let (mut initiator, mut request) = started;
    loop {
        cost.round_trips += 1;
        cost.up_bytes += request.len();
        let answer = timed(&mut cost.answering, || {
            let response = match decode_message(&request).expect("a request") {
                Request::Compare(asked) => Response::Cells(
                    responder.handle_compare(0, peer, &asked, theirs).expect("granted"),
                ),
                Request::FindElements(asked) => Response::Elements(
                    responder.handle_find(0, peer, &asked, theirs).expect("granted"),
                ),
                other => panic!("{other:?}"),
            };
            encode(&response)
        });
        cost.down_bytes += answer.len();
        let step = timed(&mut cost.asking, || match decode_message(&answer).expect("an answer") {
            Response::Cells(cells) => initiator.handle_cells(&cells, ours),
            Response::Elements(bytes) => initiator.handle_elements(&bytes),
            other => panic!("{other:?}"),
        });
        request = match step {
            Step::Compare(asked) => encode(&Request::Compare(asked)),
            Step::Find(asked) => encode(&Request::FindElements(asked)),
            Step::Done(difference) => return (cost, difference.theirs.len()),
            Step::Failed(why) => panic!("{why}"),
        };
    }
}

fn by_pages(ours: &Lens, theirs: &Lens) -> (Cost, usize) {
    let mut cost = Cost::default();
    let mut after = None;
    let mut longer = 0;
    loop {
        cost.round_trips += 1;
        let request = encode(&Request::Heads { after });
        cost.up_bytes += request.len();
        let answer = timed(&mut cost.answering, || {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let logs = theirs.0.range((from, Bound::Unbounded)).take(HEADS_PER_PAGE);
            let heads = logs.map(|(author, len)| LogHead { author: *author, len: *len });
            encode(&Response::Heads(heads.collect()))
        });
        cost.down_bytes += answer.len();
        let heads = timed(&mut cost.asking, || match decode_message(&answer).expect("heads") {
            Response::Heads(heads) => {
                let is_longer = |head: &&LogHead| ours.0.get(&head.author) < Some(&head.len);
                longer += heads.iter().filter(is_longer).count();
                heads
            }
            other => panic!("{other:?}"),
        });
        match heads.last() {
            Some(last) if heads.len() == HEADS_PER_PAGE => after = Some(last.author),
            _ => return (cost, longer),
        }
    }
}

/// Ids sorted and ready; a node that keeps them so has this cost with each change instead.
fn sealed(side: &Lens) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::with_capacity(side.0.len());
    for head in side.held() {
        let id = Id::from_byte_array(*Hash::of(head.to_bytes().as_ref()).as_bytes());
        storage.insert(0, id).expect("not sealed");
    }
    storage.seal().expect("no two alike");
    storage
}

fn by_ranges(ours: &Lens, theirs: &Lens) -> (Cost, usize) {
    let mut cost = Cost::default();
    let storage = timed(&mut cost.asking, || sealed(ours));
    let mut asking = Negentropy::borrowed(&storage, RANGES_FRAME_BYTES).expect("a frame");
    let storage = timed(&mut cost.answering, || sealed(theirs));
    let mut answering = Negentropy::borrowed(&storage, RANGES_FRAME_BYTES).expect("a frame");
    let mut request = timed(&mut cost.asking, || asking.initiate().expect("the first"));
    let (mut have, mut need) = (Vec::new(), Vec::new());
    loop {
        cost.round_trips += 1;
        cost.up_bytes += request.len();
        let answer = timed(&mut cost.answering, || answering.reconcile(&request).expect("honest"));
        cost.down_bytes += answer.len();
        let next = timed(&mut cost.asking, || {
            asking.reconcile_with_ids(&answer, &mut have, &mut need).expect("honest")
        });
        match next {
            Some(next) => request = next,
            None => return (cost, need.len()),
        }
    }
}

/// The median of bytes and round trips, the least of times.
fn summary(costs: &[Cost]) -> Cost {
    let median = |of: fn(&Cost) -> usize| {
        let mut all: Vec<usize> = costs.iter().map(of).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    Cost {
        up_bytes: median(|cost| cost.up_bytes),
        down_bytes: median(|cost| cost.down_bytes),
        round_trips: median(|cost| cost.round_trips),
        asking: costs.iter().map(|cost| cost.asking).min().unwrap_or_default(),
        answering: costs.iter().map(|cost| cost.answering).min().unwrap_or_default(),
    }
}

/// One case: each figure for cells, ranges and pages.
fn row(count: usize, ahead: &str, costs: [Cost; 3]) {
    let [bytes, trips, asking, answering] = [
        costs.map(|cost| format!("{} + {}", cost.up_bytes, cost.down_bytes)),
        costs.map(|cost| cost.round_trips.to_string()),
        costs.map(|cost| format!("{:.1}", cost.asking.as_secs_f64() * 1e3)),
        costs.map(|cost| format!("{:.1}", cost.answering.as_secs_f64() * 1e3)),
    ];
    println!(
        "| {count} | {ahead} | {} | {} | {} | {} |",
        bytes.join(" / "),
        trips.join(" / "),
        asking.join(" / "),
        answering.join(" / "),
    );
}

/// What a peer answers to a request, given the honest answer.
type Lie = fn(&Request, Response) -> Response;

fn spoil(honest: Response, with: impl Fn(&mut [u8])) -> Response {
    match honest {
        Response::Cells(mut page) => {
            with(&mut page.cells);
            Response::Cells(page)
        }
        Response::Elements(mut elements) => {
            with(&mut elements);
            Response::Elements(elements)
        }
        other => other,
    }
}

fn noise(bytes: &mut [u8]) {
    let mut number = 0;
    for part in bytes.chunks_mut(32) {
        number += 1;
        part.iter_mut().zip(random(77, number)).for_each(|(byte, noise)| *byte = noise);
    }
}

/// One lie against a node with `ours`; what the liar itself spends is not measured.
fn lied_to(name: &str, ours: &Lens, theirs: &Lens, lie: Lie) {
    let peer = PublicKey::from_bytes([1; 32]);
    let key = CompareKey::from_bytes(random(5, 5));
    let mut cost = Cost::default();
    let mut responder = Responder::default();
    let (mut initiator, first) =
        timed(&mut cost.asking, || Initiator::start(key, ours)).expect("not too large");
    let mut request = Request::Compare(first);
    let outcome = loop {
        cost.round_trips += 1;
        cost.up_bytes += encode(&request).len();
        let honest = match &request {
            Request::Compare(asked) => {
                Response::Cells(responder.handle_compare(0, peer, asked, theirs).expect("granted"))
            }
            Request::FindElements(asked) => {
                Response::Elements(responder.handle_find(0, peer, asked, theirs).expect("granted"))
            }
            other => panic!("{other:?}"),
        };
        let answer = encode(&lie(&request, honest));
        cost.down_bytes += answer.len();
        let step = timed(&mut cost.asking, || match decode_message(&answer).expect("an answer") {
            Response::Cells(cells) => initiator.handle_cells(&cells, ours),
            Response::Elements(bytes) => initiator.handle_elements(&bytes),
            other => panic!("{other:?}"),
        });
        request = match step {
            Step::Compare(asked) => Request::Compare(asked),
            Step::Find(asked) => Request::FindElements(asked),
            Step::Done(found) => {
                break format!("{} to pull, {} unnamed", found.theirs.len(), found.unnamed);
            }
            Step::Failed(why) => break why.to_string(),
        };
    };
    let ms = cost.asking.as_secs_f64() * 1e3;
    let Cost { up_bytes, down_bytes, round_trips, .. } = cost;
    println!("| {name} | {outcome} | {round_trips} | {up_bytes} | {down_bytes} | {ms:.0} |");
}

fn lies() {
    println!(
        "\n| a peer of a node with 100,000 logs | what the node makes of it | round trips | bytes there | \
         bytes back | asking ms |\n|---|---|---|---|---|---|"
    );
    let ours = Lens(logs(100_000));
    let other = |how, by| Lens(ahead(&ours.0, how, by, 3));
    let (same, nothing) = (other(Ahead::Grown, 0), Lens(Set::new()));
    let (everything, some) = (other(Ahead::New, 900_000), other(Ahead::New, 2_000));
    let honest: Lie = |_, honest| honest;
    lied_to("claims to have the same", &ours, &same, honest);
    lied_to("claims nothing", &ours, &nothing, honest);
    lied_to("claims 900,000 logs more", &ours, &everything, honest);
    lied_to("claims 2,000 logs more", &ours, &some, honest);
    lied_to("the same, names none of them", &ours, &some, |request, honest| match request {
        Request::FindElements(_) => Response::Elements(Vec::new().into()),
        _ => honest,
    });
    lied_to("the same, names others", &ours, &some, |request, honest| match request {
        Request::FindElements(_) => spoil(honest, noise),
        _ => honest,
    });
    lied_to("the same, cells of noise", &ours, &some, |_, honest| spoil(honest, noise));
    lied_to("the same, one cell again and again", &ours, &some, |_, honest| {
        spoil(honest, |bytes| {
            let (first, rest) = bytes.split_at_mut(CELL_BYTES);
            rest.chunks_exact_mut(CELL_BYTES).for_each(|cell| cell.copy_from_slice(first));
        })
    });
    lied_to("the same, from its second answer on noise", &ours, &some, |_, honest| match honest {
        Response::Cells(page) if page.probes.is_empty() => spoil(Response::Cells(page), noise),
        _ => honest,
    });
    lied_to("sends zeros for cells", &ours, &same, |_, honest| spoil(honest, |all| all.fill(0)));
    lied_to("sums that never settle, little estimated", &ours, &same, |_, honest| {
        spoil(honest, |all| all.chunks_mut(CELL_BYTES).for_each(|cell| cell[0] ^= 1))
    });
}

fn main() {
    println!(
        "| logs | the other node has | bytes there + back: cells / ranges / pages | round trips | \
         asking ms | answering ms |\n|---|---|---|---|---|---|"
    );
    for count in [1_000, 10_000, 100_000, 1_000_000] {
        let ours = Lens(logs(count));
        let runs = if count > 100_000 { 3 } else { RUNS };
        let cases = [0, 1, 10, 100, 1_000].map(|by| (Ahead::Grown, by));
        for (how, by) in cases.into_iter().chain([(Ahead::New, 10), (Ahead::New, 1_000)]) {
            let mut costs = [const { Vec::new() }; 3];
            for seed in 0..runs {
                let theirs = Lens(ahead(&ours.0, how, by, seed));
                let results = [
                    in_cells(&ours, &theirs, seed),
                    by_ranges(&ours, &theirs),
                    by_pages(&ours, &theirs),
                ];
                for (costs, (cost, found)) in costs.iter_mut().zip(results) {
                    assert_eq!(found, by, "all are found");
                    costs.push(cost);
                }
            }
            let ahead = match how {
                Ahead::Grown => format!("{by} longer"),
                Ahead::New => format!("{by} more"),
            };
            row(count, &ahead, costs.map(|costs| summary(&costs)));
        }
    }
    lies();
}
