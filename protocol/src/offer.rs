//! What a node lends: jobs at once, hardware, limits, to whom, and how much of it within a day.

use serde::{Deserialize, Deserializer, Serialize};

use crate::body::few;
use crate::cbor::DecodeError;
use crate::contract::{CALL_MAX_RECORDS, Hardware, NodeLimits};
use crate::name::OrgName;

/// Orgs that an offer may name, and quotas: far more than a federation that lends by name has, and small in a record.
pub const OFFER_ORGS_MAX: usize = 256;

/// Engines that an offer may name: four times those a node can have today.
pub const OFFER_ENGINES_MAX: usize = 64;

/// Most jobs for others at once, whatever an offer says: each is a worker process with its memory.
pub const OFFER_SLOTS_MAX: u32 = 1024;

/// Most core-seconds a day of a quota: a million cores that never rest, so that sums stay far from overflow.
pub const QUOTA_MAX_CORE_SECONDS: u64 = 86_400 * 1_000_000;

/// Hardware that a node lends to the federation's members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareOffer {
    /// Jobs it executes at once.
    pub slots: u32,
    /// Hardware of one job. No cores say nothing about them; no GPU memory is no GPU.
    #[serde(default)]
    pub hardware: Hardware,
    /// Limits for everything it executes.
    #[serde(deserialize_with = "offered_limits")]
    pub limits: NodeLimits,
    /// Orgs it lends to; empty means every member.
    #[serde(default)]
    pub orgs: Vec<OrgName>,
    /// Processor cores of all jobs for others together; 0 sets no bound beside the slots.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub cores: u32,
    /// Memory of all jobs for others together, bytes; 0 sets no bound beside the slots.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub memory_bytes: u64,
    /// Engines it lends; empty means all that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<String>,
    /// Core-seconds that each other org may use within 24 hours; 0 sets no bound.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub quota_core_seconds_per_day: u64,
    /// Orgs for which another bound holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<OrgQuota>,
}

/// What one org may use of an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrgQuota {
    /// The org.
    pub org: OrgName,
    /// Core-seconds within 24 hours; 0 sets no bound.
    pub core_seconds_per_day: u64,
}

impl HardwareOffer {
    /// Whether it is open to the members of `org`.
    #[must_use]
    pub fn lends_to(&self, org: &OrgName) -> bool {
        self.orgs.is_empty() || self.orgs.contains(org)
    }

    /// What is left of a node's engines when it lends only some of them.
    #[must_use]
    pub fn lent_engines(&self, engines: &[String]) -> Vec<String> {
        let is_lent = |engine: &&String| self.engines.is_empty() || self.engines.contains(engine);
        engines.iter().filter(is_lent).cloned().collect()
    }

    /// Core-seconds that `org` may use within 24 hours; `None` where there is no bound.
    #[must_use]
    pub fn quota(&self, org: &OrgName) -> Option<u64> {
        let own = self.quotas.iter().find(|quota| quota.org == *org);
        let seconds =
            own.map_or(self.quota_core_seconds_per_day, |quota| quota.core_seconds_per_day);
        (seconds > 0).then_some(seconds)
    }

    /// Whether a keeper may set it: what a record may not hold, or what could never be fulfilled.
    ///
    /// # Errors
    /// [`OfferError`] with the first thing that is wrong.
    pub fn check(&self) -> Result<(), OfferError> {
        let over = |what, max| Err(OfferError::TooMany { what, max });
        if self.slots > OFFER_SLOTS_MAX {
            return over("slots", OFFER_SLOTS_MAX as usize);
        }
        if self.orgs.len() > OFFER_ORGS_MAX {
            return over("orgs", OFFER_ORGS_MAX);
        }
        if self.quotas.len() > OFFER_ORGS_MAX {
            return over("quotas", OFFER_ORGS_MAX);
        }
        if self.engines.len() > OFFER_ENGINES_MAX {
            return over("engines", OFFER_ENGINES_MAX);
        }
        if self.limits.batch_max > CALL_MAX_RECORDS {
            return Err(OfferError::Batch);
        }
        if self.cores > 0 && self.hardware.cores > self.cores {
            let (one, all) = (self.hardware.cores.into(), self.cores.into());
            return Err(OfferError::OneAboveAll { what: "cores", one, all });
        }
        if self.memory_bytes > 0 && self.limits.memory_bytes > self.memory_bytes {
            let (one, all) = (self.limits.memory_bytes, self.memory_bytes);
            return Err(OfferError::OneAboveAll { what: "bytes of memory", one, all });
        }
        let limits = self.limits;
        for (what, limit) in [
            ("scoring_ms", limits.scoring_ms),
            ("total_ms", limits.total_ms),
            ("memory_bytes", limits.memory_bytes),
            ("output_bytes", limits.output_bytes),
            ("batch_max", limits.batch_max),
        ] {
            if limit == 0 {
                return Err(OfferError::Zero { what });
            }
        }
        let general = self.quota_core_seconds_per_day;
        if self.quotas.iter().map(|quota| quota.core_seconds_per_day).any(is_too_much)
            || is_too_much(general)
        {
            return Err(OfferError::Quota);
        }
        let mut named: Vec<&OrgName> = self.quotas.iter().map(|quota| &quota.org).collect();
        named.sort_unstable();
        let twice = named.iter().zip(named.iter().skip(1)).find(|(one, next)| one == next);
        match twice {
            Some((org, _)) => Err(OfferError::Twice { org: (*org).clone() }),
            None => Ok(()),
        }
    }

