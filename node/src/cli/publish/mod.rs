//! `publish`: read a folder, complete its description, look up what it names, send its files, let the node test, sign
//! and list it.

mod ask;
mod bar;
mod look;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use guildhall_client::Client;
use guildhall_client::package::{
    ByteSize, DESCRIPTION_FILE, Draft, Folder, Incoming, Overrides, PackageError, Proposal,
    Proposed, PublishError, Source,
};
use guildhall_protocol::Hash;
use guildhall_protocol::api::{PublishRequest, Published, Status};
use guildhall_protocol::body::Visibility;
use guildhall_protocol::facts::Facts;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::{Category, FileName, OrgName, PackageName, Reference, Version};
use guildhall_protocol::vocabulary;
use serde_json::{Value, json};

pub(super) use self::bar::read_folder;
pub(super) use self::look::{Looker, blocking, propose};
pub(super) use self::show::{check_lines, proposal as show_proposal};
use super::table::counted;
use super::{Context, Failure, Output, Table, category, exit};

/// `guild publish`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PublishArgs {
    /// Folder with the files, and a guild.toml unless the files say enough
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// What it is published as, where guild.toml and the files do not say it right.
    #[command(flatten)]
    pub(crate) given: Given,
    /// Test only: show what would be sent and who would see it; nothing is signed or listed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Test and keep it, but list it later, with `guild list`; until then only who has its id can fetch it
    #[arg(long)]
    pub(crate) unlisted: bool,
    /// Publish although the name could be taken for another producer's
    #[arg(long)]
    pub(crate) although_alike: bool,
    /// Ask nothing; take what is proposed
    #[arg(long)]
    pub(crate) yes: bool,
    /// Save what is proposed as guild.toml
    #[arg(long)]
    pub(crate) write: bool,
    /// With --write: also into a guild.toml that is there; what it says stays
    #[arg(long, requires = "write")]
    pub(crate) force: bool,
    /// On the node's machine: give large files a second name in its store instead of copying them; never change them
    #[arg(long)]
    pub(crate) link: bool,
}

/// What the command line says of a package.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Given {
    /// Kind of content: algorithm, model, data, notebook, pipeline
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<Kind>,
    /// Another name than is proposed or written
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<PackageName>,
    /// Another version
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<Version>,
    /// Other categories; may be repeated, the most fitting first
    #[arg(long, value_name = "CATEGORY", value_parser = category::category)]
    pub(crate) category: Vec<category::Given<Category>>,
    /// Another summary, one sentence
    #[arg(long, value_name = "TEXT")]
    pub(crate) summary: Option<String>,
    /// Another licence, as SPDX has it
    #[arg(long, value_name = "SPDX")]
    pub(crate) licence: Option<String>,
    /// Who may see it
    #[arg(long, value_enum, value_name = "WHO")]
    pub(crate) visible: Option<Visible>,
    /// Declare that it is about people or otherwise not for everybody
    #[arg(long)]
    pub(crate) sensitive: bool,
    /// How many organisations should hold a copy
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<u8>,
}

/// Who may see a listing and fetch its package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Visible {
    /// This organisation only
    Org,
    /// Members of the federation
    Federation,
    /// Everybody
    Public,
}

impl From<Given> for Overrides {
    fn from(given: Given) -> Self {
        Self {
            kind: given.kind,
            name: given.name,
            version: given.version,
            categories: given.category.into_iter().map(|given| given.value).collect(),
            summary: given.summary,
            licence: given.licence,
            visibility: given.visible.map(|visible| match visible {
                Visible::Org => Visibility::Org,
                Visible::Federation => Visibility::Federation,
                Visible::Public => Visibility::Public,
            }),
            sensitive: given.sensitive,
            replicas: given.replicas,
        }
    }
}

