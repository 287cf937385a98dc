//! Queries and their answers: what a requester asks for, and why each result stands where it does.

use serde::{Deserialize, Serialize};

use crate::cbor::DecodeError;
use crate::hash::{PackageId, RecordId};
use crate::interface::{Interface, PortType};
use crate::limits::{QUERY_MAX_RESULTS, QUERY_TEXT_MAX_BYTES};
use crate::manifest::Kind;
use crate::name::{CategoryPrefix, Reference};

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
    /// Declared median latency at most this, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency_ms: Option<f64>,
    /// Declared accuracy at least this, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_accuracy: Option<f64>,
    /// Contract's memory at most this, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<u64>,
    /// Most results; 0 means the default of 20.
    pub limit: usize,
}

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

    /// What travels to other nodes: everything but the free text.
    #[must_use]
    pub fn facets(&self) -> Self {
        Self { text: None, limit: QUERY_MAX_RESULTS, ..self.clone() }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`DecodeError::Rule`].
    pub fn check(&self) -> Result<(), DecodeError> {
        if self.text.as_ref().is_some_and(|text| text.len() > QUERY_TEXT_MAX_BYTES) {
            return Err(DecodeError::Rule {
                what: "text",
                why: format!("longer than {QUERY_TEXT_MAX_BYTES} bytes"),
            });
        }
        Ok(())
    }
}

/// A type as a person asks for it: a family (`image`, `tensor`, `prediction`), or a media type (`image/png`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypeQuery {
    family: String,
    media_type: Option<String>,
}

impl TypeQuery {
    /// The families, as [`PortType::family`] names them.
    pub const FAMILIES: [&'static str; 9] =
        ["tensor", "table", "text", "image", "audio", "video", "json", "bytes", "prediction"];

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
    /// Sum of the terms, 0 to 1.
    pub score: f64,
    /// Why the score is what it is; the contributions add up to it.
    pub terms: Vec<Term>,
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
