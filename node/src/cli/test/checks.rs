//! What a node checks of a package by itself, done here: its files, its code, its unit tests.

use std::fs::File;
use std::io;

use guildhall_client::package::{ByteSize, Draft, DraftFile};
use guildhall_protocol::api::Check;
use guildhall_protocol::contract::{LimitSet, Limits, NodeLimits};
use guildhall_protocol::manifest::{FileEntry, Kind, Manifest, UnitTest};
use guildhall_protocol::name::FileName;
use guildhall_sandbox::{
    Failure as Broken, InspectLimits, PackageFiles, Spawner, TestOutcome, Took, run_tests,
};

use super::super::table::counted;
use super::measure::milliseconds;

/// Most files that are named because they are refused; the others are counted.
const REFUSED_SHOWN: usize = 100;

/// What was checked, and what it took.
#[derive(Clone, Debug, Default)]
pub(super) struct Checked {
    pub(super) checks: Vec<Check>,
    /// The most that any unit test took; none when none was scored.
    pub(super) took: Option<Took>,
}

/// Everything that a node checks of a package by itself. Blocks on workers.
pub(super) fn all(spawner: &Spawner, draft: &Draft) -> Checked {
    let manifest = draft.manifest();
    let open = |entry: &FileEntry| open(draft.files(), entry);
    let files = PackageFiles { manifest, open: &open };
    let mut checks = Vec::new();
    match spawner.inspect(&files, &InspectLimits::default()) {
        Ok(found) => {
            let engine = found.engine.map(|e| format!(", runs on `{e}`")).unwrap_or_default();
            let files = counted(found.files, "file");
            let detail = format!("{files}, {} bytes intact{engine}", found.len_bytes);
            checks.push(Check::new("files and code", true, detail));
        }
        Err(failure) => {
            let first = broken("files and code", manifest, &failure);
            let more = refused(spawner, draft, first.file.as_ref());
            checks.push(first);
            checks.extend(more);
            return Checked { checks, took: None };
        }
    }
    if manifest.kind == Kind::Pipeline {
        let detail = "stages and whether they fit are looked up by a node; `guild publish DIR \
                      --dry-run` does";
        checks.push(Check::new("stages", true, detail.to_owned()));
    }
    let mut took = None;
    if !manifest.tests.is_empty() {
        let (tests, most) = unit_tests(spawner, &files, manifest);
        checks.extend(tests);
        took = most;
    }
    Checked { checks, took }
}

/// Opens a file of the folder, by what the manifest calls it.
pub(super) fn open(files: &[DraftFile], entry: &FileEntry) -> io::Result<File> {
    match files.binary_search_by(|file| file.entry.name.cmp(&entry.name)) {
        Ok(at) => File::open(files.get(at).map(|file| &file.path).ok_or(io::ErrorKind::NotFound)?),
        Err(_) => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The limits that a node without limits of its own would set.
pub(super) fn limits(manifest: &Manifest) -> Limits {
    let contract = manifest.contract.as_ref().map(LimitSet::from).unwrap_or_default();
    Limits::smallest(contract, NodeLimits::default(), LimitSet::default())
}

/// Every other file that is refused by itself: an inspection ends at the first.
fn refused(spawner: &Spawner, draft: &Draft, first: Option<&FileName>) -> Vec<Check> {
    let manifest = draft.manifest();
    let mut examiner = spawner.examiner();
    let mut checks = Vec::new();
    for DraftFile { path, entry } in draft.files() {
        if Some(&entry.name) == first || checks.len() == REFUSED_SHOWN {
            continue;
        }
        let missing = |error: io::Error| Broken::MissingFile {
            file: entry.name.to_string(),
            why: error.to_string(),
        };
        let kind = Some(manifest.kind);
        let found = File::open(path)
            .map_err(missing)
            .and_then(|file| examiner.examine(&entry.name, &entry.media_type, kind, file));
        if let Err(failure) = found {
            checks.push(broken(&format!("file {}", entry.name), manifest, &failure));
        }
    }
    checks
}

fn unit_tests(
    spawner: &Spawner,
    files: &PackageFiles<'_>,
    manifest: &Manifest,
) -> (Vec<Check>, Option<Took>) {
    let limits = limits(manifest);
    let outcomes = match run_tests(spawner, files, &limits) {
        Ok(outcomes) => outcomes,
        Err(failure) => return (vec![broken("unit tests", manifest, &failure)], None),
    };
    let most = outcomes.iter().filter_map(|outcome| outcome.took).reduce(Took::max);
    let as_check = |(outcome, test): (TestOutcome, &UnitTest)| {
        let name = format!("test {}", outcome.name);
        if outcome.passed {
            let took = outcome.took.map(|took| format!("; {}", beside(&took, &limits)));
            let detail = format!("as expected{}", took.unwrap_or_default());
            return Check::new(&name, true, detail);
        }
        let mut check = Check::new(&name, false, outcome.why);
        check.file = test.outputs.first().map(|output| output.file.clone());
        check.fix = Some(format!(
            "correct the code, or what test `{}` expects (`guild test DIR --update` writes it); a \
             `tolerance` lets numbers differ",
            test.name
        ));
        check
    };
    (outcomes.into_iter().zip(&manifest.tests).map(as_check).collect(), most)
}

/// What a record took beside what it may take.
pub(super) fn beside(took: &Took, limits: &Limits) -> String {
    format!(
        "{} of {} ms, {} of {}",
        milliseconds(took.wall_us),
        limits.scoring_ms.value,
        ByteSize(took.memory_peak_bytes),
        ByteSize(limits.memory_bytes.value)
    )
}

/// A failure as a check: which file, where, and what would put it right.
fn broken(name: &str, manifest: &Manifest, failure: &Broken) -> Check {
    let mut check = Check::new(name, false, failure.to_string());
    let code = || manifest.code.as_ref().map(|code| code.file().clone());
    (check.file, check.offset) = match failure {
        Broken::RefusedFormat { file, offset, .. } => (file.parse().ok(), *offset),
        Broken::FileMismatch { file, .. } | Broken::MissingFile { file, .. } => {
            (file.parse().ok(), None)
        }
        Broken::InvalidModule { .. }
        | Broken::InvalidModel { .. }
        | Broken::ForbiddenImport { .. }
        | Broken::CompileTimeout { .. } => (code(), None),
        _ => (None, None),
    };
    check.fix = fix(failure);
    check
}

/// What would put a failure right, as far as it is known.
pub(super) fn fix(failure: &Broken) -> Option<String> {
    let raise = |limit: &str| Some(format!("raise `{limit}` under [contract] in guild.toml"));
    failure.help().map(str::to_owned).or_else(|| match failure {
        Broken::Timeout { .. } => raise("scoring_ms"),
        Broken::MemoryLimit { .. } => raise("memory"),
        Broken::OutputLimit { .. } => raise("output"),
        Broken::FileMismatch { .. } => Some("do not change files while they are tested".into()),
        Broken::ForbiddenImport { .. } => Some(
            "build it as a WASI preview 1 command without files, sockets and environment".into(),
        ),
        Broken::InvalidModel { .. } => {
            Some("compare [interface] and [code.onnx] in guild.toml with the graph".into())
        }
        _ => None,
    })
}
