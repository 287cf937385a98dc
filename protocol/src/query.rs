//! Queries and their answers: what a requester asks for, and why each result stands where it does.

mod shorthand;

use serde::{Deserialize, Serialize};

pub use shorthand::{SHORTHAND_MAX_BYTES, ShorthandError, UnknownGap};

use crate::cbor::DecodeError;
use crate::hash::{Hash, PackageId, RecordId};
use crate::interface::{Interface, Port, PortType};
use crate::limits::{QUERY_MAX_RESULTS, QUERY_TEXT_MAX_BYTES, QUERY_WORD_MAX_BYTES};
use crate::manifest::Kind;
use crate::name::{CategoryPrefix, OrgName, Reference};

/// What a requester asks for. Every field narrows; an empty query finds everything.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// Words of name, summary, keywords and categories. Stays on the asking node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Kind of content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Category, or the start of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<CategoryPrefix>,
    /// Exactly this release or package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Type that some input port takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<TypeQuery>,
    /// Type that some output port yields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<TypeQuery>,
    /// The producer's org.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgName>,
    /// SPDX licence expression, compared without regard to case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Declared median latency at most this, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency_ms: Option<f64>,
    /// Declared accuracy at least this, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_accuracy: Option<f64>,
    /// The metric that `min_accuracy` and the ranking look at, compared without regard to case; else the best one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Contract's memory at most this, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<u64>,
    /// Processor cores that are there: what needs more is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Memory of the GPU that is there, bytes, 0 for none: what needs more is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// All files together at most this, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_len_bytes: Option<u64>,
    /// An engine that it runs on, for example `onnx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Only what this node, or one that lends it hardware, can run. Judged by the asking node.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub runnable: bool,
    /// What it is to be put between.
    #[serde(skip_serializing_if = "Gap::is_empty")]
    pub fits: Gap,
    /// Most results; 0 means the default of 20.
    pub limit: usize,
    /// A further page of an earlier answer: its [`next`](crate::api::SearchAnswer::next). Everything else is as it was
    /// asked then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<PageMark>,
    /// Count the answers by kind, category and so on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub facets: bool,
    /// Ask no other node.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    /// Let the text travel to the nodes that are asked. They answer better, and learn what is looked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub share_text: bool,
}

/// The place that something is looked for: types on its two sides. What would fit with an adapter is found too, and
/// stands behind what fits as it is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Gap {
    /// What comes in: some input has to take it, and no other may be needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<PortType>,
    /// What is wanted behind it: some output has to fit it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<PortType>,
}

impl Gap {
    /// Whether nothing is asked for.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.input.is_none() && self.output.is_none()
    }
}

/// Where a page begins: the query's id, a point, the number of results before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageMark {
    /// The query.
    pub query: Hash,
    /// Results on the pages before.
    pub offset: u32,
}

impl std::fmt::Display for PageMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.query, self.offset)
    }
}

impl std::str::FromStr for PageMark {
    type Err = UnknownPage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (query, offset) = text.split_once('.').ok_or(UnknownPage)?;
        let query = query.parse().map_err(|_| UnknownPage)?;
        Ok(Self { query, offset: offset.parse().map_err(|_| UnknownPage)? })
    }
}

impl Serialize for PageMark {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PageMark {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text names no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a page is named by the `next` of the answer before it")]
pub struct UnknownPage;

impl Query {
    /// Results when a query names no limit: one screen.
    pub const DEFAULT_RESULTS: usize = 20;

    /// How many results are wanted.
    #[must_use]
    pub fn results(&self) -> usize {
        match self.limit {
            0 => Self::DEFAULT_RESULTS,
            limit => limit.min(QUERY_MAX_RESULTS),
        }
    }

    /// What travels to other nodes: what narrows, and the free text only if the requester says so.
    #[must_use]
    pub fn to_ask(&self) -> Self {
        Self {
            text: self.text.clone().filter(|_| self.share_text),
            limit: QUERY_MAX_RESULTS,
            page: None,
            facets: false,
            local: true,
            runnable: false,
            ..self.clone()
        }
    }

    /// Whether nothing narrows it: everything is found.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let rest = Self {
            limit: 0,
            page: None,
            facets: false,
            local: false,
            share_text: false,
            ..self.clone()
        };
        rest == Self::default()
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`DecodeError::Rule`].
    pub fn check(&self) -> Result<(), DecodeError> {
        let rule = |what: &'static str, why: String| Err(DecodeError::Rule { what, why });
        let long = |text: &Option<String>, max: usize| text.as_ref().is_some_and(|t| t.len() > max);
        if long(&self.text, QUERY_TEXT_MAX_BYTES) {
            return rule("text", format!("longer than {QUERY_TEXT_MAX_BYTES} bytes"));
        }
        for (what, text) in
            [("licence", &self.licence), ("metric", &self.metric), ("engine", &self.engine)]
        {
            if long(text, QUERY_WORD_MAX_BYTES) {
                return rule(what, format!("longer than {QUERY_WORD_MAX_BYTES} bytes"));
            }
        }
        if self.max_latency_ms.is_some_and(|max| !max.is_finite() || max < 0.0) {
            return rule("max_latency_ms", "a number of milliseconds, 0 or more".into());
        }
        if self.min_accuracy.is_some_and(|min| !(0.0..=1.0).contains(&min)) {
            return rule("min_accuracy", "a number from 0 to 1".into());
        }
        for (what, gap) in [("input", &self.fits.input), ("output", &self.fits.output)] {
            if let Some(port_type) = gap {
                let port = Port {
                    name: what.to_owned(),
                    port_type: port_type.clone(),
                    optional: false,
                    location: None,
                };
                Interface { inputs: vec![port], outputs: Vec::new() }.check()?;
            }
        }
        Ok(())
    }
}

