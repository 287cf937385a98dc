//! The fold over membership records.
//!
//! An org comes in by three records: a member's node writes an *admission* that names an invite's key; the org's node
//! writes an *acceptance*, signed by that key too; the node that made the admission *confirms* the acceptance in its own
//! log. The first confirmation of an admission in that log counts, and a log cannot be rewritten without proving a
//! fork: nobody can come in twice by one invite, and nobody's membership depends on what comes later or on times and
//! ids that an author may choose. So the fold only ever grows, and gives the same members in whatever order the records
//! came; except that a proven fork takes back what its log said from there on.
//!
//! Names are claims: what an org is called follows from what all members claim, see the module `names`.

use std::collections::BTreeMap;

use guildhall_protocol::body::{Acceptance, Admission, Confirmation};
use guildhall_protocol::cbor::DecodeError;
use guildhall_protocol::limits::INVITE_MAX_LIFE_MS;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::record::Record;
use guildhall_protocol::statement::{Founding, InviteUse, Signed, StatementError};
use guildhall_protocol::{FederationId, PublicKey, RecordId};

use crate::names::name_members;

/// Membership records of each type that count in one key's log, the first ones: ten for each of the thousand orgs that
/// a federation is made for. Further ones are stored and relayed, and change nothing.
const PER_LOG_MAX: usize = 10_000;

/// Orgs that must admit a new one; other thresholds are not implemented.
const ADMIT_THRESHOLD: u8 = 1;

/// One org of the federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name here, unique among the members.
    pub org: OrgName,
    /// The name that it claims; differs from `org` when another member claims it too.
    pub claimed: OrgName,
    /// The acceptance that brought it in; `None` for the founder.
    pub acceptance: Option<RecordId>,
}

/// What a record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nobody came, and nobody is called otherwise.
    None,
    /// The members or their names are others now.
    Members,
}

