//! Leases: an executor's time-limited promises, and who may redeem them.
//!
//! A [`Book`] grants a lease when the node can do the job, a slot is free and it is the asker's turn; opens it once,
//! for the node it was granted to and the packages it was granted for; and frees the slot when the job is closed or a
//! time is over. It belongs to the executor's node; the caller brings the time, unguessable lease ids, and the node's
//! policy at that moment.
//!
//! - When all slots are taken, whoever asks gets a place in the queue and is told when to ask again; orgs take turns.
//!   Near its turn a question is worth holding ([`is_near`](Book::is_near)): whoever owns the book asks again for it when
//!   something became free, and tells of those who will not come ([`leave`](Book::leave)).
//! - What other orgs use is counted as jobs report it, and an org that used up its quota is told when it may come back.
//!   A job that began goes on, so a quota is exceeded by what runs when it is used up.
//! - A book that drains grants nothing to others any more; jobs that were promised before take their course.
//!
//! Bounds: leases for others at most the offer's slots (and [`LENT_SLOTS_MAX`]), its cores and its memory, for this
//! node's own jobs [`OWN_SLOTS`]; one node holds at most [`GRANTED_PER_NODE_MAX`] leases that it has not opened; and
//! another member's nodes together, open or not, hold at most all slots but one where there are several, so that one
//! member never shuts the others out. A member that the offer names alone may have them all. What goes beyond is
//! refused as busy. Lending fewer slots ends no lease: the book shrinks as jobs end. Cores and memory are what the
//! requester asks for; that a job keeps to them is up to whoever executes ([`Opened`] says what was granted).

mod policy;
mod queue;
mod usage;

use std::collections::BTreeMap;

use guildhall_protocol::contract::NodeLimits;
use guildhall_protocol::limits::PIPELINE_MAX_STAGES;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::wire::{JobSpec, Lease, OfferRequest, Reason, Refusal};
use guildhall_protocol::{Hash, PackageId, PublicKey, RunId};

pub use self::policy::{Asker, LENT_SLOTS_MAX, OWN_SLOTS, Policy};
use self::queue::{Ask, Needs, Queue, Room, Side, Turn};
pub use self::queue::{
    HOLD_MAX_MS, HOLD_PLACES_MAX, KEPT_MS, PLACE_GRACE_MS, RETRY_MAX_MS, RETRY_MS, WAITING_MAX,
    WAITING_PER_ORG_MAX,
};
pub use self::usage::Usage;

/// Leases that one node may hold without opening them, so that asking does not become hoarding.
pub const GRANTED_PER_NODE_MAX: usize = 4;

/// How long a lease waits to be opened, milliseconds: a few round trips and a requester that asks several nodes.
pub const OPEN_WITHIN_MS: u64 = 10_000;

/// What an open job gets on top of the node's limit for a whole job, milliseconds: fetching packages and starting
/// workers is no scoring. A job that is open longer than both together is taken for lost.
pub const OPEN_GRACE_MS: u64 = 10 * 60_000;

/// Engines that a request may name; no pipeline has more stages.
const ENGINES_MAX: usize = PIPELINE_MAX_STAGES;

/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// Every lease that holds a slot, who waits for one, and what was used.
#[derive(Clone, Debug, Default)]
pub struct Book {
    leases: BTreeMap<Hash, Held>,
    /// Those who wait for slots that are lent.
    lent: Queue,
    /// This node's own runs that wait.
    own: Queue,
    usage: Usage,
    is_draining: bool,
    /// Numbers leases in the order they were granted.
    granted: u64,
}

#[derive(Clone, Debug)]
struct Held {
    run: RunId,
    node: PublicKey,
    /// The other member it is lent to; `None` for this node's own org.
    org: Side,
    stages: Vec<PackageId>,
    memory_bytes: u64,
    needs: Needs,
    /// Number among all that were granted.
    number: u64,
    is_own: bool,
    is_open: bool,
    /// First moment at which it no longer holds.
    until_ms: u64,
    /// What the whole job may take once it is open.
    total_ms: u64,
    /// How long it waited for the slot.
    queued_ms: u64,
}

