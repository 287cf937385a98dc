//! `test`: what a node would check before it lists a package, done here, without a node.
//!
//! Everything foreign runs in workers, under the contract, as when it is published. Nothing is built, and only
//! `--update` writes.

mod by_hand;
mod checks;
mod loose;
mod measure;
mod update;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use guildhall_client::package::{Draft, DraftFile, Folder, Overrides, Proposal, Question};
use guildhall_client::shell_quote;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::FileName;
use guildhall_sandbox::Spawner;
use serde_json::json;

use self::checks::Checked;
use self::loose::Named;
use self::measure::{Misfit, misfits};
use super::publish::{
    Given, blocking, check_lines, propose, read_folder, show_proposal, warn_of_categories,
    with_lines,
};
use super::table::counted;
use super::{Context, Failure, category, exit};

/// Endings of files that modules are built from.
const SOURCES: [&str; 9] = [".c", ".h", ".zig", ".rs", ".go", ".wat", ".py", ".js", ".ts"];

/// How much newer a source must be than its module before that is worth a word: a checkout writes them in any order.
const NEWER_BY: Duration = Duration::from_secs(2);

/// `guild test`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  guild test .                         the files, the code, the unit tests
  guild test . --input some.txt        one input by hand: the output, and stderr of the stage
  guild test . --update                write what comes out as what the tests expect

Exit codes: 0 all passed, 1 the stage failed on --input, 3 no such folder or file, 4 a check failed")]
pub(crate) struct TestArgs {
    /// Folder with the files, and a guild.toml unless the files say enough
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Write what the unit tests give as what they expect
    #[arg(long, conflicts_with = "input")]
    pub(crate) update: bool,
    /// Run this input only and show what comes out; `-` is stdin, several ports take one each
    #[arg(long, value_name = "[PORT=]FILE")]
    pub(crate) input: Vec<String>,
    /// With --input: a setting, as a pipeline's step has it; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "input", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// What it would be published as, where guild.toml and the files do not say it right.
    #[command(flatten)]
    pub(crate) given: Given,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a setting is KEY=VALUE".to_owned()),
    }
}

pub(super) async fn test(context: &Context, args: TestArgs) -> Result<(), Failure> {
    let output = &context.output;
    category::tell(output, &args.given.category);
    let overrides = Overrides::from(args.given);
    unbuilt(&args.dir)?;
    let updated = match args.update {
        true => update(context, &args.dir, &overrides).await?,
        false => Vec::new(),
    };
    let draft = describe(context, &args.dir, &overrides).await?;
    if let Some(warning) = outdated(&draft) {
        output.warning(&warning);
    }
    if !args.input.is_empty() {
        return by_hand(context, draft, &args.input, args.set).await;
    }
    draft.warnings().iter().for_each(|warning| output.warning(warning));
    // A pipeline has its stages from a node; everything else is complete.
    if draft.manifest().kind != Kind::Pipeline {
        draft.request(true)?;
    }
    output.progress("testing");
    let tested = draft.clone();
    let checked =
        blocking(move || Ok::<_, Failure>(checks::all(&spawner_for(&tested)?, &tested))).await??;
    output.clear_progress();
    show(context, &args.dir, &draft, &checked, &updated)
}

/// Starts workers with the engine that a package needs.
fn spawner_for(draft: &Draft) -> Result<Spawner, Failure> {
    crate::engines::spawner_trying(draft.manifest()).map_err(|problem| {
        Failure::from_error(exit::REFUSED, &problem)
            .with_help("GUILD_ONNXRUNTIME=/path/libonnxruntime.so")
    })
}

