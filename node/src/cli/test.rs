//! `test`: what a node would check before it lists a package, done here, without a node.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use guildhall_client::package::{Draft, DraftFile, Overrides, Proposal, Question};
use guildhall_client::shell_quote;
use guildhall_protocol::api::Check;
use guildhall_protocol::contract::{LimitSet, Limits, NodeLimits};
use guildhall_protocol::manifest::{FileEntry, Kind, Manifest, UnitTest};
use guildhall_protocol::name::FileName;
use guildhall_sandbox::{Failure as Broken, InspectLimits, PackageFiles, Spawner, run_tests};
use serde_json::json;

use super::publish::{
    Given, blocking, check_lines, propose, read_folder, show_proposal, spawner, warn_of_categories,
    with_lines,
};
use super::table::counted;
use super::{Context, Failure, category, exit};

/// Most files that are named because they are refused; the others are counted.
const REFUSED_SHOWN: usize = 100;

/// `guild test`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TestArgs {
    /// Folder with the files, and a guild.toml unless the files say enough
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// What it would be published as, where guild.toml and the files do not say it right.
    #[command(flatten)]
    pub(crate) given: Given,
}

pub(super) async fn test(context: &Context, args: TestArgs) -> Result<(), Failure> {
    let output = &context.output;
    category::tell(output, &args.given.category);
    let overrides = Overrides::from(args.given);
    let folder = read_folder(context, &args.dir).await.map_err(about_test)?;
    let mut is_unsaid = false;
    let draft = if folder.is_described() {
        folder.draft(&overrides)?
    } else {
        let mut proposal = propose(&folder, &overrides).await?;
        output.note(&format!("{} would be published as:", folder.dir().display()));
        show_proposal(output, &folder, &proposal);
        is_unsaid = proposal.categories.is_none();
        fill(context, &mut proposal)?;
        proposal.draft(&folder, &overrides).map_err(with_lines)?
    };
    draft.warnings().iter().for_each(|warning| output.warning(warning));
    if !is_unsaid {
        warn_of_categories(output, &draft);
    }
    // A pipeline has its stages from a node; everything else is complete.
    if draft.manifest().kind != Kind::Pipeline {
        draft.request(true)?;
    }
    output.progress("testing");
    let tested = draft.clone();
    let checks = blocking(move || checks(&spawner(), &tested)).await?;
    output.clear_progress();
    show(context, &args.dir, &draft, &checks)
}

/// What only a listing needs does not keep files from being tested.
fn fill(context: &Context, proposal: &mut Proposal) -> Result<(), Failure> {
    for one in proposal.unsaid() {
        let (question, placeholder) = match one.key {
            "name" => (Question::Name, "unnamed"),
            "version" => (Question::Version, "0.1.0"),
            "categories" => (Question::Category, "data/x-unsaid"),
            "summary" => (Question::Summary, "Not said yet."),
            _ => continue,
        };
        let missing = format!("publishing will need `{}`", one.example);
        context.output.warning(&missing);
        let filled = proposal.answer(question, placeholder);
        filled
            .map_err(|error| Failure::new(exit::FAILED, missing).with_cause(error.to_string()))?;
    }
    Ok(())
}

/// The way out of a wrong folder, for this command.
fn about_test(failure: Failure) -> Failure {
    let help = failure.help.clone();
    let help = help.map(|help| match help.strip_prefix("guild publish ") {
        Some(rest) => format!("guild test {rest}"),
        None => help,
    });
    failure.with_help_if(help)
}

fn show(context: &Context, dir: &Path, draft: &Draft, checks: &[Check]) -> Result<(), Failure> {
    let output = &context.output;
    let failed = checks.iter().filter(|check| !check.passed).count();
    let (kind, listing) = (draft.manifest().kind, draft.listing());
    if output.is_json() {
        output.json(&json!({
            "kind": kind,
            "name": listing.name,
            "version": listing.version,
            "checks": checks,
            "passed": failed == 0,
        }))?;
    } else {
        let shown = checks.iter().filter(|check| !output.is_quiet() || !check.passed);
        shown.flat_map(check_lines).try_for_each(|line| output.line(&line))?;
    }
    if failed == 0 {
        output.note(&format!("{kind} {}: {} passed", listing.name, counted(checks.len(), "check")));
        return Ok(());
    }
    let message = format!("{failed} of {} failed", counted(checks.len(), "check"));
    Err(Failure::new(exit::REFUSED, message).with_help(format!("guild test {}", shell_quote(dir))))
}

/// Everything that a node checks of a package by itself. Blocks on workers.
fn checks(spawner: &Spawner, draft: &Draft) -> Vec<Check> {
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
            return checks;
        }
    }
    if manifest.kind == Kind::Pipeline {
        let detail = "stages and whether they fit are looked up by a node; `guild publish DIR \
                      --dry-run` does";
        checks.push(Check::new("stages", true, detail.to_owned()));
    }
    if !manifest.tests.is_empty() {
        checks.extend(unit_tests(spawner, &files, manifest));
    }
    checks
}

/// Opens a file of the folder, by what the manifest calls it.
fn open(files: &[DraftFile], entry: &FileEntry) -> io::Result<File> {
    match files.binary_search_by(|file| file.entry.name.cmp(&entry.name)) {
        Ok(at) => File::open(files.get(at).map(|file| &file.path).ok_or(io::ErrorKind::NotFound)?),
        Err(_) => Err(io::ErrorKind::NotFound.into()),
    }
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

fn unit_tests(spawner: &Spawner, files: &PackageFiles<'_>, manifest: &Manifest) -> Vec<Check> {
    let contract = manifest.contract.as_ref().map(LimitSet::from).unwrap_or_default();
    let limits = Limits::smallest(contract, NodeLimits::default(), LimitSet::default());
    let outcomes = match run_tests(spawner, files, &limits) {
        Ok(outcomes) => outcomes,
        Err(failure) => return vec![broken("unit tests", manifest, &failure)],
    };
    let as_check = |(outcome, test): (guildhall_sandbox::TestOutcome, &UnitTest)| {
        let name = format!("test {}", outcome.name);
        if outcome.passed {
            return Check::new(&name, true, "as expected".to_owned());
        }
        let mut check = Check::new(&name, false, outcome.why);
        check.file = test.outputs.first().map(|output| output.file.clone());
        check.fix = Some(format!(
            "correct the code, or what test `{}` expects; a `tolerance` lets numbers differ",
            test.name
        ));
        check
    };
    outcomes.into_iter().zip(&manifest.tests).map(as_check).collect()
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
    let raise = |limit: &str| Some(format!("raise `{limit}` under [contract] in guild.toml"));
    check.fix = failure.help().map(str::to_owned).or_else(|| match failure {
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
    });
    check
}
