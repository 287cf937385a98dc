//! Wire messages, frames, an invite and a receipt.

use std::collections::BTreeMap;

use guildhall_protocol::contract::{Determinism, Hardware, LimitSet, Limits, NodeLimits};
use guildhall_protocol::query::Query;
use guildhall_protocol::receipt::{EdgeHasher, JobStatement, Outcome, Receipt, RunStatement, Used};
use guildhall_protocol::record::{Position, Record};
use guildhall_protocol::statement::{Role, Signed};
use guildhall_protocol::wire::{
    BlobReply, BlobRequest, CELL_BYTES, Cells, Compare, CompareKey, CompareSet, ExecutorFrame,
    FindElements, Hello, Invite, JobFailure, JobInput, JobSpec, JobStage, Lease, LogHead,
    OfferRequest, PartEnd, PartFrame, PartRecords, PiecePart, PortValue, Reason, RecordEnd,
    RecordFrame, RecordResult, Refusal, Request, RequesterFrame, Response, ResultsFrame,
};
use guildhall_protocol::{PackageId, RunId};
use serde_bytes::ByteBuf;

use super::{DAY_MS, NOW_MS, after, content, federation, founder, hash, joiner, public};
use super::{invite_key, signed_founding};

pub(crate) fn run_id() -> RunId {
    RunId(hash(0x70))
}

/// The records of the little federation, each behind those that it names.
pub(crate) fn records() -> Vec<(&'static str, Record)> {
    let (st_mary, lab) = (founder(), joiner());
    let first = Position::default();
    let admission = st_mary.write(Role::Node, first, &content::admission());
    let described = st_mary.write(Role::Node, after(&admission), &content::node());
    let acceptance = lab.write(Role::Node, first, &content::acceptance(admission.id()));
    let confirmation = content::confirmation(admission.id(), acceptance.id());
    let confirmation = st_mary.write(Role::Node, after(&described), &confirmation);
    let release = lab.write(Role::Producer, first, &content::release());
    let listing = lab.write(Role::Producer, after(&release), &content::listing());
    vec![
        ("admission", admission),
        ("node", described),
        ("acceptance", acceptance),
        ("confirmation", confirmation),
        ("release", release),
        ("listing", listing),
    ]
}

fn two_records() -> Vec<ByteBuf> {
    let records = records();
    records.iter().take(2).map(|(_, record)| ByteBuf::from(record.bytes())).collect()
}

pub(crate) fn invite() -> Invite {
    Invite {
        federation: federation(),
        name: "Night Shift".into(),
        org: "st-mary".parse().expect("a name"),
        admission: records()[0].1.id(),
        seed: guildhall_protocol::Hash::from_bytes(invite_key().seed()),
        addresses: vec!["/ip4/192.0.2.7/tcp/4001".into()],
        expires_ms: NOW_MS + 7 * DAY_MS,
    }
}

fn hello() -> Hello {
    Hello {
        federation: federation(),
        delegation: joiner().delegate(Role::Node),
        addresses: vec!["/ip4/192.0.2.8/tcp/4001".into()],
        now_ms: None,
    }
}

fn query() -> Query {
    Query {
        text: None,
        kind: Some(guildhall_protocol::manifest::Kind::Model),
        category: Some("vision".parse().expect("a prefix")),
        reference: Some("lab/digits".parse().expect("a reference")),
        input: Some("image/png".parse().expect("a type")),
        output: Some("prediction".parse().expect("a type")),
        max_latency_ms: Some(10.5),
        min_accuracy: Some(0.9),
        max_memory_bytes: Some(1 << 30),
        limit: 5,
        ..Query::default()
    }
}

fn compare(from: u32, count: u32) -> Compare {
    let key = CompareKey::from_bytes([0x31; 32]);
    Compare { set: CompareSet::Heads, key, from, count }
}

pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    vec![
        ("hello", Request::Hello(hello())),
        ("join", Request::Join { records: two_records() }),
        ("heads", Request::Heads { after: None }),
        ("heads_after", Request::Heads { after: Some(public(0x11)) }),
        ("compare", Request::Compare(compare(16, 48))),
        ("compare/bodies", Request::Compare(Compare { set: CompareSet::Bodies, ..compare(0, 16) })),
        (
            "find_elements",
            Request::FindElements(FindElements {
                set: CompareSet::Heads,
                key: CompareKey::from_bytes([0x31; 32]),
                short_ids: ByteBuf::from(vec![0x32; 16]),
            }),
        ),
        ("pull", Request::Pull { author: public(0x22), from_seq: 7 }),
        ("query", Request::Query(Box::new(query()))),
        (
            "offer",
            Request::Offer(Box::new(OfferRequest {
                run: run_id(),
                stages: vec![PackageId(hash(0x58)), PackageId(hash(0x59))],
                engines: vec!["wasm".into(), "onnx".into()],
                memory_bytes: 64 << 20,
                hardware: Hardware { cores: 2, gpu_memory_bytes: 0 },
                isolation: 2,
                queue_ms: Some(30_000),
                hold_ms: 0,
            })),
        ),
    ]
}

fn refusal() -> Refusal {
    let refusal = Refusal::new(Reason::Busy, "both slots are taken");
    Refusal { retry_after_ms: Some(500), ..refusal }
}

fn cells(probes: Vec<u8>) -> Cells {
    Cells { cells: ByteBuf::from(vec![0x33; 2 * CELL_BYTES]), probes: ByteBuf::from(probes) }
}

pub(crate) fn responses() -> Vec<(&'static str, Response)> {
    let heads =
        vec![LogHead { author: public(0x11), len: 2 }, LogHead { author: public(0x21), len: 1 }];
    let lease = Lease {
        lease: hash(0x71),
        run: run_id(),
        open_within_ms: 30_000,
        warm: 1,
        held: 2,
        load_percent: 50,
    };
    vec![
        ("hello", Response::Hello(hello())),
        ("joined", Response::Joined { founding: signed_founding() }),
        ("heads", Response::Heads(heads)),
        ("cells/first", Response::Cells(cells(vec![0x34; 160]))),
        ("cells/next", Response::Cells(cells(Vec::new()))),
        ("elements", Response::Elements(ByteBuf::from(vec![0x35; 40]))),
        ("records", Response::Records { records: two_records() }),
        ("found", Response::Found { listings: two_records() }),
        ("lease", Response::Lease(lease)),
        ("refused", Response::Refused(refusal())),
    ]
}

/// Every reason, so that none changes its name.
pub(crate) fn reasons() -> Vec<Reason> {
    vec![
        Reason::NotAdmitted,
        Reason::NotLent,
        Reason::Unable,
        Reason::Busy,
        Reason::Quota,
        Reason::QueueTimeout,
        Reason::Draining,
        Reason::BadInvite,
        Reason::Invalid,
        Reason::Unknown,
    ]
}

pub(crate) fn requester_frames() -> Vec<(&'static str, RequesterFrame)> {
    let spec = |input| {
        RequesterFrame::Start(Box::new(JobSpec {
            lease: hash(0x71),
            run: run_id(),
            nonce: hash(0x72),
            stages: vec![JobStage {
                package: PackageId(hash(0x58)),
                engine: Some("wasm".to_owned()),
                config: BTreeMap::from([("threshold".to_owned(), "0.5".to_owned())]),
                listing: LimitSet { scoring_ms: Some(40), ..LimitSet::default() },
            }],
            limits: LimitSet { total_ms: Some(60_000), ..LimitSet::default() },
            input,
            holders: vec![public(0x21)],
        }))
    };
    vec![
        ("start-stream", spec(JobInput::Stream)),
        ("start-package", spec(JobInput::Package(PackageId(hash(0x5a))))),
        ("part", RequesterFrame::Part(PartFrame { part: 0, records: PartRecords::Values(two()) })),
        ("part-positions", positions()),
        ("end", RequesterFrame::End),
        ("countersigned", RequesterFrame::Countersigned(receipt().run)),
    ]
}

fn value(bytes: &[u8]) -> Vec<PortValue> {
    vec![PortValue::new("image", bytes)]
}

fn two() -> Vec<RecordFrame> {
    let shaped = PortValue { dims: Some(vec![2, 2]), ..PortValue::new("image", b"more") };
    vec![
        RecordFrame { index: 0, values: value(b"pixels") },
        RecordFrame { index: 1, values: vec![shaped] },
    ]
}

fn positions() -> RequesterFrame {
    RequesterFrame::Part(PartFrame { part: 1, records: PartRecords::Positions(vec![2, 3]) })
}

