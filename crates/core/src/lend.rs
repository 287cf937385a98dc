//! Lending hardware: which jobs this node promises to execute, for whom.

use std::collections::BTreeSet;

use guildhall_federation::Authority;
use guildhall_pipeline::lease::{Asker, Fresh, HOLD_MAX_MS, Job, Opened, Policy, Usage, User};
use guildhall_protocol::api::OrgUse;
use guildhall_protocol::isolation::Level;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::wire::{JobSpec, Lease, OfferRequest, Reason, Refusal, Response};
use guildhall_protocol::{Hash, PackageId, PublicKey, RunId};

use crate::event::{Effect, ReplyId};
use crate::node::{Core, respond};

/// Why there is no lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotNow {
    /// What the asker is told.
    pub refusal: Refusal,
    /// For how long the question is worth holding, because a slot may soon be free for it, and its asker allows it,
    /// milliseconds; else 0.
    pub hold_ms: u64,
}

impl Core {
    pub(crate) fn handle_offer(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        authority: &Authority,
        (reply, offer): (ReplyId, Box<OfferRequest>),
        out: &mut Vec<Effect>,
    ) {
        match self.grant_member(now_ms, peer, authority, &offer) {
            Ok(lease) => respond(out, reply, Response::Lease(lease)),
            Err(NotNow { refusal, hold_ms: 0 }) => respond(out, reply, Response::Refused(refusal)),
            Err(not_now) => {
                let root = authority.root;
                out.push(Effect::HoldOffer { reply, peer, root, offer, not_now });
            }
        }
    }

    /// Promises this node's hardware to a run of another node, whose question was held.
    ///
    /// # Errors
    /// [`NotNow`], also when that node has gone away.
    pub fn grant_again(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        request: &OfferRequest,
    ) -> Result<Lease, NotNow> {
        let Some(authority) = self.authority(&peer).cloned() else {
            let refusal = Refusal::new(Reason::NotAdmitted, "it is no longer connected");
            return Err(NotNow { refusal, hold_ms: 0 });
        };
        self.grant_member(now_ms, peer, &authority, request)
    }

    fn grant_member(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        authority: &Authority,
        request: &OfferRequest,
    ) -> Result<Lease, NotNow> {
        let asker = match authority.root == self.me.root {
            true => Asker::OwnOrg,
            false => Asker::Member(&authority.org),
        };
        self.grant(now_ms, request, (asker, authority.root), peer)
    }

    /// Promises this node's own hardware to a run of its own.
    ///
    /// # Errors
    /// [`NotNow`] when an engine is missing or every slot for such runs is taken.
    pub fn grant_own(&mut self, now_ms: u64, request: &OfferRequest) -> Result<Lease, NotNow> {
        self.grant(now_ms, request, (Asker::ThisNode, self.me.root), self.me.node.public())
    }

    /// A run of another node does not wait any more, or one of this node's own where `peer` is none.
    pub fn leave_queue(&mut self, peer: Option<PublicKey>, run: RunId) {
        match peer {
            Some(peer) => self.leases.leave(Asker::OwnOrg, peer, run),
            None => self.leases.leave(Asker::ThisNode, self.me.node.public(), run),
        }
    }

