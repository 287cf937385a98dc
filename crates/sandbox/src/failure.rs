//! What can go wrong with a worker or with what it executes, in words for the person who reads them.
//!
//! A worker sends its failures as it would any answer, so texts in them are foreign: [`Failure::bounded`] cuts them to
//! length and takes control characters out before anything else sees them.

use guildhall_protocol::limits::JOB_ERROR_MAX_BYTES;
use serde::{Deserialize, Serialize};

/// Longest text in a failure, bytes: what a job may send back to its requester anyway.
pub const TEXT_MAX_BYTES: usize = JOB_ERROR_MAX_BYTES;

/// Packages of WASI that lead to a network. Toolchains link them for programs that never use them.
const NETWORK: [&str; 2] = ["wasi:sockets", "wasi:http"];

/// How to build without them.
const NETWORK_HELP: &str = "stages have no network; Python: `componentize-py ... componentize --stub-wasi`, JavaScript: \
                            `jco componentize ... --disable all`";

/// Packages of wasi-nn, in both of its forms.
const NN: [&str; 2] = ["wasi_ephemeral_nn", "wasi:nn"];

/// How to get it.
const NN_HELP: &str = "models are for stages that ask for them: `imports = [\"wasi_nn\"]` under [contract] of guild.toml, \
                       and `models = [{ name = ..., model = ... }]` beside the code; components: version \
                       0.2.0-rc-2024-10-28, and in Python without `--stub-wasi`";

/// Why an inspection or a scoring gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Failure {
    /// One record took longer than the limit in force.
    #[error("stopped after {stopped_after_ms} ms: the limit for one record is {limit_ms} ms")]
    Timeout {
        /// Limit in force, milliseconds.
        limit_ms: u64,
        /// From the moment the record was handed over until nothing of it ran any more, milliseconds.
        stopped_after_ms: u64,
    },
    /// More memory was wanted than the limit in force.
    #[error("it wanted more memory than the limit of {limit_bytes} bytes")]
    MemoryLimit {
        /// Limit in force, bytes.
        limit_bytes: u64,
    },
    /// The output of one record is longer than the limit in force.
    #[error("its output is longer than the limit of {limit_bytes} bytes")]
    OutputLimit {
        /// Limit in force, bytes.
        limit_bytes: u64,
    },
    /// The guest broke a rule of its own machine.
    #[error("it crashed: {code}")]
    Trap {
        /// Which rule.
        code: TrapCode,
    },
    /// The guest gave up by itself.
    #[error("it ended with exit code {code}{}", said(stderr_excerpt))]
    Exited {
        /// Its exit code, not 0.
        code: i32,
        /// The beginning of what it wrote to stderr, printable and at most [`TEXT_MAX_BYTES`] long.
        stderr_excerpt: String,
    },
    /// The guest gave up on this record and said why; other records of the call are not affected.
    #[error("it failed: {why}")]
    Stage {
        /// Its own words, printable and at most [`TEXT_MAX_BYTES`] long.
        why: String,
    },
    /// A module wants something of the host that stages do not get.
    #[error("it imports `{module}` `{name}`, which stages do not get")]
    ForbiddenImport {
        /// Module of the import.
        module: String,
        /// Name in that module.
        name: String,
    },
    /// The code is no module that could run here.
    #[error("the module is not valid here: {why}")]
    InvalidModule {
        /// What is wrong.
        why: String,
    },
    /// The graph is no model that could run here, or it is not what the interface says.
    #[error("the model is not valid here: {why}")]
    InvalidModel {
        /// What is wrong.
        why: String,
    },
    /// Compiling or loading the code took too long.
    #[error("compiling it took longer than {limit_ms} ms")]
    CompileTimeout {
        /// Limit, milliseconds.
        limit_ms: u64,
    },
    /// The package asks for something that no engine of this node offers.
    #[error("this node cannot run it: {what}")]
    Unsupported {
        /// What is missing.
        what: String,
    },
    /// Input bytes are not what the input port says.
    #[error("the input does not match the interface: {why}")]
    BadInput {
        /// What differs.
        why: String,
    },
    /// Output bytes are not what the output port says.
    #[error("its output does not match its interface: {why}")]
    BadOutput {
        /// What differs.
        why: String,
    },
    /// A file's bytes are not the manifest's.
    #[error("file `{file}` is not what the manifest says: {why}")]
    FileMismatch {
        /// Name in the package.
        file: String,
        /// What differs.
        why: String,
    },
    /// A file's format can execute code when it is read, has no place in the package, or is broken.
    #[error("file `{file}` is refused{}: {why}", place(*offset))]
    RefusedFormat {
        /// Name in the package.
        file: String,
        /// Why.
        why: String,
        /// Where in the file it shows, bytes from its start.
        #[serde(default)]
        offset: Option<u64>,
        /// What to do about it, such as what to convert it to.
        #[serde(default)]
        help: Option<String>,
    },
    /// A file of the package is not at hand.
    #[error("file `{file}` cannot be opened: {why}")]
    MissingFile {
        /// Name in the package.
        file: String,
        /// The system's reason.
        why: String,
    },
    /// The worker process ended, or said something that no worker says.
    #[error("the worker process died: {why}")]
    WorkerDied {
        /// Signal, exit status or broken rule.
        why: String,
    },
    /// Others have what it needs; later it may be free.
    #[error("this node is busy: {why}")]
    Busy {
        /// What they have.
        why: String,
    },
    /// This node's own trouble: no process, no memory, a broken installation.
    #[error("this node could not do it: {why}")]
    Internal {
        /// What failed.
        why: String,
    },
}

