//! Nodes that lend to each other, and packages that they execute.

use std::fs;
use std::path::Path;
use std::time::Duration;

use guildhall_launch::{Node, NotYet, converge};
use guildhall_protocol::api::{InferAnswer, InferRequest, OfferChange, Placement};
use guildhall_protocol::contract::NodeLimits;
use guildhall_protocol::name::Reference;
use guildhall_protocol::offer::HardwareOffer;

use super::{Failed, failed};
use crate::bench::Bench;
use crate::network::{Network, publish};

/// How long news of an offer or a listing may take.
const HEARD_MAX: Duration = Duration::from_secs(30);

/// Memory that a stage may have, bytes: what the largest graph needs for 32 records, several times.
const MEMORY_BYTES: u64 = 6 << 30;

/// Longest that one call may take, milliseconds: 32 records of the largest graph in the slowest engine, several times.
pub(super) const SCORING_MAX_MS: u64 = 120_000;

/// Nodes with homes in memory.
pub(super) async fn network(bench: &Bench, nodes: usize) -> Result<Network, Failed> {
    Network::start_in(&bench.memory(), &bench.program, nodes).await
}

/// One node that lends to itself, with a library of ONNX Runtime where one is given.
pub(super) async fn network_with(
    bench: &Bench,
    onnxruntime: Option<&Path>,
) -> Result<Network, Failed> {
    let env = onnxruntime.map(|library| ("GUILD_ONNXRUNTIME", library.into()));
    let network = Network::start_with(&bench.memory(), &bench.program, 1, env).await?;
    for node in network.nodes() {
        lend(node, 2, node).await?;
    }
    Ok(network)
}

/// Lets a node lend its hardware, or no longer, and waits until another one has heard so.
pub(super) async fn lend(node: &Node, slots: u32, seen_by: &Node) -> Result<(), Failed> {
    let limits = NodeLimits {
        scoring_ms: SCORING_MAX_MS,
        memory_bytes: MEMORY_BYTES,
        ..NodeLimits::default()
    };
    let offer = HardwareOffer { slots, limits, ..HardwareOffer::default() };
    let offer = (slots > 0).then_some(offer);
    let is_lending = offer.is_some();
    node.client().set_offer(&OfferChange { offer }).await?;
    let peer_id = &node.ready().peer_id;
    if *peer_id == seen_by.ready().peer_id {
        return Ok(());
    }
    converge(HEARD_MAX, "an offer is heard of", async || {
        let peers = seen_by.client().peers().await?;
        let peer = peers.iter().find(|peer| peer.peer_id == *peer_id);
        match peer.is_some_and(|peer| peer.admitted && peer.offer.is_some() == is_lending) {
            true => Ok(()),
            false => Err(NotYet::saw(format!("{peer:?}"))),
        }
    })
    .await?;
    Ok(())
}

/// On another node.
pub(super) fn on(node: &Node) -> Placement {
    Placement::Node(node.ready().peer_id.clone())
}

/// Any bytes, as a description writes their type.
pub(super) const BYTES: &str = "{ bytes = {} }";

/// Something to execute, before it is published.
pub(super) struct Stage<'a> {
    pub(super) name: &'a str,
    /// Types as a description writes them.
    pub(super) input: &'a str,
    pub(super) output: &'a str,
    pub(super) scoring_ms: u64,
    pub(super) memory_bytes: u64,
    pub(super) batch_max: u32,
    pub(super) code: Code<'a>,
}

