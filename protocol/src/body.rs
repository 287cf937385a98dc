//! The bodies of records: what each type of record says.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cbor::{self, DecodeError};
use crate::contract::{Contract, Hardware};
use crate::hash::{FederationId, PackageId, RecordId};
use crate::interface::Interface;
use crate::key::PublicKey;
use crate::limits::{ADDRESSES_MAX, FOLLOWS_MAX, RECORD_MAX_BYTES, TEXT_MAX_BYTES};
use crate::manifest::Kind;
use crate::name::{Category, CategoryPrefix, FileName, PackageName, Reference, Version};
use crate::record::Record;
use crate::statement::Signed;

pub use crate::fork::{ForkProof, Forked, NoFork};
pub use crate::offer::{HardwareOffer, OfferError, OrgQuota};
pub use crate::opinion::{Demand, Review, Unmet, Yank};

/// A type that is the body of one type of record.
pub trait RecordBody: Serialize + DeserializeOwned {
    /// The record type, as in the header.
    const TYPE: &'static str;
    /// The format version, as in the header.
    const VERSION: u16 = 1;

    /// Checks the rules that decoding cannot.
    ///
    /// # Errors
    /// [`DecodeError::Rule`] with the first rule that is broken.
    fn check(&self) -> Result<(), DecodeError>;

    /// The federation it belongs to; `None` for bodies that survive joining another.
    fn federation(&self) -> Option<FederationId>;
}

impl Record {
    /// Decodes the body as `T`: `None` when the record is of another type or version, or its body is not here.
    #[must_use]
    pub fn body_as<T: RecordBody>(&self) -> Option<Result<T, DecodeError>> {
        if self.header().record_type != T::TYPE || self.header().version != T::VERSION {
            return None;
        }
        let body = cbor::decode::<T>(self.body()?, RECORD_MAX_BYTES);
        Some(body.and_then(|body| body.check().map(|()| body)))
    }
}

pub(crate) fn short(what: &'static str, text: &str) -> Result<(), DecodeError> {
    if text.len() <= TEXT_MAX_BYTES {
        Ok(())
    } else {
        Err(DecodeError::Rule { what, why: format!("longer than {TEXT_MAX_BYTES} bytes") })
    }
}

pub(crate) fn few<T>(what: &'static str, list: &[T], max: usize) -> Result<(), DecodeError> {
    if list.len() <= max {
        Ok(())
    } else {
        Err(DecodeError::Rule { what, why: format!("more than {max}") })
    }
}

/// A member's node lets whoever holds the invite's key bring one org into the federation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The federation.
    pub federation: FederationId,
    /// The invite's key.
    pub invite: PublicKey,
    /// First moment at which an acceptance is too late, milliseconds since 1970.
    pub expires_ms: u64,
}

impl RecordBody for Admission {
    const TYPE: &'static str = "admission";

    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn federation(&self) -> Option<FederationId> {
        Some(self.federation)
    }
}

/// An org uses an invite: its first record in the federation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The federation.
    pub federation: FederationId,
    /// The admission that is used.
    pub admission: RecordId,
    /// An [`InviteUse`](crate::statement::InviteUse), signed by the invite's key.
    pub invite_use: Signed,
}

impl RecordBody for Acceptance {
    const TYPE: &'static str = "acceptance";

    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn federation(&self) -> Option<FederationId> {
        Some(self.federation)
    }
}

/// The node that made an admission says which acceptance used it. The first one in its log counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The federation.
    pub federation: FederationId,
    /// An admission earlier in the same log.
    pub admission: RecordId,
    /// The acceptance that used it.
    pub acceptance: RecordId,
}

impl RecordBody for Confirmation {
    const TYPE: &'static str = "confirmation";

    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn federation(&self) -> Option<FederationId> {
        Some(self.federation)
    }
}

/// What a node says about itself. The newest in its log holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBody {
    /// The federation.
    pub federation: FederationId,
    /// Where it can be reached: multiaddresses, best first.
    pub addresses: Vec<String>,
    /// Categories whose listings it keeps and answers for.
    pub follows: Vec<CategoryPrefix>,
    /// Engines it can execute with, for example `wasm` and `onnx`.
    pub engines: Vec<String>,
    /// Hardware it lends; `None` lends nothing.
    pub offer: Option<HardwareOffer>,
    /// What its workers are kept in, for example `rlimits`, `seccomp`.
    pub isolation: Vec<String>,
    /// Whether it finishes what it has and takes no more jobs of others for now.
    #[serde(default, skip_serializing_if = "is_false")]
    pub draining: bool,
    /// Version of the software.
    pub software: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(truth: &bool) -> bool {
    !*truth
}

impl RecordBody for NodeBody {
    const TYPE: &'static str = "node";

