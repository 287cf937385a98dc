//! `test --update`: what comes out is written as what is expected.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use guildhall_client::package::Draft;
use guildhall_protocol::manifest::{FileEntry, UnitTest};
use guildhall_protocol::name::FileName;
use guildhall_sandbox::{PackageFiles, RunWorker, Spawner, UNIT_TEST_SEED, unit_test_inputs};

use super::super::{Failure, exit};
use super::checks::{self, open};

/// Makes the files of expected outputs that are not there yet, empty, so that the folder is a package.
pub(super) fn make_missing(dir: &Path, expected: &[FileName]) -> Result<Vec<PathBuf>, Failure> {
    let mut made = Vec::new();
    for file in expected {
        let path = dir.join(file.as_str());
        let done = match path.parent() {
            Some(folder) => fs::create_dir_all(folder),
            None => Ok(()),
        };
        match done.and_then(|()| OpenOptions::new().write(true).create_new(true).open(&path)) {
            Ok(_) => made.push(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot_write(&path, &error)),
        }
    }
    Ok(made)
}

/// Runs the unit tests and writes what came out differently. The files that changed, in order of the tests. Blocks.
pub(super) fn update(
    spawner: &Spawner,
    dir: &Path,
    draft: &Draft,
) -> Result<Vec<FileName>, Failure> {
    let manifest = draft.manifest();
    let open = |entry: &FileEntry| open(draft.files(), entry);
    let files = PackageFiles { manifest, open: &open };
    let limits = checks::limits(manifest);
    let mut worker: Option<RunWorker> = None;
    let mut changed = Vec::new();
    for test in &manifest.tests {
        let mut ready = match worker.take().and_then(|mut old| old.is_alive().then_some(old)) {
            Some(alive) => alive,
            None => spawner
                .start(&files, &limits, &BTreeMap::new(), UNIT_TEST_SEED)
                .map_err(|failure| failed(test, &failure))?,
        };
        let scored = unit_test_inputs(&files, test).and_then(|inputs| ready.score(inputs));
        let scored = scored.map_err(|failure| failed(test, &failure))?;
        for expected in &test.outputs {
            let found = scored.outputs.iter().find(|value| value.port == expected.port);
            let Some(found) = found else { continue };
            let path = dir.join(expected.file.as_str());
            if fs::read(&path).is_ok_and(|bytes| bytes == found.bytes) {
                continue;
            }
            replace(&path, &found.bytes)?;
            changed.push(expected.file.clone());
        }
        worker = Some(ready);
    }
    Ok(changed)
}

fn failed(test: &UnitTest, failure: &guildhall_sandbox::Failure) -> Failure {
    let message = format!("test `{}` has no output that could be expected", test.name);
    Failure::new(exit::REFUSED, message)
        .with_cause(failure.to_string())
        .with_help_if(checks::fix(failure))
}

/// Beside it and then renamed, so that no half of it is ever there.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| cannot_write(path, &error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = super::super::get::temporary_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(exit::FAILED, format!("cannot write {}", path.display()))
        .with_cause(error.to_string())
}
