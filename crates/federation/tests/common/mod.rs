//! Orgs that write membership records, with fixed keys and times.
#![allow(dead_code, reason = "each test binary uses a part")]

use guildhall_federation::State;
use guildhall_protocol::body::{Acceptance, Admission, RecordBody};
use guildhall_protocol::cbor;
use guildhall_protocol::record::{Body, Position, Record};
use guildhall_protocol::statement::{Delegation, Founding, InviteUse, Role, Signed};
use guildhall_protocol::{FederationId, Hash, PublicKey, RecordId, SecretKey};

/// The tests' clock, milliseconds since 1970.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;

/// A day, milliseconds.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// An org with one node and the end of that node's log.
pub(crate) struct Org {
    pub(crate) root: SecretKey,
    pub(crate) node: SecretKey,
    at: Position,
}

impl Org {
    pub(crate) fn new(seed: u8) -> Self {
        let key = |what: u8| {
            let mut bytes = [what; 32];
            bytes[0] = seed;
            SecretKey::from_seed(&bytes)
        };
        Self { root: key(1), node: key(2), at: Position::default() }
    }

    pub(crate) fn delegation(&self) -> Delegation {
        Delegation {
            root: self.root.public(),
            key: self.node.public(),
            role: Role::Node,
            issued_ms: NOW_MS,
            expires_ms: NOW_MS + 90 * DAY_MS,
        }
    }

    pub(crate) fn write<T: RecordBody>(&mut self, body: &T, time_ms: u64) -> Record {
        let bytes = cbor::encode(body);
        let delegation = Signed::new(&self.delegation(), &self.root);
        let body = Body { record_type: T::TYPE, version: T::VERSION, bytes: &bytes };
        let record =
            Record::write(&self.node, &delegation, self.at, &body, time_ms).expect("a record");
        self.at = Position { seq: self.at.seq + 1, prev: Some(record.id()) };
        record
    }

    /// Makes an invite that holds for seven days.
    pub(crate) fn admit(&mut self, federation: FederationId, invite: u8) -> Record {
        let invite = invite_key(invite).public();
        self.write(&Admission { federation, invite, expires_ms: NOW_MS + 7 * DAY_MS }, NOW_MS)
    }

    /// Uses an invite.
    pub(crate) fn accept(
        &mut self,
        federation: FederationId,
        admission: &Record,
        invite: u8,
        name: &str,
    ) -> Record {
        self.accept_at(NOW_MS, federation, admission.id(), invite, name)
    }

    pub(crate) fn accept_at(
        &mut self,
        time_ms: u64,
        federation: FederationId,
        admission: RecordId,
        invite: u8,
        name: &str,
    ) -> Record {
        let root = self.root.public();
        let body = acceptance(federation, admission, invite, root, name);
        self.write(&body, time_ms)
    }
}

pub(crate) fn acceptance(
    federation: FederationId,
    admission: RecordId,
    invite: u8,
    root: PublicKey,
    name: &str,
) -> Acceptance {
    let key = invite_key(invite);
    let org = name.parse().expect("a name");
    let invite_use = InviteUse { invite: key.public(), federation, root, org };
    Acceptance { federation, admission, invite_use: Signed::new(&invite_use, &key) }
}

pub(crate) fn invite_key(seed: u8) -> SecretKey {
    let mut bytes = [3; 32];
    bytes[0] = seed;
    SecretKey::from_seed(&bytes)
}

/// A federation of `founder` alone, which calls itself `st-mary`.
pub(crate) fn found(founder: &Org) -> State {
    State::found(founding(founder, 1, 0)).expect("a founding")
}

pub(crate) fn founding(founder: &Org, admit: u8, nonce: u8) -> Signed {
    let founding = Founding {
        name: "Night Shift".into(),
        root: founder.root.public(),
        org: "st-mary".parse().expect("a name"),
        admit,
        change: 1,
        time_ms: NOW_MS,
        nonce: Hash::from_bytes([nonce; 32]),
    };
    Signed::new(&founding, &founder.root)
}

/// The members' names, in order of name.
pub(crate) fn names(state: &State) -> Vec<String> {
    let mut names: Vec<_> = state.members().map(|(_, member)| member.org.to_string()).collect();
    names.sort();
    names
}