/// What the caller knows of a lease that is to be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Its id; fresh and unguessable.
    pub lease: Hash,
    /// Stages for which a worker with loaded code waits.
    pub warm: u32,
    /// Packages of the run that are complete here.
    pub held: u32,
}

impl From<Hash> for Fresh {
    /// Nothing of the run is here.
    fn from(lease: Hash) -> Self {
        Self { lease, warm: 0, held: 0 }
    }
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
    /// Most memory of one stage that was asked for, bytes: what the lease was granted for. A stage whose contract wants
    /// more than was asked for gets no more.
    pub memory_bytes: u64,
    /// How long the run waited for its slot, milliseconds.
    pub queued_ms: u64,
    /// To whose account goes what the job uses.
    pub user: User,
}

/// Whoever a job is executed for. It outlives the lease, so that a job that is cut off is counted too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The other member; `None` for this node's own org, whose use nobody counts.
    pub org: Option<OrgName>,
    /// Cores that were granted.
    pub cores: u32,
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

/// A job for another node, for a person to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The other member it is for; `None` for this node's own org.
    pub org: Option<OrgName>,
    /// The requester's node.
    pub node: PublicKey,
    /// The run.
    pub run: RunId,
    /// Whether it began.
    pub is_open: bool,
    /// Cores that are counted for it.
    pub cores: u32,
    /// Memory that is counted for it, bytes.
    pub memory_bytes: u64,
}

/// What another member has and had of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Slots it holds.
    pub slots: usize,
    /// Runs that wait.
    pub waiting: usize,
    /// Core time within 24 hours, microseconds.
    pub used_us: u64,
}

