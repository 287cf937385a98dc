//! Packages as people keep them: a folder with its files and a `guild.toml` that describes them.
//!
//! [`read_dir`] turns a folder into a [`Draft`]: every file hashed, the manifest filled in, the listing drafted. It
//! works offline. [`Draft::resolve`] then looks up the packages that stages and dependencies name, [`Draft::upload`]
//! sends the files, and [`Draft::request`] is what [`Client::publish`](crate::Client::publish) takes.
//!
//! `guild.toml` (unknown keys are errors):
//!
//! ```toml
//! kind = "model"                      # algorithm, model, data, notebook, pipeline
//! name = "digits-mlp"
//! version = "1.0.0"
//! categories = ["vision/image-classification"]
//! summary = "Says which digit an 8x8 greyscale picture shows."
//! keywords = ["digits"]               # optional, as all below
//! licence = "Apache-2.0"              # SPDX; `unknown` with a warning when it is missing
//! documentation = "README.md"         # README.md when there is one
//! examples = []                       # files that show it in use
//! visibility = "federation"           # public, federation, org; org when sensitive
//! sensitive = false
//! replicas = 3
//! dependencies = ["lab-a/other@1.0.0"]
//!
//! [[interface.inputs]]                # also outputs
//! name = "pixels"
//! type = { tensor = { dtype = "f32", dims = [64] } }
//!
//! [[interface.outputs]]
//! name = "digit"
//! type = { prediction = { value = "class", labels = ["0", "1"] } }
//!
//! [contract]                          # needed with code; sizes as numbers or as "64 MiB"
//! scoring_ms = 50
//! measured_on = "one core of a laptop of 2020"
//! memory = "64 MiB"
//! output = "64 KiB"                   # longest output for one record
//! batch_max = 64
//! determinism = "numeric"             # bitwise, numeric, none
//!
//! [code.onnx]                         # or [code.command] with module = "x.wasm"
//! model = "model.onnx"
//! inputs = [{ port = "pixels", tensor = "X" }]
//! outputs = [{ port = "digit", tensor = "probabilities" }]
//!
//! [[tests]]
//! name = "1"
//! inputs = [{ port = "pixels", file = "tests/1.in.f32" }]
//! outputs = [{ port = "digit", file = "tests/1.out.json" }]
//! tolerance = 1e-4
//!
//! [claims]
//! accuracy = [{ metric = "accuracy", dataset = "lab-a/digits-images@1.0.0", value = 0.98 }]
//! latency = [{ p50_ms = 0.1, hardware = "one core of a laptop of 2020" }]
//!
//! [suggested]
//! memory = "64 MiB"
//! data = ["lab-a/digits-images"]
//! hardware = { cores = 1, gpu_memory = 0 }
//! ```
//!
//! [`Folder::propose`] completes a `guild.toml` that is missing or says too little from what the files say; its module
//! has the table of rules. Files and folders that `.guildignore` names stay out, as `.gitignore` has it.
//!
//! A data package says how its files form records, `[records]` with `port`, `folder` and `labels`. A pipeline has
//! `[[stages]]` with `name`, `package` and `config`; its interface is that of its ends unless it is written down. The
//! org `self` in a reference means the org that publishes. [`Sketch`] reads one that still lacks stages, written
//! `package = "?"`.

mod compare;
mod description;
mod draft;
mod error;
mod files;
mod ignore;
mod incoming;
mod licence;
mod media;
mod propose;
mod publish;
mod size;
mod sketch;

pub use compare::{
    Change, Changed, Compared, Comparison, FileChanges, FileStructure, Renamed, compare,
};
pub use draft::{Draft, DraftFile, Folder, Overrides, read_dir, read_dir_with};
pub use error::PackageError;
pub use files::{OnReading, Reading, hash_file};
pub use incoming::Incoming;
pub use media::media_type;
pub use propose::{FactsOf, Proposal, Proposed, Question, Source, Unsaid, name_of};
pub use publish::{OnSent, PublishError};
pub use size::{ByteSize, ByteSizeError};
pub use sketch::{Sketch, SketchStage};

/// The file that describes a package.
pub const DESCRIPTION_FILE: &str = "guild.toml";
