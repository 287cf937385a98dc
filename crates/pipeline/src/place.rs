//! Placement: which nodes can execute a plan, best first, and why the others cannot.
//!
//! *Auto* tries, in this order: this node if it lends its hardware; other nodes of the requester's org, so that the
//! input stays there; nodes of other orgs; and at last this node though it lends nothing, for its own run. Within a
//! group, as far as it is known: more workers that are warm, more packages of the plan that are there, less load in
//! quarters, the shorter round trip, and then the node's key. *Auto* may
//! thus send the input to another org that lends; [`Placement::Local`] never does. A node of the producer's org gets no
//! input unless it is the requester's own org or is named ([`Placement::Org`], [`Placement::Node`]). What an org lends is
//! decided by the node itself when it is asked (`lease`); here it only saves the asking.

use std::fmt;

use guildhall_protocol::PublicKey;
use guildhall_protocol::api::Placement;
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::{Hardware, NodeLimits};
use guildhall_protocol::isolation::level_text;
use guildhall_protocol::manifest::provides;
use guildhall_protocol::name::OrgName;

use crate::plan::Plan;

/// Nodes that a [`PlaceError`] lists when it is printed; the rest is counted.
const LISTED_MAX: usize = 8;

/// The load of a node of which none is known, percent: neither better nor worse than others.
const LOAD_UNKNOWN_PERCENT: u8 = 50;

/// Loads that differ by less count as the same, percent, so that distance decides between them.
const LOAD_STEP_PERCENT: u8 = 25;

/// A node that might execute, as the requester's node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its key.
    pub node: PublicKey,
    /// Its key as the overlay writes it, for [`Placement::Node`].
    pub peer_id: String,
    /// Its org.
    pub org: OrgName,
    /// Whether it is the requester's own node.
    pub is_self: bool,
    /// Whether its org produced a package of the plan.
    pub is_producer_org: bool,
    /// Hardware it lends.
    pub offer: Option<HardwareOffer>,
    /// Engines it has.
    pub engines: Vec<String>,
    /// How well its workers are shut in; see [`Level`](guildhall_protocol::isolation::Level).
    pub isolation: u8,
    /// Whether it finishes what it has and takes no more.
    pub draining: bool,
    /// Whether it is connected; this node always is.
    pub connected: bool,
    /// Stages of the plan for which a worker waits there, where that is known.
    pub warm: Option<usize>,
    /// Share of its slots that are taken, percent, where that is known.
    pub load_percent: Option<u8>,
    /// Packages of the plan that it holds, where that is known.
    pub holds: Option<usize>,
    /// Measured round trip, microseconds.
    pub rtt_us: Option<u64>,
}

/// A node to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its key.
    pub node: PublicKey,
    /// Its org: nodes of one org may fail together.
    pub org: OrgName,
    /// Round trip to it, if it was measured, microseconds.
    pub rtt_us: Option<u64>,
    /// Why it stands where it does, in words.
    pub why: String,
}

/// The nodes that can execute `plan` for an org, best first. `isolation` is the least level that the requester accepts.
///
/// # Errors
/// [`PlaceError`] when there is none.
pub fn place(
    plan: &Plan,
    requester_org: &OrgName,
    placement: &Placement,
    isolation: u8,
    candidates: &[Candidate],
) -> Result<Vec<Placed>, PlaceError> {
    let is_named = |candidate: &Candidate| match placement {
        Placement::Auto => true,
        Placement::Local => candidate.is_self,
        Placement::Org(org) => candidate.org == *org,
        Placement::Node(peer_id) => candidate.peer_id == *peer_id,
    };
    let (mut able, mut refused) = (Vec::new(), Vec::new());
    for candidate in candidates.iter().filter(|candidate| is_named(candidate)) {
        match obstacle(plan, requester_org, placement, isolation, candidate) {
            None => able.push(candidate),
            Some(why) => refused.push(Refused {
                node: candidate.node,
                peer_id: candidate.peer_id.clone(),
                org: candidate.org.clone(),
                why,
            }),
        }
    }
    if able.is_empty() {
        refused.sort_by(|a, b| (&a.org, a.node).cmp(&(&b.org, b.node)));
        return Err(match placement {
            _ if !refused.is_empty() => PlaceError::NoneAble { refused: Listed(refused) },
            Placement::Auto | Placement::Local => PlaceError::NoNode,
            named => PlaceError::Unknown { named: named.clone().into() },
        });
    }
    able.sort_by_key(|candidate| {
        let group = group(requester_org, candidate);
        (
            group,
            std::cmp::Reverse(candidate.warm.unwrap_or_default()),
            std::cmp::Reverse(candidate.holds.unwrap_or_default()),
            candidate.load_percent.unwrap_or(LOAD_UNKNOWN_PERCENT) / LOAD_STEP_PERCENT,
            candidate.rtt_us.unwrap_or(u64::MAX),
            candidate.node,
        )
    });
    Ok(able.into_iter().map(|candidate| placed(plan, requester_org, candidate)).collect())
}