/// The second half of a sentence about what a guest said, or nothing.
fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") }
}

/// The part of a sentence about where in a file something is, or nothing.
fn place(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default()
}

/// Who has to change something before it can work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The package: its code, its files or its contract.
    Package,
    /// The input.
    Input,
    /// Nobody for sure: the executing node or a killed process. Another attempt may work.
    Node,
}

impl Failure {
    /// Who has to change something before it can work.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::BadInput { .. } => Fault::Input,
            Self::MissingFile { .. }
            | Self::Unsupported { .. }
            | Self::WorkerDied { .. }
            | Self::Busy { .. }
            | Self::Internal { .. } => Fault::Node,
            _ => Fault::Package,
        }
    }

    /// What its producer can do about it, if more is known than the cause says.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::RefusedFormat { help, .. } => help.as_deref(),
            Self::ForbiddenImport { module, .. } if NETWORK.contains(&module.as_str()) => {
                Some(NETWORK_HELP)
            }
            Self::ForbiddenImport { module, .. } if NN.contains(&module.as_str()) => Some(NN_HELP),
            _ => None,
        }
    }

    /// The file that it is about, as the manifest names it.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::RefusedFormat { file, .. }
            | Self::FileMismatch { file, .. }
            | Self::MissingFile { file, .. } => Some(file),
            _ => None,
        }
    }

    /// Where in that file, bytes from its beginning.
    #[must_use]
    pub const fn offset(&self) -> Option<u64> {
        match self {
            Self::RefusedFormat { offset, .. } => *offset,
            _ => None,
        }
    }

    /// Whether the same package would fail on any node.
    #[must_use]
    pub fn is_fault_of_package(&self) -> bool {
        self.fault() == Fault::Package
    }

    /// The same failure with every text printable and at most [`TEXT_MAX_BYTES`] long.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let texts: [Option<&mut String>; 3] = match &mut self {
            Self::Exited { stderr_excerpt, .. } => [Some(stderr_excerpt), None, None],
            Self::ForbiddenImport { module, name } => [Some(module), Some(name), None],
            Self::InvalidModule { why }
            | Self::InvalidModel { why }
            | Self::Stage { why }
            | Self::BadInput { why }
            | Self::BadOutput { why }
            | Self::WorkerDied { why }
            | Self::Busy { why }
            | Self::Internal { why } => [Some(why), None, None],
            Self::Unsupported { what } => [Some(what), None, None],
            Self::FileMismatch { file, why } | Self::MissingFile { file, why } => {
                [Some(file), Some(why), None]
            }
            Self::RefusedFormat { file, why, help, .. } => [Some(file), Some(why), help.as_mut()],
            Self::Timeout { .. }
            | Self::MemoryLimit { .. }
            | Self::OutputLimit { .. }
            | Self::Trap { .. }
            | Self::CompileTimeout { .. } => [None, None, None],
        };
        for text in texts.into_iter().flatten() {
            *text = excerpt(text.as_bytes());
        }
        self
    }
}

