//! `diff`: two packages, or two states of one, side by side. Either may be a reference or a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use guildhall_client::package::{
    ByteSize, Change, Compared, Comparison, Draft, FileChanges, Overrides, compare,
};
use guildhall_client::{Client, Error};
use guildhall_protocol::facts::Facts;
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::name::{FileName, Reference};
use serde_json::json;

use super::publish::{Looker, blocking, propose, read_folder, with_lines};
use super::table::{clipped, counted};
use super::{Context, Failure, Table, exit};

/// Most lines of one section that are shown to people; JSON has them all.
const LINES_SHOWN: usize = 50;

/// Longest value that is shown of either side, characters.
const VALUE_SHOWN: usize = 60;

/// `guild diff`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first: a folder, or org/name, org/name@version, b3:HASH
    #[arg(value_name = "A")]
    pub(crate) before: String,
    /// The second
    #[arg(value_name = "B")]
    pub(crate) after: String,
    /// End with exit code 1 when they differ
    #[arg(long)]
    pub(crate) exit_code: bool,
}

/// One of the two, looked up.
struct Side {
    shown: String,
    manifest: Manifest,
    facts: BTreeMap<FileName, Facts>,
}

/// What was written for one of the two. An existing folder wins over a reference of the same letters.
enum Given {
    Folder(PathBuf),
    Reference(Reference),
}

impl Given {
    fn parse(text: &str) -> Result<Self, Failure> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        text.parse().map(Self::Reference).map_err(|error| {
            Failure::new(exit::NOT_FOUND, format!("`{text}` is neither a folder nor a reference"))
                .with_cause(format!("{error}"))
                .with_help("guild diff ORG/NAME@VERSION DIR")
        })
    }
}

pub(super) async fn diff(context: &Context, args: &DiffArgs) -> Result<(), Failure> {
    let output = &context.output;
    let given = [Given::parse(&args.before)?, Given::parse(&args.after)?];
    let mut sides = Vec::new();
    for given in given {
        sides.push(match given {
            Given::Folder(dir) => of_folder(context, &dir).await?,
            Given::Reference(reference) => of_reference(context, &reference).await?,
        });
    }
    let [before, after] = sides.as_slice() else { return Ok(()) };
    let found = compare(
        Compared { manifest: &before.manifest, facts: &before.facts },
        Compared { manifest: &after.manifest, facts: &after.facts },
    );
    if output.is_json() {
        output.json(&json!({
            "a": before.shown,
            "b": after.shown,
            "same": found.is_same(),
            "manifest": found.manifest,
            "ports": found.ports,
            "fits": found.misfits.as_ref().map(Vec::is_empty),
            "misfits": found.misfits,
            "files": found.files,
            "structure": found.structure,
        }))?;
    } else if output.is_quiet() {
        output.line(if found.is_same() { "same" } else { "different" })?;
    } else {
        lines(&found, before, after).iter().try_for_each(|line| output.line(line))?;
    }
    if args.exit_code && !found.is_same() {
        // The difference was the answer; there is nothing to complain about.
        return Err(Failure::new(exit::FAILED, ""));
    }
    Ok(())
}

async fn of_folder(context: &Context, dir: &Path) -> Result<Side, Failure> {
    let folder = read_folder(context, dir).await?;
    let none = Overrides::default();
    let mut draft = if folder.is_described() {
        folder.draft(&none)?
    } else {
        propose(&folder, &none).await?.draft(&folder, &none).map_err(with_lines)?
    };
    resolve(context, &mut draft).await?;
    let files = draft.files().to_vec();
    let facts = blocking(move || Looker::new().all(&files)).await?;
    Ok(Side { shown: dir.display().to_string(), manifest: draft.manifest().clone(), facts })
}

/// Stages and dependencies are known to a node only; a package without any needs none.
async fn resolve(context: &Context, draft: &mut Draft) -> Result<(), Failure> {
    // Whatever org is asked about: whether the list is empty does not depend on it.
    let some_org = "any-org".parse().map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    if draft.unresolved(&some_org).is_empty() {
        return Ok(());
    }
    let client = context.client().await?;
    let org = client.status().await?.org;
    Ok(draft.resolve(&client, &org).await?)
}

async fn of_reference(context: &Context, reference: &Reference) -> Result<Side, Failure> {
    let client = context.client().await?;
    let detail = client.show(reference).await?;
    let help = || format!("guild get {}", detail.reference);
    let manifest = match detail.manifest {
        Some(manifest) => manifest,
        None => client.manifest(detail.package_id).await.map_err(|error| {
            let is_absent = is_absent(&error);
            let failure = Failure::from(error);
            if is_absent { failure.with_help(help()) } else { failure }
        })?,
    };
    let facts = facts(context, &client, &detail.reference, detail.package_id).await?;
    Ok(Side { shown: detail.reference.to_string(), manifest, facts })
}

