//! Golden vectors: for everything that is stored, signed or sent, the exact bytes of one value.
//!
//! `golden/vectors.json` maps a name to hex. A change there is a change of format; `GUILDHALL_BLESS=1` writes it anew.

mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use common::{content, messages};
use data_encoding::HEXLOWER;
use guildhall_protocol::body::{
    Acceptance, Admission, Confirmation, Demand, ForkProof, Listing, NodeBody, RecordBody, Release,
    Review, Yank,
};
use guildhall_protocol::cbor;
use guildhall_protocol::manifest::{Kind, Manifest};
use guildhall_protocol::receipt::{JobStatement, Receipt, RunStatement};
use guildhall_protocol::record::{Position, Record};
use guildhall_protocol::statement::{Delegation, Founding, InviteUse, Role, Signed, Statement};
use guildhall_protocol::wire::{Invite, Refusal, decode_frame, decode_message};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value's bytes, and the check that bytes decode to the value.
struct Vector {
    bytes: Vec<u8>,
    check: Check,
}

type Check = Box<dyn Fn(&[u8])>;

/// Adds what is encoded plainly: messages, frames, receipts.
fn plain<T>(vectors: &mut BTreeMap<String, Vector>, name: String, value: T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    let bytes = cbor::encode(&value);
    let check = Box::new(move |bytes: &[u8]| {
        assert_eq!(decode_message::<T>(bytes).as_ref(), Ok(&value));
        assert_eq!(decode_frame::<T>(bytes).as_ref(), Ok(&value));
    });
    assert!(vectors.insert(name, Vector { bytes, check }).is_none(), "one name, one vector");
}

fn statement<T>(vectors: &mut BTreeMap<String, Vector>, name: &str, value: T, signed: Signed)
where
    T: Statement + PartialEq + Debug + 'static,
{
    let bytes = cbor::encode(&signed);
    let check = Box::new(move |bytes: &[u8]| {
        let signed: Signed = decode_message(bytes).expect("a signed statement");
        assert_eq!(signed.open::<T>().as_ref(), Ok(&value));
    });
    vectors.insert(format!("statement/{name}"), Vector { bytes, check });
}

fn record<T>(vectors: &mut BTreeMap<String, Vector>, written: &Record, body: T)
where
    T: RecordBody + PartialEq + Debug + 'static,
{
    let erased = written.without_body();
    let (whole, hollow) = (written.clone(), erased.clone());
    let check = Box::new(move |bytes: &[u8]| {
        let opened = Record::open(bytes).expect("a record");
        assert_eq!(opened, whole);
        assert_eq!(opened.body_as::<T>().expect("of this type").as_ref(), Ok(&body));
    });
    let name = format!("record/{}", T::TYPE);
    vectors.insert(name, Vector { bytes: written.bytes().to_vec(), check });
    let check = Box::new(move |bytes: &[u8]| {
        let opened = Record::open(bytes).expect("a record");
        assert_eq!((opened.id(), opened.body()), (hollow.id(), None));
        assert_eq!(opened, hollow);
    });
    let name = format!("record/{}/erased", T::TYPE);
    vectors.insert(name, Vector { bytes: erased.bytes().to_vec(), check });
}

