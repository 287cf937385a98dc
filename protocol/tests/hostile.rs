//! What an attacker may try on bytes that are signed: none of it is accepted.

mod common;

use ciborium::Value;
use common::odd::other_forms;
use common::{DAY_MS, NOW_MS, Org, after, content, founder, joiner, messages};
use guildhall_protocol::cbor::{self, DecodeError};
use guildhall_protocol::limits::RECORD_MAX_BYTES;
use guildhall_protocol::receipt::{JobStatement, Receipt, ReceiptError, RunStatement};
use guildhall_protocol::record::{Body, Content, Header, Position, Record, RecordError};
use guildhall_protocol::statement::{Delegation, Founding, InviteUse, Role, Signed, Statement};
use guildhall_protocol::{Hash, SecretKey, Signature};
use serde::{Deserialize, Serialize};

/// The envelope with every part open to change.
#[derive(Clone, Serialize, Deserialize)]
struct Forged {
    #[serde(with = "serde_bytes")]
    header: Vec<u8>,
    signature: Signature,
    #[serde(with = "serde_bytes")]
    delegation: Vec<u8>,
    body: Content,
}

impl Forged {
    fn of(record: &Record) -> Self {
        cbor::decode(record.bytes(), RECORD_MAX_BYTES).expect("a record's envelope")
    }

    /// Signs `header` with `key` in the domain `record/` + `domain`.
    fn sign(header: &Header, key: &SecretKey, domain: &str, delegation: &Signed) -> Self {
        let bytes = cbor::encode(header);
        let name = format!("record/{domain}");
        let domain = guildhall_protocol::key::Domain { name: &name, version: header.version };
        Self {
            signature: key.sign(domain, &bytes),
            header: bytes,
            delegation: cbor::encode(delegation),
            body: Content::Erased,
        }
    }

    fn open(&self) -> Result<Record, RecordError> {
        Record::open(&cbor::encode(self))
    }
}

fn header(org: &Org, role: Role, record_type: &str) -> Header {
    Header {
        author: org.key(role).public(),
        root: org.root.public(),
        seq: 0,
        prev: None,
        record_type: record_type.into(),
        version: 1,
        time_ms: NOW_MS,
        body: Hash::of(b"body"),
    }
}

/// The six records of the little federation, each whole and erased, and ten of sizes around head lengths.
fn samples() -> Vec<Record> {
    let mut records: Vec<Record> = messages::records().into_iter().map(|(_, r)| r).collect();
    records.extend(records.clone().iter().map(Record::without_body));
    let lab = joiner();
    let delegation = lab.delegate(Role::Producer);
    let mut at = Position::default();
    for len in [0, 1, 22, 23, 24, 255, 256, 300, 600, 1000] {
        let bytes = vec![0x5a; len];
        let body = Body { record_type: "later", version: 7, bytes: &bytes };
        let record =
            Record::write(&lab.producer, &delegation, at, &body, NOW_MS).expect("a record");
        at = after(&record);
        records.push(record);
    }
    assert_eq!(records.len(), 22);
    records
}

/// Flips one bit in every `step` bits of each record, and counts tries and successes.
fn flip_bits(step: usize) -> (usize, usize) {
    let (mut tried, mut accepted) = (0, 0);
    for (number, record) in samples().iter().enumerate() {
        for bit in (number % step..record.bytes().len() * 8).step_by(step) {
            let mut bytes = record.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            tried += 1;
            accepted += usize::from(Record::open(&bytes).is_ok());
        }
    }
    (tried, accepted)
}

#[test]
fn t01_no_flipped_bit_in_any_kind_of_record_is_accepted() {
    let (tried, accepted) = flip_bits(17);
    assert!(tried > 5_000, "{tried}");
    assert_eq!(accepted, 0, "of {tried}");
}

