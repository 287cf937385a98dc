//! Orgs that write membership records, with fixed keys and times.
#![allow(dead_code, reason = "each test binary uses a part")]

use guildhall_federation::{Change, State};
use guildhall_protocol::body::{Acceptance, Admission, Confirmation, RecordBody};
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

    /// Another node of the same org, with a log of its own.
    pub(crate) fn second_node(&self) -> Self {
        let node = SecretKey::from_seed(self.node.public().as_bytes());
        Self { node, ..self.on_another_branch() }
    }

    /// The same node at the start of its log.
    pub(crate) fn on_another_branch(&self) -> Self {
        Self { root: self.root.clone(), node: self.node.clone(), at: Position::default() }
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

    /// Says which acceptance used an admission.
    pub(crate) fn confirm(
        &mut self,
        federation: FederationId,
        admission: &Record,
        acceptance: &Record,
    ) -> Record {
        let (admission, acceptance) = (admission.id(), acceptance.id());
        self.write(&Confirmation { federation, admission, acceptance }, NOW_MS)
    }

    /// Brings an org in by an invite of this node: admission, acceptance, confirmation.
    pub(crate) fn bring_in(
        &mut self,
        federation: FederationId,
        org: &mut Self,
        invite: u8,
        name: &str,
    ) -> [Record; 3] {
        let admission = self.admit(federation, invite);
        let acceptance = org.accept(federation, &admission, invite, name);
        let confirmation = self.confirm(federation, &admission, &acceptance);
        [admission, acceptance, confirmation]
    }
}

/// Lets records count, in this order; says whether the last one changed the members.
pub(crate) fn take_all(state: &mut State, records: &[Record]) -> Change {
    records.iter().map(|record| state.handle_record(record)).last().unwrap_or(Change::None)
}

/// What an org is called: its name of the moment.
pub(crate) fn name_of(state: &State, org: &Org) -> Option<String> {
    state.member(&org.root.public()).map(|member| member.org.to_string())
}

/// The name of an org that another one contests, as docs/protocol.md says.
pub(crate) fn with_key(name: &str, org: &Org) -> String {
    let key = org.root.public().to_string();
    format!("{}-{}", &name[..name.len().min(26)], &key[..12])
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
    founding_as(founder, "st-mary", admit, nonce)
}

pub(crate) fn founding_as(founder: &Org, name: &str, admit: u8, nonce: u8) -> Signed {
    let founding = Founding {
        name: "Night Shift".into(),
        root: founder.root.public(),
        org: name.parse().expect("a name"),
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