fn vectors() -> BTreeMap<String, Vector> {
    let mut all = BTreeMap::new();
    let records = messages::records();
    let admission = records[0].1.id();
    record::<Admission>(&mut all, &records[0].1, content::admission());
    record::<NodeBody>(&mut all, &records[1].1, content::node());
    record::<Acceptance>(&mut all, &records[2].1, content::acceptance(admission));
    let confirmation = content::confirmation(admission, records[2].1.id());
    record::<Confirmation>(&mut all, &records[3].1, confirmation);
    record::<Release>(&mut all, &records[4].1, content::release());
    record::<Listing>(&mut all, &records[5].1, content::listing());
    let demand = content::demand();
    let told = common::joiner().write(Role::Node, common::after(&records[2].1), &demand);
    record::<Demand>(&mut all, &told, demand);
    let (yank, review) = (content::yank(), content::review());
    let taken = common::founder().write(Role::Producer, common::after(&records[5].1), &yank);
    let judged = common::joiner().write(Role::Producer, Position::default(), &review);
    let lending = content::lending_node();
    let told = common::founder().write(Role::Node, common::after(&records[1].1), &lending);
    let check = Box::new(move |bytes: &[u8]| {
        let opened = Record::open(bytes).expect("a record");
        assert_eq!(opened.body_as::<NodeBody>().expect("of this type").as_ref(), Ok(&lending));
    });
    all.insert("record/node/lending".into(), Vector { bytes: told.bytes().to_vec(), check });
    record::<Yank>(&mut all, &taken, yank.clone());
    let twin =
        common::founder().write(Role::Producer, common::after(&records[5].1), &content::release());
    let proof = ForkProof::of(common::federation(), &taken, &twin).expect("two at one place");
    let shown = common::joiner().write(Role::Node, common::after(&records[2].1), &proof);
    record::<ForkProof>(&mut all, &shown, proof);
    record::<Review>(&mut all, &judged, review);

    let (st_mary, lab) = (common::founder(), common::joiner());
    let (node, producer) = (Role::Node, Role::Producer);
    let delegation = |role| lab.delegation(role);
    statement::<Delegation>(&mut all, "delegation/node", delegation(node), lab.delegate(node));
    statement(&mut all, "delegation/producer", delegation(producer), lab.delegate(producer));
    statement::<Founding>(&mut all, "founding", common::founding(), common::signed_founding());
    let invite_use = content::acceptance(admission).invite_use;
    let opened = invite_use.open::<InviteUse>().expect("a statement");
    statement(&mut all, "invite-use", opened, invite_use);
    let receipt = messages::receipt();
    statement::<JobStatement>(&mut all, "receipt/job", messages::job(0), receipt.jobs[0].clone());
    let failed = messages::failed_job();
    let signed = Signed::new(&failed, &st_mary.node);
    statement(&mut all, "receipt/job/failed", failed, signed);
    let run: RunStatement = messages::run_statement(&receipt.jobs);
    statement(&mut all, "receipt/run", run, receipt.run.clone());

    for kind in Kind::ALL {
        let manifest = content::manifest(kind);
        let (id, bytes) = manifest.seal();
        let check = Box::new(move |bytes: &[u8]| {
            assert_eq!(Manifest::open(id, bytes).as_ref(), Ok(&manifest))
        });
        all.insert(format!("manifest/{kind}"), Vector { bytes, check });
    }

    let text = messages::invite().to_text().into_bytes();
    let check = Box::new(|bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).expect("a text");
        assert_eq!(Invite::from_text(text), Ok(messages::invite()));
    });
    all.insert("invite".into(), Vector { bytes: text, check });

    sent(&mut all, receipt);
    all
}

/// Adds everything that is only sent or kept as a document.
fn sent(all: &mut BTreeMap<String, Vector>, receipt: Receipt) {
    plain(all, "receipt".into(), receipt);
    for (name, request) in messages::requests() {
        plain(all, format!("request/{name}"), request);
    }
    for (name, response) in messages::responses() {
        plain(all, format!("response/{name}"), response);
    }
    for reason in messages::reasons() {
        plain(all, format!("refusal/{reason:?}"), Refusal::new(reason, "why"));
    }
    for (name, frame) in messages::requester_frames() {
        plain(all, format!("frame/requester/{name}"), frame);
    }
    for (name, frame) in messages::executor_frames() {
        plain(all, format!("frame/executor/{name}"), frame);
    }
    for (name, request) in messages::blob_requests() {
        plain(all, format!("blob/request/{name}"), request);
    }
    for (name, reply) in messages::blob_replies() {
        plain(all, format!("blob/reply/{name}"), reply);
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vectors.json")
}

#[test]
fn every_format_has_the_bytes_that_are_written_down() {
    let vectors = vectors();
    let found: BTreeMap<String, String> =
        vectors.iter().map(|(name, v)| (name.clone(), HEXLOWER.encode(&v.bytes))).collect();
    if std::env::var_os("GUILDHALL_BLESS").is_some() {
        let json = serde_json::to_string_pretty(&found).expect("JSON") + "\n";
        std::fs::create_dir_all(path().parent().expect("a folder")).expect("creates");
        std::fs::write(path(), json).expect("writes");
    }
    let json = std::fs::read_to_string(path()).expect("tests/golden/vectors.json");
    let golden: BTreeMap<String, String> = serde_json::from_str(&json).expect("JSON");
    let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&golden), "a format without a vector, or the other way round");
    for (name, hex) in &golden {
        assert_eq!(&found[name], hex, "the format of `{name}` changed");
        let bytes = HEXLOWER.decode(hex.as_bytes()).expect("hex");
        (vectors[name].check)(&bytes);
    }
}