#[test]
#[ignore = "nightly: 100,000 mutations take twenty seconds"]
fn t01_none_of_a_hundred_thousand_mutations_is_accepted() {
    let (tried, accepted) = flip_bits(1);
    assert!(tried > 100_000, "{tried}");
    assert_eq!(accepted, 0, "of {tried}");
}

#[test]
fn t01_no_replaced_removed_or_inserted_byte_is_accepted() {
    let mut tried = 0;
    for (number, record) in samples().iter().enumerate() {
        let bytes = record.bytes();
        for at in (number % 23..bytes.len()).step_by(23) {
            // A value that depends on the place and differs from what is there.
            let other = bytes[at].wrapping_add(1 + (at * 31 + number * 7) as u8 % 255);
            let mut replaced = bytes.to_vec();
            replaced[at] = other;
            let mut removed = bytes.to_vec();
            removed.remove(at);
            let mut inserted = bytes.to_vec();
            inserted.insert(at, other);
            for mutated in [replaced, removed, inserted] {
                assert!(Record::open(&mutated).is_err(), "record {number}, byte {at}");
                tried += 1;
            }
        }
    }
    assert!(tried > 1_500, "{tried}");
}

#[test]
fn t01_no_record_that_is_cut_or_extended_is_accepted() {
    for record in samples() {
        let bytes = record.bytes();
        for end in 0..bytes.len() {
            assert!(Record::open(&bytes[..end]).is_err(), "{end} of {}", bytes.len());
        }
        for byte in 0..=u8::MAX {
            assert!(Record::open(&[bytes, &[byte]].concat()).is_err(), "{byte} behind");
            assert!(Record::open(&[&[byte], bytes].concat()).is_err(), "{byte} in front");
        }
    }
}

#[test]
fn t01_no_part_of_one_record_is_accepted_in_another() {
    let records: Vec<Record> = samples();
    for one in &records {
        for other in records.iter().filter(|other| other.id() != one.id()) {
            let (one, other) = (Forged::of(one), Forged::of(other));
            let swapped = [
                Forged { header: other.header.clone(), ..one.clone() },
                Forged { signature: other.signature, ..one.clone() },
            ];
            assert!(swapped.iter().all(|forged| forged.open().is_err()));
            if !matches!(other.body, Content::Erased) {
                assert!(Forged { body: other.body, ..one }.open().is_err());
            }
        }
    }
}

#[test]
fn an_erased_body_leaves_the_record_and_yields_nothing() {
    for record in samples() {
        let erased = Forged { body: Content::Erased, ..Forged::of(&record) }.open().expect("legal");
        assert_eq!((erased.id(), erased.header()), (record.id(), record.header()));
        assert_eq!(erased.body(), None);
        assert_eq!(erased, record.without_body());
        assert_eq!(record.without_body().without_body(), record.without_body());
        if let Some(body) = record.body() {
            // Whoever relays a record can also hide its body as a sealed one. It is not readable as anything else.
            let sealed = Forged { body: Content::Sealed(body.to_vec()), ..Forged::of(&record) };
            assert_eq!(sealed.open().expect("legal").body(), None);
        }
    }
}

#[test]
fn t03_a_record_signed_as_one_type_is_none_of_another() {
    let node = ["admission", "acceptance", "confirmation", "node", "metrics"];
    let types = [&node[..], &["release", "listing", "yank", "later"]].concat();
    let org = founder();
    let mut accepted = Vec::new();
    for role in [Role::Node, Role::Producer] {
        for signed_as in types.iter().copied() {
            for presented_as in types.iter().copied() {
                let header = header(&org, role, presented_as);
                let forged =
                    Forged::sign(&header, org.key(role), signed_as, &org.delegate(role)).open();
                if let Ok(record) = forged {
                    assert_eq!((signed_as, record.header()), (presented_as, &header));
                    accepted.push((role, signed_as));
                }
            }
        }
    }
    // What is left are honest records: every type by the role that may write it, the unknown one by both.
    assert_eq!(accepted.len(), 10, "{accepted:?}");
    assert!(accepted.contains(&(Role::Node, "confirmation")));
}

