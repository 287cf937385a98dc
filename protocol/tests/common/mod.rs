//! What the tests of this folder build on: two orgs with fixed keys, and one value of everything that has a format.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod content;
pub(crate) mod messages;
pub(crate) mod odd;

use guildhall_protocol::body::RecordBody;
use guildhall_protocol::cbor;
use guildhall_protocol::record::{Body, Position, Record};
use guildhall_protocol::statement::{Delegation, Founding, Role, Signed};
use guildhall_protocol::{FederationId, Hash, PublicKey, SecretKey};

/// The tests' clock, milliseconds since 1970: 15 January 2027.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;

/// A day, milliseconds.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// An org's keys, made from one number.
pub(crate) struct Org {
    pub(crate) root: SecretKey,
    pub(crate) node: SecretKey,
    pub(crate) producer: SecretKey,
}

/// The founder, `st-mary`.
pub(crate) fn founder() -> Org {
    Org::new(0x10)
}

/// The org that joins, `lab`.
pub(crate) fn joiner() -> Org {
    Org::new(0x20)
}

/// The key of the invite that `st-mary` gives to `lab`.
pub(crate) fn invite_key() -> SecretKey {
    key(0x30)
}

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

impl Org {
    pub(crate) fn new(seed: u8) -> Self {
        Self { root: key(seed), node: key(seed + 1), producer: key(seed + 2) }
    }

    pub(crate) fn delegate(&self, role: Role) -> Signed {
        Signed::new(&self.delegation(role), &self.root)
    }

    pub(crate) fn delegation(&self, role: Role) -> Delegation {
        Delegation {
            root: self.root.public(),
            key: self.key(role).public(),
            role,
            issued_ms: NOW_MS,
            expires_ms: NOW_MS + 90 * DAY_MS,
        }
    }

    pub(crate) fn key(&self, role: Role) -> &SecretKey {
        match role {
            Role::Node => &self.node,
            Role::Producer => &self.producer,
        }
    }

    /// Writes a record with the key of `role`.
    pub(crate) fn write<T: RecordBody>(&self, role: Role, position: Position, body: &T) -> Record {
        let bytes = cbor::encode(body);
        let body = Body { record_type: T::TYPE, version: T::VERSION, bytes: &bytes };
        Record::write(self.key(role), &self.delegate(role), position, &body, NOW_MS)
            .expect("a record")
    }
}

/// The founding of `Night Shift` by `st-mary`.
pub(crate) fn founding() -> Founding {
    Founding {
        name: "Night Shift".into(),
        root: founder().root.public(),
        org: "st-mary".parse().expect("a name"),
        admit: 1,
        change: 1,
        time_ms: NOW_MS,
        nonce: Hash::from_bytes([0x40; 32]),
    }
}

pub(crate) fn signed_founding() -> Signed {
    Signed::new(&founding(), &founder().root)
}

pub(crate) fn federation() -> FederationId {
    Founding::id(&signed_founding())
}

/// The position behind `record`.
pub(crate) fn after(record: &Record) -> Position {
    Position { seq: record.header().seq + 1, prev: Some(record.id()) }
}

pub(crate) fn public(seed: u8) -> PublicKey {
    key(seed).public()
}

pub(crate) fn hash(byte: u8) -> Hash {
    Hash::from_bytes([byte; 32])
}
