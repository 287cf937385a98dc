//! Lending hardware: which jobs this node promises to execute, for whom.

use std::collections::BTreeSet;

use guildhall_federation::Authority;
use guildhall_pipeline::lease::{Asker, Fresh, Job, Opened, Policy, Usage, User};
use guildhall_protocol::api::OrgUse;
use guildhall_protocol::isolation::Level;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::wire::{JobSpec, Lease, OfferRequest, Refusal, Response};
use guildhall_protocol::{Hash, PackageId, PublicKey};

use crate::node::Core;

impl Core {
    pub(crate) fn handle_offer(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        authority: &Authority,
        request: &OfferRequest,
    ) -> Response {
        let asker = match authority.root == self.me.root {
            true => Asker::OwnOrg,
            false => Asker::Member(&authority.org),
        };
        match self.grant(now_ms, request, (asker, authority.root), peer) {
            Ok(lease) => Response::Lease(lease),
            Err(refusal) => Response::Refused(refusal),
        }
    }

    /// Promises this node's own hardware to a run of its own.
    ///
    /// # Errors
    /// [`Refusal`] when an engine is missing or every slot for such runs is taken.
    pub fn grant_own(&mut self, now_ms: u64, request: &OfferRequest) -> Result<Lease, Refusal> {
        self.grant(now_ms, request, (Asker::ThisNode, self.me.root), self.me.node.public())
    }

    fn grant(
        &mut self,
        now_ms: u64,
        request: &OfferRequest,
        (asker, root): (Asker<'_>, PublicKey),
        node: PublicKey,
    ) -> Result<Lease, Refusal> {
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
        self.leases.grant(now_ms, request, policy, (asker, node), Fresh { lease, warm, held })
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
        self.leases.open(now_ms, spec, from)
    }

    /// A job is over; its slot is free.
    pub fn close_lease(&mut self, lease: &Hash) {
        self.leases.close(lease);
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
