//! Manifests: what a package is made of, and everything that must not change once it has an id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cbor::{self, DecodeError};
use crate::contract::{Contract, Import};
use crate::hash::{Hash, PackageId};
use crate::interface::{Interface, is_identifier};
use crate::limits::{
    CODE_MAX_MODELS, MANIFEST_MAX_BYTES, PACKAGE_MAX_FILES, PACKAGE_MAX_TESTS, PIPELINE_MAX_STAGES,
};
use crate::name::{FileName, Reference};

/// The manifest format that this version writes and reads.
pub const MANIFEST_FORMAT: u16 = 1;

/// What kind of content a package is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Code that conditions data or trains models.
    Algorithm,
    /// A trained model.
    Model,
    /// Data.
    Data,
    /// A notebook for people.
    Notebook,
    /// Stages in order.
    Pipeline,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 5] =
        [Self::Algorithm, Self::Model, Self::Data, Self::Notebook, Self::Pipeline];

    /// The kind's name as it is written everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm",
            Self::Model => "model",
            Self::Data => "data",
            Self::Notebook => "notebook",
            Self::Pipeline => "pipeline",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

/// The text names no kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a kind is one of algorithm, model, data, notebook, pipeline")]
pub struct UnknownKind;

/// A package's manifest. Its id is the hash of its encoded bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`MANIFEST_FORMAT`].
    pub format: u16,
    /// Kind of content.
    pub kind: Kind,
    /// Files, sorted by name, names unique.
    pub files: Vec<FileEntry>,
    /// Typed inputs and outputs per record; empty for notebooks and opaque data.
    #[serde(default)]
    pub interface: Interface,
    /// Limits; present whenever there is `code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,
    /// What an engine executes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// How files form records; data packages only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordSet>,
    /// Stages; pipelines only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// Unit tests that travel with the package.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<UnitTest>,
    /// Other packages that are needed, by id; for pipelines they follow from `stages` and are not repeated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<PackageId>,
    /// SPDX licence expression, or `unknown`.
    pub licence: String,
    /// Whether the data is about people or otherwise not for everybody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
}

/// One file of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name inside the package.
    pub name: FileName,
    /// Length, bytes.
    pub len_bytes: u64,
    /// BLAKE3 of the content.
    pub hash: Hash,
    /// Media type, for example `image/x-portable-graymap`.
    pub media_type: String,
}

/// What an engine executes. The variant decides the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// Plain form: a WASI preview 1 command; one value on stdin, one on stdout.
    Command(CommandCode),
    /// An ONNX graph whose tensors are bound to ports.
    Onnx(OnnxCode),
    /// Full form: a component with the interface `guildhall:stage`; records of named values in batches.
    Component(ComponentCode),
}

impl Code {
    /// The engine that it needs, by the name nodes advertise; see [`provides`].
    #[must_use]
    pub fn engine(&self) -> &str {
        match self {
            Self::Command(_) | Self::Component(_) => "wasm",
            Self::Onnx(onnx) => onnx.engine.as_deref().unwrap_or(ONNX),
        }
    }

    /// All engines that it needs: its own, and one for models that name another than every node has.
    #[must_use]
    pub fn engines(&self) -> Vec<&str> {
        let library = self.engine() != ONNXRUNTIME && self.models_need_library();
        std::iter::once(self.engine()).chain(library.then_some(ONNXRUNTIME)).collect()
    }

    /// Whether a model that it may load by name needs the library [`ONNXRUNTIME`].
    #[must_use]
    pub fn models_need_library(&self) -> bool {
        self.models().iter().any(|model| model.engine.as_deref() == Some(ONNXRUNTIME))
    }

    /// The file that holds the code.
    #[must_use]
    pub const fn file(&self) -> &FileName {
        match self {
            Self::Command(command) => &command.module,
            Self::Onnx(onnx) => &onnx.model,
            Self::Component(component) => &component.component,
        }
    }

    /// Whether it needs this file: the code itself, or a model that it may load.
    #[must_use]
    pub fn uses(&self, name: &FileName) -> bool {
        self.file() == name || self.models().iter().any(|model| model.model == *name)
    }

    /// Graphs of the package that it may load by name through wasi-nn.
    #[must_use]
    pub fn models(&self) -> &[NamedModel] {
        match self {
            Self::Command(command) => &command.models,
            Self::Component(component) => &component.models,
            Self::Onnx(_) => &[],
        }
    }
}

