//! The fold over membership records.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::body::{Acceptance, Admission};
use guildhall_protocol::cbor::DecodeError;
use guildhall_protocol::limits::INVITE_MAX_LIFE_MS;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::record::Record;
use guildhall_protocol::statement::{Founding, InviteUse, Signed, StatementError};
use guildhall_protocol::{FederationId, PublicKey, RecordId};

/// Most admissions kept: ten for each of the thousand orgs that a federation is made for. Further ones are stored and
/// relayed like unknown records but admit nobody.
const ADMISSIONS_MAX: usize = 10_000;

/// Orgs that must admit a new one; other thresholds are not implemented.
const ADMIT_THRESHOLD: u8 = 1;

/// Most acceptances kept for one invite: one is honest, the rest is somebody who passed it around.
const ACCEPTANCES_PER_INVITE_MAX: usize = 8;

/// One org of the federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name here.
    pub org: OrgName,
    /// The acceptance that brought it in; `None` for the founder.
    pub acceptance: Option<RecordId>,
}

/// What a record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nobody came or went.
    None,
    /// The set of members is another one now.
    Members,
}

/// Who is in one federation, folded from its founding and its membership records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    id: FederationId,
    founding: Founding,
    signed_founding: Signed,
    admissions: BTreeMap<RecordId, Admitted>,
    /// By admission and the invite's key that signed, so that whoever holds no invite cannot crowd out who does; then
    /// by the acceptance's own id.
    acceptances: BTreeMap<(RecordId, PublicKey), BTreeMap<RecordId, Accepted>>,
    members: BTreeMap<PublicKey, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Admitted {
    by: PublicKey,
    invite: PublicKey,
    expires_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Accepted {
    root: PublicKey,
    org: OrgName,
    invite: PublicKey,
    time_ms: u64,
}

impl State {
    /// Starts from a signed founding: its org is the first member.
    ///
    /// # Errors
    /// [`StatementError`] when the founding is unreadable or not signed by its root, or when it asks for a threshold
    /// that is not implemented here: to admit with fewer would be wrong without a sign of it.
    pub fn found(signed: Signed) -> Result<Self, StatementError> {
        let founding: Founding = signed.open()?;
        if founding.admit != ADMIT_THRESHOLD {
            let why = format!("this version admits by one org's word, not by {}", founding.admit);
            return Err(DecodeError::Rule { what: "founding", why }.into());
        }
        let mut state = Self {
            id: Founding::id(&signed),
            founding,
            signed_founding: signed,
            admissions: BTreeMap::new(),
            acceptances: BTreeMap::new(),
            members: BTreeMap::new(),
        };
        state.refold();
        Ok(state)
    }

    /// The federation's id.
    #[must_use]
    pub const fn id(&self) -> FederationId {
        self.id
    }

    /// What people call the federation.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.founding.name
    }

    /// The founding, for nodes that join.
    #[must_use]
    pub const fn founding(&self) -> &Signed {
        &self.signed_founding
    }

    /// The member with this root key.
    #[must_use]
    pub fn member(&self, root: &PublicKey) -> Option<&Member> {
        self.members.get(root)
    }

    /// Every member, by root key.
    pub fn members(&self) -> impl Iterator<Item = (&PublicKey, &Member)> {
        self.members.iter()
    }

    /// The root key of the member with this name.
    #[must_use]
    pub fn root_of(&self, org: &OrgName) -> Option<PublicKey> {
        self.members.iter().find(|(_, member)| member.org == *org).map(|(root, _)| *root)
    }

    /// Takes a record in. Records of other types or federations change nothing.
    pub fn handle_record(&mut self, record: &Record) -> Change {
        if let Some(Ok(admission)) = record.body_as::<Admission>() {
            self.admit(record, &admission)
        } else if let Some(Ok(acceptance)) = record.body_as::<Acceptance>() {
            self.accept(record, &acceptance)
        } else {
            Change::None
        }
    }

    /// Decides, as the node that is asked, whether the org behind an acceptance may come in now. Says no in words for
    /// the person who tried; what other nodes hold later is decided by [`handle_record`](Self::handle_record) alone.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn check_join(&self, record: &Record, now_ms: u64) -> Result<OrgName, JoinError> {
        let acceptance = match record.body_as::<Acceptance>() {
            Some(Ok(acceptance)) if acceptance.federation == self.id => acceptance,
            _ => return Err(JoinError::NotAnAcceptance),
        };
        let admitted =
            self.admissions.get(&acceptance.admission).ok_or(JoinError::UnknownInvite)?;
        if !self.members.contains_key(&admitted.by) {
            return Err(JoinError::UnknownInvite);
        }
        if now_ms >= admitted.expires_ms {
            return Err(JoinError::Expired);
        }
        let accepted = read_acceptance(record, &acceptance).ok_or(JoinError::NotAnAcceptance)?;
        if accepted.invite != admitted.invite {
            return Err(JoinError::UnknownInvite);
        }
        let invite = (acceptance.admission, admitted.invite);
        let mut used_by = self.acceptances.get(&invite).into_iter().flat_map(BTreeMap::values);
        if let Some(other) = used_by.find(|other| other.root != accepted.root) {
            return Err(JoinError::Used { by: other.org.clone() });
        }
        match self.root_of(&accepted.org) {
            Some(root) if root != accepted.root => Err(JoinError::NameTaken { org: accepted.org }),
            _ => Ok(accepted.org),
        }
    }

    fn admit(&mut self, record: &Record, admission: &Admission) -> Change {
        if admission.federation != self.id || self.admissions.len() >= ADMISSIONS_MAX {
            return Change::None;
        }
        if admission.expires_ms.saturating_sub(record.header().time_ms) > INVITE_MAX_LIFE_MS {
            return Change::None;
        }
        let admitted = Admitted {
            by: record.delegation().root,
            invite: admission.invite,
            expires_ms: admission.expires_ms,
        };
        self.admissions.insert(record.id(), admitted);
        self.refold()
    }

    fn accept(&mut self, record: &Record, acceptance: &Acceptance) -> Change {
        if acceptance.federation != self.id {
            return Change::None;
        }
        let Some(accepted) = read_acceptance(record, acceptance) else { return Change::None };
        let invite = (acceptance.admission, accepted.invite);
        if self.acceptances.len() >= ADMISSIONS_MAX && !self.acceptances.contains_key(&invite) {
            return Change::None;
        }
        let of_invite = self.acceptances.entry(invite).or_default();
        of_invite.insert(record.id(), accepted);
        // Keep the lowest ids, whatever came first, so that every node keeps the same ones.
        while of_invite.len() > ACCEPTANCES_PER_INVITE_MAX {
            of_invite.pop_last();
        }
        self.refold()
    }

    /// Derives the members anew: again and again the eligible acceptance with the lowest id brings its org in. An
    /// acceptance is eligible when a member made its admission, nobody else used it, and its name is free.
    fn refold(&mut self) -> Change {
        let founder = Member { org: self.founding.org.clone(), acceptance: None };
        let mut members = BTreeMap::from([(self.founding.root, founder)]);
        let mut names = BTreeSet::from([self.founding.org.clone()]);
        let mut used = BTreeSet::new();
        while let Some((admission, id, accepted)) = self.next_eligible(&members, &names, &used) {
            used.insert(admission);
            names.insert(accepted.org.clone());
            members
                .insert(accepted.root, Member { org: accepted.org.clone(), acceptance: Some(id) });
        }
        if members == self.members {
            return Change::None;
        }
        self.members = members;
        Change::Members
    }

    fn next_eligible(
        &self,
        members: &BTreeMap<PublicKey, Member>,
        names: &BTreeSet<OrgName>,
        used: &BTreeSet<RecordId>,
    ) -> Option<(RecordId, RecordId, &Accepted)> {
        let candidates =
            self.acceptances.iter().filter(|((admission, _), _)| !used.contains(admission));
        candidates
            .filter_map(|((admission, invite), acceptances)| {
                let admitted = self.admissions.get(admission)?;
                if admitted.invite != *invite || !members.contains_key(&admitted.by) {
                    return None;
                }
                let mut fitting = acceptances.iter().filter(|(_, accepted)| {
                    accepted.time_ms < admitted.expires_ms
                        && !members.contains_key(&accepted.root)
                        && !names.contains(&accepted.org)
                });
                fitting.next().map(|(id, accepted)| (*admission, *id, accepted))
            })
            .min_by_key(|(_, id, _)| *id)
    }
}