/// Who is in one federation, folded from its founding and its membership records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    id: FederationId,
    founding: Founding,
    signed_founding: Signed,
    admissions: BTreeMap<RecordId, Admitted>,
    acceptances: BTreeMap<RecordId, Accepted>,
    /// By admission: the acceptance that its author confirmed first, and where in its log.
    confirmations: BTreeMap<RecordId, (RecordId, u64)>,
    /// How many records of each log are in the three maps above.
    counts: BTreeMap<PublicKey, usize>,
    members: BTreeMap<PublicKey, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Admitted {
    author: PublicKey,
    seq: u64,
    root: PublicKey,
    invite: PublicKey,
    expires_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Accepted {
    author: PublicKey,
    seq: u64,
    root: PublicKey,
    org: OrgName,
    admission: RecordId,
    invite: PublicKey,
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
        let founder =
            Member { org: founding.org.clone(), claimed: founding.org.clone(), acceptance: None };
        Ok(Self {
            id: Founding::id(&signed),
            members: BTreeMap::from([(founding.root, founder)]),
            founding,
            signed_founding: signed,
            admissions: BTreeMap::new(),
            acceptances: BTreeMap::new(),
            confirmations: BTreeMap::new(),
            counts: BTreeMap::new(),
        })
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

    /// The root key of the member that brought this one in; `None` for the founder and for who is no member.
    #[must_use]
    pub fn admitted_by(&self, root: &PublicKey) -> Option<PublicKey> {
        let acceptance = self.members.get(root)?.acceptance?;
        let accepted = self.acceptances.get(&acceptance)?;
        self.admissions.get(&accepted.admission).map(|admitted| admitted.root)
    }

    /// The root key of the member with this name.
    #[must_use]
    pub fn root_of(&self, org: &OrgName) -> Option<PublicKey> {
        self.members.iter().find(|(_, member)| member.org == *org).map(|(root, _)| *root)
    }

    /// Takes a record in. A log's records have to come in order. Records of other types or federations, and records
    /// that were taken in before, change nothing.
    pub fn handle_record(&mut self, record: &Record) -> Change {
        let completes = if let Some(Ok(admission)) = record.body_as::<Admission>() {
            // Nobody comes in by it before a later record of its log confirms its use.
            self.take_admission(record, &admission);
            false
        } else if let Some(Ok(acceptance)) = record.body_as::<Acceptance>() {
            self.take_acceptance(record, &acceptance)
        } else if let Some(Ok(confirmation)) = record.body_as::<Confirmation>() {
            self.take_confirmation(record, &confirmation)
        } else {
            false
        };
        if completes { self.refold() } else { Change::None }
    }

    /// Decides, as the node that made the admission, whether the org behind an acceptance may come in now. `None` means
    /// that it may and is to be confirmed; `Some` that it was confirmed before.
    ///
    /// # Errors
    /// [`JoinError`], in words for the person who tried.
    pub fn check_join(
        &self,
        record: &Record,
        me: PublicKey,
        now_ms: u64,
    ) -> Result<Joining, JoinError> {
        let acceptance = match record.body_as::<Acceptance>() {
            Some(Ok(acceptance)) if acceptance.federation == self.id => acceptance,
            _ => return Err(JoinError::NotAnAcceptance),
        };
        let admitted =
            self.admissions.get(&acceptance.admission).ok_or(JoinError::UnknownInvite)?;
        if !self.members.contains_key(&admitted.root) {
            return Err(JoinError::UnknownInvite);
        }
        if admitted.author != me {
            return Err(JoinError::OtherNode);
        }
        let accepted = read_acceptance(record, &acceptance).ok_or(JoinError::NotAnAcceptance)?;
        if accepted.invite != admitted.invite {
            return Err(JoinError::UnknownInvite);
        }
        if let Some(member) = self.members.get(&accepted.root) {
            return Ok(Joining { root: accepted.root, org: member.org.clone(), confirm: None });
        }
        if let Some((used, _)) = self.confirmations.get(&acceptance.admission)
            && *used != record.id()
        {
            let by = self.acceptances.get(used).map(|other| other.org.clone());
            return Err(JoinError::Used { by: by.unwrap_or(accepted.org) });
        }
        if now_ms >= admitted.expires_ms {
            return Err(JoinError::Expired);
        }
        let is_taken = |member: &Member| [&member.org, &member.claimed].contains(&&accepted.org);
        if self.members.values().any(is_taken) {
            return Err(JoinError::NameTaken { org: accepted.org });
        }
        if self.counts.get(&me).is_some_and(|count| *count >= PER_LOG_MAX) {
            return Err(JoinError::LogFull);
        }
        let confirm = Confirmation {
            federation: self.id,
            admission: acceptance.admission,
            acceptance: record.id(),
        };
        Ok(Joining { root: accepted.root, org: accepted.org, confirm: Some(confirm) })
    }

    /// A log ends before `seq`, because its key is proven to have had two writers from there on: what it said there does
    /// not count. That is the one way in which members become fewer.
    pub fn cut(&mut self, author: &PublicKey, seq: u64) -> Change {
        let admissions = &self.admissions;
        self.confirmations.retain(|admission, (_, at)| {
            let by = admissions.get(admission).map(|admitted| admitted.author);
            by != Some(*author) || *at < seq
        });
        self.admissions.retain(|_, admitted| admitted.author != *author || admitted.seq < seq);
        self.acceptances.retain(|_, accepted| accepted.author != *author || accepted.seq < seq);
        self.refold()
    }

    fn is_confirmed(&self, admission: &RecordId, acceptance: &RecordId) -> bool {
        self.confirmations.get(admission).is_some_and(|(confirmed, _)| confirmed == acceptance)
    }

    /// Whether one more membership record of this log counts.
    fn has_room(&mut self, record: &Record) -> bool {
        let count = self.counts.entry(record.header().author).or_default();
        if *count >= PER_LOG_MAX {
            return false;
        }
        *count += 1;
        true
    }

    fn take_admission(&mut self, record: &Record, admission: &Admission) {
        let life_ms = admission.expires_ms.saturating_sub(record.header().time_ms);
        if admission.federation != self.id
            || life_ms > INVITE_MAX_LIFE_MS
            || self.admissions.contains_key(&record.id())
            || !self.has_room(record)
        {
            return;
        }
        let admitted = Admitted {
            author: record.header().author,
            seq: record.header().seq,
            root: record.delegation().root,
            invite: admission.invite,
            expires_ms: admission.expires_ms,
        };
        self.admissions.insert(record.id(), admitted);
    }

    /// Says whether it was confirmed before it came.
    fn take_acceptance(&mut self, record: &Record, acceptance: &Acceptance) -> bool {
        if acceptance.federation != self.id || self.acceptances.contains_key(&record.id()) {
            return false;
        }
        let Some(accepted) = read_acceptance(record, acceptance) else { return false };
        if !self.has_room(record) {
            return false;
        }
        self.acceptances.insert(record.id(), accepted);
        self.is_confirmed(&acceptance.admission, &record.id())
    }

    /// Only the first confirmation counts, and only by the key that made the admission, earlier in the same log. Says
    /// whether what it confirms is here.
    fn take_confirmation(&mut self, record: &Record, confirmation: &Confirmation) -> bool {
        let admitted = self.admissions.get(&confirmation.admission);
        if confirmation.federation != self.id
            || admitted.is_none_or(|admitted| admitted.author != record.header().author)
            || self.confirmations.contains_key(&confirmation.admission)
            || !self.has_room(record)
        {
            return false;
        }
        let at = (confirmation.acceptance, record.header().seq);
        self.confirmations.insert(confirmation.admission, at);
        self.acceptances.contains_key(&confirmation.acceptance)
    }

    /// Lets in everybody whose admission is by a member and whose acceptance is confirmed, until nobody is left.
    fn refold(&mut self) -> Change {
        let founder = self.founding.root;
        let mut members = self.members.clone();
        members.retain(|root, _| *root == founder);
        let mut waiting: Vec<(&Admitted, &Accepted, RecordId)> = self
            .confirmations
            .iter()
            .filter_map(|(admission, (acceptance, _))| {
                let admitted = self.admissions.get(admission)?;
                let accepted = self.acceptances.get(acceptance)?;
                let holds = accepted.admission == *admission && accepted.invite == admitted.invite;
                holds.then_some((admitted, accepted, *acceptance))
            })
            .collect();
        loop {
            let (entering, left): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|(admitted, ..)| members.contains_key(&admitted.root));
            waiting = left;
            if entering.is_empty() {
                break;
            }
            for (_, accepted, id) in entering {
                let claimed = accepted.org.clone();
                let new = Member { org: claimed.clone(), claimed, acceptance: Some(id) };
                let member = members.entry(accepted.root).or_insert_with(|| new.clone());
                // An org that came in by several invites goes by what its acceptance with the lowest id says.
                if member.acceptance.is_some_and(|known| id < known) {
                    *member = new;
                }
            }
        }
        name_members(&mut members, founder);
        let change = if members == self.members { Change::None } else { Change::Members };
        self.members = members;
        change
    }
}