/// The engine for graphs that every node has.
pub const ONNX: &str = "onnx";

/// The engine for graphs that a node has if the library is installed. It executes all that [`ONNX`] does.
pub const ONNXRUNTIME: &str = "onnxruntime";

/// Whether a node with these engines can execute what needs one.
#[must_use]
pub fn provides(engines: &[String], needed: &str) -> bool {
    let has = |name: &str| engines.iter().any(|engine| engine == name);
    has(needed) || needed == ONNX && has(ONNXRUNTIME)
}

/// A WASI command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandCode {
    /// The module's file.
    pub module: FileName,
    /// Graphs of the package that it may load by name through wasi-nn; names are unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<NamedModel>,
}

/// A WebAssembly component that exports `guildhall:stage/scoring`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentCode {
    /// The component's file.
    pub component: FileName,
    /// Graphs of the package that it may load by name through wasi-nn; names are unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<NamedModel>,
}

/// A graph that code may load by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedModel {
    /// The name that the code asks for.
    pub name: String,
    /// The graph's file, in ONNX.
    pub model: FileName,
    /// The engine that it needs, where the one that every node has will not do: `onnxruntime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

/// An ONNX graph. A graph tensor with one dimension more than its port gets a leading batch dimension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnnxCode {
    /// The graph's file.
    pub model: FileName,
    /// The engine that it needs, where not every engine for graphs will do: `onnxruntime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Which port feeds which graph input.
    pub inputs: Vec<Binding>,
    /// Which graph output yields which port. A prediction port of classes takes a tensor of one score per label.
    pub outputs: Vec<Binding>,
}

/// A port and the graph tensor that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Port of the interface.
    pub port: String,
    /// Tensor of the graph.
    pub tensor: String,
}

/// How the files of a data package form records: each file below `folder` is one record, in order of name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    /// The interface's output port that the records come out of.
    pub port: String,
    /// Folder of the files, without a slash at the end.
    pub folder: FileName,
    /// CSV with the header `file,label`: what is right for each record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<FileName>,
}

/// One step of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Name, unique in the pipeline.
    pub name: String,
    /// The package that is executed.
    pub package: PackageId,
    /// What the person wrote for it; shown, never resolved again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Settings for the package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}

/// A unit test: inputs, and the outputs they must give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitTest {
    /// Name, unique in the package.
    pub name: String,
    /// One file for each input port.
    pub inputs: Vec<PortFile>,
    /// One file for each output port that is compared.
    pub outputs: Vec<PortFile>,
    /// Largest difference allowed between two numbers; 0 compares bytes.
    #[serde(default)]
    pub tolerance: f64,
}

/// A port and the package file that holds its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortFile {
    /// Port of the interface.
    pub port: String,
    /// File of the package.
    pub file: FileName,
}

impl Manifest {
    /// Encodes the manifest and derives its id.
    #[must_use]
    pub fn seal(&self) -> (PackageId, Vec<u8>) {
        let bytes = cbor::encode(self);
        (PackageId(Hash::of(&bytes)), bytes)
    }