/// Which rule of its machine a guest broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrapCode {
    /// An `unreachable` instruction: most languages' abort.
    #[error("it reached code that it must not reach")]
    Unreachable,
    /// A read or write outside its memory.
    #[error("access outside its memory")]
    MemoryOutOfBounds,
    /// A read or write outside a table.
    #[error("access outside a table")]
    TableOutOfBounds,
    /// A call through an empty or wrongly typed table entry.
    #[error("call of something that is not this function")]
    BadIndirectCall,
    /// Division of an integer by zero.
    #[error("integer division by zero")]
    DivisionByZero,
    /// A result that its integer type cannot hold.
    #[error("integer overflow")]
    IntegerOverflow,
    /// A number that an integer type cannot hold.
    #[error("conversion of a number to an integer that cannot hold it")]
    BadConversion,
    /// Calls nested too deeply.
    #[error("calls nested too deeply")]
    StackOverflow,
    /// Anything else.
    #[error("another violation")]
    Other,
}

/// Makes foreign text fit to be shown: UTF-8, one line, printable, at most [`TEXT_MAX_BYTES`] bytes.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let start = bytes.get(..TEXT_MAX_BYTES).unwrap_or(bytes);
    let mut text = String::new();
    for c in String::from_utf8_lossy(start).trim().chars() {
        let shown = match c {
            '\n' | '\r' | '\t' => ' ',
            // Control characters move cursors, and direction marks reorder what a person reads.
            c if c.is_control()
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                '\u{fffd}'
            }
            c => c,
        };
        if text.len() + shown.len_utf8() > TEXT_MAX_BYTES {
            break;
        }
        text.push(shown);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_becomes_one_short_printable_line() {
        assert_eq!(excerpt(b"  no\nwidth\x1b[31m\xff "), "no width\u{fffd}[31m\u{fffd}");
        assert_eq!(excerpt("a\u{202e}b".as_bytes()), "a\u{fffd}b");
        let long = excerpt(&vec![0x07; 5000]);
        assert!(long.len() <= TEXT_MAX_BYTES && long.len() > TEXT_MAX_BYTES - 3);
    }

    #[test]
    fn a_failure_reads_as_a_sentence() {
        let exited = Failure::Exited { code: 1, stderr_excerpt: "the header has no width".into() };
        assert_eq!(
            exited.to_string(),
            "it ended with exit code 1; it said: the header has no width"
        );
        assert_eq!(
            Failure::Exited { code: 2, stderr_excerpt: String::new() }.to_string(),
            "it ended with exit code 2"
        );
        assert!(exited.is_fault_of_package());
        let refused = Failure::RefusedFormat {
            file: "a.csv".into(),
            why: "line 2: 1 cells, but the header has 2".into(),
            offset: Some(4),
            help: Some("fill the line".into()),
        };
        assert_eq!(
            refused.to_string(),
            "file `a.csv` is refused at byte 4: line 2: 1 cells, but the header has 2"
        );
        assert_eq!((refused.help(), exited.help()), (Some("fill the line"), None));
        assert_eq!(Failure::BadInput { why: "63 bytes".into() }.fault(), Fault::Input);
    }
}
