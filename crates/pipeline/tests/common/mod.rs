//! Stages, orgs and keys for the tests.
#![allow(dead_code, reason = "each test file is a crate of its own and uses some of these")]

use guildhall_pipeline::StageInfo;
use guildhall_protocol::contract::{Contract, Determinism, Hardware, LimitSet};
use guildhall_protocol::interface::{Interface, MediaTypes, Port, PortType};
use guildhall_protocol::name::OrgName;
use guildhall_protocol::{Hash, PackageId, SecretKey};

pub(crate) fn org(name: &str) -> OrgName {
    name.parse().unwrap()
}

pub(crate) fn package(seed: &str) -> PackageId {
    PackageId(Hash::of(seed.as_bytes()))
}

pub(crate) fn secret(seed: &str) -> SecretKey {
    SecretKey::from_seed(Hash::of(seed.as_bytes()).as_bytes())
}

pub(crate) fn image(media_types: &[&str]) -> PortType {
    let media_types = media_types.iter().map(|one| (*one).to_owned()).collect();
    PortType::Image(MediaTypes { media_types })
}

pub(crate) fn port(name: &str, port_type: PortType) -> Port {
    Port { name: name.into(), port_type, optional: false, location: None }
}

pub(crate) fn contract(memory_bytes: u64) -> Contract {
    Contract {
        scoring_ms: 50,
        measured_on: "2 cores".into(),
        memory_bytes,
        scratch_bytes: 0,
        output_bytes: 1 << 16,
        batch_max: 1,
        total_ms: None,
        queue_ms: None,
        imports: Vec::new(),
        hardware: Hardware::default(),
        determinism: Determinism::Bitwise,
    }
}

/// A stage from `input` on port `in` to `output` on port `out`, executed by `wasm` in 1 MiB.
pub(crate) fn stage(name: &str, input: PortType, output: PortType) -> StageInfo {
    StageInfo {
        name: name.into(),
        package: package(name),
        interface: Interface {
            inputs: vec![port("in", input)],
            outputs: vec![port("out", output)],
        },
        contract: Some(contract(1 << 20)),
        engine: Some("wasm".into()),
        further_engines: vec![],
        config: Default::default(),
        listing: LimitSet::default(),
    }
}