#[test]
fn t03_a_signature_of_one_version_is_none_of_another() {
    let org = founder();
    for version in [0, 2, 256, u16::MAX] {
        let honest = header(&org, Role::Node, "node");
        let mut forged = Forged::sign(&honest, &org.node, "node", &org.delegate(Role::Node));
        forged.header = cbor::encode(&Header { version, ..honest });
        assert_eq!(
            forged.open(),
            Err(RecordError::Signature(guildhall_protocol::key::BadSignature))
        );
    }
}

/// Every statement signed in every other's domain, and opened as every other type.
#[test]
fn t03_a_statement_of_one_kind_is_none_of_another() {
    fn in_domains<T: Statement>(statement: &T, key: &SecretKey) -> Vec<Signed> {
        let bytes = cbor::encode(statement);
        [
            Delegation::DOMAIN,
            Founding::DOMAIN,
            InviteUse::DOMAIN,
            JobStatement::DOMAIN,
            RunStatement::DOMAIN,
            guildhall_protocol::key::Domain { name: "record/node", version: 1 },
            guildhall_protocol::key::Domain { name: "delegation", version: 2 },
        ]
        .iter()
        .map(|domain| Signed { signature: key.sign(*domain, &bytes), statement: bytes.clone() })
        .collect()
    }
    fn opened(signed: &Signed) -> usize {
        let by_type = [
            signed.open::<Delegation>().is_ok(),
            signed.open::<Founding>().is_ok(),
            signed.open::<InviteUse>().is_ok(),
            signed.open::<JobStatement>().is_ok(),
            signed.open::<RunStatement>().is_ok(),
        ];
        by_type.into_iter().filter(|opened| *opened).count()
    }
    let receipt = messages::receipt();
    let invite_use: InviteUse =
        content::acceptance(messages::records()[0].1.id()).invite_use.open().expect("a statement");
    let all = [
        in_domains(&founder().delegation(Role::Node), &founder().root),
        in_domains(&common::founding(), &founder().root),
        in_domains(&invite_use, &common::invite_key()),
        in_domains(&messages::job(0), &founder().node),
        in_domains(&messages::run_statement(&receipt.jobs), &joiner().node),
    ];
    for (kind, signed) in all.iter().enumerate() {
        for (domain, signed) in signed.iter().enumerate() {
            assert_eq!(opened(signed), usize::from(kind == domain), "{kind} in {domain}");
        }
    }
}

#[test]
fn t03_a_record_is_none_of_another_federation() {
    let admission = &messages::records()[0].1;
    let mut body = content::admission();
    body.federation = guildhall_protocol::FederationId(common::hash(9));
    let swapped = Forged { body: Content::Public(cbor::encode(&body)), ..Forged::of(admission) };
    assert_eq!(swapped.open(), Err(RecordError::Body));
}