impl Book {
    /// Promises `node` to execute what it asks for.
    ///
    /// # Errors
    /// [`Refusal`] for the asking node: invalid, not lent, draining, unable, over its quota, or busy. The last two say
    /// when asking again is worth it.
    pub fn grant(
        &mut self,
        now_ms: u64,
        request: &OfferRequest,
        policy: Policy<'_>,
        (asker, node): (Asker<'_>, PublicKey),
        fresh: impl Into<Fresh>,
    ) -> Result<Lease, Refusal> {
        let fresh = fresh.into();
        self.forget_unopened(now_ms);
        if request.stages.is_empty()
            || request.stages.len() > PIPELINE_MAX_STAGES
            || request.engines.len() > ENGINES_MAX
            || self.leases.contains_key(&fresh.lease)
        {
            let rule = format!("a job has 1 to {PIPELINE_MAX_STAGES} stages and a fresh lease");
            return Err(Refusal::new(Reason::Invalid, rule));
        }
        let is_own = asker == Asker::ThisNode;
        let slots = policy.slots(asker)?;
        if self.is_draining && !is_own {
            let detail = "this node finishes what it has and takes no more";
            return Err(Refusal::new(Reason::Draining, detail));
        }
        let needs = policy::needs(request);
        policy.check(asker, request, needs)?;
        self.check_quota(now_ms, asker, policy)?;
        self.check_hoard(now_ms, node)?;
        let side = asker.side();
        let limits = policy.offer.map_or_else(NodeLimits::default, |offer| offer.limits);
        let ask = Ask {
            key: (node, request.run),
            side: &side,
            needs,
            queue_ms: request.queue_ms.unwrap_or(u64::MAX).min(limits.queue_ms),
            hold_ms: request.hold_ms,
        };
        let queued_ms = self.take_turn(now_ms, policy, slots, is_own, ask)?;

        self.granted = self.granted.saturating_add(1);
        let held = Held {
            run: request.run,
            node,
            org: side,
            stages: request.stages.clone(),
            memory_bytes: request.memory_bytes,
            needs,
            number: self.granted,
            is_own,
            is_open: false,
            until_ms: now_ms.saturating_add(OPEN_WITHIN_MS),
            total_ms: limits.total_ms,
            queued_ms,
        };
        self.leases.insert(fresh.lease, held);
        let taken = self.leases.values().filter(|held| held.is_own == is_own).count();
        let load = taken.saturating_mul(100) / slots.max(1);
        Ok(Lease {
            lease: fresh.lease,
            run: request.run,
            open_within_ms: OPEN_WITHIN_MS,
            warm: fresh.warm,
            held: fresh.held,
            load_percent: u8::try_from(load).unwrap_or(100).min(100),
        })
    }

    fn check_quota(
        &self,
        now_ms: u64,
        asker: Asker<'_>,
        policy: Policy<'_>,
    ) -> Result<(), Refusal> {
        let Asker::Member(org) = asker else { return Ok(()) };
        let Some(quota) = policy.offer.and_then(|offer| offer.quota(org)) else { return Ok(()) };
        match self.usage.over_quota_ms(now_ms, org, quota) {
            None => Ok(()),
            Some(retry_after_ms) => {
                let used = self.usage.used_us(now_ms, org).div_ceil(SECOND_US);
                let detail = format!(
                    "{org} used {used} of the {quota} core-seconds that it may use of this node \
                     within 24 hours"
                );
                let refusal = Refusal::new(Reason::Quota, detail);
                Err(Refusal { retry_after_ms: Some(retry_after_ms), ..refusal })
            }
        }
    }

    fn check_hoard(&self, now_ms: u64, node: PublicKey) -> Result<(), Refusal> {
        let unopened = self.leases.values().filter(|held| held.node == node && !held.is_open);
        let until: Vec<u64> = unopened.map(|held| held.until_ms).collect();
        if until.len() < GRANTED_PER_NODE_MAX {
            return Ok(());
        }
        let detail = format!("{GRANTED_PER_NODE_MAX} leases wait to be opened already");
        // Whoever means well opens one within a round trip.
        let first = until.into_iter().min().map(|until_ms| until_ms.saturating_sub(now_ms));
        let retry_after_ms = first.map(|first_ms| first_ms.min(RETRY_MS));
        Err(Refusal { retry_after_ms, ..Refusal::new(Reason::Busy, detail) })
    }

    /// Whether who was refused as busy just now may hope for a lease soon, so that its question is worth holding: it is
    /// among the first in its queue, or waits for a lease of its own node to be opened.
    #[must_use]
    pub fn is_near(&self, now_ms: u64, asker: Asker<'_>, node: PublicKey, run: RunId) -> bool {
        let queue = if asker == Asker::ThisNode { &self.own } else { &self.lent };
        queue.is_near(&(node, run)) || self.check_hoard(now_ms, node).is_err()
    }

    /// A run of that node does not wait any more: nothing is kept for it.
    pub fn leave(&mut self, asker: Asker<'_>, node: PublicKey, run: RunId) {
        let queue = if asker == Asker::ThisNode { &mut self.own } else { &mut self.lent };
        queue.leave(&(node, run));
    }

    /// Gives whoever asks a place in its queue, and lets it pass when it is its turn and there is room. Says how long it
    /// waited.
    fn take_turn(
        &mut self,
        now_ms: u64,
        policy: Policy<'_>,
        slots: usize,
        is_own: bool,
        ask: Ask<'_>,
    ) -> Result<u64, Refusal> {
        let (mut taken, mut cores, mut memory_bytes) = (0_usize, 0_u64, 0_u64);
        let mut held: BTreeMap<Side, usize> = BTreeMap::new();
        for one in self.leases.values().filter(|held| held.is_own == is_own) {
            taken = taken.saturating_add(1);
            cores = cores.saturating_add(one.needs.cores.into());
            memory_bytes = memory_bytes.saturating_add(one.needs.memory_bytes);
            *held.entry(one.org.clone()).or_default() += 1;
        }
        let offer = policy.offer.filter(|_| !is_own);
        let lent_cores = offer.map_or(u32::MAX, |offer| policy::bound(offer.cores));
        let lent_bytes = offer.map_or(0, |offer| offer.memory_bytes);
        let lent_bytes = if lent_bytes == 0 { u64::MAX } else { lent_bytes };
        let room = Room {
            slots: slots.saturating_sub(taken),
            cores: u64::from(lent_cores).saturating_sub(cores),
            memory_bytes: lent_bytes.saturating_sub(memory_bytes),
        };
        let share = |side: &Side| policy.share(slots, side);
        let queue = if is_own { &mut self.own } else { &mut self.lent };
        let (detail, retry_after_ms) = match queue.ask(now_ms, ask, room, &held, share) {
            Turn::Now { waited_ms } => return Ok(waited_ms),
            Turn::Over { waited_ms } => {
                let detail = format!(
                    "all {slots} slots are taken or kept for others; the run waited {waited_ms} ms, \
                     and its limits let it wait {} ms",
                    ask.queue_ms
                );
                return Err(Refusal::new(Reason::QueueTimeout, detail));
            }
            Turn::NoPlace { retry_after_ms } => {
                ("too many wait for this node already".to_owned(), retry_after_ms)
            }
            Turn::Later { place, retry_after_ms } => {
                let has = held.get(ask.side).copied().unwrap_or_default();
                let most = share(ask.side);
                let why = match room.slots {
                    0 => format!("all {slots} slots are taken"),
                    _ if ask.side.is_some() && has >= most => {
                        format!("one member has at most {most} of {slots} slots")
                    }
                    _ => "what is free is kept for others who wait, or too little".to_owned(),
                };
                (format!("{why}; place {place} of those who wait"), retry_after_ms)
            }
        };
        let refusal = Refusal::new(Reason::Busy, detail);
        Err(Refusal { retry_after_ms: Some(retry_after_ms), ..refusal })
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
        Ok(Opened {
            run: held.run,
            node: held.node,
            is_own: held.is_own,
            until_ms: held.until_ms,
            memory_bytes: held.memory_bytes,
            queued_ms: held.queued_ms,
            user: User { org: held.org.clone(), cores: held.needs.cores },
        })
    }

    /// Counts what a job used, as soon as it is known: a part of a job counts even if the requester goes away before
    /// the job's end. Says whether it was another member's.
    pub fn used(&mut self, now_ms: u64, user: &User, wall_us: u64) -> bool {
        let Some(org) = &user.org else { return false };
        self.usage.add(now_ms, org, wall_us.saturating_mul(user.cores.into()));
        true
    }

    /// What other members used within 24 hours, for the caller to keep.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Takes up what was kept.
    pub fn restore(&mut self, now_ms: u64, usage: Usage) {
        self.usage = usage.checked(now_ms);
    }

    /// From now on nothing is promised to others, or it is again. Whoever waits loses its place in the end.
    pub const fn drain(&mut self, is_draining: bool) {
        self.is_draining = is_draining;
    }

    /// Whether it drains and no lease of others is left.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.is_draining && self.leases.values().all(|held| held.is_own)
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

    /// Leases of this node's own runs.
    #[must_use]
    pub fn own_jobs(&self) -> usize {
        self.leases.values().filter(|held| held.is_own).count()
    }

    /// Leases of other nodes, the oldest first.
    #[must_use]
    pub fn lent_jobs(&self) -> Vec<Job> {
        let mut held: Vec<&Held> = self.leases.values().filter(|held| !held.is_own).collect();
        held.sort_unstable_by_key(|held| held.number);
        let job = |held: &Held| Job {
            org: held.org.clone(),
            node: held.node,
            run: held.run,
            is_open: held.is_open,
            cores: held.needs.cores,
            memory_bytes: held.needs.memory_bytes,
        };
        held.into_iter().map(job).collect()
    }

    /// What each side has or waits for, or used within 24 hours.
    #[must_use]
    pub fn standings(&self, now_ms: u64) -> BTreeMap<Option<OrgName>, Standing> {
        let mut all: BTreeMap<Side, Standing> = BTreeMap::new();
        for held in self.leases.values().filter(|held| !held.is_own) {
            let standing = all.entry(held.org.clone()).or_default();
            standing.slots = standing.slots.saturating_add(1);
        }
        for (side, waiting) in self.lent.counts(now_ms) {
            all.entry(side).or_default().waiting = waiting;
        }
        for (org, used_us) in self.usage.all(now_ms) {
            all.entry(Some(org.clone())).or_default().used_us = used_us;
        }
        all
    }
}
