//! A small federation written for measuring answers: listings as producers write them (`listings.json`), and questions
//! with the answers that a person wants (`questions.json`).
//!
//! Of the versions of a name only the one that is wanted has a grade. A wanted answer always passes the filters of its
//! question. What a line leaves out is not declared.

use std::collections::BTreeMap;

use std::sync::Arc;

use guildhall_catalog::Entry;
use guildhall_protocol::body::{
    AccuracyClaim, Claims, LatencyClaim, Listing, Release, Suggested, Visibility,
};
use guildhall_protocol::contract::{Contract, Determinism, Hardware};
use guildhall_protocol::interface::{
    Dim, ElementType, Interface, JsonType, LocationKind, MediaTypes, Port, PortType,
    PredictionKind, PredictionType, TableType, TensorType,
};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::{Category, OrgName, PackageName, Reference, Version};
use guildhall_protocol::query::Query;
use guildhall_protocol::{FederationId, Hash, PackageId, PublicKey, RecordId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The moment from which ages count back, milliseconds since 1970.
const NOW_MS: u64 = 1_700_000_000_000;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A listing as the file writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "ref")]
    reference: Reference,
    kind: Kind,
    categories: Vec<Category>,
    summary: String,
    #[serde(default)]
    keywords: Vec<String>,
    #[serde(default)]
    inputs: Vec<String>,
    #[serde(default)]
    outputs: Vec<String>,
    #[serde(default)]
    engines: Vec<String>,
    #[serde(default)]
    accuracy: Vec<AccuracyClaim>,
    latency_ms: Option<f64>,
    #[serde(default)]
    hardware: String,
    memory_mib: Option<u64>,
    #[serde(default)]
    gpu_gib: u64,
    len_bytes: u64,
    licence: String,
    documentation: bool,
    age_days: u64,
}

/// What a person asks, and what would be a good answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// How it is asked.
    pub(crate) class: Class,
    /// What the person wants.
    pub(crate) want: String,
    query: serde_json::Value,
    /// Grade of each good answer: 3 is what was meant, 2 helps, 1 is better than nothing.
    pub(crate) answers: BTreeMap<String, u8>,
}

/// How a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// Words.
    Text,
    /// Filters.
    Facets,
    /// Words and filters.
    Both,
    /// Words misspelt or in another form than in the listing.
    Forms,
    /// A name.
    Name,
}

/// Filters of a question that narrow its results whether or not [`Query`] has them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Narrow {
    org: Option<OrgName>,
    licence: Option<String>,
}

impl Question {
    /// What is asked.
    pub(crate) fn query(&self) -> Query {
        serde_json::from_value(self.query.clone()).unwrap()
    }

    /// Whether the filters on org and licence let `entry` through.
    pub(crate) fn lets_through(&self, entry: &Entry) -> bool {
        let narrow: Narrow = serde_json::from_value(self.query.clone()).unwrap();
        narrow.org.is_none_or(|org| org == entry.org)
            && narrow.licence.is_none_or(|licence| licence == entry.listing.licence)
    }
}

/// The listings.
pub(crate) fn entries() -> Vec<Entry> {
    read::<Vec<Line>>(include_str!("listings.json")).into_iter().map(entry).collect()
}

/// The questions.
pub(crate) fn questions() -> Vec<Question> {
    read(include_str!("questions.json"))
}

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

fn entry(line: Line) -> Entry {
    let hash = |what: &str| Hash::of(format!("{what} {}", line.reference).as_bytes());
    let Reference::Named { org, name, version: Some(version) } = line.reference.clone() else {
        panic!("{} lacks a version", line.reference);
    };
    let (package, listing_id) = (PackageId(hash("package")), RecordId(hash("listing")));
    let key = |what: &str| {
        PublicKey::from_bytes(*Hash::of(format!("{what} of {org}").as_bytes()).as_bytes())
    };
    Entry {
        root: key("root"),
        author: key("producer"),
        listing_id,
        seq: 0,
        time_ms: NOW_MS - line.age_days * DAY_MS,
        listing: Arc::new(listing(line, package, (name, version))),
        org,
    }
}

fn listing(line: Line, package: PackageId, (name, version): (PackageName, Version)) -> Listing {
    let hardware = Hardware { cores: 0, gpu_memory_bytes: line.gpu_gib << 30 };
    let latency = line.latency_ms.map(|p50_ms| LatencyClaim { p50_ms, hardware: line.hardware });
    let contract = line.memory_mib.map(|memory_mib| Contract {
        scoring_ms: 60_000,
        measured_on: "4 x86 cores".into(),
        memory_bytes: memory_mib << 20,
        scratch_bytes: 0,
        output_bytes: 1 << 20,
        batch_max: 16,
        total_ms: None,
        queue_ms: None,
        imports: Vec::new(),
        hardware: hardware.clone(),
        determinism: Determinism::Numeric,
    });
    Listing {
        federation: FederationId(Hash::of(b"corpus")),
        release: Release { name, version, package },
        kind: line.kind,
        categories: line.categories,
        summary: line.summary,
        keywords: line.keywords,
        interface: Interface {
            inputs: ports("in", &line.inputs),
            outputs: ports("out", &line.outputs),
        },
        engines: line.engines,
        contract,
        len_bytes: line.len_bytes,
        claims: Claims { accuracy: line.accuracy, latency: latency.into_iter().collect() },
        suggested: Suggested { hardware, ..Suggested::default() },
        uses: Vec::new(),
        documentation: line.documentation.then(|| "README.md".parse().unwrap()),
        examples: Vec::new(),
        licence: line.licence,
        visibility: Visibility::Federation,
        replicas: 3,
    }
}

fn ports(side: &str, types: &[String]) -> Vec<Port> {
    let port = |(at, written): (usize, &String)| Port {
        name: format!("{side}{at}"),
        port_type: port_type(written),
        optional: false,
        location: None,
    };
    types.iter().enumerate().map(port).collect()
}

/// Reads a written type: `text`, `image`, `image/png|image/jpeg`, `tensor(f32, n, 64)`, `prediction(class, box)`.
fn port_type(written: &str) -> PortType {
    let (name, inside) =
        written.strip_suffix(')').and_then(|start| start.split_once('(')).unwrap_or((written, ""));
    let parts: Vec<&str> =
        inside.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let media = || MediaTypes {
        media_types: written
            .split('|')
            .filter(|one| one.contains('/'))
            .map(str::to_owned)
            .collect(),
    };
    match name.split('/').next().unwrap_or_default() {
        "text" => PortType::Text,
        "table" => PortType::Table(TableType::default()),
        "json" => PortType::Json(JsonType::default()),
        "image" => PortType::Image(media()),
        "audio" => PortType::Audio(media()),
        "video" => PortType::Video(media()),
        "tensor" => PortType::Tensor(TensorType {
            dtype: word::<ElementType>(parts[0]),
            dims: parts[1..].iter().map(|part| dim(part)).collect(),
        }),
        "prediction" => PortType::Prediction(PredictionType {
            value: word::<PredictionKind>(parts[0]),
            labels: Vec::new(),
            location: parts.get(1).map(|part| word::<LocationKind>(part)),
        }),
        _ if name.contains('/') => PortType::Bytes(media()),
        _ => panic!("`{written}` is no type"),
    }
}

fn word<T: DeserializeOwned>(word: &str) -> T {
    serde_json::from_value(word.into()).unwrap()
}

fn dim(written: &str) -> Dim {
    match written.parse() {
        Ok(count) => Dim::Fixed(count),
        Err(_) if written == "?" => Dim::Free,
        Err(_) => Dim::Named(written.to_owned()),
    }
}
