//! What an executor's node is willing to do at the moment it is asked, and for whom.

use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::offer::OFFER_SLOTS_MAX;
use guildhall_protocol::wire::{OfferRequest, Reason, Refusal};

use super::queue::{Needs, Side};
use crate::place::{Needed, shortfall};

/// Jobs of this node's own that run at once, beside those for others: two, so that a long one does not block a short
/// one, and few enough that a laptop stays usable.
pub const OWN_SLOTS: usize = 2;

/// Most jobs for others at once, whatever an offer says.
pub const LENT_SLOTS_MAX: usize = OFFER_SLOTS_MAX as usize;

/// Who asks, as the overlay and the federation know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker<'a> {
    /// This node itself: its own jobs run even when it lends nothing or drains.
    ThisNode,
    /// Another node of this node's org: the offer's list of orgs and its quotas do not apply.
    OwnOrg,
    /// A node of another member.
    Member(&'a OrgName),
}

impl Asker<'_> {
    pub(super) fn side(&self) -> Side {
        match self {
            Self::Member(org) => Some((*org).clone()),
            Self::ThisNode | Self::OwnOrg => None,
        }
    }
}

/// What the node can do and is willing to, at the moment it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy<'a> {
    /// Hardware it lends; `None` lends nothing.
    pub offer: Option<&'a HardwareOffer>,
    /// Engines it has.
    pub engines: &'a [String],
    /// How well its workers are shut in; see [`Level`](guildhall_protocol::isolation::Level).
    pub isolation: u8,
}

impl Policy<'_> {
    /// How many jobs the asking side may have at once.
    pub(super) fn slots(&self, asker: Asker<'_>) -> Result<usize, Refusal> {
        let refused = |detail: String| Err(Refusal::new(Reason::NotLent, detail));
        match (asker, self.offer) {
            (Asker::ThisNode, _) => Ok(OWN_SLOTS),
            (_, None) => refused("this node lends no hardware".to_owned()),
            (_, Some(offer)) if offer.slots == 0 => {
                refused("this node lends no hardware".to_owned())
            }
            (Asker::Member(org), Some(offer)) if !offer.lends_to(org) => {
                refused(format!("this node does not lend to {org}"))
            }
            (_, Some(offer)) => {
                Ok(usize::try_from(offer.slots).unwrap_or(LENT_SLOTS_MAX).min(LENT_SLOTS_MAX))
            }
        }
    }

    /// How many of `slots` a side may have at once: of several, another member leaves one to the others, if there are
    /// others.
    pub(super) fn share(&self, slots: usize, side: &Side) -> usize {
        let Some(org) = side else { return slots };
        let is_alone = self
            .offer
            .is_some_and(|offer| offer.orgs.iter().all(|one| one == org) && !offer.orgs.is_empty());
        if is_alone || slots < 2 { slots } else { slots.saturating_sub(1) }
    }

    /// Refuses what the node could not do even if nobody else used it.
    pub(super) fn check(
        &self,
        asker: Asker<'_>,
        request: &OfferRequest,
        needs: Needs,
    ) -> Result<(), Refusal> {
        let needed = Needed {
            engines: &request.engines,
            memory_bytes: request.memory_bytes,
            hardware: &request.hardware,
            isolation: request.isolation,
        };
        let is_self = asker == Asker::ThisNode;
        if let Some(obstacle) =
            shortfall(&needed, self.offer, self.engines, self.isolation, is_self)
        {
            return Err(Refusal::new(Reason::Unable, obstacle.to_string()));
        }
        let Some(offer) = self.offer.filter(|_| !is_self) else { return Ok(()) };
        if needs.cores > bound(offer.cores) {
            let detail = format!("{} cores are needed, {} are lent", needs.cores, offer.cores);
            return Err(Refusal::new(Reason::Unable, detail));
        }
        if offer.memory_bytes > 0 && needs.memory_bytes > offer.memory_bytes {
            let detail = format!(
                "the stages need {} bytes of memory together, {} are lent",
                needs.memory_bytes, offer.memory_bytes
            );
            return Err(Refusal::new(Reason::Unable, detail));
        }
        Ok(())
    }
}

/// A bound that an offer names; 0 is none.
pub(super) const fn bound(cores: u32) -> u32 {
    if cores == 0 { u32::MAX } else { cores }
}

/// What a job takes: the cores it asks for, at least one, and the memory of every stage, whose workers live side by
/// side.
pub(super) fn needs(request: &OfferRequest) -> Needs {
    let stages = u64::try_from(request.stages.len()).unwrap_or(u64::MAX);
    Needs {
        cores: request.hardware.cores.max(1),
        memory_bytes: request.memory_bytes.saturating_mul(stages),
    }
}