/// Opens the invite's statement and checks that it speaks of this record's org and federation.
fn read_acceptance(record: &Record, acceptance: &Acceptance) -> Option<Accepted> {
    let invite_use: InviteUse = acceptance.invite_use.open().ok()?;
    let root = record.delegation().root;
    (invite_use.root == root && invite_use.federation == acceptance.federation).then_some(
        Accepted {
            root,
            org: invite_use.org,
            invite: invite_use.invite,
            time_ms: record.header().time_ms,
        },
    )
}

/// Why an org may not come in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The record is no acceptance for this federation, or its invite's signature does not hold.
    #[error("this is no valid acceptance of an invite to this federation")]
    NotAnAcceptance,
    /// No member made this invite, as far as is known here.
    #[error("the invite is unknown here; was it made by a node of this federation?")]
    UnknownInvite,
    /// Too late.
    #[error("the invite has expired; ask for a new one")]
    Expired,
    /// Another org was faster.
    #[error("the invite was already used by `{by}`; ask for a new one")]
    Used {
        /// Who.
        by: OrgName,
    },
    /// Names are unique in a federation.
    #[error(
        "the name `{org}` is taken in this federation; use `guild init --org` with another one"
    )]
    NameTaken {
        /// The name.
        org: OrgName,
    },
}
