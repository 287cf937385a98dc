//! How a graph becomes a session, and what the library's errors mean.

use ort::environment::Environment;
use ort::ep::CUDA;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

use crate::failure::Failure;

/// What the library and C++ say when an allocation failed: the arena, `new` in either wording, and the system call.
const OUT_OF_MEMORY: [&str; 4] =
    ["Failed to allocate memory", "bad_alloc", "bad allocation", "Cannot allocate memory"];

/// How a session is to work.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// Threads that work on one operator, at least one.
    pub(super) threads: usize,
    pub(super) is_on_cuda: bool,
    /// The same bytes each time, where the library can.
    pub(super) is_exact: bool,
}

/// A session over a graph of ONNX's own format, from memory.
pub(super) fn open(
    environment: &Environment,
    options: Options,
    code: &[u8],
) -> ort::Result<Session> {
    let mut builder = Session::builder(environment)?
        .with_log_level(LogLevel::Fatal)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads)?
        // Operators one after the other: a second pool would take cores that the stage was not given.
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        // A waiting thread would burn the processor time that the contract counts.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_deterministic_compute(options.is_exact)?
        // Its other format is a memory image that is trusted as it is.
        .with_config_entry("session.load_model_format", "ONNX")?;
    if options.is_on_cuda {
        builder = builder.with_execution_providers([CUDA::default().build().error_on_failure()])?;
    }
    builder.commit_from_memory(code)
}

/// What an error means: no memory, or whatever `otherwise` makes of its words.
pub(super) fn failure(error: &ort::Error, otherwise: impl FnOnce(String) -> Failure) -> Failure {
    let why = error.to_string();
    if OUT_OF_MEMORY.iter().any(|words| why.contains(words)) {
        // The node knows the limit.
        return Failure::MemoryLimit { limit_bytes: 0 };
    }
    otherwise(readable(&why).to_owned())
}

/// The library's words without the place in its own source that some begin with: a path, a line, and a function with its
/// parentheses.
fn readable(why: &str) -> &str {
    match why.split_once(") ") {
        Some((place, rest)) if place.starts_with('/') => rest,
        _ => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_librarys_own_source_is_left_out() {
        let why = "/src/core/graph.cc:1617 void onnxruntime::Graph::Init() This is an invalid model (x) y";
        assert_eq!(readable(why), "This is an invalid model (x) y");
        assert_eq!(readable("No opset (7) known"), "No opset (7) known");
    }
}
