//! Records about content that is listed already, or is missed: yanks, reviews and demand.

use serde::{Deserialize, Serialize};

use crate::body::{RecordBody, few};
use crate::cbor::DecodeError;
use crate::hash::{FederationId, PackageId};
use crate::limits::{DEMAND_MAX_ENTRIES, OPINION_MAX_BYTES};
use crate::manifest::Kind;
use crate::name::{CategoryPrefix, PackageName, Version};
use crate::query::TypeQuery;

/// A producer takes a version back: it is found and run no more. There is no way back; a new version is.
///
/// It counts when it is signed by a key of the org that listed the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Yank {
    /// Name within the producer's org.
    pub name: PackageName,
    /// Version.
    pub version: Version,
    /// The package that the version stands for.
    pub package: PackageId,
    /// Why, for those who hold it.
    pub why: String,
}

impl RecordBody for Yank {
    const TYPE: &'static str = "yank";

    fn check(&self) -> Result<(), DecodeError> {
        said("why", &self.why)
    }

    fn federation(&self) -> Option<FederationId> {
        None
    }
}

/// What an org thinks of a package. The newest of each org holds; the producer's own does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// The federation.
    pub federation: FederationId,
    /// What is reviewed.
    pub package: PackageId,
    /// 1 to 5, more is better.
    pub stars: u8,
    /// In words; may be empty.
    pub text: String,
}

impl RecordBody for Review {
    const TYPE: &'static str = "review";

    fn check(&self) -> Result<(), DecodeError> {
        if !(1..=5).contains(&self.stars) {
            return Err(DecodeError::Rule { what: "stars", why: "1 to 5".into() });
        }
        fits(&self.text)
    }

    fn federation(&self) -> Option<FederationId> {
        Some(self.federation)
    }
}

/// What was asked for at one org's nodes and led to nothing, by category and type. Nothing in it says who asked, and
/// what few asked for is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The federation.
    pub federation: FederationId,
    /// Beginning of the period, milliseconds since 1970.
    pub from_ms: u64,
    /// Its end.
    pub until_ms: u64,
    /// What was missed, the most frequent first.
    pub unmet: Vec<Unmet>,
}

/// One kind of query that led to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmet {
    /// The category that was asked for; everything when none was.
    #[serde(default)]
    pub category: CategoryPrefix,
    /// The kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The type that was to go in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<TypeQuery>,
    /// The type that was to come out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<TypeQuery>,
    /// How often, rounded down to a power of two.
    pub count: u32,
}

impl RecordBody for Demand {
    const TYPE: &'static str = "demand";

    fn check(&self) -> Result<(), DecodeError> {
        few("unmet", &self.unmet, DEMAND_MAX_ENTRIES)?;
        if self.until_ms <= self.from_ms {
            return Err(DecodeError::Rule { what: "demand", why: "the period is empty".into() });
        }
        Ok(())
    }

    fn federation(&self) -> Option<FederationId> {
        Some(self.federation)
    }
}

/// A reason has to be given.
fn said(what: &'static str, text: &str) -> Result<(), DecodeError> {
    if text.trim().is_empty() {
        return Err(DecodeError::Rule { what, why: "a reason is needed".into() });
    }
    fits(text)
}

fn fits(text: &str) -> Result<(), DecodeError> {
    if text.len() > OPINION_MAX_BYTES {
        let why = format!("longer than {OPINION_MAX_BYTES} bytes");
        return Err(DecodeError::Rule { what: "text", why });
    }
    Ok(())
}
