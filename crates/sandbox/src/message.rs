//! What node and worker say to each other, and the values they exchange.
//!
//! The node asks, the worker answers each request once and in order; its first word, unasked, answers [`Setup`].

use std::collections::BTreeMap;

use guildhall_protocol::contract::{Determinism, Import};
use guildhall_protocol::facts::Facts;
use guildhall_protocol::interface::Interface;
use guildhall_protocol::manifest::{Code, FileEntry, Kind};
use guildhall_protocol::name::FileName;
use guildhall_protocol::wire::PortValue;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, excerpt};
use crate::isolation::Isolation;

/// Most imports or tensors in a report: a person reads it, and no interface has more ports.
const REPORT_MAX_ITEMS: usize = 64;

/// What an inspection learned about the code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeReport {
    /// `module name` of each import, in order; modules only.
    pub imports: Vec<String>,
    /// Inputs of the graph; graphs only.
    pub inputs: Vec<TensorInfo>,
    /// Outputs of the graph that are bound to ports; graphs only.
    pub outputs: Vec<TensorInfo>,
}

impl CodeReport {
    /// The same report as the node may show it: every text printable and short, no list beyond
    /// [`REPORT_MAX_ITEMS`].
    pub(crate) fn bounded(mut self) -> Self {
        self.imports.truncate(REPORT_MAX_ITEMS);
        for import in &mut self.imports {
            *import = excerpt(import.as_bytes());
        }
        for side in [&mut self.inputs, &mut self.outputs] {
            side.truncate(REPORT_MAX_ITEMS);
            for tensor in side {
                tensor.name = excerpt(tensor.name.as_bytes());
                tensor.shape = excerpt(tensor.shape.as_bytes());
            }
        }
        self
    }
}

/// A tensor of a graph, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// Its name in the graph.
    pub name: String,
    /// Type and dimensions, for example `F32 [1,64]`.
    pub shape: String,
}

/// How much compiled code goes into one frame, bytes: a quarter of what fits, so that neither side holds much twice.
pub(crate) const PIECE_BYTES: u64 = 1 << 20;

/// The first frame of a worker's life: the limits that it sets itself before it looks at anything foreign.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Writable memory of the whole process, bytes.
    pub(crate) data_bytes: u64,
    /// Processor time of the whole process, seconds.
    pub(crate) cpu_seconds: u64,
    /// Whether the node moves that later; else nobody can.
    pub(crate) cpu_moves: bool,
    /// How far it stands back when others want the processor, 0 to 19.
    pub(crate) nice: u8,
    /// Whether each layer is tried out as soon as it is there. `Ready` then says only what held.
    pub(crate) self_test: bool,
}

/// Beside [`Setup`] in the first frame: the foreign library that a worker loads before it shuts itself in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuntimeSetup {
    /// Where the library is; absolute.
    pub(crate) library: String,
    /// Threads for one operator, at least one.
    pub(crate) threads: u16,
    /// Whether stages go to a CUDA device.
    pub(crate) cuda: bool,
}

/// Everything an engine has to know about a stage, besides the bytes of its code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StageSpec {
    pub(crate) interface: Interface,
    pub(crate) code: Code,
    /// The engine that executes it, by the name that nodes advertise.
    pub(crate) engine: String,
    pub(crate) file: FileEntry,
    pub(crate) determinism: Determinism,
    /// What its contract lets it use of the host beyond stdin, stdout and stderr.
    pub(crate) imports: Vec<Import>,
    pub(crate) memory_bytes: u64,
    pub(crate) config: BTreeMap<String, String>,
}

impl StageSpec {
    /// Whether its contract has this import.
    pub(crate) fn may(&self, import: Import) -> bool {
        self.imports.contains(&import)
    }
}

/// What may differ from one call of a loaded stage to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallLimits {
    /// Wall time of the whole call, milliseconds.
    pub scoring_ms: u64,
    /// Longest output of one record, bytes.
    pub output_bytes: u64,
    /// Where the stage's randomness comes from; the same seed gives the same bytes in every record.
    pub seed: u64,
}

/// What became of one record of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecordEnd {
    /// A value for each output port.
    Outputs(Vec<PortValue>),
    /// It alone failed; the others are not affected.
    Failed(Failure),
}

/// What the manifest has a file for; it decides which formats are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Nothing in particular.
    Plain,
    /// The manifest, or a graph of the package, needs it.
    Named,
    /// A value of a unit test.
    Vector,
}

/// What the node asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Compare the file beside this frame with its entry, and check its structure. Answer: `Checked`.
    CheckFile { entry: FileEntry, kind: Kind, role: Role },
    /// Check the structure of the file beside this frame, of which no manifest says anything yet. Answer: `Checked`.
    Examine { name: FileName, media_type: String, kind: Option<Kind> },
    /// Hold the graph in the file beside this frame for the code that comes next, which asks for it by this name. Answer:
    /// `Taken`.
    Model { name: String, entry: FileEntry },
    /// Hold the file beside this frame for the code that comes next, which may read it. Answer: `Taken`.
    File { entry: FileEntry },
    /// Check the code in the file beside this frame and compile it, but keep nothing. Answer: `Inspected`.
    Inspect { stage: Box<StageSpec> },
    /// Compile the code in the file beside this frame, and hold the result. Answer: `Compiled`.
    Compile { stage: Box<StageSpec> },
    /// Hand over [`PIECE_BYTES`] of the result from here on, or what is left. Answer: `Piece`.
    Piece { at: u64 },
    /// Make the code in the file beside this frame ready. Answer: `Loaded`.
    Load { stage: Box<StageSpec> },
    /// Make the compiled code in the file beside this frame ready. Answer: `Loaded`.
    LoadCompiled { stage: Box<StageSpec> },
    /// Score records, a value for each input port of each. Answer: `Scored`.
    Score { records: Vec<Vec<PortValue>>, limits: CallLimits },
    /// Say where the foreign library runs graphs. Answer: `Providers`.
    Providers,
    /// Tell the beginning of what the last record's code wrote to stderr. Answer: `Said`.
    Said,
    /// Try everything that a worker must not be able to do. Answer: `BrokeOut`.
    BreakOut,
    /// Compare the output of this port of the last call's first record. Answer: `Compared`.
    Compare { expected: PortValue, tolerance: f64 },
}

/// What the worker answers. `Failed` and `GaveUp` answer anything.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// It is shut in and waits.
    Ready(Isolation),
    /// The file is what its entry says, its format has a place in the package, and its structure holds.
    Checked(Box<Facts>),
    /// The file is what its entry says and waits for the code.
    Taken,
    /// The code can run here.
    Inspected(CodeReport),
    /// The code is compiled.
    Compiled { len_bytes: u64 },
    /// A part of it.
    Piece {
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Records may come.
    Loaded,
    /// What became of the records, in their order. The call's time or the answer's frame may end before the last of
    /// them; those may be asked for again.
    Scored {
        records: Vec<RecordEnd>,
        /// Processor time of the call, microseconds.
        cpu_us: u64,
        /// Most memory that the stage held, bytes, if its engine counts it.
        memory_peak_bytes: Option<u64>,
        /// Whether the call's time was over: the worker ends with this.
        is_last: bool,
    },
    /// Each place on which a graph of our own just ran.
    Providers { providers: Vec<String> },
    /// The beginning of what code wrote to stderr.
    Said {
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// What worked although it must not, by name.
    BrokeOut { worked: Vec<String> },
    /// The first difference in words, or none.
    Compared { difference: Option<String> },
    /// It did not work; the worker goes on.
    Failed(Failure),
    /// It did not work, and the worker ends because of it.
    GaveUp(Failure),
}
