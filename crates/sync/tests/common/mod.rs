//! Authors with logs, written once for all cases.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::OnceLock;

use guildhall_protocol::record::{Body, Position, Record};
use guildhall_protocol::statement::{Delegation, Role, Signed};
use guildhall_protocol::{Hash, PublicKey, RecordId, SecretKey};

/// A key and its log.
pub(crate) struct Author {
    pub(crate) key: PublicKey,
    pub(crate) records: Vec<Record>,
}

/// Three authors with twenty records each.
pub(crate) fn authors() -> &'static [Author] {
    static AUTHORS: OnceLock<Vec<Author>> = OnceLock::new();
    AUTHORS.get_or_init(|| (1..4).map(|seed| author(seed, 20, None)).collect())
}

/// The log of the author with this seed; another one from `forked_at` on, as a second writer would make it.
pub(crate) fn author(seed: u8, len: u64, forked_at: Option<u64>) -> Author {
    let root = SecretKey::from_seed(&[seed + 100; 32]);
    let key = SecretKey::from_seed(&[seed; 32]);
    let delegation = Delegation {
        root: root.public(),
        key: key.public(),
        role: Role::Producer,
        issued_ms: 0,
        expires_ms: 1,
    };
    let delegation = Signed::new(&delegation, &root);
    let mut at = Position::default();
    let mut records = Vec::new();
    for seq in 0..len {
        let side = if forked_at.is_some_and(|fork| seq >= fork) { "other" } else { "one" };
        let bytes = format!("{side} {seq}").into_bytes();
        let body = Body { record_type: "later", version: 1, bytes: &bytes };
        let record = Record::write(&key, &delegation, at, &body, 0).expect("a record");
        at = Position { seq: seq + 1, prev: Some(record.id()) };
        records.push(record);
    }
    Author { key: key.public(), records }
}

/// A record that nothing precedes but its word: a log by a fresh key, at any position.
pub(crate) fn record_at(seed: &[u8; 32], seq: u64, bytes: &[u8]) -> Record {
    let key = SecretKey::from_seed(seed);
    let delegation = Delegation {
        root: key.public(),
        key: key.public(),
        role: Role::Producer,
        issued_ms: 0,
        expires_ms: 1,
    };
    let delegation = Signed::new(&delegation, &key);
    let prev = seq.checked_sub(1).map(|_| RecordId(Hash::of(b"before")));
    let body = Body { record_type: "later", version: 1, bytes };
    Record::write(&key, &delegation, Position { seq, prev }, &body, 0).expect("a record")
}