/// Opens the invite's statement and checks that it speaks of this record's org and federation.
fn read_acceptance(record: &Record, acceptance: &Acceptance) -> Option<Accepted> {
    let invite_use: InviteUse = acceptance.invite_use.open().ok()?;
    let root = record.delegation().root;
    (invite_use.root == root && invite_use.federation == acceptance.federation).then_some(
        Accepted {
            author: record.header().author,
            seq: record.header().seq,
            root,
            org: invite_use.org,
            admission: acceptance.admission,
            invite: invite_use.invite,
        },
    )
}

/// An org that may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    /// Its root key.
    pub root: PublicKey,
    /// Its name.
    pub org: OrgName,
    /// What the node that made the admission has to write; `None` when the org is a member already.
    pub confirm: Option<Confirmation>,
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
    /// Only the node that made an invite can confirm its use.
    #[error("the invite was made by another node, which has to be asked")]
    OtherNode,
    /// Too late.
    #[error("the invite has expired; ask for a new one")]
    Expired,
    /// Another org was faster.
    #[error("the invite was already used by `{by}`; ask for a new one")]
    Used {
        /// Who.
        by: OrgName,
    },
    /// A confirmation by this node would not count any more.
    #[error("this node cannot confirm any more invites; ask another member for one")]
    LogFull,
    /// Names are unique in a federation.
    #[error(
        "the name `{org}` is taken in this federation; use `guild init --org` with another one"
    )]
    NameTaken {
        /// The name.
        org: OrgName,
    },
}