/// Unknown fields are ignored wherever nothing is frozen, so that a newer node can say more.
#[test]
fn a_field_that_we_do_not_know_is_skipped_in_every_message_and_body() {
    let with_field = |bytes: &[u8]| {
        let ciborium::Value::Map(mut entries) = ciborium::from_reader(bytes).expect("CBOR") else {
            return None;
        };
        entries.insert(0, ("zz-new".into(), ciborium::Value::Array(vec![1.into(), "x".into()])));
        let mut more = Vec::new();
        ciborium::into_writer(&ciborium::Value::Map(entries), &mut more).expect("writes");
        Some(more)
    };
    let node = with_field(&cbor::encode(&content::node())).expect("a map");
    assert_eq!(cbor::decode(&node, 60_000), Ok(content::node()));
    let listing = with_field(&cbor::encode(&content::listing())).expect("a map");
    assert_eq!(cbor::decode(&listing, 60_000), Ok(content::listing()));
    for kind in Kind::ALL {
        let more = with_field(&content::manifest(kind).seal().1).expect("a map");
        assert_eq!(cbor::decode(&more, 60_000), Ok(content::manifest(kind)));
    }
    let receipt = with_field(&cbor::encode(&messages::receipt())).expect("a map");
    assert_eq!(cbor::decode(&receipt, 60_000), Ok(messages::receipt()));
}

/// A node's limits travel inside its record; a newer node may have more of them.
#[test]
fn a_limit_that_we_do_not_know_does_not_hide_a_node() {
    use ciborium::Value;
    let bytes = cbor::encode(&content::node());
    let mut value: Value = ciborium::from_reader(&bytes[..]).expect("CBOR");
    let entry = |value: &mut Value, key: &str| -> Value {
        let entries = value.as_map_mut().expect("a map");
        let at = entries.iter().position(|(k, _)| k.as_text() == Some(key)).expect("the key");
        entries.remove(at).1
    };
    let mut offer = entry(&mut value, "offer");
    let mut limits = entry(&mut offer, "limits");
    limits.as_map_mut().expect("a map").push(("network_bytes".into(), 0.into()));
    offer.as_map_mut().expect("a map").push(("limits".into(), limits));
    value.as_map_mut().expect("a map").push(("offer".into(), offer));
    let mut more = Vec::new();
    ciborium::into_writer(&value, &mut more).expect("writes");
    assert_eq!(cbor::decode(&more, 60_000), Ok(content::node()));
}

/// The hex in docs/protocol.md, by the word behind ` ```hex `.
fn documented() -> BTreeMap<String, String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = std::fs::read_to_string(path).expect("docs/protocol.md");
    let mut blocks = BTreeMap::new();
    let mut rest = text.as_str();
    while let Some((_, block)) = rest.split_once("```hex ") {
        let (name, block) = block.split_once('\n').expect("a line");
        let (hex, after) = block.split_once("```").expect("an end");
        blocks.insert(name.trim().to_owned(), hex.split_whitespace().collect());
        rest = after;
    }
    blocks
}

#[test]
fn the_worked_examples_of_the_documentation_are_true() {
    let (_, release) = messages::records().swap_remove(4);
    let job = messages::job(0);
    let domain = guildhall_protocol::key::Domain { name: "record/release", version: 1 };
    let delegation = common::joiner().delegate(Role::Producer);
    let header = cbor::encode(release.header());
    let expected = [
        ("body", HEXLOWER.encode(release.body().expect("a body"))),
        ("delegation", HEXLOWER.encode(&delegation.statement)),
        ("edge", job.input.to_hex()),
        ("envelope", HEXLOWER.encode(release.bytes())),
        ("header", HEXLOWER.encode(&header)),
        ("id", release.id().to_string()),
        ("prefix", HEXLOWER.encode(&domain.message(&[]))),
    ];
    let expected: BTreeMap<String, String> =
        expected.into_iter().map(|(name, hex)| (name.to_owned(), hex)).collect();
    assert_eq!(documented(), expected);
}
