//! Queries and their answers: what a requester asks for, and why each result stands where it does.

mod shorthand;

use serde::{Deserialize, Serialize};

pub use shorthand::{SHORTHAND_MAX_BYTES, ShorthandError, UnknownGap};

use crate::cbor::DecodeError;
use crate::fit::fit;
use crate::hash::{Hash, PackageId, RecordId};
use crate::interface::{Interface, Port, PortType, TYPE_TEXT_MAX_BYTES, TypeError};
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
    /// Name data for each algorithm and model that is found: to train it on, or to try it with.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub with_data: bool,
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
            with_data: false,
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
            with_data: false,
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

/// A type as a person asks for it: a family (`image`, `tensor`, `prediction`), a media type (`image/png`), or a whole
/// type as [`PortType::written`] writes it (`tensor(f32, 1, 3, 224, 224)`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypeQuery(Asked);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// Every type of one of [`TypeQuery::FAMILIES`].
    Family(&'static str),
    /// Types of a family that take or yield this media type.
    MediaType { family: &'static str, media_type: String },
    /// Types that fit this one, without an adapter.
    Exactly(Box<PortType>),
}

/// Which ports of a listing are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its inputs: what is asked for goes in.
    Input,
    /// Its outputs: they yield what is asked for.
    Output,
}

impl PartialOrd for TypeQuery {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// In order of what is written.
impl Ord for TypeQuery {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl TypeQuery {
    /// The families, as [`PortType::family`] names them.
    pub const FAMILIES: [&'static str; 9] =
        ["tensor", "table", "text", "image", "audio", "video", "json", "bytes", "prediction"];

    /// Worth of a port that takes or yields any media type, when one was asked for.
    pub const ANY_MEDIA_TYPE: f64 = 0.8;

    /// Asks for ports that values of `port_type` flow into or come out of.
    ///
    /// # Errors
    /// [`UnknownType::TooLong`] when its text would be longer than what is read.
    pub fn exactly(port_type: PortType) -> Result<Self, UnknownType> {
        if port_type.written().len() > TYPE_TEXT_MAX_BYTES {
            return Err(UnknownType::TooLong);
        }
        Ok(Self(Asked::Exactly(Box::new(port_type))))
    }

    /// The family, one of [`FAMILIES`](Self::FAMILIES).
    #[must_use]
    pub const fn family(&self) -> &'static str {
        match &self.0 {
            Asked::Family(family) | Asked::MediaType { family, .. } => family,
            Asked::Exactly(port_type) => port_type.family(),
        }
    }

    /// The family alone. Media types and shapes are what somebody wrote.
    #[must_use]
    pub const fn family_only(&self) -> Self {
        Self(Asked::Family(self.family()))
    }

    /// The family and media type that are asked for; `None` for a whole type.
    #[must_use]
    pub fn parts(&self) -> Option<(&'static str, Option<&str>)> {
        match &self.0 {
            Asked::Family(family) => Some((family, None)),
            Asked::MediaType { family, media_type } => Some((family, Some(media_type))),
            Asked::Exactly(_) => None,
        }
    }

    /// Whether it is a whole type and neither a family nor a media type.
    #[must_use]
    pub const fn is_whole_type(&self) -> bool {
        matches!(self.0, Asked::Exactly(_))
    }

    /// Whether a port of type `port` on this side takes or yields what is asked for.
    #[must_use]
    pub fn matches(&self, port: &PortType, side: Side) -> bool {
        self.worth(port, side) > 0.0
    }