pub(super) async fn publish(context: &Context, mut args: PublishArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    category::tell(output, &args.given.category);
    let overrides = Overrides::from(std::mem::take(&mut args.given));
    let folder = read_folder(context, &args.dir).await?;
    super::test::unbuilt(&args.dir)?;
    let status = client.status().await?;
    let mut draft = describe(context, &args, &folder, &overrides, &client, &status.org).await?;
    draft.warnings().iter().for_each(|warning| output.warning(warning));
    warn_of_categories(output, &draft);
    draft.resolve(&client, &status.org).await?;
    // Before anything is sent, what can be seen without the node is checked.
    let request = PublishRequest {
        unlisted: args.unlisted,
        although_alike: args.although_alike,
        ..draft.request(args.dry_run)?
    };
    output.note(&summary(&draft));
    let known = draft.known(&client).await.map_err(unpacked)?;
    let mut plan = None;
    if args.dry_run {
        output.progress("looking into files");
        let facts = looked_into(&draft).await?;
        output.clear_progress();
        let shown = show::Plan { draft: &draft, known: &known, facts: &facts, status: &status };
        shown.show(output);
        plan = Some(shown.json());
    } else if !args.unlisted {
        output.note(&format!("seen by {}", show::audience(draft.listing(), &status)));
    }
    send(context, &args, &client, &status, &draft, &known).await?;
    output.progress("testing");
    let published = client.publish(&request).await.map_err(|error| {
        let failed_checks = error.code() == Some("checks_failed");
        let failure = Failure::from(error);
        // Here each check comes with its place and what would put it right.
        let dir = guildhall_client::shell_quote(&args.dir);
        if failed_checks { failure.with_help(format!("guild test {dir}")) } else { failure }
    })?;
    show(context, &published, plan, args.dry_run)
}

/// A listing does not change any more, so names that nobody looks for are told before.
pub(super) fn warn_of_categories(output: &Output, draft: &Draft) {
    for one in &draft.listing().categories {
        category::warn_of(output, one.as_str(), vocabulary::is_known(one));
    }
}

/// The draft of a folder: as described, or completed by what its files say and by what a person answers.
async fn describe(
    context: &Context,
    args: &PublishArgs,
    folder: &Folder,
    overrides: &Overrides,
    client: &Client,
    org: &OrgName,
) -> Result<Draft, Failure> {
    if folder.is_described() {
        return Ok(folder.draft(overrides)?);
    }
    let output = &context.output;
    output.progress("looking into files");
    let mut proposal = propose(folder, overrides).await?;
    output.clear_progress();
    next_version(&mut proposal, folder, overrides, client, org).await?;
    let is_for_scripts = output.is_json() || output.is_quiet();
    let is_asked = ask::can_ask() && !args.yes && !is_for_scripts;
    if is_asked {
        proposal = ask::complete(proposal).await?;
    }
    output.note(&format!("{} is published as:", folder.dir().display()));
    show::proposal(output, folder, &proposal);
    let draft = proposal.draft(folder, overrides).map_err(with_lines)?;
    if args.write {
        write(context, folder, &proposal, args.force)?;
    }
    if is_asked && !args.dry_run && !ask::confirm("publish this?").await? {
        return Err(Failure::new(exit::FAILED, "nothing was published")
            .with_help("guild publish DIR --write --dry-run"));
    }
    Ok(draft)
}