/// Writes what the unit tests give as what they expect; the files that changed.
async fn update(
    context: &Context,
    dir: &Path,
    overrides: &Overrides,
) -> Result<Vec<FileName>, Failure> {
    let made = update::make_missing(dir, &Named::read(dir).expected)?;
    let done = async {
        let folder = read_folder(context, dir).await.map_err(about_test)?;
        let draft = folder.draft(overrides)?;
        context.output.progress("running the tests");
        let dir = dir.to_owned();
        blocking(move || update::update(&spawner_for(&draft)?, &dir, &draft)).await?
    };
    let done = done.await;
    if done.is_err() {
        // Files that were made empty would look like expectations.
        made.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
    done
}

/// The draft of a folder, with what only a listing needs filled in.
async fn describe(context: &Context, dir: &Path, overrides: &Overrides) -> Result<Draft, Failure> {
    let output = &context.output;
    let folder: Folder = read_folder(context, dir).await.map_err(about_test)?;
    if folder.is_described() {
        let draft = folder.draft(overrides)?;
        warn_of_categories(output, &draft);
        return Ok(draft);
    }
    let mut proposal = propose(&folder, overrides).await?;
    output.note(&format!("{} would be published as:", folder.dir().display()));
    show_proposal(output, &folder, &proposal);
    let is_unsaid = proposal.categories.is_none();
    fill(context, &mut proposal)?;
    let draft = proposal.draft(&folder, overrides).map_err(with_lines)?;
    if !is_unsaid {
        warn_of_categories(output, &draft);
    }
    Ok(draft)
}

async fn by_hand(
    context: &Context,
    draft: Draft,
    given: &[String],
    settings: Vec<(String, String)>,
) -> Result<(), Failure> {
    let mut with = draft.manifest().clone();
    with.tests.clear();
    with.check().map_err(|error| Failure::from_error(exit::REFUSED, &error))?;
    if with.code.is_none() {
        let message = format!("a package of kind {} runs nothing", with.kind);
        return Err(Failure::new(exit::REFUSED, message));
    }
    let (given, config) = (given.to_vec(), settings.into_iter().collect::<BTreeMap<_, _>>());
    context.output.progress("running");
    let (draft, tried) = blocking(move || {
        let inputs = by_hand::read(&given, &draft.manifest().interface)?;
        let tried = by_hand::score(&spawner_for(&draft)?, &draft, &config, inputs);
        Ok::<_, Failure>((draft, tried))
    })
    .await??;
    context.output.clear_progress();
    by_hand::show(context, &draft, tried)
}

/// Refuses a folder whose code is not there: most likely it was not built yet.
pub(super) fn unbuilt(dir: &Path) -> Result<(), Failure> {
    let Some(file) = Named::read(dir).code else { return Ok(()) };
    let path = dir.join(file.as_str());
    if path.exists() {
        return Ok(());
    }
    let script = dir.join("build.sh");
    let help = if path.with_extension("wat").is_file() {
        Some(format!("guild build {}", shell_quote(dir)))
    } else {
        script.is_file().then(|| format!("sh {}", shell_quote(&script)))
    };
    let message = format!("{}, the code, is not there; is it built?", path.display());
    Err(Failure::new(exit::REFUSED, message).with_help_if(help))
}

/// A source that was changed after its module was built.
fn outdated(draft: &Draft) -> Option<String> {
    let code = draft.manifest().code.as_ref()?.file();
    let is_module = code.as_str().ends_with(".wasm");
    let modified = |file: &DraftFile| std::fs::metadata(&file.path).and_then(|m| m.modified()).ok();
    let module =
        draft.files().iter().find(|file| file.entry.name == *code).filter(|_| is_module)?;
    let built = modified(module)?.checked_add(NEWER_BY)?;
    let is_source = |name: &FileName| SOURCES.iter().any(|end| name.as_str().ends_with(end));
    let newer = draft.files().iter().find(|file| {
        is_source(&file.entry.name) && modified(file).is_some_and(|changed| changed > built)
    })?;
    Some(format!("{} is newer than {code}: is it built?", newer.entry.name))
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

fn show(
    context: &Context,
    dir: &Path,
    draft: &Draft,
    checked: &Checked,
    updated: &[FileName],
) -> Result<(), Failure> {
    let output = &context.output;
    let Checked { checks, took } = checked;
    let failed = checks.iter().filter(|check| !check.passed).count();
    let (kind, listing) = (draft.manifest().kind, draft.listing());
    let limits = checks::limits(draft.manifest());
    let took = took.filter(|_| failed == 0);
    let misfits = took.map(|took| misfits(&took, &limits)).unwrap_or_default();
    if output.is_json() {
        output.json(&json!({
            "kind": kind,
            "name": listing.name,
            "version": listing.version,
            "checks": checks,
            "passed": failed == 0,
            "took": took,
            "contract": misfits.iter().map(|one| &one.line).collect::<Vec<_>>(),
            "updated": updated,
        }))?;
    } else {
        updated.iter().try_for_each(|file| output.line(&format!("  wrote   {file}")))?;
        let shown = checks.iter().filter(|check| !output.is_quiet() || !check.passed);
        shown.flat_map(check_lines).try_for_each(|line| output.line(&line))?;
    }
    for Misfit { key, why, line } in &misfits {
        output.warning(&format!("`{key}` of the contract: {why}; `{line}` would do"));
    }
    if failed == 0 {
        output.note(&format!("{kind} {}: {} passed", listing.name, counted(checks.len(), "check")));
        return Ok(());
    }
    let message = format!("{failed} of {} failed", counted(checks.len(), "check"));
    Err(Failure::new(exit::REFUSED, message).with_help(format!("guild test {}", shell_quote(dir))))
}
