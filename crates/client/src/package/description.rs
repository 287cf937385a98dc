//! `guild.toml` as it is written. Every table refuses keys it does not know: a misspelt limit must not vanish.
//!
//! Types of the protocol stand here as they are where all their fields are required; where a field may be left out,
//! a stricter twin stands here instead.

use std::collections::BTreeMap;
use std::path::Path;

use guildhall_protocol::body::{AccuracyClaim, Claims, LatencyClaim, Suggested, Visibility};
use guildhall_protocol::contract::{Contract, Determinism, Hardware, Import};
use guildhall_protocol::interface::{
    Column, Dim, ElementType, Interface, JsonType, LocationKind, MediaTypes, Port, PortType,
    PredictionKind, PredictionType, TableType, TensorType,
};
use guildhall_protocol::manifest::{
    Binding, Code, CommandCode, ComponentCode, Kind, NamedModel, OnnxCode, PortFile, RecordSet,
    UnitTest,
};
use guildhall_protocol::name::{Category, FileName, OrgName, PackageName, Reference, Version};
use serde::Deserialize;

use super::error::PackageError;
use super::size::ByteSize;

/// Longest output for one record when the contract does not say, bytes: any list of predictions, no picture.
pub(super) const OUTPUT_DEFAULT_BYTES: u64 = 1 << 20;

/// Records in one scoring call when the contract does not say.
pub(super) const BATCH_DEFAULT: u32 = 64;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    pub(super) kind: Option<Kind>,
    pub(super) name: Option<PackageName>,
    pub(super) version: Option<Version>,
    #[serde(default)]
    pub(super) categories: Vec<Category>,
    pub(super) summary: Option<String>,
    #[serde(default)]
    pub(super) keywords: Vec<String>,
    pub(super) licence: Option<String>,
    #[serde(default)]
    pub(super) sensitive: bool,
    pub(super) documentation: Option<FileName>,
    #[serde(default)]
    pub(super) examples: Vec<FileName>,
    pub(super) visibility: Option<Visibility>,
    pub(super) replicas: Option<u8>,
    #[serde(default)]
    pub(super) dependencies: Vec<WrittenReference>,
    pub(super) interface: Option<WrittenInterface>,
    pub(super) contract: Option<WrittenContract>,
    pub(super) code: Option<WrittenCode>,
    #[serde(default)]
    pub(super) tests: Vec<WrittenTest>,
    pub(super) records: Option<WrittenRecords>,
    #[serde(default)]
    pub(super) stages: Vec<WrittenStage>,
    pub(super) claims: Option<WrittenClaims>,
    #[serde(default)]
    pub(super) suggested: WrittenSuggested,
}

impl Description {
    /// Whether it says everything that every package needs. Then it is taken as it is, and nothing is proposed.
    pub(super) const fn is_complete(&self) -> bool {
        self.kind.is_some()
            && self.name.is_some()
            && self.version.is_some()
            && !self.categories.is_empty()
            && self.summary.is_some()
    }

    /// Reads the text of the file at `path`.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, PackageError> {
        toml::from_str(text).map_err(|error| located(path, text, &error))
    }
}

/// A mistake in the `text` of the file at `path`, with its place.
pub(super) fn located(path: &Path, text: &str, error: &toml::de::Error) -> PackageError {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    PackageError::Description {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        message: error.message().to_owned(),
    }
}

/// A reference whose org may be `self`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum WrittenReference {
    /// Of the org that publishes.
    Own { name: PackageName, version: Option<Version> },
    /// Of any org, or by id.
    Any(Reference),
}

impl WrittenReference {
    /// The reference that is meant when `org` publishes.
    pub(super) fn of(self, org: &OrgName) -> Reference {
        match self {
            Self::Any(reference) => reference,
            Self::Own { name, version } => Reference::Named { org: org.clone(), name, version },
        }
    }
}