/// A version that nobody chose follows the highest that is listed; the same content keeps the version that it has.
async fn next_version(
    proposal: &mut Proposal,
    folder: &Folder,
    overrides: &Overrides,
    client: &Client,
    org: &OrgName,
) -> Result<(), Failure> {
    let is_guessed =
        proposal.version.as_ref().is_some_and(|version| version.from == Source::Guessed);
    let (Some(name), true) = (&proposal.name, is_guessed) else { return Ok(()) };
    let name = name.value.clone();
    let reference = Reference::Named { org: org.clone(), name, version: None };
    let detail = match client.show(&reference).await {
        Ok(detail) => detail,
        // Nothing of that name is listed.
        Err(error) if error.code().is_some() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let yanked = detail.yanked.iter().filter_map(|yanked| match &yanked.reference {
        Reference::Named { version, .. } => version.clone(),
        Reference::Package(_) => None,
    });
    let yanked: Vec<Version> = yanked.collect();
    let current = detail.listing.release.version;
    let is_same = proposal
        .draft(folder, overrides)
        .is_ok_and(|draft| draft.manifest().seal().0 == detail.package_id);
    let value = if is_same {
        current.clone()
    } else {
        // One that was taken back is never used again.
        let used = detail.versions.into_iter().chain(yanked);
        let highest = used.chain([current.clone()]).max();
        let highest = highest.unwrap_or_else(|| current.clone());
        Version::new(highest.major, highest.minor.saturating_add(1), 0)
    };
    proposal.version = Some(Proposed { value, from: Source::Listed(current) });
    Ok(())
}

/// Saves what is proposed.
fn write(
    context: &Context,
    folder: &Folder,
    proposal: &Proposal,
    force: bool,
) -> Result<(), Failure> {
    let path = folder.dir().join(DESCRIPTION_FILE);
    let shown = guildhall_client::shell_quote(&path);
    let failed = |error: std::io::Error| {
        Failure::new(exit::FAILED, format!("cannot write {}", path.display()))
            .with_cause(error.to_string())
    };
    if path.exists() && !force {
        let message = format!("{} is there already", path.display());
        let dir = guildhall_client::shell_quote(folder.dir());
        return Err(Failure::new(exit::REFUSED, message)
            .with_help(format!("guild publish {dir} --write --force")));
    }
    // Beside it and then renamed, so that no half of it is ever there.
    let mut file = super::get::temporary_in(folder.dir()).map_err(failed)?;
    file.write_all(proposal.text().as_bytes()).map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    context.output.note(&format!("wrote {shown}"));
    Ok(())
}

async fn looked_into(draft: &Draft) -> Result<BTreeMap<FileName, Facts>, Failure> {
    let files = draft.files().to_vec();
    blocking(move || Looker::new().all(&files)).await
}

async fn send(
    context: &Context,
    args: &PublishArgs,
    client: &Client,
    status: &Status,
    draft: &Draft,
    known: &BTreeSet<Hash>,
) -> Result<(), Failure> {
    let mut seen = known.clone();
    let new = draft.files().iter().filter(|file| seen.insert(file.entry.hash));
    let bytes = new.fold(0_u64, |sum, file| sum.saturating_add(file.entry.len_bytes));
    let incoming = Incoming::of(client, status, args.link);
    if args.link && incoming.is_none() {
        context.output.warning("the node's store is not at hand here, so files are sent to it");
    }
    let bar = bar::Bar::new(context, "sending", bytes);
    let on_sent = bar.on_sent();
    draft.send(client, known, incoming.as_ref(), &on_sent, |_| {}).await.map_err(unpacked)
}

/// An error whose cause is the node's answer is that answer.
fn unpacked(error: PublishError) -> Failure {
    match error {
        PublishError::Known(source) => source.into(),
        error => error.into(),
    }
}

/// What is missing, as the lines that would say it.
pub(super) fn with_lines(error: PackageError) -> Failure {
    let lines: Vec<&str> = match &error {
        PackageError::Incomplete { unsaid, .. } => unsaid.iter().map(|one| one.example).collect(),
        _ => Vec::new(),
    };
    let mut failure = Failure::from(error);
    failure.causes.extend(lines.into_iter().map(str::to_owned));
    failure
}

fn summary(draft: &Draft) -> String {
    let manifest = draft.manifest();
    let (listing, files) = (draft.listing(), counted(manifest.files.len(), "file"));
    let size = ByteSize(manifest.len_bytes());
    format!("{} {}@{}: {files}, {size}", manifest.kind, listing.name, listing.version)
}

fn show(
    context: &Context,
    published: &Published,
    plan: Option<Value>,
    dry_run: bool,
) -> Result<(), Failure> {
    let output = &context.output;
    for line in published.checks.iter().flat_map(check_lines) {
        output.note(&line);
    }
    if output.is_json() {
        let mut value = json!({
            "ref": published.reference,
            "package_id": published.package_id,
            "listing_id": published.listing_id,
        });
        if let Some(plan) = plan {
            value["plan"] = plan;
        }
        return output.json(&value);
    }
    if output.is_quiet() {
        return output.line(&published.reference.to_string());
    }
    let mut table = Table::plain();
    table.field("ref", published.reference.to_string());
    table.field("package", published.package_id.to_string());
    match published.listing_id {
        Some(listing) => table.field("listing", listing.to_string()),
        None if dry_run => output.note("dry run: nothing was signed or listed"),
        None => output.note(&format!("kept without a listing; guild list {}", published.reference)),
    }
    output.table(&table)
}