/// A type as a person asks for it: a family (`image`, `tensor`, `prediction`), or a media type (`image/png`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypeQuery {
    family: String,
    media_type: Option<String>,
}

impl TypeQuery {
    /// The families, as [`PortType::family`] names them.
    pub const FAMILIES: [&'static str; 9] =
        ["tensor", "table", "text", "image", "audio", "video", "json", "bytes", "prediction"];

    /// The family, one of [`FAMILIES`](Self::FAMILIES).
    #[must_use]
    pub fn family(&self) -> &str {
        &self.family
    }

    /// The same without the media type, which is what somebody wrote.
    #[must_use]
    pub fn family_only(&self) -> Self {
        Self { family: self.family.clone(), media_type: None }
    }

    /// Whether a port of type `port` takes or yields what is asked for.
    #[must_use]
    pub fn matches(&self, port: &PortType) -> bool {
        let media = match port {
            PortType::Image(types)
            | PortType::Audio(types)
            | PortType::Video(types)
            | PortType::Bytes(types) => Some(types),
            _ => None,
        };
        port.family() == self.family
            && self.media_type.as_ref().is_none_or(|asked| {
                media.is_some_and(|media| {
                    media.media_types.is_empty() || media.media_types.contains(asked)
                })
            })
    }
}

impl TryFrom<String> for TypeQuery {
    type Error = UnknownType;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let family = |name: &str| Self::FAMILIES.into_iter().find(|family| *family == name);
        if let Some(family) = family(&text) {
            return Ok(Self { family: family.to_owned(), media_type: None });
        }
        match text.split_once('/') {
            Some(("text", "plain")) => Ok(Self { family: "text".to_owned(), media_type: None }),
            Some(("text", "csv")) => Ok(Self { family: "table".to_owned(), media_type: None }),
            Some(("application", "json")) => {
                Ok(Self { family: "json".to_owned(), media_type: None })
            }
            Some((start @ ("image" | "audio" | "video"), rest)) if !rest.is_empty() => {
                Ok(Self { family: start.to_owned(), media_type: Some(text) })
            }
            Some((start, rest)) if !start.is_empty() && !rest.is_empty() => {
                Ok(Self { family: "bytes".to_owned(), media_type: Some(text) })
            }
            _ => Err(UnknownType),
        }
    }
}

impl std::str::FromStr for TypeQuery {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<TypeQuery> for String {
    fn from(query: TypeQuery) -> Self {
        query.media_type.unwrap_or(query.family)
    }
}

/// The text names no type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a type is one of tensor, table, text, image, audio, video, json, bytes, prediction, \
     or a media type such as image/png"
)]
pub struct UnknownType;

/// One ranked result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// `org/name@version`.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// Kind of content.
    pub kind: Kind,
    /// The package.
    pub package_id: PackageId,
    /// The listing's record.
    pub listing_id: RecordId,
    /// One sentence.
    pub summary: String,
    /// Category, the most fitting first.
    pub categories: Vec<crate::name::Category>,
    /// Typed inputs and outputs.
    pub interface: Interface,
    /// Declared accuracies.
    pub claims: crate::body::Claims,
    /// SPDX licence expression, or `unknown`.
    pub licence: String,
    /// All files together, bytes.
    pub len_bytes: u64,
    /// When it was listed, by the producer's clock, milliseconds since 1970.
    pub time_ms: u64,
    /// What other orgs say of it.
    #[serde(default)]
    pub reviews: ReviewSummary,
    /// Orgs that are known to hold it, besides the producer.
    #[serde(default)]
    pub holders: u64,
    /// An older listing of another producer whose name this one could be taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks_like: Option<Reference>,
    /// Sum of the terms, 0 to 1.
    pub score: f64,
    /// Why the score is what it is; the contributions add up to it.
    pub terms: Vec<Term>,
}

/// Reviews of a package in one line. The producer's own does not count.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReviewSummary {
    /// Orgs that reviewed it.
    pub orgs: u64,
    /// Mean of their stars, 1 to 5; 0 without a review.
    pub stars: f64,
}

/// One reason for a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// For example `text`, `category`, `accuracy`.
    pub name: String,
    /// How well the listing does, 0 to 1.
    pub value: f64,
    /// The term's share of the score; the shares of all terms add up to 1.
    pub weight: f64,
    /// In words: what was compared with what.
    pub why: String,
}

impl Term {
    /// What the term adds to the score.
    #[must_use]
    pub fn contribution(&self) -> f64 {
        self.value * self.weight
    }
}
