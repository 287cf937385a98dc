//! Leases: an executor's time-limited promises, and who may redeem them.
//!
//! A [`Book`] grants a lease when the node can do the job and a slot is free, opens it once, for the node it was
//! granted to and the packages it was granted for, and frees the slot when the job is closed or a time is over. It
//! belongs to the executor's node; the caller brings the time, unguessable lease ids, and the node's policy at that
//! moment.
//!
//! Bounds: leases for others at most the offer's slots (and [`LENT_SLOTS_MAX`]), for this node's own jobs
//! [`OWN_SLOTS`]; one node holds at most [`GRANTED_PER_NODE_MAX`] leases that it has not opened; and another member's
//! nodes together, open or not, hold at most all slots but one where there are several, so that one member never shuts
//! the others out. A member that the offer names alone may have them all. What goes beyond is refused as busy. Lending fewer slots ends no lease: the book shrinks as jobs end.

use std::collections::BTreeMap;

use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::NodeLimits;
use guildhall_protocol::limits::PIPELINE_MAX_STAGES;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::wire::{JobSpec, Lease, OfferRequest, Reason, Refusal};
use guildhall_protocol::{Hash, PackageId, PublicKey, RunId};

use crate::place::{lends_to, shortfall};

/// Jobs of this node's own that run at once, beside those for others: two, so that a long one does not block a short
/// one, and few enough that a laptop stays usable.
pub const OWN_SLOTS: usize = 2;

/// Most jobs for others at once, whatever an offer says: each is a worker process with its memory.
pub const LENT_SLOTS_MAX: usize = 1024;

/// Leases that one node may hold without opening them, so that asking does not become hoarding.
pub const GRANTED_PER_NODE_MAX: usize = 4;

/// How long a lease waits to be opened, milliseconds: a few round trips and a requester that asks several nodes.
pub const OPEN_WITHIN_MS: u64 = 10_000;

/// What an open job gets on top of the node's limit for a whole job, milliseconds: fetching packages and starting
/// workers is no scoring. A job that is open longer than both together is taken for lost.
pub const OPEN_GRACE_MS: u64 = 10 * 60_000;

/// Engines that a request may name; no pipeline has more stages.
const ENGINES_MAX: usize = PIPELINE_MAX_STAGES;

/// Who asks, as the overlay and the federation know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker<'a> {
    /// This node itself: its own jobs run even when it lends nothing.
    ThisNode,
    /// Another node of this node's org: the offer's list of orgs does not apply.
    OwnOrg,
    /// A node of another member.
    Member(&'a OrgName),
}

/// What the node can do and is willing to, at the moment it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy<'a> {
    /// Hardware it lends; `None` lends nothing.
    pub offer: Option<&'a HardwareOffer>,
    /// Engines it has.
    pub engines: &'a [String],
}

/// Every lease that holds a slot.
#[derive(Clone, Debug, Default)]
pub struct Book {
    leases: BTreeMap<Hash, Held>,
}

#[derive(Clone, Debug)]
struct Held {
    run: RunId,
    node: PublicKey,
    /// The other member it is lent to; `None` for this node's own org.
    org: Option<OrgName>,
    stages: Vec<PackageId>,
    is_own: bool,
    is_open: bool,
    /// First moment at which it no longer holds.
    until_ms: u64,
    /// What the whole job may take once it is open.
    total_ms: u64,
}

/// A lease that was opened: the job may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The run.
    pub run: RunId,
    /// The requester's node.
    pub node: PublicKey,
    /// Whether it is a job of this node's own.
    pub is_own: bool,
    /// First moment at which the job is taken for lost.
    pub until_ms: u64,
}

/// A lease whose time was over; its slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Which.
    pub lease: Hash,
    /// The run it was for.
    pub run: RunId,
    /// Whether its job was open, so that there is something to stop.
    pub was_open: bool,
}

