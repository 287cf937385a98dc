//! What a file says about itself: the answer of a worker that parsed it, and the source of a proposed manifest.
//!
//! A worker's word is untrusted: texts are bounded and printable before anybody sees them, and nothing here is signed.

use serde::{Deserialize, Serialize};

use crate::interface::{Column, TensorType};

/// Most named things (tensors, columns, imports) that are reported for one file; the counts beside them are complete.
pub const FACTS_MAX_ITEMS: usize = 4_096;

/// What one file turned out to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Facts {
    /// An ONNX graph.
    Onnx(OnnxFacts),
    /// Weights in safetensors form.
    Safetensors(WeightFacts),
    /// Weights in GGUF form.
    Gguf(WeightFacts),
    /// A Parquet file.
    Parquet(TableFacts),
    /// An Arrow IPC file or stream.
    Arrow(TableFacts),
    /// Comma-separated values with a header line.
    Csv(TableFacts),
    /// One JSON value.
    Json,
    /// One JSON value a line.
    JsonLines {
        /// Lines with a value.
        values: u64,
    },
    /// A Jupyter notebook.
    Notebook(NotebookFacts),
    /// A WebAssembly module or component.
    Wasm(WasmFacts),
    /// Text in UTF-8.
    Text,
    /// A format that is not looked into.
    Opaque,
}

impl Facts {
    /// The format's name for people.
    #[must_use]
    pub const fn format(&self) -> &'static str {
        match self {
            Self::Onnx(_) => "ONNX",
            Self::Safetensors(_) => "safetensors",
            Self::Gguf(_) => "GGUF",
            Self::Parquet(_) => "Parquet",
            Self::Arrow(_) => "Arrow",
            Self::Csv(_) => "CSV",
            Self::Json => "JSON",
            Self::JsonLines { .. } => "JSON lines",
            Self::Notebook(_) => "notebook",
            Self::Wasm(_) => "Wasm",
            Self::Text => "text",
            Self::Opaque => "opaque",
        }
    }
}

/// A graph's ends and origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnnxFacts {
    /// What must be fed, in the graph's order; initialisers are not among them.
    pub inputs: Vec<TensorFacts>,
    /// What comes out, in the graph's order.
    pub outputs: Vec<TensorFacts>,
    /// Version of the default operator set.
    pub opset: i64,
    /// The program that wrote it, as it says.
    pub producer: String,
    /// Nodes of the graph.
    pub nodes: u64,
    /// Elements of all initialisers together.
    pub parameters: u64,
    /// Files with weights that lie beside the graph, by the names the graph uses.
    #[serde(default)]
    pub external: Vec<String>,
    /// Operators of the graph and of graphs inside it, in order of name, each once; with their domain before them where
    /// it is not ONNX's own: `Conv`, `ai.onnx.ml.ZipMap`.
    #[serde(default)]
    pub operators: Vec<String>,
    /// What the graph says of classes, if it is a classifier that does.
    #[serde(default)]
    pub classifier: Option<ClassifierFacts>,
    /// The output that is one predicted number for each row.
    #[serde(default)]
    pub number: Option<String>,
}

/// The outputs of a classifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassifierFacts {
    /// The output that holds the class, a number or a text for each row.
    pub label: Option<String>,
    /// The output that holds a score for each class, as a tensor or as maps.
    pub scores: Option<String>,
    /// The classes in the order of the scores; numbers as their decimal text.
    pub labels: Vec<String>,
}

/// A named tensor of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorFacts {
    /// Name in the graph.
    pub name: String,
    /// Element type and dimensions; `None` for what interfaces cannot say, such as sequences and maps.
    pub tensor: Option<TensorType>,
}

/// Weights without a graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightFacts {
    /// Tensors in the file.
    pub tensors: u64,
    /// Elements of all tensors together.
    pub parameters: u64,
    /// Element types with the number of tensors each, by name, as the format writes them.
    pub dtypes: Vec<(String, u64)>,
    /// The architecture, where the format says it.
    #[serde(default)]
    pub architecture: Option<String>,
    /// Name, element type and shape of the first [`FACTS_MAX_ITEMS`] tensors, in the file's order; for comparisons.
    pub items: Vec<(String, String, Vec<u64>)>,
}

/// Rows and columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    /// Columns in order; types that interfaces do not have are `text`.
    pub columns: Vec<Column>,
    /// Rows, where they were counted.
    pub rows: Option<u64>,
}

/// A notebook's cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotebookFacts {
    /// The notebook format's version, major and minor.
    pub nbformat: (u64, u64),
    /// Language of the code cells, as the metadata says.
    pub language: Option<String>,
    /// Name of the kernel.
    pub kernel: Option<String>,
    /// The first heading of the first text cell.
    pub title: Option<String>,
    /// Cells with code.
    pub code_cells: u64,
    /// Cells with text.
    pub text_cells: u64,
}

/// What a module wants and gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasmFacts {
    /// A component rather than a module.
    pub component: bool,
    /// Imports, `module name`.
    pub imports: Vec<String>,
    /// Exports.
    pub exports: Vec<String>,
}