impl TryFrom<String> for WrittenReference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let Some(own) = text.strip_prefix("self/") else {
            return text.parse().map(Self::Any).map_err(|error| format!("{error}"));
        };
        // No org may be called `self`, so any name that is allowed serves to read the rest.
        match format!("xx/{own}").parse::<Reference>() {
            Ok(Reference::Named { name, version, .. }) => Ok(Self::Own { name, version }),
            Ok(Reference::Package(_)) => Err(format!("`{text}` names no package of an org")),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenInterface {
    inputs: Vec<WrittenPort>,
    outputs: Vec<WrittenPort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPort {
    name: String,
    r#type: WrittenType,
    #[serde(default)]
    optional: bool,
    location: Option<LocationKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum WrittenType {
    Tensor {
        dtype: ElementType,
        dims: Vec<Dim>,
    },
    Table {
        columns: Vec<Column>,
    },
    Text,
    Image {
        #[serde(default)]
        media_types: Vec<String>,
    },
    Audio {
        #[serde(default)]
        media_types: Vec<String>,
    },
    Video {
        #[serde(default)]
        media_types: Vec<String>,
    },
    Json {
        schema: Option<String>,
    },
    Bytes {
        #[serde(default)]
        media_types: Vec<String>,
    },
    Prediction {
        value: PredictionKind,
        #[serde(default)]
        labels: Vec<String>,
        location: Option<LocationKind>,
    },
}

impl From<WrittenType> for PortType {
    fn from(written: WrittenType) -> Self {
        match written {
            WrittenType::Tensor { dtype, dims } => Self::Tensor(TensorType { dtype, dims }),
            WrittenType::Table { columns } => Self::Table(TableType { columns }),
            WrittenType::Text => Self::Text,
            WrittenType::Image { media_types } => Self::Image(MediaTypes { media_types }),
            WrittenType::Audio { media_types } => Self::Audio(MediaTypes { media_types }),
            WrittenType::Video { media_types } => Self::Video(MediaTypes { media_types }),
            WrittenType::Json { schema } => Self::Json(JsonType { schema }),
            WrittenType::Bytes { media_types } => Self::Bytes(MediaTypes { media_types }),
            WrittenType::Prediction { value, labels, location } => {
                Self::Prediction(PredictionType { value, labels, location })
            }
        }
    }
}

impl From<WrittenInterface> for Interface {
    fn from(written: WrittenInterface) -> Self {
        let ports = |side: Vec<WrittenPort>| {
            let port = |port: WrittenPort| Port {
                name: port.name,
                port_type: port.r#type.into(),
                optional: port.optional,
                location: port.location,
            };
            side.into_iter().map(port).collect()
        };
        Self { inputs: ports(written.inputs), outputs: ports(written.outputs) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenContract {
    scoring_ms: u64,
    measured_on: String,
    memory: ByteSize,
    #[serde(default)]
    scratch: ByteSize,
    output: Option<ByteSize>,
    batch_max: Option<u32>,
    total_ms: Option<u64>,
    queue_ms: Option<u64>,
    #[serde(default)]
    imports: Vec<Import>,
    #[serde(default)]
    hardware: WrittenHardware,
    determinism: Determinism,
}

impl From<WrittenContract> for Contract {
    fn from(written: WrittenContract) -> Self {
        Self {
            scoring_ms: written.scoring_ms,
            measured_on: written.measured_on,
            memory_bytes: written.memory.0,
            scratch_bytes: written.scratch.0,
            output_bytes: written.output.map_or(OUTPUT_DEFAULT_BYTES, |size| size.0),
            batch_max: written.batch_max.unwrap_or(BATCH_DEFAULT),
            total_ms: written.total_ms,
            queue_ms: written.queue_ms,
            imports: written.imports,
            hardware: written.hardware.into(),
            determinism: written.determinism,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenHardware {
    cores: u32,
    gpu_memory: ByteSize,
}

impl From<WrittenHardware> for Hardware {
    fn from(written: WrittenHardware) -> Self {
        Self { cores: written.cores, gpu_memory_bytes: written.gpu_memory.0 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum WrittenCode {
    Command {
        module: FileName,
        #[serde(default)]
        models: Vec<NamedModel>,
    },
    Onnx {
        model: FileName,
        #[serde(default)]
        engine: Option<String>,
        inputs: Vec<Binding>,
        outputs: Vec<Binding>,
    },
    Component {
        component: FileName,
        #[serde(default)]
        models: Vec<NamedModel>,
    },
}

impl From<WrittenCode> for Code {
    fn from(written: WrittenCode) -> Self {
        match written {
            WrittenCode::Command { module, models } => {
                Self::Command(CommandCode { module, models })
            }
            WrittenCode::Onnx { model, engine, inputs, outputs } => {
                Self::Onnx(OnnxCode { model, engine, inputs, outputs })
            }
            WrittenCode::Component { component, models } => {
                Self::Component(ComponentCode { component, models })
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenTest {
    name: String,
    inputs: Vec<PortFile>,
    outputs: Vec<PortFile>,
    #[serde(default)]
    tolerance: f64,
}

impl From<WrittenTest> for UnitTest {
    fn from(written: WrittenTest) -> Self {
        let WrittenTest { name, inputs, outputs, tolerance } = written;
        Self { name, inputs, outputs, tolerance }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenRecords {
    port: String,
    folder: FileName,
    labels: Option<FileName>,
}

impl From<WrittenRecords> for RecordSet {
    fn from(written: WrittenRecords) -> Self {
        let WrittenRecords { port, folder, labels } = written;
        Self { port, folder, labels }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenStage {
    pub(super) name: String,
    pub(super) package: WrittenReference,
    #[serde(default)]
    pub(super) config: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenClaims {
    accuracy: Vec<AccuracyClaim>,
    latency: Vec<LatencyClaim>,
}

impl From<WrittenClaims> for Claims {
    fn from(written: WrittenClaims) -> Self {
        Self { accuracy: written.accuracy, latency: written.latency }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenSuggested {
    hardware: WrittenHardware,
    memory: ByteSize,
    data: Vec<Reference>,
}

impl From<WrittenSuggested> for Suggested {
    fn from(written: WrittenSuggested) -> Self {
        Self {
            hardware: written.hardware.into(),
            memory_bytes: written.memory.0,
            data: written.data,
        }
    }
}