/// The groups of *auto*, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    ThisNodeLends,
    OwnOrg,
    OtherOrg,
    ThisNode,
}

fn group(requester_org: &OrgName, candidate: &Candidate) -> Group {
    match (candidate.is_self, candidate.offer.is_some()) {
        (true, true) => Group::ThisNodeLends,
        (true, false) => Group::ThisNode,
        (false, _) if candidate.org == *requester_org => Group::OwnOrg,
        (false, _) => Group::OtherOrg,
    }
}

fn placed(plan: &Plan, requester_org: &OrgName, candidate: &Candidate) -> Placed {
    let what = match group(requester_org, candidate) {
        Group::ThisNodeLends => "this node, which lends its hardware".to_owned(),
        Group::ThisNode => "this node, for its own run".to_owned(),
        Group::OwnOrg => "a node of the requester's own org".to_owned(),
        Group::OtherOrg => format!("a node of {}, which lends its hardware", candidate.org),
    };
    let holds = match candidate.holds {
        Some(holds) => format!("; holds {holds} of {} packages", plan.stages.len()),
        None => String::new(),
    };
    let warm = match candidate.warm {
        Some(warm) if warm > 0 => format!("; {warm} warm"),
        _ => String::new(),
    };
    let load = match candidate.load_percent {
        Some(load_percent) => format!("; {load_percent} % taken"),
        None => String::new(),
    };
    let distance = match candidate.rtt_us {
        Some(rtt_us) if !candidate.is_self => {
            format!("; {}.{} ms away", rtt_us / 1000, rtt_us % 1000 / 100)
        }
        _ => String::new(),
    };
    let why = format!("{what}{warm}{holds}{load}{distance}");
    let Candidate { node, org, rtt_us, .. } = candidate;
    Placed { node: *node, org: org.clone(), rtt_us: *rtt_us, why }
}

/// Why `candidate` cannot execute `plan`, or must not.
fn obstacle(
    plan: &Plan,
    requester_org: &OrgName,
    placement: &Placement,
    isolation: u8,
    candidate: &Candidate,
) -> Option<Obstacle> {
    let is_own_org = candidate.is_self || candidate.org == *requester_org;
    if !candidate.is_self && !candidate.connected {
        return Some(Obstacle::NotConnected);
    }
    if candidate.is_producer_org && !is_own_org && *placement == Placement::Auto {
        return Some(Obstacle::Producer);
    }
    if !candidate.is_self {
        match &candidate.offer {
            None => return Some(Obstacle::LendsNothing),
            Some(offer) if !is_own_org && !offer.lends_to(requester_org) => {
                return Some(Obstacle::NotToThisOrg { org: requester_org.clone() });
            }
            Some(offer) if offer.slots == 0 => return Some(Obstacle::LendsNothing),
            Some(_) if candidate.draining => return Some(Obstacle::Draining),
            Some(_) => {}
        }
    }
    let needed = Needed {
        engines: &plan.engines,
        memory_bytes: plan.memory_bytes,
        hardware: &plan.hardware,
        isolation,
    };
    let Candidate { offer, engines, is_self, .. } = candidate;
    shortfall(&needed, offer.as_ref(), engines, candidate.isolation, *is_self)
}

/// What a job needs of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needed<'a> {
    pub(crate) engines: &'a [String],
    /// Of one stage.
    pub(crate) memory_bytes: u64,
    pub(crate) hardware: &'a Hardware,
    pub(crate) isolation: u8,
}

