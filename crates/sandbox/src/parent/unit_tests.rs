//! The unit tests that travel with a package, run in a worker under the limits in force.

use std::collections::BTreeMap;
use std::io::Read as _;

use guildhall_protocol::contract::Limits;
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::manifest::{PortFile, UnitTest};
use guildhall_protocol::wire::PortValue;
use serde::{Deserialize, Serialize};

use super::{PackageFiles, RunWorker, Spawner};
use crate::failure::Failure;

/// Seed of every unit test, so that a test that passes once passes again.
const SEED: u64 = 0;

/// How one unit test went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestOutcome {
    /// Its name in the manifest.
    pub name: String,
    /// Whether every compared output was as expected.
    pub passed: bool,
    /// What went wrong, in words; empty if it passed.
    pub why: String,
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
            None => spawner.start(package, limits, &BTreeMap::new(), SEED)?,
        };
        let why = match run(&mut ready, package, test) {
            Ok(None) => String::new(),
            Ok(Some(difference)) => difference,
            Err(failure) => failure.to_string(),
        };
        outcomes.push(TestOutcome { name: test.name.clone(), passed: why.is_empty(), why });
        worker = Some(ready);
    }
    Ok(outcomes)
}

/// The first difference in words, or none.
fn run(
    worker: &mut RunWorker,
    package: &PackageFiles<'_>,
    test: &UnitTest,
) -> Result<Option<String>, Failure> {
    let inputs = test.inputs.iter().map(|file| value(package, file)).collect::<Result<_, _>>()?;
    worker.score(inputs)?;
    for file in &test.outputs {
        let expected = value(package, file)?;
        if let Some(difference) = worker.compare(expected, test.tolerance)? {
            return Ok(Some(format!("port `{}`: {difference}", file.port)));
        }
    }
    Ok(None)
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