impl Book {
    /// Promises `node` to execute what it asks for, under a lease id that must be fresh and unguessable.
    ///
    /// # Errors
    /// [`Refusal`] for the asking node: invalid, not lent, unable or busy.
    pub fn grant(
        &mut self,
        now_ms: u64,
        request: &OfferRequest,
        policy: Policy<'_>,
        (asker, node): (Asker<'_>, PublicKey),
        lease: Hash,
    ) -> Result<Lease, Refusal> {
        self.forget_unopened(now_ms);
        if request.stages.is_empty()
            || request.stages.len() > PIPELINE_MAX_STAGES
            || request.engines.len() > ENGINES_MAX
            || self.leases.contains_key(&lease)
        {
            let rule = format!("a job has 1 to {PIPELINE_MAX_STAGES} stages and a fresh lease");
            return Err(Refusal::new(Reason::Invalid, rule));
        }
        let is_own = asker == Asker::ThisNode;
        let slots = slots(asker, policy)?;
        let lacks = shortfall(&request.engines, request.memory_bytes, policy.offer, policy.engines);
        if let Some(obstacle) = lacks {
            return Err(Refusal::new(Reason::Unable, obstacle.to_string()));
        }
        let taken = self.leases.values().filter(|held| held.is_own == is_own).count();
        if taken >= slots {
            return Err(Refusal::new(Reason::Busy, format!("all {slots} slots are taken")));
        }
        let org = match asker {
            Asker::Member(org) => Some(org),
            Asker::ThisNode | Asker::OwnOrg => None,
        };
        let share = org.map_or(slots, |org| share(slots, org, policy));
        let has =
            self.leases.values().filter(|held| org.is_some() && held.org.as_ref() == org).count();
        if org.is_some() && has >= share {
            let detail = format!("one member has at most {share} of {slots} slots");
            return Err(Refusal::new(Reason::Busy, detail));
        }
        let waiting = |held: &&Held| held.node == node && !held.is_open;
        if self.leases.values().filter(waiting).count() >= GRANTED_PER_NODE_MAX {
            let detail = format!("{GRANTED_PER_NODE_MAX} leases wait to be opened already");
            return Err(Refusal::new(Reason::Busy, detail));
        }
        let limits = policy.offer.map_or_else(NodeLimits::default, |offer| offer.limits);
        let held = Held {
            run: request.run,
            node,
            org: org.cloned(),
            stages: request.stages.clone(),
            is_own,
            is_open: false,
            until_ms: now_ms.saturating_add(OPEN_WITHIN_MS),
            total_ms: limits.total_ms,
        };
        self.leases.insert(lease, held);
        let load_percent = u8::try_from((taken + 1) * 100 / slots.max(1)).unwrap_or(100);
        Ok(Lease {
            lease,
            run: request.run,
            open_within_ms: OPEN_WITHIN_MS,
            warm: 0,
            held: 0,
            load_percent,
        })
    }

    /// Redeems a lease: once, by the node it was granted to, for the run and packages it was granted for.
    ///
    /// # Errors
    /// [`Refusal`]: unknown when there is no such lease for this node (any more), invalid when the job is another one.
    /// A lease that was refused to be opened stays as it was.
    pub fn open(
        &mut self,
        now_ms: u64,
        spec: &JobSpec,
        from: PublicKey,
    ) -> Result<Opened, Refusal> {
        self.forget_unopened(now_ms);
        // Whoever guesses another node's lease learns nothing from the answer.
        let held = self.leases.get_mut(&spec.lease).filter(|held| held.node == from);
        let Some(held) = held else {
            let detail = "there is no such lease for this node, or it was not opened in time";
            return Err(Refusal::new(Reason::Unknown, detail));
        };
        if held.is_open {
            return Err(Refusal::new(Reason::Invalid, "the lease was opened already"));
        }
        if held.run != spec.run
            || spec.stages.iter().map(|stage| stage.package).ne(held.stages.iter().copied())
        {
            let detail = "the lease is for another run or other packages";
            return Err(Refusal::new(Reason::Invalid, detail));
        }
        held.is_open = true;
        held.until_ms = now_ms.saturating_add(held.total_ms).saturating_add(OPEN_GRACE_MS);
        let Held { run, node, is_own, until_ms, .. } = *held;
        Ok(Opened { run, node, is_own, until_ms })
    }

    /// Frees the slot of a lease whose job is over, and says whether there was one.
    pub fn close(&mut self, lease: &Hash) -> bool {
        self.leases.remove(lease).is_some()
    }

    /// Frees the slots whose time is over, in order of lease. The caller stops the jobs that were open.
    pub fn expire(&mut self, now_ms: u64) -> Vec<Expired> {
        let over: Vec<Expired> = self
            .leases
            .iter()
            .filter(|(_, held)| held.until_ms <= now_ms)
            .map(|(lease, held)| Expired { lease: *lease, run: held.run, was_open: held.is_open })
            .collect();
        for expired in &over {
            self.leases.remove(&expired.lease);
        }
        over
    }

    /// Frees the slots of leases that were not opened in time. Open jobs that are over keep theirs until the caller
    /// learns of them from [`expire`](Self::expire), because something is still running.
    fn forget_unopened(&mut self, now_ms: u64) {
        self.leases.retain(|_, held| held.is_open || now_ms < held.until_ms);
    }

    /// When [`expire`](Self::expire) is next worth calling.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.leases.values().map(|held| held.until_ms).min()
    }

    /// Leases granted and not opened yet.
    #[must_use]
    pub fn granted(&self) -> usize {
        self.leases.values().filter(|held| !held.is_open).count()
    }

    /// Jobs that are open.
    #[must_use]
    pub fn open_jobs(&self) -> usize {
        self.leases.values().filter(|held| held.is_open).count()
    }
}

/// How many of the slots another member may have at once: one is left for the others, if there are others.
fn share(slots: usize, org: &OrgName, policy: Policy<'_>) -> usize {
    let is_alone = policy
        .offer
        .is_some_and(|offer| offer.orgs.iter().all(|named| named == org) && !offer.orgs.is_empty());
    if is_alone || slots < 2 { slots } else { slots - 1 }
}

/// How many jobs the asking side may have at once.
fn slots(asker: Asker<'_>, policy: Policy<'_>) -> Result<usize, Refusal> {
    let refused = |detail: String| Err(Refusal::new(Reason::NotLent, detail));
    match (asker, policy.offer) {
        (Asker::ThisNode, _) => Ok(OWN_SLOTS),
        (_, None) => refused("this node lends no hardware".to_owned()),
        (_, Some(offer)) if offer.slots == 0 => refused("this node lends no hardware".to_owned()),
        (Asker::Member(org), Some(offer)) if !lends_to(offer, org) => {
            refused(format!("this node does not lend to {org}"))
        }
        (_, Some(offer)) => {
            Ok(usize::try_from(offer.slots).unwrap_or(LENT_SLOTS_MAX).min(LENT_SLOTS_MAX))
        }
    }
}