/// What a node lacks for a job, if it lacks anything. Without an offer, its memory is that of [`NodeLimits`]' default.
/// A node does for itself what its hardware and engines can, lent or not.
pub(crate) fn shortfall(
    needed: &Needed<'_>,
    offer: Option<&HardwareOffer>,
    engines: &[String],
    isolation: u8,
    is_self: bool,
) -> Option<Obstacle> {
    let lent = offer.filter(|_| !is_self);
    let lent_engines = lent.map(|offer| offer.lent_engines(engines));
    let engines = lent_engines.as_deref().unwrap_or(engines);
    let is_missing = |engine: &&String| !provides(engines, engine);
    let missing: Vec<String> = needed.engines.iter().filter(is_missing).cloned().collect();
    if !missing.is_empty() {
        return Some(Obstacle::Engines { missing });
    }
    if isolation < needed.isolation {
        return Some(Obstacle::Isolation { needed: needed.isolation, has: isolation });
    }
    let needed_bytes = needed.memory_bytes;
    let lent_bytes =
        offer.map_or_else(|| NodeLimits::default().memory_bytes, |offer| offer.limits.memory_bytes);
    if needed_bytes > lent_bytes {
        return Some(Obstacle::Memory { needed_bytes, lent_bytes });
    }
    too_weak(needed.hardware, &lent?.hardware)
}

/// An offer that names no cores says nothing about them; one that names no GPU has none.
fn too_weak(needed: &Hardware, lent: &Hardware) -> Option<Obstacle> {
    let too_few_cores = lent.cores != 0 && lent.cores < needed.cores;
    (too_few_cores || lent.gpu_memory_bytes < needed.gpu_memory_bytes)
        .then(|| Obstacle::Hardware { needed: needed.clone(), lent: lent.clone() })
}

/// Why a node cannot execute a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// There is no connection to it.
    #[error("it is not connected")]
    NotConnected,
    /// Its org produced a package, and input goes there only when it is named.
    #[error("its org produced a package of this run, so it gets the input only when it is named")]
    Producer,
    /// It lends no hardware.
    #[error("it lends no hardware")]
    LendsNothing,
    /// It lends to other orgs.
    #[error("it does not lend to {org}")]
    NotToThisOrg {
        /// The requester's org.
        org: OrgName,
    },
    /// It finishes what it has.
    #[error("it finishes what it has and takes no more for now")]
    Draining,
    /// Its workers are not shut in as well as is demanded.
    #[error(
        "its workers are shut in at level {}, {} is demanded",
        level_text(*has), level_text(*needed)
    )]
    Isolation {
        /// The level that is demanded.
        needed: u8,
        /// The node's.
        has: u8,
    },
    /// It lacks engines.
    #[error("it has no engine `{}`", missing.join("`, `"))]
    Engines {
        /// Which.
        missing: Vec<String>,
    },
    /// Its memory is too small.
    #[error("{needed_bytes} bytes of memory are needed, it lends {lent_bytes}")]
    Memory {
        /// What the plan needs, bytes.
        needed_bytes: u64,
        /// What the node lends, bytes.
        lent_bytes: u64,
    },
    /// Its processor or GPU is too small.
    #[error(
        "{} cores and {} bytes of GPU memory are needed, it lends {} and {}",
        needed.cores, needed.gpu_memory_bytes, lent.cores, lent.gpu_memory_bytes
    )]
    Hardware {
        /// What the plan needs.
        needed: Hardware,
        /// What the node lends.
        lent: Hardware,
    },
}

/// A node that cannot execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its key.
    pub node: PublicKey,
    /// Its key as the overlay writes it.
    pub peer_id: String,
    /// Its org.
    pub org: OrgName,
    /// Why not.
    pub why: Obstacle,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.org, self.peer_id, self.why)
    }
}

/// Nodes that cannot execute; printed with at most eight of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed(pub Vec<Refused>);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, refused) in self.0.iter().take(LISTED_MAX).enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{refused}")?;
        }
        match self.0.len().saturating_sub(LISTED_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Why a plan cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// Nobody could be asked.
    #[error("no node is known that could execute this")]
    NoNode,
    /// The named org or node is not known.
    #[error("no node of that name is known: {named}")]
    Unknown {
        /// What was named.
        named: String,
    },
    /// Every node that may be used lacks something.
    #[error("no node can execute this: {refused}")]
    NoneAble {
        /// Each of them, in order of org and key.
        refused: Listed,
    },
}