    fn check(&self) -> Result<(), DecodeError> {
        few("addresses", &self.addresses, ADDRESSES_MAX)?;
        few("follows", &self.follows, FOLLOWS_MAX)?;
        few("engines", &self.engines, 64)?;
        few("isolation", &self.isolation, 64)?;
        self.offer.as_ref().map_or(Ok(()), HardwareOffer::check_record)?;
        self.addresses.iter().chain(&self.engines).try_for_each(|text| short("text", text))
    }

    fn federation(&self) -> Option<FederationId> {
        Some(self.federation)
    }
}

/// A name and version stands for a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Name within the producer's org.
    pub name: PackageName,
    /// Version.
    pub version: Version,
    /// The package.
    pub package: PackageId,
}

impl RecordBody for Release {
    const TYPE: &'static str = "release";

    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn federation(&self) -> Option<FederationId> {
        None
    }
}

/// Makes a release findable. Interface, engine and contract repeat the manifest's, so that a query needs no manifest;
/// a listing may tighten the contract, and whoever executes takes the smaller limit of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// The federation.
    pub federation: FederationId,
    /// What is listed.
    pub release: Release,
    /// Kind of content.
    pub kind: Kind,
    /// Where it belongs, the most fitting first; at least one.
    pub categories: Vec<Category>,
    /// One sentence for a list of results.
    pub summary: String,
    /// Words it should be found by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Typed inputs and outputs.
    #[serde(default)]
    pub interface: Interface,
    /// Engines that its stages need; empty when nothing is executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<String>,
    /// The limits under which it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,
    /// Bytes of all files.
    pub len_bytes: u64,
    /// What the producer says it reaches.
    #[serde(default)]
    pub claims: Claims,
    /// What the producer suggests to run or train it with.
    #[serde(default)]
    pub suggested: Suggested,
    /// Packages that a notebook, pipeline or algorithm uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<PackageId>,
    /// The package's file that explains how to use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documentation: Option<FileName>,
    /// Files that show it in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<FileName>,
    /// SPDX licence expression, or `unknown`.
    pub licence: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// Orgs that should hold a copy.
    pub replicas: u8,
}

impl RecordBody for Listing {
    const TYPE: &'static str = "listing";

    fn check(&self) -> Result<(), DecodeError> {
        if self.categories.is_empty() {
            return Err(DecodeError::Rule {
                what: "categories",
                why: "at least one is needed".into(),
            });
        }
        few("categories", &self.categories, 8)?;
        few("keywords", &self.keywords, 64)?;
        few("examples", &self.examples, 64)?;
        short("summary", &self.summary)?;
        self.keywords.iter().chain(&self.engines).try_for_each(|word| short("keyword", word))?;
        self.interface.check()?;
        self.contract.as_ref().map_or(Ok(()), Contract::check)?;
        self.claims.check()
    }

    fn federation(&self) -> Option<FederationId> {
        Some(self.federation)
    }
}

/// What a producer says that its content reaches.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// Each with its metric and data set.
    pub accuracy: Vec<AccuracyClaim>,
    /// Each with its hardware.
    pub latency: Vec<LatencyClaim>,
}

impl Claims {
    fn check(&self) -> Result<(), DecodeError> {
        few("accuracy", &self.accuracy, 64)?;
        few("latency", &self.latency, 64)?;
        let rule = |what: &'static str, why: String| Err(DecodeError::Rule { what, why });
        if let Some(claim) = self.accuracy.iter().find(|claim| !(0.0..=1.0).contains(&claim.value))
        {
            return rule("accuracy", format!("{} is not between 0 and 1", claim.value));
        }
        let possible = |ms: f64| ms.is_finite() && ms >= 0.0;
        if let Some(claim) = self.latency.iter().find(|claim| !possible(claim.p50_ms)) {
            return rule("latency", format!("{} ms is no latency", claim.p50_ms));
        }
        Ok(())
    }
}

/// A declared accuracy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccuracyClaim {
    /// For example `accuracy`, `f1`, `auroc`.
    pub metric: String,
    /// The data it was measured on, for people or as a reference.
    pub dataset: String,
    /// Between 0 and 1, higher is better.
    pub value: f64,
}

/// A declared latency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyClaim {
    /// Median time for one record, milliseconds.
    pub p50_ms: f64,
    /// The hardware it was measured on.
    pub hardware: String,
}

/// What a producer suggests.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Suggested {
    /// Processor, memory and GPU.
    #[serde(skip_serializing_if = "Hardware::is_any")]
    pub hardware: Hardware,
    /// Memory, bytes; 0 when nothing is suggested.
    pub memory_bytes: u64,
    /// Data to train it on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Reference>,
}

/// Who may see a listing and fetch its package.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Members of the federation.
    #[default]
    Federation,
    /// The producer's org.
    Org,
}
