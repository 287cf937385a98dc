//! Who is at the other end, and who may come in.

use guildhall_federation::{Authority, Joining, Outsider, check_delegation};
use guildhall_protocol::body::{Acceptance, Admission};
use guildhall_protocol::limits::INVITE_MAX_LIFE_MS;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::record::{Record, RecordError};
use guildhall_protocol::statement::{InviteUse, Signed};
use guildhall_protocol::wire::{Hello, Invite, Reason, Request, Response};
use guildhall_protocol::{Hash, PublicKey, RecordId, SecretKey};
use guildhall_sync::Offered;
use serde_bytes::ByteBuf;

use crate::drops::Drop;
use crate::event::{Effect, ReplyId};
use crate::links::PER_ORG_MAX;
use crate::node::{Call, Core, PEERS_MAX, PeerState, refused, respond};
use crate::spread::travels_whole;

/// Ticks between two greetings of a peer that is not admitted yet, or two dials of one that is away.
const RETRY_TICKS: u64 = 3;

/// Ticks for which an invite and a name count as used while the confirmation is being written. Should that fail, they
/// are free again afterwards.
const CONFIRM_TICKS: u64 = 10;

/// Most records of a log that asks to come in; a node that wrote more joins with a new key.
const JOIN_RECORDS_MAX: usize = 1_024;

