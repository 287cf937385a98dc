//! Packages made by tests: a manifest over files in a temporary folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use guildhall_protocol::contract::{Contract, Determinism, Hardware, Limit, Limits, Party};
use guildhall_protocol::hash::Hash;
use guildhall_protocol::interface::{
    Dim, ElementType, Interface, MediaTypes, Port, PortType, PredictionKind, PredictionType,
    TensorType,
};
use guildhall_protocol::manifest::{
    Binding, Code, CommandCode, FileEntry, Kind, MANIFEST_FORMAT, Manifest, OnnxCode, PortFile,
    UnitTest,
};
use guildhall_protocol::wire::PortValue;
use guildhall_sandbox::{Failure, PackageFiles, RunWorker, Scored, Spawner};
use tempfile::TempDir;

/// Far above what anything honest in these tests takes, even in a debug build on a busy machine.
pub(crate) const PATIENT_MS: u64 = 60_000;

/// The examples of the repository.
pub(crate) const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits");

/// How a package's files are opened.
type Open = Box<dyn Fn(&FileEntry) -> io::Result<File>>;

pub(crate) struct Package {
    pub(crate) manifest: Manifest,
    folder: TempDir,
    open: Open,
}

pub(crate) fn spawner() -> Spawner {
    Spawner::new(env!("CARGO_BIN_EXE_sandbox-worker"), [])
}

pub(crate) fn port(name: &str, port_type: PortType) -> Port {
    Port { name: name.into(), port_type, optional: false, location: None }
}

pub(crate) fn any_bytes() -> PortType {
    PortType::Bytes(MediaTypes::default())
}

pub(crate) fn image() -> PortType {
    PortType::Image(MediaTypes { media_types: vec!["image/x-portable-graymap".into()] })
}

pub(crate) fn floats(count: u64) -> PortType {
    PortType::Tensor(TensorType { dtype: ElementType::F32, dims: vec![Dim::Fixed(count)] })
}

pub(crate) fn digit_classes() -> PortType {
    PortType::Prediction(PredictionType {
        value: PredictionKind::Class,
        labels: (0..10).map(|digit| digit.to_string()).collect(),
        location: None,
    })
}

pub(crate) fn limits(scoring_ms: u64, memory_bytes: u64, output_bytes: u64) -> Limits {
    let limit = |value| Limit { value, set_by: Party::Producer };
    Limits {
        scoring_ms: limit(scoring_ms),
        total_ms: limit(10 * PATIENT_MS),
        memory_bytes: limit(memory_bytes),
        output_bytes: limit(output_bytes),
        batch_max: limit(1_024),
        queue_ms: limit(0),
    }
}

pub(crate) fn patient() -> Limits {
    limits(PATIENT_MS, 256 << 20, 1 << 20)
}

pub(crate) fn contract() -> Contract {
    Contract {
        scoring_ms: PATIENT_MS,
        measured_on: "a test".into(),
        memory_bytes: 256 << 20,
        scratch_bytes: 0,
        output_bytes: 1 << 20,
        batch_max: 1,
        total_ms: None,
        queue_ms: None,
        imports: vec![],
        hardware: Hardware::default(),
        determinism: Determinism::Bitwise,
    }
}