    /// Decodes bytes that should be the manifest of `id`, and checks every rule that needs no other bytes.
    ///
    /// # Errors
    /// [`DecodeError`]; a wrong hash is a [`DecodeError::Rule`].
    pub fn open(id: PackageId, bytes: &[u8]) -> Result<Self, DecodeError> {
        let found = PackageId(Hash::of(bytes));
        if found != id {
            return Err(DecodeError::Rule {
                what: "manifest",
                why: format!("its hash is {found}, not {id}"),
            });
        }
        let manifest: Self = cbor::decode(bytes, MANIFEST_MAX_BYTES)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The file of this name.
    #[must_use]
    pub fn file(&self, name: &FileName) -> Option<&FileEntry> {
        let at = self.files.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
        self.files.get(at)
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.len_bytes))
    }

    /// Every package this one needs: dependencies and stages.
    pub fn needs(&self) -> impl Iterator<Item = PackageId> + '_ {
        self.dependencies.iter().copied().chain(self.stages.iter().map(|stage| stage.package))
    }

    /// The files that are a data package's records, in order.
    pub fn record_files(&self) -> impl Iterator<Item = &FileEntry> {
        let folder = self.records.as_ref().map(|records| format!("{}/", records.folder));
        self.files.iter().filter(move |file| {
            folder.as_ref().is_some_and(|folder| file.name.as_str().starts_with(folder.as_str()))
        })
    }

    /// Checks every rule that needs no other bytes than the manifest's.
    ///
    /// # Errors
    /// [`DecodeError::Rule`] with the first rule that is broken.
    pub fn check(&self) -> Result<(), DecodeError> {
        let rule = |what: &'static str, why: String| Err(DecodeError::Rule { what, why });
        if self.format != MANIFEST_FORMAT {
            return rule(
                "format",
                format!("this version reads format {MANIFEST_FORMAT}, not {}", self.format),
            );
        }
        if self.files.len() > PACKAGE_MAX_FILES {
            return rule(
                "files",
                format!("{} files, at most {PACKAGE_MAX_FILES}", self.files.len()),
            );
        }
        if let Some(pair) = self.files.windows(2).find(|pair| match pair {
            [a, b] => a.name >= b.name,
            _ => false,
        }) {
            let name = pair.last().map(|file| file.name.as_str()).unwrap_or_default();
            return rule("files", format!("`{name}` is there twice or not in order of name"));
        }
        self.check_folders()?;
        self.check_lengths()?;
        self.interface.check()?;
        self.check_kind()?;
        self.check_code()?;
        self.check_tests()
    }

    /// One hash has one length: of two, one would be a lie, and nobody could fetch the package.
    fn check_lengths(&self) -> Result<(), DecodeError> {
        let mut lengths = BTreeMap::new();
        for file in &self.files {
            if *lengths.entry(file.hash).or_insert(file.len_bytes) != file.len_bytes {
                let why = format!("`{}` has the hash of a file with another length", file.name);
                return Err(DecodeError::Rule { what: "files", why });
            }
        }
        Ok(())
    }

    /// No file is also the folder of another: no folder on a disk could hold both.
    fn check_folders(&self) -> Result<(), DecodeError> {
        for file in &self.files {
            let name = file.name.as_str();
            let folders = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
            for folder in folders {
                let is_file =
                    self.files.binary_search_by(|other| other.name.as_str().cmp(folder)).is_ok();
                if is_file {
                    let why = format!("`{folder}` is a file, and the folder of `{name}`");
                    return Err(DecodeError::Rule { what: "files", why });
                }
            }
        }
        Ok(())
    }

    fn check_kind(&self) -> Result<(), DecodeError> {
        let rule = |what: &'static str, why: &str| Err(DecodeError::Rule { what, why: why.into() });
        if self.stages.len() > PIPELINE_MAX_STAGES {
            return rule("stages", "more stages than a pipeline may have");
        }
        let mut names: Vec<_> = self.stages.iter().map(|stage| stage.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() != self.stages.len() || names.iter().any(|name| !is_identifier(name)) {
            return rule(
                "stages",
                "stage names are unique and made of letters, digits, `_`, `-`, `.`",
            );
        }
        match self.kind {
            Kind::Pipeline if self.stages.is_empty() => {
                rule("stages", "a pipeline needs at least one stage")
            }
            Kind::Pipeline if self.code.is_some() => {
                rule("code", "a pipeline's code is in its stages")
            }
            Kind::Pipeline => Ok(()),
            _ if !self.stages.is_empty() => rule("stages", "only a pipeline has stages"),
            Kind::Data | Kind::Notebook if self.code.is_some() => {
                rule("code", "only an algorithm or a model is executed")
            }
            Kind::Data => match &self.records {
                Some(records)
                    if !self.interface.outputs.iter().any(|port| port.name == records.port) =>
                {
                    rule(
                        "records",
                        "they come out of an output port that the interface does not have",
                    )
                }
                Some(records)
                    if records
                        .labels
                        .as_ref()
                        .is_some_and(|labels| self.file(labels).is_none()) =>
                {
                    rule("records", "the labels file is not in the package")
                }
                _ => Ok(()),
            },
            _ if self.records.is_some() => rule("records", "only data has records"),
            _ => Ok(()),
        }
    }

    fn check_models(&self, models: &[NamedModel], contract: &Contract) -> Result<(), DecodeError> {
        let rule = |why: String| Err(DecodeError::Rule { what: "code", why });
        if models.len() > CODE_MAX_MODELS {
            return rule(format!("{} models, at most {CODE_MAX_MODELS}", models.len()));
        }
        if !models.is_empty() && !contract.imports.contains(&Import::WasiNn) {
            return rule("it names models, but its contract does not import `wasi_nn`".into());
        }
        for (at, model) in models.iter().enumerate() {
            if !is_identifier(&model.name) {
                return rule(format!("`{}` is no name for a model", model.name));
            }
            if models.iter().take(at).any(|earlier| earlier.name == model.name) {
                return rule(format!("two models have the name `{}`", model.name));
            }
            if model.engine.as_ref().is_some_and(|name| name != ONNX && name != ONNXRUNTIME) {
                return rule(format!("a model's engine is `{ONNX}` or `{ONNXRUNTIME}`"));
            }
            if self.file(&model.model).is_none() {
                return rule(format!("its model `{}` is not in the package", model.model));
            }
        }
        Ok(())
    }

    fn check_code(&self) -> Result<(), DecodeError> {
        let rule = |what: &'static str, why: String| Err(DecodeError::Rule { what, why });
        let Some(code) = &self.code else { return Ok(()) };
        let Some(contract) = &self.contract else {
            return rule("contract", "code without a contract cannot be run".into());
        };
        contract.check()?;
        if self.file(code.file()).is_none() {
            return rule("code", format!("its file `{}` is not in the package", code.file()));
        }
        if self.interface.inputs.is_empty() || self.interface.outputs.is_empty() {
            return rule("interface", "code has at least one input and one output".into());
        }
        match code {
            Code::Command(_)
                if self.interface.inputs.len() > 1 || self.interface.outputs.len() > 1 =>
            {
                rule("interface", "a command has one input and one output: stdin and stdout".into())
            }
            Code::Command(_) | Code::Component(_) => self.check_models(code.models(), contract),
            Code::Onnx(onnx)
                if onnx.engine.as_ref().is_some_and(|name| name != ONNX && name != ONNXRUNTIME) =>
            {
                rule("code", format!("a graph's engine is `{ONNX}` or `{ONNXRUNTIME}`"))
            }
            Code::Onnx(onnx) => {
                let unbound = |side: &[crate::interface::Port], bindings: &[Binding]| {
                    side.iter().find(|port| !bindings.iter().any(|b| b.port == port.name)).cloned()
                };
                match unbound(&self.interface.inputs, &onnx.inputs)
                    .or_else(|| unbound(&self.interface.outputs, &onnx.outputs))
                {
                    Some(port) => {
                        rule("code", format!("port `{}` is bound to no tensor", port.name))
                    }
                    None => Ok(()),
                }
            }
        }
    }

    fn check_tests(&self) -> Result<(), DecodeError> {
        let rule = |why: String| Err(DecodeError::Rule { what: "tests", why });
        if self.tests.len() > PACKAGE_MAX_TESTS {
            return rule(format!("more than {PACKAGE_MAX_TESTS}"));
        }
        for test in &self.tests {
            let known = |files: &[PortFile], ports: &[crate::interface::Port]| {
                files.iter().all(|f| ports.iter().any(|port| port.name == f.port))
            };
            if !is_identifier(&test.name) || !test.tolerance.is_finite() || test.tolerance < 0.0 {
                return rule(format!(
                    "`{}`: a plain name and a tolerance from 0 are needed",
                    test.name
                ));
            }
            if !known(&test.inputs, &self.interface.inputs)
                || !known(&test.outputs, &self.interface.outputs)
            {
                return rule(format!(
                    "`{}` names a port that the interface does not have",
                    test.name
                ));
            }
            if let Some(missing) =
                test.inputs.iter().chain(&test.outputs).find(|f| self.file(&f.file).is_none())
            {
                return rule(format!(
                    "`{}`: file `{}` is not in the package",
                    test.name, missing.file
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::contract::{Determinism, Hardware};
    use crate::interface::{Port, PortType};

    /// A notebook of empty files.
    fn notebook(names: &[&str]) -> Manifest {
        let entry = |name: &&str| FileEntry {
            name: name.parse().unwrap(),
            len_bytes: 0,
            hash: Hash::of(b""),
            media_type: "text/plain".into(),
        };
        Manifest {
            format: MANIFEST_FORMAT,
            kind: Kind::Notebook,
            files: names.iter().map(entry).collect(),
            interface: Interface::default(),
            contract: None,
            code: None,
            records: None,
            stages: Vec::new(),
            tests: Vec::new(),
            dependencies: Vec::new(),
            licence: "MIT".into(),
            sensitive: false,
        }
    }

    #[test]
    fn one_hash_has_one_length() {
        let mut manifest = notebook(&["a", "b"]);
        manifest.check().unwrap();
        manifest.files[1].len_bytes = 1;
        let refused = manifest.check().unwrap_err().to_string();
        assert!(refused.contains("`b` has the hash of a file with another length"), "{refused}");
    }

    #[test]
    fn a_file_is_not_the_folder_of_another() {
        notebook(&["a", "a-b", "b/a", "b/c/d"]).check().unwrap();
        // Other names may stand between the two.
        for names in [&["a", "a/b"][..], &["a", "a-b", "a/b"], &["b/c", "b/c/d/e"]] {
            let refused = notebook(names).check().unwrap_err().to_string();
            assert!(refused.contains("is a file, and the folder of"), "{refused}");
        }
    }
    fn component(models: &[(&str, &str)], imports: Vec<Import>) -> Manifest {
        let port = |name: &str| Port {
            name: name.into(),
            port_type: PortType::Text,
            optional: false,
            location: None,
        };
        let model = |(name, file): &(&str, &str)| NamedModel {
            name: (*name).into(),
            model: file.parse().unwrap(),
            engine: None,
        };
        Manifest {
            kind: Kind::Algorithm,
            interface: Interface {
                inputs: vec![port("a"), port("b")],
                outputs: vec![port("c"), port("d")],
            },
            contract: Some(Contract {
                scoring_ms: 1,
                measured_on: String::new(),
                memory_bytes: 1,
                scratch_bytes: 0,
                output_bytes: 1,
                batch_max: 1,
                total_ms: None,
                queue_ms: None,
                imports,
                hardware: Hardware::default(),
                determinism: Determinism::Bitwise,
            }),
            code: Some(Code::Component(ComponentCode {
                component: "stage.wasm".parse().unwrap(),
                models: models.iter().map(model).collect(),
            })),
            ..notebook(&["a.onnx", "stage.wasm"])
        }
    }

    #[test]
    fn a_component_may_have_many_ports_and_models_by_name_if_its_contract_says_so() {
        let plain = component(&[], vec![]);
        assert_eq!(plain.check(), Ok(()));
        let (id, bytes) = plain.seal();
        assert_eq!(Manifest::open(id, &bytes), Ok(plain));
        let nn = || vec![Import::WasiNn];
        assert_eq!(component(&[("a", "a.onnx"), ("b", "a.onnx")], nn()).check(), Ok(()));
        for (models, imports) in [
            (&[("a", "a.onnx")][..], vec![]),
            (&[("a", "b.onnx")], nn()),
            (&[("a", "a.onnx"), ("a", "a.onnx")], nn()),
            (&[("no name", "a.onnx")], nn()),
            (&[("a", "a.onnx"); CODE_MAX_MODELS + 1], nn()),
        ] {
            assert!(component(models, imports).check().is_err(), "{models:?}");
        }
    }

    #[test]
    fn a_model_may_name_the_library_and_its_stage_then_needs_that_too() {
        let with = |engine: Option<&str>| {
            let mut manifest = component(&[("a", "a.onnx"), ("b", "a.onnx")], vec![Import::WasiNn]);
            if let Some(Code::Component(component)) = &mut manifest.code {
                component.models[1].engine = engine.map(str::to_owned);
            }
            manifest
        };
        for (engine, needed) in [
            (None, &["wasm"][..]),
            (Some(ONNX), &["wasm"]),
            (Some(ONNXRUNTIME), &["wasm", ONNXRUNTIME]),
        ] {
            let manifest = with(engine);
            assert_eq!(manifest.check(), Ok(()));
            assert_eq!(manifest.code.as_ref().unwrap().engines(), needed);
            let (id, bytes) = manifest.seal();
            assert_eq!(Manifest::open(id, &bytes), Ok(manifest));
        }
        assert!(with(Some("tensorrt")).check().is_err());
        // Who names none has the same bytes as before there was anything to name.
        let bytes = with(None).seal().1;
        assert!(!bytes.windows(6).any(|part| part == b"engine"));
    }
}