#[test]
fn t02_a_record_has_one_form() {
    let mut tried = 0;
    for (number, record) in samples().iter().enumerate() {
        for (form, bytes) in other_forms(record) {
            if bytes == record.bytes() {
                continue;
            }
            // A form that says something else about the body is legal only where it is the erased record's own.
            let opened = Record::open(&bytes);
            assert!(opened.is_err(), "record {number}, {form}: {:?}", opened.map(|r| r.id()));
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn t02_what_the_author_signs_must_have_the_form_too() {
    let org = founder();
    let honest = cbor::encode(&header(&org, Role::Node, "node"));
    let value: Value = ciborium::from_reader(&honest[..]).expect("CBOR");
    let with = |key: &str, value_of: Value| {
        let mut entries = value.clone().into_map().expect("a map");
        entries.retain(|(name, _)| name.as_text() != Some(key));
        entries.push((key.into(), value_of));
        let mut bytes = Vec::new();
        ciborium::into_writer(&Value::Map(entries), &mut bytes).expect("writes");
        bytes
    };
    let key = Value::Array(org.node.public().as_bytes().iter().map(|b| (*b).into()).collect());
    let domain = guildhall_protocol::key::Domain { name: "record/node", version: 1 };
    for (bytes, accepted) in [
        (honest.clone(), true),
        (with("zz-new", 1.into()), true),
        (with("author", key), false),
        (with("seq", 0.0.into()), false),
        (with("seq", "0".into()), false),
        (with("seq", (-1).into()), false),
        (with("version", 65_536.into()), false),
        (with("type", Value::Bytes(b"node".to_vec())), false),
        (with("type", "no\0de".into()), false),
        (with("type", "".into()), false),
        (with("body", Value::Bytes(vec![0; 31])), false),
        (honest.iter().chain(&[0]).copied().collect(), false),
    ] {
        let forged = Forged {
            signature: org.node.sign(domain, &bytes),
            header: bytes,
            delegation: cbor::encode(&org.delegate(Role::Node)),
            body: Content::Erased,
        };
        assert_eq!(
            forged.open().is_ok(),
            accepted,
            "{}",
            data_encoding::HEXLOWER.encode(&forged.header)
        );
    }
}

#[test]
fn a_record_over_the_limit_is_neither_written_nor_read() {
    let lab = joiner();
    let delegation = lab.delegate(Role::Producer);
    let write = |len: usize| {
        let bytes = vec![0; len];
        let body = Body { record_type: "later", version: 1, bytes: &bytes };
        Record::write(&lab.producer, &delegation, Position::default(), &body, NOW_MS)
    };
    let overhead = write(1000).expect("a record").bytes().len() - 1000;
    let largest = write(RECORD_MAX_BYTES - overhead).expect("a record");
    assert_eq!(largest.bytes().len(), RECORD_MAX_BYTES);
    let error = write(RECORD_MAX_BYTES - overhead + 1).expect_err("too long");
    assert!(matches!(error, RecordError::Form(DecodeError::TooLong { .. })), "{error}");
    let mut longer = Forged::of(&largest);
    longer.body = Content::Public(vec![0; RECORD_MAX_BYTES]);
    assert!(matches!(longer.open(), Err(RecordError::Form(DecodeError::TooLong { .. }))));
}

#[test]
fn a_record_needs_its_authors_signature_and_a_delegation_that_fits() {
    let (st_mary, lab) = (founder(), joiner());
    let honest = header(&st_mary, Role::Node, "node");
    let sign = |header: &Header, key: &SecretKey, delegation: &Signed| {
        Forged::sign(header, key, &header.record_type, delegation).open()
    };
    let node = st_mary.delegate(Role::Node);
    assert!(sign(&honest, &st_mary.node, &node).is_ok());
    let signature = RecordError::Signature(guildhall_protocol::key::BadSignature);
    for other in [&lab.node, &st_mary.root, &st_mary.producer] {
        assert_eq!(sign(&honest, other, &node), Err(signature.clone()));
    }
    let others = [
        (lab.delegate(Role::Node), RecordError::OtherKey),
        (st_mary.delegate(Role::Producer), RecordError::OtherKey),
    ];
    for (delegation, error) in others {
        assert_eq!(sign(&honest, &st_mary.node, &delegation), Err(error));
    }
    let granted = |change: &dyn Fn(&mut Delegation), root: &SecretKey| {
        let mut delegation = st_mary.delegation(Role::Node);
        change(&mut delegation);
        sign(&honest, &st_mary.node, &Signed::new(&delegation, root))
    };
    assert!(
        matches!(granted(&|_| (), &lab.root), Err(RecordError::Delegation(_))),
        "a delegation that its root did not sign"
    );
    let role = RecordError::Role { record_type: "node".into(), role: Role::Producer };
    assert_eq!(granted(&|d| d.role = Role::Producer, &st_mary.root), Err(role));
    let longer = |d: &mut Delegation| d.expires_ms = d.issued_ms + 90 * DAY_MS + 1;
    assert_eq!(granted(&longer, &st_mary.root), Err(RecordError::DelegationTooLong));
    let none =
        Forged { delegation: Vec::new(), ..Forged::sign(&honest, &st_mary.node, "node", &node) };
    assert!(matches!(none.open(), Err(RecordError::Form(_))));
}

/// Anybody can delegate to a key that they saw. Its records must not become theirs by that.
#[test]
fn a_record_cannot_be_claimed_by_an_org_that_delegates_to_its_author() {
    let (victim, thief) = (joiner(), founder());
    let (_, listing) = messages::records().pop().expect("the listing");
    assert_eq!(listing.delegation().root, victim.root.public());
    let grab = Delegation { root: thief.root.public(), ..victim.delegation(Role::Producer) };
    let delegation = cbor::encode(&Signed::new(&grab, &thief.root));
    let stolen = Forged { delegation, ..Forged::of(&listing) };
    assert_eq!(stolen.open(), Err(RecordError::OtherRoot));
    // A renewed delegation by the same root is fine.
    let renewed = Delegation {
        issued_ms: NOW_MS + DAY_MS,
        expires_ms: NOW_MS + 91 * DAY_MS,
        ..victim.delegation(Role::Producer)
    };
    let delegation = cbor::encode(&Signed::new(&renewed, &victim.root));
    let renewed = Forged { delegation, ..Forged::of(&listing) }.open().expect("holds");
    assert_eq!(renewed.id(), listing.id());
}

#[test]
fn t04_a_position_that_contradicts_itself_is_refused() {
    let org = founder();
    let prev = Some(messages::records()[0].1.id());
    for (seq, prev, accepted) in [
        (0, None, true),
        (0, prev, false),
        (1, None, false),
        (1, prev, true),
        (u64::MAX, None, false),
    ] {
        let header = Header { seq, prev, ..header(&org, Role::Node, "node") };
        let forged = Forged::sign(&header, &org.node, "node", &org.delegate(Role::Node));
        match forged.open() {
            Ok(_) => assert!(accepted, "{seq}"),
            Err(error) => assert_eq!((error, accepted), (RecordError::Position { seq }, false)),
        }
    }
}

#[test]
fn a_receipt_holds_only_as_a_whole() {
    let honest = messages::receipt();
    assert!(honest.verify().is_ok());
    let (executor, requester) = (founder().node, joiner().node);
    let sign = |jobs: Vec<Signed>| {
        let run = Signed::new(&messages::run_statement(&jobs), &requester);
        Receipt { jobs, run }
    };
    let job = |change: &dyn Fn(&mut JobStatement)| {
        let mut job = messages::job(1);
        change(&mut job);
        sign(vec![honest.jobs[0].clone(), Signed::new(&job, &executor)])
    };
    let cases = [
        ("a job less", Receipt { jobs: honest.jobs[..1].to_vec(), ..honest.clone() }),
        (
            "jobs in another order",
            Receipt { jobs: honest.jobs.iter().rev().cloned().collect(), ..honest.clone() },
        ),
        ("no job", sign(Vec::new())),
        ("too many jobs", sign(vec![honest.jobs[0].clone(); 65])),
        ("a gap between stages", job(&|job| job.stage = 2)),
        ("another edge", job(&|job| job.input = common::hash(1))),
        ("another run", job(&|job| job.run = guildhall_protocol::RunId(common::hash(1)))),
        ("another requester", job(&|job| job.requester = common::public(9))),
        ("another executor", job(&|job| job.executor = common::public(9))),
        ("an unsigned change", {
            let mut receipt = honest.clone();
            receipt.run.signature = receipt.jobs[0].signature;
            receipt
        }),
    ];
    for (what, receipt) in cases {
        assert!(receipt.verify().is_err(), "{what}");
    }
    let edge = job(&|job| job.input = common::hash(1)).verify();
    assert_eq!(edge.map(drop), Err(ReceiptError::Edge { stage: 0 }));
}