impl Core {
    pub(crate) fn handle_connected(&mut self, peer: PublicKey, out: &mut Vec<Effect>) {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            self.drops.count(Drop::Peer);
            out.push(Effect::Note(format!("{peer:?} is cut off: {PEERS_MAX} peers are tracked")));
            out.push(Effect::Expel { peer });
            return;
        }
        // Its hello may have been faster than the news of the connection; then it stays admitted.
        self.peers.entry(peer).or_default().connected = true;
        self.greet(peer, out);
    }

    pub(crate) fn handle_disconnected(&mut self, peer: PublicKey, out: &mut Vec<Effect>) {
        self.forget_peer(peer);
        self.handle_asked_gone(peer, out);
    }

    /// What is still on its way from a peer that is gone must not bring it back.
    fn forget_peer(&mut self, peer: PublicKey) {
        self.schedule.handle_gone(&peer);
        self.cells.forget(&peer);
        self.peers.remove(&peer);
        self.calls.retain(|_, call| call.peer() != peer);
    }

    fn hello(&self) -> Hello {
        Hello {
            now_ms: Some(self.now.ms),
            federation: self.federation.id(),
            delegation: self.me.node.delegation.clone(),
            addresses: self.addresses.clone(),
        }
    }

    fn greet(&mut self, peer: PublicKey, out: &mut Vec<Effect>) {
        if let Some(state) = self.peers.get_mut(&peer) {
            if std::mem::replace(&mut state.greeting, true) {
                return;
            }
            state.tried_at = Some(self.ticks);
        }
        let hello = self.hello();
        self.call(peer, Call::Hello { peer }, Request::Hello(hello), out);
    }

    pub(crate) fn handle_hello(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        reply: ReplyId,
        hello: Hello,
        out: &mut Vec<Effect>,
    ) {
        match self.check_hello(now_ms, peer, &hello) {
            Ok(authority) if !self.has_room_for(&peer, &authority.root) => {
                let why = format!("this node keeps {PER_ORG_MAX} links to nodes of one org");
                respond(out, reply, refused(Reason::Busy, why));
            }
            Ok(authority) => {
                respond(out, reply, Response::Hello(self.hello()));
                self.admit(peer, authority, hello.addresses, out);
                self.note_clock(&peer, hello.now_ms);
            }
            Err(why) => {
                respond(out, reply, refused(Reason::NotAdmitted, why.to_string()));
                self.introduce(peer, &why, out);
            }
        }
    }

    pub(crate) fn handle_hello_back(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        hello: &Hello,
        out: &mut Vec<Effect>,
    ) {
        match self.check_hello(now_ms, peer, hello) {
            // It is not admitted, and the overlay cuts it off.
            Ok(authority) if !self.has_room_for(&peer, &authority.root) => {}
            Ok(authority) => {
                self.admit(peer, authority, hello.addresses.clone(), out);
                self.note_clock(&peer, hello.now_ms);
            }
            Err(why) => {
                out.push(Effect::Note(format!("{peer:?} is not admitted: {why}")));
                self.introduce(peer, &why, out);
            }
        }
    }

    fn check_hello(
        &self,
        now_ms: u64,
        peer: PublicKey,
        hello: &Hello,
    ) -> Result<Authority, NoHello> {
        if hello.federation != self.federation.id() {
            return Err(NoHello::OtherFederation);
        }
        if self.is_quarantined(&peer) {
            return Err(NoHello::Forked);
        }
        Ok(check_delegation(&self.federation, &hello.delegation, peer, now_ms)?)
    }

    /// A node that does not see its own org among the members yet has joined and lost its sponsor before it had the
    /// records that say who is a member. Until it has them, it pulls from whoever says to be in the federation; what
    /// comes is verified as ever, and nothing else is granted.
    fn introduce(&mut self, peer: PublicKey, why: &NoHello, out: &mut Vec<Effect>) {
        if *why != NoHello::Outsider(Outsider::NotMember) || self.is_member() {
            return;
        }
        if let Some(state) = self.peers.get_mut(&peer)
            && !state.introduced
        {
            state.introduced = true;
            self.compare(peer, out);
        }
    }

    fn is_member(&self) -> bool {
        self.federation.member(&self.me.root).is_some()
    }

    fn admit(
        &mut self,
        peer: PublicKey,
        authority: Authority,
        addresses: Vec<String>,
        out: &mut Vec<Effect>,
    ) {
        let state = self.peers.entry(peer).or_default();
        state.connected = true;
        state.sponsor = false;
        let org = authority.root;
        let before = state.admitted.replace(authority).map(|authority| authority.root);
        if !addresses.is_empty() {
            out.push(Effect::SetKnown { peer, addresses });
        }
        if before != Some(org) {
            out.push(Effect::Admit { peer, org });
        }
        if before.is_some() {
            // It may say hello again because it moved into this federation just now.
            self.compare_soon(peer);
        } else {
            self.compare(peer, out);
        }
        self.ask_admitted(peer, out);
    }

    /// Trusts the node behind an invite before its membership is known here: its key and the federation's id came
    /// with the invite, and everything it sends is verified as ever.
    #[must_use]
    pub fn sponsor(&mut self, peer: PublicKey, root: PublicKey, org: OrgName) -> Vec<Effect> {
        let mut out = Vec::new();
        self.admit(peer, Authority { root, org }, Vec::new(), &mut out);
        if let Some(state) = self.peers.get_mut(&peer) {
            // By its hello it says whose node it really is, as soon as that can be checked.
            state.sponsor = true;
        }
        self.greet(peer, &mut out);
        self.start_pulls(&mut out);
        out
    }

    pub(crate) fn handle_join(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        reply: ReplyId,
        records: &[ByteBuf],
        out: &mut Vec<Effect>,
    ) {
        match self.try_join(now_ms, peer, records) {
            Ok((joining, records)) => {
                let mut stored = Vec::new();
                for record in records {
                    if let Offered::Appended(appended) = self.logs.offer(&record) {
                        stored.extend(appended);
                    }
                }
                out.push(Effect::Store(stored.clone()));
                stored.iter().for_each(|record| self.evaluate(record, out));
                stored.into_iter().for_each(|record| out.push(Effect::Publish(Box::new(record))));
                // The org is a member once this record is written; then its node is greeted and admitted.
                if let Some(confirmation) = joining.confirm {
                    let (admission, org) = (confirmation.admission, joining.org);
                    self.confirming.push(Confirming { admission, org, since: self.ticks });
                    out.push(Effect::Confirm(confirmation));
                }
                let founding = self.federation.founding().clone();
                respond(out, reply, Response::Joined { founding });
            }
            Err(why) => {
                out.push(Effect::Note(format!("{peer:?} may not join: {why}")));
                respond(out, reply, refused(Reason::BadInvite, why));
            }
        }
    }

    /// The records of a log that brings its org in: one author, the peer itself; one chain; the acceptance last.
    fn try_join(
        &self,
        now_ms: u64,
        peer: PublicKey,
        records: &[ByteBuf],
    ) -> Result<(Joining, Vec<Record>), String> {
        if records.len() > JOIN_RECORDS_MAX {
            return Err(format!("its log has more than {JOIN_RECORDS_MAX} records"));
        }
        // The invite first: whoever has none cannot make us check a thousand signatures.
        let last = records.last().ok_or("there is no acceptance")?;
        let acceptance = Record::open(last).map_err(|error| error.to_string())?;
        let me = self.me.node.public();
        let joining = self.federation.check_join(&acceptance, me, now_ms);
        let joining = joining.map_err(|error| error.to_string())?;
        let admission = joining.confirm.map(|confirmation| confirmation.admission);
        let is_taken =
            |other: &Confirming| Some(other.admission) == admission || other.org == joining.org;
        if admission.is_some() && self.confirming.iter().any(is_taken) {
            return Err("the invite or the name is being used just now; try again".to_owned());
        }
        let records: Vec<Record> = records
            .iter()
            .map(|bytes| Record::open(bytes))
            .collect::<Result<_, RecordError>>()
            .map_err(|error| error.to_string())?;
        let mut prev = None;
        for (seq, record) in (0..).zip(&records) {
            let header = record.header();
            if header.author != peer || header.seq != seq || header.prev != prev {
                return Err("the records are not the log of the node that sent them".to_owned());
            }
            self.check_unseen(record, now_ms).map_err(|error| error.to_string())?;
            if travels_whole(record) && record.body().is_none() {
                return Err("a record of its log came without its body".to_owned());
            }
            if self.logs.id_at(&peer, seq).is_some_and(|id| id != record.id()) {
                return Err("its log is another one than it was".to_owned());
            }
            prev = Some(record.id());
        }
        if self.logs.fork_of(&peer).is_some() {
            return Err("its log is forked; join with a new key".to_owned());
        }
        Ok((joining, records))
    }

    /// Makes an invite: the admission to write, and what the person passes on once it is written.
    #[must_use]
    pub fn invite(&self, seed: Hash, life_ms: u64, now_ms: u64) -> (Admission, Box<InviteDraft>) {
        let invite_key = SecretKey::from_seed(seed.as_bytes());
        let expires_ms = now_ms.saturating_add(life_ms.min(INVITE_MAX_LIFE_MS));
        let admission =
            Admission { federation: self.federation.id(), invite: invite_key.public(), expires_ms };
        let draft = InviteDraft {
            invite: Invite {
                federation: self.federation.id(),
                name: self.federation.name().to_owned(),
                org: self.me.org.clone(),
                admission: RecordId(Hash::of(&[])),
                seed,
                addresses: self.addresses.clone(),
                expires_ms,
            },
        };
        (admission, Box::new(draft))
    }

    /// The acceptance with which this org uses an invite.
    #[must_use]
    pub fn acceptance(&self, invite: &Invite) -> Acceptance {
        let key = SecretKey::from_seed(invite.seed.as_bytes());
        let invite_use = InviteUse {
            invite: key.public(),
            federation: invite.federation,
            root: self.me.root,
            org: self.me.org.clone(),
        };
        Acceptance {
            federation: invite.federation,
            admission: invite.admission,
            invite_use: Signed::new(&invite_use, &key),
        }
    }

    /// The set of members is another one: what was set aside may count now, and peers may have more.
    pub(crate) fn members_changed(&mut self, out: &mut Vec<Effect>) {
        let members = self.federation.members().map(|(root, _)| *root).collect();
        let before = std::mem::replace(&mut self.members, members);
        for root in before.difference(&self.members) {
            self.catalog.remove_org(root);
            self.catalog.forget_opinions(root);
            self.looked_up.forget_org(root);
            self.served.forget_org(root);
            self.demand.remove_org(root);
            self.nodes.retain(|_, view| view.root != *root);
            out.push(Effect::ForgetOrg { org: *root });
        }
        self.links.handle_nodes();
        self.questions.forget_idle();
        self.find_strangers();
        self.rename_orgs();
        self.expel_gone(out);
        for record in self.outsiders.take() {
            self.evaluate(&record, out);
        }
        // At the next tick, however many members came in one page.
        let (ticks, is_member) = (self.ticks, self.is_member());
        let mut strangers = Vec::new();
        for (peer, state) in &mut self.peers {
            state.compare_at = state.compare_at.min(ticks + 1);
            state.tried_at = state.tried_at.filter(|_| state.admitted.is_some() && !state.sponsor);
            if is_member && std::mem::take(&mut state.introduced) && state.admitted.is_none() {
                strangers.push(*peer);
            }
        }
        strangers.iter().for_each(|peer| self.schedule.handle_gone(peer));
    }

    /// An org whose name another member claims too is called otherwise from now on.
    pub(crate) fn rename_orgs(&mut self) {
        let renamed: Vec<(PublicKey, OrgName)> = self
            .catalog
            .orgs()
            .filter_map(|(root, org)| {
                let now = &self.federation.member(root)?.org;
                (now != org).then(|| (*root, now.clone()))
            })
            .collect();
        for (root, org) in renamed {
            self.catalog.rename_org(&root, &org);
        }
        for state in self.peers.values_mut() {
            if let Some(authority) = &mut state.admitted
                && let Some(member) = self.federation.member(&authority.root)
            {
                authority.org = member.org.clone();
            }
        }
    }

    /// Cuts off the nodes of orgs that are no longer members.
    fn expel_gone(&mut self, out: &mut Vec<Effect>) {
        let is_gone = |state: &PeerState| {
            let root = state.admitted.as_ref().map(|authority| authority.root);
            !state.sponsor && root.is_some_and(|root| self.federation.member(&root).is_none())
        };
        let gone: Vec<PublicKey> =
            self.peers.iter().filter(|(_, state)| is_gone(state)).map(|(peer, _)| *peer).collect();
        for peer in gone {
            out.push(Effect::Note(format!("{peer:?} is cut off: its org is no longer a member")));
            out.push(Effect::Expel { peer });
            self.handle_disconnected(peer, out);
        }
    }

    pub(crate) fn admitted_peers(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.peers.iter().filter(|(_, state)| state.admitted.is_some()).map(|(peer, _)| *peer)
    }

    pub(crate) fn handle_tick(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        self.ticks += 1;
        self.now.tick = self.ticks;
        let ticks = self.ticks;
        self.confirming.retain(|it| ticks.saturating_sub(it.since) < CONFIRM_TICKS);
        let due = |state: &PeerState, ticks: u64| {
            state.tried_at.is_none_or(|at| ticks.saturating_sub(at) >= RETRY_TICKS)
        };
        let ungreeted: Vec<PublicKey> = self
            .peers
            .iter()
            .filter(|(_, state)| state.connected && !state.greeting && due(state, self.ticks))
            .filter(|(_, state)| state.admitted.is_none() || state.sponsor)
            .map(|(peer, _)| *peer)
            .collect();
        ungreeted.into_iter().for_each(|peer| self.greet(peer, out));
        self.compare_due(out);
        if self.ticks.is_multiple_of(RETRY_TICKS) {
            self.dial_absent(out);
        }
        self.tick_questions(out);
        for lost in self.leases.expire(now_ms).iter().filter(|expired| expired.was_open) {
            out.push(Effect::Note(format!("the job of run {:?} is taken for lost", lost.run)));
        }
    }
}

/// An org that was told that it may come in, while its confirmation is on its way to the disk.
#[derive(Clone, Debug)]
pub(crate) struct Confirming {
    admission: RecordId,
    org: OrgName,
    since: u64,
}

/// Why a hello does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum NoHello {
    #[error("it is in another federation")]
    OtherFederation,
    #[error("its key has two writers; its org has to give it another one")]
    Forked,
    #[error(transparent)]
    Outsider(#[from] Outsider),
}

/// An invite whose admission is not written yet.
#[derive(Debug)]
pub struct InviteDraft {
    invite: Invite,
}

impl InviteDraft {
    /// The invite, now that its admission has an id.
    #[must_use]
    pub fn finish(self, admission: RecordId) -> Invite {
        Invite { admission, ..self.invite }
    }
}
