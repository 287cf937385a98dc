//! Bodies of records and manifests, each with every field in use somewhere.

use std::collections::BTreeMap;

use guildhall_protocol::body::{
    Acceptance, AccuracyClaim, Admission, Claims, Confirmation, Demand, HardwareOffer,
    LatencyClaim, Listing, NodeBody, OrgQuota, Release, Review, Suggested, Unmet, Visibility, Yank,
};
use guildhall_protocol::contract::{Contract, Determinism, Hardware, Import, NodeLimits};
use guildhall_protocol::interface::{
    Column, Dim, ElementType, Interface, JsonType, LocationKind, MediaTypes, Port, PortType,
    PredictionKind, PredictionType, TableType, TensorType,
};
use guildhall_protocol::manifest::{
    Binding, Code, CommandCode, FileEntry, Kind, Manifest, OnnxCode, PortFile, RecordSet, Stage,
    UnitTest,
};
use guildhall_protocol::statement::{InviteUse, Signed};
use guildhall_protocol::{Hash, PackageId, RecordId};

use super::{DAY_MS, NOW_MS, federation, hash, invite_key, joiner};

pub(crate) fn admission() -> Admission {
    Admission {
        federation: federation(),
        invite: invite_key().public(),
        expires_ms: NOW_MS + 7 * DAY_MS,
    }
}

pub(crate) fn acceptance(admission: RecordId) -> Acceptance {
    let invite_use = InviteUse {
        invite: invite_key().public(),
        federation: federation(),
        root: joiner().root.public(),
        org: "lab".parse().expect("a name"),
    };
    Acceptance {
        federation: federation(),
        admission,
        invite_use: Signed::new(&invite_use, &invite_key()),
    }
}

pub(crate) fn confirmation(admission: RecordId, acceptance: RecordId) -> Confirmation {
    Confirmation { federation: federation(), admission, acceptance }
}

pub(crate) fn node() -> NodeBody {
    NodeBody {
        federation: federation(),
        addresses: vec!["/ip4/192.0.2.7/tcp/4001".into()],
        follows: vec!["vision".parse().expect("a prefix")],
        engines: vec!["wasm".into(), "onnx".into()],
        offer: Some(HardwareOffer {
            slots: 2,
            hardware: Hardware { cores: 2, gpu_memory_bytes: 0 },
            limits: NodeLimits::default(),
            orgs: vec!["lab".parse().expect("a name")],
            ..HardwareOffer::default()
        }),
        isolation: vec!["rlimits".into(), "seccomp".into()],
        draining: false,
        software: "guild 0.1.0".into(),
    }
}

/// A node that says everything that a node can say.
pub(crate) fn lending_node() -> NodeBody {
    let offer = HardwareOffer {
        slots: 4,
        hardware: Hardware { cores: 2, gpu_memory_bytes: 1 << 34 },
        limits: NodeLimits::default(),
        orgs: Vec::new(),
        cores: 8,
        memory_bytes: 1 << 34,
        engines: vec!["onnx".into()],
        quota_core_seconds_per_day: 36_000,
        quotas: vec![OrgQuota { org: "lab".parse().expect("a name"), core_seconds_per_day: 0 }],
    };
    NodeBody { offer: Some(offer), draining: true, ..node() }
}

pub(crate) fn release() -> Release {
    Release {
        name: "digits".parse().expect("a name"),
        version: "1.0.0".parse().expect("a version"),
        package: manifest(Kind::Model).seal().0,
    }
}

pub(crate) fn listing() -> Listing {
    Listing {
        federation: federation(),
        release: release(),
        kind: Kind::Model,
        categories: vec!["vision/image-classification".parse().expect("a category")],
        summary: "Tells handwritten digits apart.".into(),
        keywords: vec!["mnist".into()],
        interface: manifest(Kind::Model).interface,
        engines: vec!["onnx".into()],
        contract: Some(contract()),
        len_bytes: 26_000,
        claims: Claims {
            accuracy: vec![AccuracyClaim {
                metric: "accuracy".into(),
                dataset: "uci-digits".into(),
                value: 0.975,
            }],
            latency: vec![LatencyClaim { p50_ms: 0.4, hardware: "2 x86 cores".into() }],
        },
        suggested: Suggested {
            hardware: Hardware { cores: 1, gpu_memory_bytes: 0 },
            memory_bytes: 1 << 26,
            data: vec!["lab/scans@1.0.0".parse().expect("a reference")],
        },
        uses: vec![PackageId(hash(0x55))],
        documentation: Some("README.md".parse().expect("a file name")),
        examples: vec!["tests/1.in".parse().expect("a file name")],
        licence: "Apache-2.0".into(),
        visibility: Visibility::Federation,
        replicas: 2,
    }
}

pub(crate) fn demand() -> Demand {
    let unmet = |category: &str, count| Unmet {
        category: category.parse().expect("a prefix"),
        kind: Some(Kind::Model),
        input: Some("image".parse().expect("a type")),
        output: Some("prediction".parse().expect("a type")),
        count,
    };
    let anything = Unmet { kind: None, input: None, output: None, ..unmet("nlp", 4) };
    Demand {
        federation: federation(),
        from_ms: NOW_MS - DAY_MS,
        until_ms: NOW_MS,
        unmet: vec![unmet("vision/object-detection", 16), anything],
    }
}

pub(crate) fn yank() -> Yank {
    let Release { name, version, package } = release();
    Yank { name, version, package, why: "Two labels were swapped.".into() }
}

pub(crate) fn review() -> Review {
    let text = "Reads our forms well.".into();
    Review { federation: federation(), package: release().package, stars: 4, text }
}