/// What of it is executed.
pub(super) enum Code<'a> {
    /// A command, as text.
    Command(&'a str),
    /// A graph from `x` to `y`, and the engine that it must have.
    Graph { file: &'a Path, output: &'a str, engine: Option<&'a str> },
}

impl Stage<'_> {
    /// A command from bytes to bytes.
    pub(super) const fn command<'a>(name: &'a str, text: &'a str) -> Stage<'a> {
        Stage {
            name,
            input: BYTES,
            output: BYTES,
            scoring_ms: SCORING_MAX_MS,
            memory_bytes: 16 << 20,
            batch_max: 1,
            code: Code::Command(text),
        }
    }

    /// Publishes it by way of a folder.
    pub(super) async fn publish(&self, node: &Node, folder: &Path) -> Result<Reference, Failed> {
        let dir = folder.join(self.name);
        fs::create_dir_all(&dir).map_err(failed)?;
        let code = match &self.code {
            Code::Command(text) => {
                let module = wat::parse_str(text).map_err(failed)?;
                fs::write(dir.join("stage.wasm"), module).map_err(failed)?;
                "[code.command]\nmodule = \"stage.wasm\"\n".to_owned()
            }
            Code::Graph { file, output, engine } => {
                fs::copy(file, dir.join("model.onnx")).map_err(failed)?;
                let engine =
                    engine.map(|name| format!("engine = \"{name}\"\n")).unwrap_or_default();
                format!(
                    "[code.onnx]\nmodel = \"model.onnx\"\n{engine}\
                     inputs = [{{ port = \"x\", tensor = \"x\" }}]\n\
                     outputs = [{{ port = \"y\", tensor = \"{output}\" }}]\n"
                )
            }
        };
        fs::write(dir.join("guild.toml"), self.description(&code)).map_err(failed)?;
        let published = publish(node, &dir).await?.reference;
        fs::remove_dir_all(&dir).map_err(failed)?;
        Ok(published)
    }

    fn description(&self, code: &str) -> String {
        let Self { name, input, output, scoring_ms, memory_bytes, batch_max, .. } = self;
        let kind = if matches!(self.code, Code::Graph { .. }) { "model" } else { "algorithm" };
        format!(
            "kind = \"{kind}\"\nname = \"{name}\"\nversion = \"1.0.0\"\n\
             categories = [\"vision/x-benchmark\"]\nlicence = \"CC0-1.0\"\n\
             summary = \"Measures how long executing takes.\"\n\
             [[interface.inputs]]\nname = \"x\"\ntype = {input}\n\
             [[interface.outputs]]\nname = \"y\"\ntype = {output}\n\
             [contract]\nscoring_ms = {scoring_ms}\nmeasured_on = \"a benchmark\"\n\
             memory = {memory_bytes}\noutput = \"1 MiB\"\nbatch_max = {batch_max}\n\
             determinism = \"numeric\"\n{code}"
        )
    }
}

/// Publishes a folder of records of a type.
pub(super) async fn publish_records(
    node: &Node,
    folder: &Path,
    name: &str,
    port_type: &str,
    records: impl Iterator<Item = Vec<u8>>,
) -> Result<Reference, Failed> {
    let dir = folder.join(name);
    fs::create_dir_all(dir.join("records")).map_err(failed)?;
    let description = format!(
        "kind = \"data\"\nname = \"{name}\"\nversion = \"1.0.0\"\n\
         categories = [\"vision/x-benchmark\"]\nlicence = \"CC0-1.0\"\n\
         summary = \"Records that measure how long executing takes.\"\n\
         [[interface.outputs]]\nname = \"x\"\ntype = {port_type}\n\
         [records]\nport = \"x\"\nfolder = \"records\"\n"
    );
    fs::write(dir.join("guild.toml"), description).map_err(failed)?;
    for (at, record) in records.enumerate() {
        fs::write(dir.join(format!("records/{at:05}.bin")), record).map_err(failed)?;
    }
    let published = publish(node, &dir).await?.reference;
    fs::remove_dir_all(&dir).map_err(failed)?;
    Ok(published)
}

/// Scores one record.
pub(super) async fn infer(
    node: &Node,
    reference: &Reference,
    inputs: serde_json::Value,
    on: Placement,
) -> Result<InferAnswer, Failed> {
    let request = InferRequest { inputs: Some(inputs), on, ..InferRequest::default() };
    Ok(node.client().infer(reference, &request).await?)
}