    fn grant(
        &mut self,
        now_ms: u64,
        request: &OfferRequest,
        (asker, root): (Asker<'_>, PublicKey),
        node: PublicKey,
    ) -> Result<Lease, NotNow> {
        // A run of this node's own was looked at when it was asked for.
        if asker != Asker::ThisNode
            && let Err(stale) = self.check_fresh(&request.stages)
        {
            let refusal = Refusal::new(Reason::Unable, stale.to_string());
            return Err(NotNow { refusal, hold_ms: 0 });
        }
        let count = |is_there: &dyn Fn(&PackageId) -> bool| {
            let there = request.stages.iter().filter(|stage| is_there(stage)).count();
            u32::try_from(there).unwrap_or(u32::MAX)
        };
        // Nobody learns what was executed here for others.
        let warm = count(&|stage| self.warm.contains(&(root, *stage)));
        let held = count(&|stage| self.packages.contains(stage));
        let lease = self.next_lease_id(now_ms);
        let policy = Policy {
            offer: self.settings.offer.as_ref(),
            engines: &self.settings.engines,
            isolation: Level::of_names(&self.settings.isolation).number(),
        };
        let fresh = Fresh { lease, warm, held };
        let granted = self.leases.grant(now_ms, request, policy, (asker, node), fresh);
        granted.map_err(|refusal| {
            let is_near = refusal.reason == Reason::Busy
                && self.leases.is_near(now_ms, asker, node, request.run);
            let hold_ms = if is_near { request.hold_ms.min(HOLD_MAX_MS) } else { 0 };
            NotNow { refusal, hold_ms }
        })
    }

    /// Follows from a secret, so nobody can guess it; never repeats within a start, and hardly between two.
    fn next_lease_id(&mut self, now_ms: u64) -> Hash {
        self.leases_granted += 1;
        let mut bytes = self.settings.lease_seed.as_bytes().to_vec();
        bytes.extend_from_slice(&now_ms.to_le_bytes());
        bytes.extend_from_slice(&self.leases_granted.to_le_bytes());
        Hash::of(&bytes)
    }

    /// Redeems a lease; the job may start.
    ///
    /// # Errors
    /// [`Refusal`] for the requester's node.
    pub fn open_lease(
        &mut self,
        now_ms: u64,
        spec: &JobSpec,
        from: PublicKey,
    ) -> Result<Opened, Refusal> {
        // It may have become too stale since it promised.
        if from != self.me.node.public() {
            let packages: Vec<PackageId> = spec.stages.iter().map(|stage| stage.package).collect();
            self.check_fresh(&packages)
                .map_err(|stale| Refusal::new(Reason::Unable, stale.to_string()))?;
        }
        self.leases.open(now_ms, spec, from)
    }

    /// A job is over; its slot is free. Says whether it held one until now.
    pub fn close_lease(&mut self, lease: &Hash) -> bool {
        self.leases.close(lease)
    }

    /// Counts what a job used since it was last asked, wall time. Says whether it is another member's, so that
    /// [`usage`](Self::usage) is worth keeping.
    pub fn count_use(&mut self, now_ms: u64, user: &User, wall_us: u64) -> bool {
        self.leases.used(now_ms, user, wall_us)
    }

    /// What other members used within a day, to be kept over a restart.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.leases.usage().clone()
    }

    /// What was kept.
    pub fn restore_usage(&mut self, now_ms: u64, usage: Usage) {
        self.leases.restore(now_ms, usage);
    }

    /// For which orgs, by root key, and packages a worker with loaded code waits, from now on: who asks for the node is
    /// told how many of its own.
    pub fn set_warm(&mut self, warm: BTreeSet<(PublicKey, PackageId)>) {
        self.warm = warm;
    }

    /// Jobs of other nodes, the oldest first.
    #[must_use]
    pub fn lent_jobs(&self) -> Vec<Job> {
        self.leases.lent_jobs()
    }

    /// Jobs of this node's own runs.
    #[must_use]
    pub fn own_jobs(&self) -> usize {
        self.leases.own_jobs()
    }

    /// Whether it takes no more jobs of others, and has none left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.leases.drained()
    }

    /// What each org has and had of what is lent, and the quotas, in order of name.
    #[must_use]
    pub fn lent_to(&self, now_ms: u64) -> Vec<OrgUse> {
        let offer = self.settings.offer.as_ref();
        let standings = self.leases.standings(now_ms);
        let mut names: BTreeSet<&OrgName> =
            standings.keys().map(|side| side.as_ref().unwrap_or(&self.me.org)).collect();
        names.extend(offer.into_iter().flat_map(|offer| offer.quotas.iter().map(|one| &one.org)));
        let org_use = |org: &OrgName| {
            let is_own = *org == self.me.org;
            let side = (!is_own).then(|| org.clone());
            let standing = standings.get(&side).copied().unwrap_or_default();
            OrgUse {
                org: org.clone(),
                slots: u64::try_from(standing.slots).unwrap_or(u64::MAX),
                waiting: u64::try_from(standing.waiting).unwrap_or(u64::MAX),
                used_core_seconds: standing.used_us.div_ceil(1_000_000),
                quota_core_seconds_per_day: offer
                    .filter(|_| !is_own)
                    .and_then(|offer| offer.quota(org)),
            }
        };
        names.into_iter().map(org_use).collect()
    }
}
