//! The unit tests that travel with a package, run in a worker under the limits in force.

use std::collections::BTreeMap;
use std::io::Read as _;

use guildhall_protocol::contract::Limits;
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::manifest::{PortFile, UnitTest};
use guildhall_protocol::wire::PortValue;
use serde::{Deserialize, Serialize};

use super::{PackageFiles, RunWorker, Scored, Spawner};
use crate::failure::Failure;

/// Seed of every unit test, so that a test that passes once passes again.
pub const UNIT_TEST_SEED: u64 = 0;

/// How one unit test went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestOutcome {
    /// Its name in the manifest.
    pub name: String,
    /// Whether every compared output was as expected.
    pub passed: bool,
    /// What went wrong, in words; empty if it passed.
    pub why: String,
    /// What scoring it took; none when that failed.
    #[serde(default)]
    pub took: Option<Took>,
}

/// What scoring one record took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// From handing the record over until its outputs were here, microseconds.
    pub wall_us: u64,
    /// Most memory the stage held, bytes.
    pub memory_peak_bytes: u64,
    /// Length of its outputs together, bytes.
    pub output_bytes: u64,
}

impl Took {
    /// What a record took that gave these outputs.
    #[must_use]
    pub fn of(scored: &Scored) -> Self {
        let output_bytes: usize = scored.outputs.iter().map(|value| value.bytes.len()).sum();
        Self {
            wall_us: scored.wall_us,
            memory_peak_bytes: scored.memory_peak_bytes,
            output_bytes: output_bytes as u64,
        }
    }

    /// The larger of each figure.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            wall_us: self.wall_us.max(other.wall_us),
            memory_peak_bytes: self.memory_peak_bytes.max(other.memory_peak_bytes),
            output_bytes: self.output_bytes.max(other.output_bytes),
        }
    }
}

/// Runs every unit test of a package, in order. A test that kills its worker fails; the next gets a new one.
///
/// # Errors
/// A [`Failure`] of starting a worker with the package's code. A failing test is an outcome, not an error.
pub fn run_tests(
    spawner: &Spawner,
    package: &PackageFiles<'_>,
    limits: &Limits,
) -> Result<Vec<TestOutcome>, Failure> {
    let mut outcomes = Vec::new();
    let mut worker: Option<RunWorker> = None;
    for test in &package.manifest.tests {
        let mut ready = match worker.take().and_then(|mut old| old.is_alive().then_some(old)) {
            Some(alive) => alive,
            None => spawner.start(package, limits, &BTreeMap::new(), UNIT_TEST_SEED)?,
        };
        let mut took = None;
        let why = match run(&mut ready, package, test, &mut took) {
            Ok(None) => String::new(),
            Ok(Some(difference)) => difference,
            Err(failure) => failure.to_string(),
        };
        outcomes.push(TestOutcome { name: test.name.clone(), passed: why.is_empty(), why, took });
        worker = Some(ready);
    }
    Ok(outcomes)
}

/// The first difference in words, or none.
fn run(
    worker: &mut RunWorker,
    package: &PackageFiles<'_>,
    test: &UnitTest,
    took: &mut Option<Took>,
) -> Result<Option<String>, Failure> {
    let inputs = inputs(package, test)?;
    *took = Some(Took::of(&worker.score(inputs)?));
    for file in &test.outputs {
        let expected = value(package, file)?;
        if let Some(difference) = worker.compare(expected, test.tolerance)? {
            return Ok(Some(format!("port `{}`: {difference}", file.port)));
        }
    }
    Ok(None)
}

/// The values that a test begins with.
///
/// # Errors
/// A [`Failure`] about a file that is missing or too long.
pub fn inputs(package: &PackageFiles<'_>, test: &UnitTest) -> Result<Vec<PortValue>, Failure> {
    test.inputs.iter().map(|file| value(package, file)).collect()
}

/// The bytes of a test's file; the node looks at none of them.
fn value(package: &PackageFiles<'_>, wanted: &PortFile) -> Result<PortValue, Failure> {
    let missing = |why: String| Failure::MissingFile { file: wanted.file.to_string(), why };
    let entry = package
        .manifest
        .file(&wanted.file)
        .ok_or_else(|| missing("it is not in the manifest".into()))?;
    if entry.len_bytes > VALUE_MAX_BYTES as u64 {
        return Err(Failure::BadInput {
            why: format!("`{}` is longer than {VALUE_MAX_BYTES} bytes", wanted.file),
        });
    }
    let mut bytes = Vec::new();
    package
        .open(entry)?
        .take(entry.len_bytes)
        .read_to_end(&mut bytes)
        .map_err(|error| missing(error.to_string()))?;
    Ok(PortValue::new(wanted.port.clone(), bytes))
}