async fn facts(
    context: &Context,
    client: &Client,
    reference: &Reference,
    package: guildhall_protocol::PackageId,
) -> Result<BTreeMap<FileName, Facts>, Failure> {
    match client.facts(package).await {
        Ok(facts) => Ok(facts.into_iter().collect()),
        Err(error) if is_absent(&error) => {
            context.output.note(&format!(
                "the files of {reference} are not here, so nothing is compared inside them; \
                 guild get {reference}"
            ));
            Ok(BTreeMap::new())
        }
        Err(error) => Err(error.into()),
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Status { status: 404 | 405 } | Error::Api { status: 404 | 405, .. })
        || error.code() == Some("not_held")
}

/// Everything that differs, for people.
fn lines(found: &Comparison, before: &Side, after: &Side) -> Vec<String> {
    let mut lines = vec![format!("a  {}", before.shown), format!("b  {}", after.shown)];
    if found.is_same() {
        let files = counted(found.files.unchanged, "file");
        lines.push(format!("the same: {files}, {}", ByteSize(found.files.all_bytes)));
        return lines;
    }
    section(&mut lines, "package", changes(&found.manifest));
    match changes(&found.ports) {
        same if same.is_empty() && found.misfits.is_some() => {
            lines.push("interface: the same".to_owned());
        }
        some => section(&mut lines, "interface", some),
    }
    match found.misfits.as_deref() {
        None => {}
        Some([]) => lines.push("  b fits wherever a fitted".to_owned()),
        Some(misfits) => {
            lines.push("  b does not fit wherever a fitted:".to_owned());
            lines.extend(misfits.iter().map(|why| format!("    {why}")));
        }
    }
    let files = &found.files;
    section(&mut lines, "files", file_lines(files));
    lines.push(format!(
        "  {} unchanged; {} of {} the same, file by file",
        files.unchanged,
        ByteSize(files.same_bytes),
        ByteSize(files.all_bytes)
    ));
    for inside in &found.structure {
        let inner = match inside.changes.as_slice() {
            [] => vec!["  its structure is the same".to_owned()],
            some => changes(some),
        };
        section(&mut lines, &format!("inside {}", inside.file), inner);
    }
    lines
}

fn section(lines: &mut Vec<String>, title: &str, mut inner: Vec<String>) {
    if inner.is_empty() {
        return;
    }
    let more = inner.len().saturating_sub(LINES_SHOWN);
    inner.truncate(LINES_SHOWN);
    lines.push(title.to_owned());
    lines.extend(inner);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
}

fn changes(changes: &[Change]) -> Vec<String> {
    let mut table = Table::plain();
    for Change { what, before, after } in changes {
        let clip = |text: &String| clipped(text, VALUE_SHOWN);
        let (sign, shown) = match (before, after) {
            (None, Some(new)) => ("+", clip(new)),
            (Some(old), None) => ("-", clip(old)),
            (Some(old), Some(new)) => ("~", format!("{} -> {}", clip(old), clip(new))),
            (None, None) => continue,
        };
        table.row([format!("  {sign} {what}"), shown]);
    }
    table.lines()
}

fn file_lines(files: &FileChanges) -> Vec<String> {
    let mut table = Table::plain();
    for file in &files.removed {
        table.row([format!("  - {}", file.name), ByteSize(file.len_bytes).to_string()]);
    }
    for file in &files.added {
        table.row([format!("  + {}", file.name), ByteSize(file.len_bytes).to_string()]);
    }
    for file in &files.changed {
        let (old, new) = (ByteSize(file.before_bytes), ByteSize(file.after_bytes));
        let shown =
            if old == new { format!("{new}, other bytes") } else { format!("{old} -> {new}") };
        table.row([format!("  ~ {}", file.name), shown]);
    }
    for file in &files.renamed {
        let shown = format!("was {}, {}", file.from, ByteSize(file.len_bytes));
        table.row([format!("  = {}", file.to), shown]);
    }
    table.lines()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_wins_over_a_reference_and_anything_else_is_neither() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert!(matches!(Given::parse(path), Ok(Given::Folder(_))));
        assert!(matches!(Given::parse("lab-a/no-folder@1.0.0"), Ok(Given::Reference(_))));
        let Err(failure) = Given::parse("./nothing") else { panic!("it is neither") };
        assert_eq!(failure.code, exit::NOT_FOUND);
    }

    #[test]
    fn changes_are_shown_with_a_sign_and_cut_where_they_are_long() {
        let change = |before: Option<&str>, after: Option<&str>| Change {
            what: "x".into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        };
        let long = "l".repeat(200);
        let shown = changes(&[
            change(None, Some("new")),
            change(Some("old"), None),
            change(Some("old"), Some(&long)),
        ]);
        assert_eq!((shown[0].as_str(), shown[1].as_str()), ("  + x  new", "  - x  old"));
        assert!(shown[2].starts_with("  ~ x  old -> lll") && shown[2].len() < 90);
        let mut lines = Vec::new();
        section(&mut lines, "title", vec!["  line".to_owned(); LINES_SHOWN + 2]);
        assert_eq!(lines.last().unwrap(), "  and 2 more");
    }
}