impl Package {
    /// A package of these files with no code.
    pub(crate) fn of_files(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut entries: Vec<_> = files
            .iter()
            .map(|(name, bytes)| {
                let path = folder.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
                FileEntry {
                    name: name.parse().unwrap(),
                    len_bytes: bytes.len() as u64,
                    hash: Hash::of(bytes),
                    media_type: "application/octet-stream".into(),
                }
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            kind: Kind::Data,
            files: entries,
            interface: Interface::default(),
            contract: None,
            code: None,
            records: None,
            stages: vec![],
            tests: vec![],
            dependencies: vec![],
            licence: "unknown".into(),
            sensitive: false,
        };
        let root = folder.path().to_owned();
        let open = Box::new(move |entry: &FileEntry| File::open(root.join(entry.name.as_str())));
        Self { manifest, folder, open }
    }

    /// A WASI command with one input and one output.
    pub(crate) fn command(module: &[u8], input: PortType, output: PortType) -> Self {
        Self::of_files(&[("stage.wasm", module)]).with_command("stage.wasm", input, output)
    }

    /// A WASI command in WebAssembly text, bytes to bytes.
    pub(crate) fn text(module: &str) -> Self {
        Self::command(&wat::parse_str(module).unwrap(), any_bytes(), any_bytes())
    }

    pub(crate) fn with_command(mut self, module: &str, input: PortType, output: PortType) -> Self {
        self.manifest.kind = Kind::Algorithm;
        self.manifest.interface =
            Interface { inputs: vec![port("in", input)], outputs: vec![port("out", output)] };
        self.manifest.contract = Some(contract());
        self.manifest.code =
            Some(Code::Command(CommandCode { module: module.parse().unwrap(), models: vec![] }));
        self.checked()
    }

    pub(crate) fn with_graph(
        mut self,
        model: &str,
        input: (&str, PortType),
        output: (&str, PortType),
    ) -> Self {
        let binding =
            |port: &str, tensor: &str| Binding { port: port.into(), tensor: tensor.into() };
        self.manifest.kind = Kind::Model;
        self.manifest.interface =
            Interface { inputs: vec![port("in", input.1)], outputs: vec![port("out", output.1)] };
        self.manifest.contract = Some(contract());
        self.manifest.code = Some(Code::Onnx(OnnxCode {
            engine: None,
            model: model.parse().unwrap(),
            inputs: vec![binding("in", input.0)],
            outputs: vec![binding("out", output.0)],
        }));
        self.checked()
    }

    /// Adds unit tests: name, input file, output file.
    pub(crate) fn with_tests(mut self, tests: &[(&str, &str, &str)], tolerance: f64) -> Self {
        let file =
            |port: &str, name: &str| PortFile { port: port.into(), file: name.parse().unwrap() };
        self.manifest.tests = tests
            .iter()
            .map(|(name, input, output)| UnitTest {
                name: (*name).into(),
                inputs: vec![file("in", input)],
                outputs: vec![file("out", output)],
                tolerance,
            })
            .collect();
        self.checked()
    }

    pub(crate) fn checked(self) -> Self {
        self.manifest.check().unwrap();
        self
    }

    pub(crate) fn files(&self) -> PackageFiles<'_> {
        PackageFiles { manifest: &self.manifest, open: &*self.open }
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes a file on disk behind the manifest's back.
    pub(crate) fn spoil(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.folder.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn start(&self, limits: &Limits) -> Result<RunWorker, Failure> {
        spawner().start(&self.files(), limits, &BTreeMap::new(), 0)
    }

    /// One record in a new worker.
    pub(crate) fn score(&self, limits: &Limits, input: &[u8]) -> Result<Scored, Failure> {
        self.start(limits)?.score(record(input))
    }
}

/// A record for the only input port.
pub(crate) fn record(input: &[u8]) -> Vec<PortValue> {
    vec![PortValue::new("in", input)]
}

/// All files below a folder of the examples, by name relative to it.
pub(crate) fn example(folder: &str) -> Package {
    let root = Path::new(DIGITS).join(folder);
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read(path).unwrap()));
            }
        }
    }
    let files: Vec<_> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    Package::of_files(&files)
}

pub(crate) fn prepare() -> Package {
    example("prepare").with_command("prepare.wasm", image(), floats(64)).with_tests(
        &[
            ("1", "tests/1.in.pgm", "tests/1.out.f32"),
            ("2", "tests/2.in.pgm", "tests/2.out.f32"),
            ("3", "tests/3.in.pgm", "tests/3.out.f32"),
        ],
        0.0,
    )
}

pub(crate) fn stuck() -> Package {
    example("stuck").with_command("stuck.wasm", image(), floats(64)).with_tests(
        &[
            ("1", "tests/1.in.pgm", "tests/1.out.f32"),
            ("2", "tests/2.in.pgm", "tests/2.out.f32"),
            ("3", "tests/3.in.pgm", "tests/3.out.f32"),
        ],
        0.0,
    )
}

pub(crate) fn model() -> Package {
    example("model")
        .with_graph("model.onnx", ("X", floats(64)), ("probabilities", digit_classes()))
        .with_tests(
            &[
                ("1", "tests/1.in.f32", "tests/1.out.json"),
                ("2", "tests/2.in.f32", "tests/2.out.json"),
                ("3", "tests/3.in.f32", "tests/3.out.json"),
            ],
            1e-5,
        )
}