pub(crate) fn executor_frames() -> Vec<(&'static str, ExecutorFrame)> {
    let failure = JobFailure {
        stage: 1,
        record: 3,
        cause: "timeout".into(),
        detail: "stopped after 50 ms".into(),
        stopped_after_ms: Some(52),
    };
    vec![
        ("ready", ExecutorFrame::Ready { limits: vec![limits()] }),
        ("results", ExecutorFrame::Results(results(failure.clone()))),
        ("failed", ExecutorFrame::Failed(failure)),
        ("finished", ExecutorFrame::Finished { jobs: receipt().jobs }),
        ("refused", ExecutorFrame::Refused(refusal())),
    ]
}

fn results(failure: JobFailure) -> ResultsFrame {
    let records = vec![
        RecordResult { index: 0, end: RecordEnd::Values(value(b"{}")) },
        RecordResult { index: 3, end: RecordEnd::Failed(failure) },
    ];
    ResultsFrame { part: 0, records, end: Some(PartEnd { wall_us: 1_200 }) }
}

fn limits() -> Limits {
    let producer = LimitSet::from(&content::contract());
    let requester = LimitSet { total_ms: Some(60_000), ..LimitSet::default() };
    Limits::smallest(producer, NodeLimits::default(), requester)
}

fn edge(values: &[&[u8]]) -> guildhall_protocol::Hash {
    let mut hasher = EdgeHasher::new(&hash(0x72));
    for (index, value) in (0..).zip(values) {
        hasher.record(index, &[PortValue::new("image", *value)]);
    }
    hasher.commitment()
}

/// The statement of one stage: stage 0 turns `pixels` into `clean`, stage 1 that into a prediction.
pub(crate) fn job(stage: u32) -> JobStatement {
    let edges = [edge(&[b"pixels", b"more"]), edge(&[b"clean", b"clear"]), edge(&[b"[]", b"[{}]"])];
    JobStatement {
        run: run_id(),
        stage,
        package: PackageId(hash(0x58 + stage as u8)),
        executor: founder().node.public(),
        requester: joiner().node.public(),
        engine: "wasm 48.0.8".into(),
        determinism: Determinism::Bitwise,
        isolation: vec!["rlimits".into(), "seccomp".into()],
        limits: limits(),
        input: edges[stage as usize],
        output: edges[stage as usize + 1],
        records: 2,
        failed: 1,
        used: Used {
            queued_ms: 250,
            wall_us: 900,
            longest_us: 500,
            calls: 2,
            memory_peak_bytes: 1 << 20,
            output_bytes: 10,
        },
        outcome: Outcome::Completed,
        number: u64::from(stage),
        before: (stage > 0).then(|| hash(0x73)),
        time_ms: NOW_MS,
    }
}

pub(crate) fn failed_job() -> JobStatement {
    JobStatement { outcome: Outcome::Failed { cause: "timeout".into(), record: 1 }, ..job(0) }
}

pub(crate) fn run_statement(jobs: &[Signed]) -> RunStatement {
    RunStatement {
        run: run_id(),
        requester: joiner().node.public(),
        jobs: jobs.iter().map(Signed::hash).collect(),
        time_ms: NOW_MS + 1,
    }
}

/// Two stages, executed by the founder's node for the joiner's.
pub(crate) fn receipt() -> Receipt {
    let jobs: Vec<Signed> =
        [0, 1].iter().map(|stage| Signed::new(&job(*stage), &founder().node)).collect();
    let run = Signed::new(&run_statement(&jobs), &joiner().node);
    Receipt { jobs, run }
}

pub(crate) fn blob_requests() -> Vec<(&'static str, BlobRequest)> {
    let piece = |part| BlobRequest::Piece { hash: hash(0x60), piece: 3, part };
    vec![
        ("list", BlobRequest::List { hash: hash(0x60) }),
        ("piece/whole", piece(PiecePart::Whole)),
        ("piece/hashes", piece(PiecePart::Hashes)),
        ("piece/groups", piece(PiecePart::Groups { first: 17, count: 2 })),
        ("batch", BlobRequest::Batch { hashes: vec![hash(0x61), hash(0x62)] }),
    ]
}

pub(crate) fn blob_replies() -> Vec<(&'static str, BlobReply)> {
    vec![
        ("list", BlobReply::List { len_bytes: 65_536 }),
        ("piece", BlobReply::Piece),
        ("batch", BlobReply::Batch { lens: vec![Some(4_096), None] }),
        ("missing", BlobReply::Missing),
    ]
}