pub(crate) fn contract() -> Contract {
    Contract {
        scoring_ms: 50,
        measured_on: "2 x86 cores at 3 GHz".into(),
        memory_bytes: 64 << 20,
        scratch_bytes: 0,
        output_bytes: 4096,
        batch_max: 16,
        total_ms: None,
        queue_ms: None,
        imports: vec![Import::Arguments, Import::SeededRandomness],
        hardware: Hardware { cores: 1, gpu_memory_bytes: 0 },
        determinism: Determinism::Numeric,
    }
}

pub(crate) fn port(name: &str, port_type: PortType) -> Port {
    Port { name: name.into(), port_type, optional: false, location: None }
}

/// A small valid manifest of each kind; together they use every field and every port type.
pub(crate) fn manifest(kind: Kind) -> Manifest {
    let file = |name: &str, media_type: &str| FileEntry {
        name: name.parse().expect("a file name"),
        len_bytes: name.len() as u64,
        hash: Hash::of(name.as_bytes()),
        media_type: media_type.into(),
    };
    let empty = Manifest {
        format: 1,
        kind,
        files: vec![file("README.md", "text/markdown")],
        interface: Interface::default(),
        contract: None,
        code: None,
        records: None,
        stages: Vec::new(),
        tests: Vec::new(),
        dependencies: Vec::new(),
        licence: "Apache-2.0".into(),
        sensitive: false,
    };
    match kind {
        Kind::Algorithm => algorithm(empty, file("stage.wasm", "application/wasm")),
        Kind::Model => model(
            empty,
            [file("model.onnx", "application/octet-stream"), file("tests/1.in", "text/plain")],
        ),
        Kind::Data => {
            data(empty, [file("labels.csv", "text/csv"), file("scans/1.png", "image/png")])
        }
        Kind::Notebook => Manifest { dependencies: vec![PackageId(hash(0x56))], ..empty },
        Kind::Pipeline => pipeline(empty),
    }
}

fn algorithm(empty: Manifest, module: FileEntry) -> Manifest {
    let media = |types: &[&str]| MediaTypes {
        media_types: types.iter().map(|media| (*media).to_owned()).collect(),
    };
    let input = Port {
        optional: true,
        location: Some(LocationKind::Box),
        ..port("image", PortType::Image(media(&["image/png", "image/jpeg"])))
    };
    Manifest {
        code: Some(Code::Command(CommandCode { module: module.name.clone(), models: vec![] })),
        files: [empty.files, vec![module]].concat(),
        interface: Interface {
            inputs: vec![input],
            outputs: vec![port("bytes", PortType::Bytes(media(&[])))],
        },
        contract: Some(contract()),
        ..empty
    }
}

fn model(empty: Manifest, files: [FileEntry; 2]) -> Manifest {
    let [graph, test] = files;
    let tensor = TensorType {
        dtype: ElementType::F32,
        dims: vec![Dim::Fixed(64), Dim::Named("n".into()), Dim::Free],
    };
    let classes = PredictionType {
        value: PredictionKind::Class,
        labels: vec!["0".into(), "1".into()],
        location: Some(LocationKind::TextWindow),
    };
    let bind = |port: &str, tensor: &str| Binding { port: port.into(), tensor: tensor.into() };
    let port_file = |port: &str| PortFile { port: port.into(), file: test.name.clone() };
    Manifest {
        code: Some(Code::Onnx(OnnxCode {
            engine: None,
            model: graph.name.clone(),
            inputs: vec![bind("pixels", "input:0")],
            outputs: vec![bind("digit", "scores")],
        })),
        interface: Interface {
            inputs: vec![port("pixels", PortType::Tensor(tensor))],
            outputs: vec![port("digit", PortType::Prediction(classes))],
        },
        contract: Some(contract()),
        tests: vec![UnitTest {
            name: "one".into(),
            inputs: vec![port_file("pixels")],
            outputs: vec![port_file("digit")],
            tolerance: 0.001,
        }],
        dependencies: vec![PackageId(hash(0x57))],
        files: [empty.files, vec![graph, test]].concat(),
        ..empty
    }
}

fn data(empty: Manifest, files: [FileEntry; 2]) -> Manifest {
    let table = TableType { columns: vec![Column { name: "age".into(), dtype: ElementType::U8 }] };
    let json = JsonType { schema: Some("{\"type\":\"object\"}".into()) };
    let any = MediaTypes::default;
    Manifest {
        interface: Interface {
            inputs: Vec::new(),
            outputs: vec![
                port("scan", PortType::Image(any())),
                port("table", PortType::Table(table)),
                port("note", PortType::Text),
                port("meta", PortType::Json(json)),
                port("voice", PortType::Audio(any())),
                port("film", PortType::Video(any())),
            ],
        },
        records: Some(RecordSet {
            port: "scan".into(),
            folder: "scans".parse().expect("a file name"),
            labels: Some("labels.csv".parse().expect("a file name")),
        }),
        files: [empty.files, files.to_vec()].concat(),
        sensitive: true,
        ..empty
    }
}

fn pipeline(empty: Manifest) -> Manifest {
    let stage = |name: &str, package: u8| Stage {
        name: name.into(),
        package: PackageId(hash(package)),
        reference: Some("lab/digits@1.0.0".parse().expect("a reference")),
        config: BTreeMap::from([("threshold".to_owned(), "0.5".to_owned())]),
    };
    Manifest { stages: vec![stage("clean", 0x58), stage("classify", 0x59)], ..empty }
}