    /// How well a port of type `port` on this side meets what is asked for: 1 at best, 0 if it does not. Only values that
    /// flow as they are count; a whole type is worth what [`Fit::worth`](crate::fit::Fit::worth) says.
    #[must_use]
    pub fn worth(&self, port: &PortType, side: Side) -> f64 {
        match (&self.0, side) {
            (Asked::Family(family), _) => f64::from(u8::from(port.family() == *family)),
            (Asked::MediaType { family, media_type }, _) if port.family() == *family => {
                match media_types(port) {
                    Some([]) => Self::ANY_MEDIA_TYPE,
                    Some(types) if types.contains(media_type) => 1.0,
                    _ => 0.0,
                }
            }
            (Asked::MediaType { .. }, _) => 0.0,
            (Asked::Exactly(asked), Side::Input) => direct_worth(asked, port),
            (Asked::Exactly(asked), Side::Output) => direct_worth(port, asked),
        }
    }
}

fn direct_worth(output: &PortType, input: &PortType) -> f64 {
    let fit = fit(output, input);
    if fit.is_direct() { fit.worth() } else { 0.0 }
}

const fn media_types(port: &PortType) -> Option<&[String]> {
    match port {
        PortType::Image(types)
        | PortType::Audio(types)
        | PortType::Video(types)
        | PortType::Bytes(types) => Some(types.media_types.as_slice()),
        _ => None,
    }
}

impl TryFrom<String> for TypeQuery {
    type Error = UnknownType;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let family = |name: &str| Self::FAMILIES.into_iter().find(|family| *family == name);
        if let Some(family) = family(&text) {
            return Ok(Self(Asked::Family(family)));
        }
        if text.contains('(') {
            return Self::exactly(text.parse()?);
        }
        let media = |family| Ok(Self(Asked::MediaType { family, media_type: text.clone() }));
        match text.split_once('/') {
            Some(("text", "plain")) => Ok(Self(Asked::Family("text"))),
            Some(("text", "csv")) => Ok(Self(Asked::Family("table"))),
            Some(("application", "json")) => Ok(Self(Asked::Family("json"))),
            Some((start @ ("image" | "audio" | "video"), rest)) if !rest.is_empty() => {
                media(family(start).unwrap_or("bytes"))
            }
            Some((start, rest)) if !start.is_empty() && !rest.is_empty() => media("bytes"),
            _ => Err(UnknownType::Name),
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
        match query.0 {
            Asked::Family(family) => family.to_owned(),
            Asked::MediaType { media_type, .. } => media_type,
            Asked::Exactly(port_type) => match port_type.written() {
                // What stands without brackets would be read as a family.
                bare if !bare.contains('(') => format!("{bare}()"),
                written => written,
            },
        }
    }
}

impl std::fmt::Display for TypeQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}

/// The text names no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownType {
    /// It is neither a family nor a media type.
    #[error(
        "a type is one of tensor, table, text, image, audio, video, json, bytes, prediction, \
         a media type such as image/png, or a whole type such as tensor(f32, 1, 3, 224, 224)"
    )]
    Name,
    /// It has brackets, but cannot be read.
    #[error(transparent)]
    Syntax(#[from] TypeError),
    /// It is a type that nobody could read.
    #[error("a type may be written in at most {TYPE_TEXT_MAX_BYTES} bytes")]
    TooLong,
}

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
    /// Data that goes with it, the most fitting first, if it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Companion>,
    /// Sum of the terms, 0 to 1.
    pub score: f64,
    /// Why the score is what it is; the contributions add up to it.
    pub terms: Vec<Term>,
}

/// Data that goes with an algorithm or a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    /// `org/name@version`.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// One sentence.
    pub summary: String,
    /// Why it was chosen, in words.
    pub why: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_asked_for_by_family_media_type_or_as_a_whole() {
        // What is asked for, a listing's port, and the worth of that port as input and as output.
        for (asked, port, as_input, as_output) in [
            ("image", "image/png", 1.0, 1.0),
            ("image", "text", 0.0, 0.0),
            ("image/png", "image/png", 1.0, 1.0),
            ("image/png", "image", 0.8, 0.8),
            ("image/png", "image/gif", 0.0, 0.0),
            ("application/pdf", "bytes", 0.8, 0.8),
            ("text/plain", "text", 1.0, 1.0),
            ("text/csv", "table(a:i64)", 1.0, 1.0),
            ("text", "text", 1.0, 1.0),
            ("text()", "text", 1.0, 1.0),
            ("image(image/png)", "image/png", 1.0, 1.0),
            ("image(image/png)", "image", 0.9, 0.0),
            ("image()", "image/png", 0.0, 0.9),
            ("tensor", "tensor(f32, 3)", 1.0, 1.0),
            ("tensor(f32, 64)", "tensor(f32, n)", 0.9, 0.0),
            ("tensor(f32, n)", "tensor(f32, 64)", 0.0, 0.9),
            ("tensor(f32, 64)", "tensor(f64, 64)", 0.0, 0.0),
            ("table(a:i64, b:text)", "table(a:i64)", 0.9, 0.0),
            ("table(a:i64)", "table(a:i64, b:text)", 0.0, 0.9),
            ("prediction(class)", "prediction(class, labels a|b)", 0.0, 0.9),
            ("json()", r#"json("{}")"#, 0.0, 0.9),
        ] {
            let query: TypeQuery = asked.parse().unwrap();
            let port: PortType = port.parse().unwrap();
            let worths = [Side::Input, Side::Output].map(|side| query.worth(&port, side));
            assert_eq!(worths, [as_input, as_output], "{asked} of {port}");
            assert_eq!(query.matches(&port, Side::Input), as_input > 0.0);
            assert_eq!(query.matches(&port, Side::Output), as_output > 0.0);
        }
    }

    #[test]
    fn what_is_asked_for_travels_as_text() {
        for text in ["image", "image/png", "image(image/png)", "image()", "json()", "text()"] {
            let query: TypeQuery = text.parse().unwrap();
            assert_eq!(serde_json::to_string(&query).unwrap(), format!("\"{text}\""));
            assert_eq!(crate::cbor::decode(&crate::cbor::encode(&query), 64), Ok(query));
        }
        let spaced: TypeQuery = " tensor( f32,1 ) ".parse().unwrap();
        assert_eq!(spaced.to_string(), "tensor(f32, 1)");
        assert_eq!("picture".parse::<TypeQuery>(), Err(UnknownType::Name));
        let error = "tensor(f33)".parse::<TypeQuery>().unwrap_err().to_string();
        assert!(error.contains("as in `tensor(f32, 1, 3, 224, 224)`"), "{error}");
        let long = format!("table({})", "x:u8,".repeat(180).trim_end_matches(','));
        assert!(long.parse::<TypeQuery>().is_err_and(|why| why == UnknownType::TooLong));
    }
}