    /// The rules of a record that another node wrote.
    pub(crate) fn check_record(&self) -> Result<(), DecodeError> {
        few("engines that are lent", &self.engines, OFFER_ENGINES_MAX)?;
        few("quotas", &self.quotas, OFFER_ORGS_MAX)
    }
}

const fn is_too_much(core_seconds: u64) -> bool {
    core_seconds > QUOTA_MAX_CORE_SECONDS
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero_u64(number: &u64) -> bool {
    *number == 0
}

/// Reads limits. In a record a newer node's further limits pass; in a file that a person wrote they are a mistake, and
/// what is left out has its default.
fn offered_limits<'de, D: Deserializer<'de>>(input: D) -> Result<NodeLimits, D::Error> {
    #[derive(Deserialize)]
    struct Offered {
        scoring_ms: u64,
        total_ms: u64,
        memory_bytes: u64,
        output_bytes: u64,
        #[serde(default = "default_batch_max")]
        batch_max: u64,
        #[serde(default = "default_queue_ms")]
        queue_ms: u64,
    }
    if input.is_human_readable() {
        return NodeLimits::deserialize(input);
    }
    let read = Offered::deserialize(input)?;
    Ok(NodeLimits {
        scoring_ms: read.scoring_ms,
        total_ms: read.total_ms,
        memory_bytes: read.memory_bytes,
        output_bytes: read.output_bytes,
        batch_max: read.batch_max,
        queue_ms: read.queue_ms,
    })
}

fn default_batch_max() -> u64 {
    NodeLimits::default().batch_max
}

fn default_queue_ms() -> u64 {
    NodeLimits::default().queue_ms
}

/// Why an offer cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// A list is too long, or a number too high.
    #[error("an offer has at most {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// One job gets more than all together.
    #[error("one job may have {one} {what}, but all together have {all}")]
    OneAboveAll {
        /// Of what.
        what: &'static str,
        /// What one may have.
        one: u64,
        /// What all have.
        all: u64,
    },
    /// A limit under which nothing runs.
    #[error("nothing can be executed with the limit {what} = 0")]
    Zero {
        /// Which.
        what: &'static str,
    },
    /// More records in a call than any node takes.
    #[error("a scoring call takes at most {CALL_MAX_RECORDS} records")]
    Batch,
    /// A quota beyond all hardware.
    #[error("a quota is at most {QUOTA_MAX_CORE_SECONDS} core-seconds a day")]
    Quota,
    /// Two quotas for one org.
    #[error("{org} has two quotas")]
    Twice {
        /// Which org.
        org: OrgName,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> HardwareOffer {
        HardwareOffer { slots: 2, ..HardwareOffer::default() }
    }

    #[test]
    fn an_org_has_its_own_quota_or_the_general_one() {
        let lab: OrgName = "lab".parse().unwrap();
        let other: OrgName = "other".parse().unwrap();
        let of = |general, quotas: &[(&OrgName, u64)]| HardwareOffer {
            quota_core_seconds_per_day: general,
            quotas: quotas
                .iter()
                .map(|(org, seconds)| OrgQuota {
                    org: (*org).clone(),
                    core_seconds_per_day: *seconds,
                })
                .collect(),
            ..offer()
        };
        assert_eq!(of(0, &[]).quota(&lab), None);
        assert_eq!(of(60, &[]).quota(&lab), Some(60));
        assert_eq!(of(60, &[(&lab, 5)]).quota(&lab), Some(5));
        assert_eq!(of(60, &[(&lab, 5)]).quota(&other), Some(60));
        assert_eq!(of(60, &[(&lab, 0)]).quota(&lab), None);
        assert!(
            matches!(of(0, &[(&lab, 5), (&other, 1), (&lab, 5)]).check(), Err(OfferError::Twice { org }) if org == lab)
        );
    }

    #[test]
    fn an_offer_that_cannot_be_fulfilled_is_refused_in_words() {
        type Change = fn(&mut HardwareOffer);
        let cases: [(Change, &str); 5] = [
            (|offer| offer.slots = 1025, "an offer has at most 1024 slots"),
            (|offer| offer.engines = vec!["e".into(); 65], "an offer has at most 64 engines"),
            (
                |offer| offer.limits.scoring_ms = 0,
                "nothing can be executed with the limit scoring_ms = 0",
            ),
            (
                |offer| offer.memory_bytes = 1 << 29,
                "one job may have 1073741824 bytes of memory, but all together have 536870912",
            ),
            (
                |offer| {
                    offer.cores = 1;
                    offer.hardware.cores = 2;
                },
                "one job may have 2 cores, but all together have 1",
            ),
        ];
        assert_eq!(offer().check(), Ok(()));
        for (change, expected) in cases {
            let mut changed = offer();
            change(&mut changed);
            assert_eq!(changed.check().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn what_is_not_said_is_not_written_and_an_old_offer_is_read() {
        let json = serde_json::to_value(offer()).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 4, "{keys:?}");
        assert_eq!(serde_json::from_value::<HardwareOffer>(json).unwrap(), offer());
    }
}
