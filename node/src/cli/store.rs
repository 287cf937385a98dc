//! `store`: how much is kept and why, making room, looking for damage, pins, copies.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use guildhall_client::Client;
use guildhall_client::package::ByteSize;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{
    BackupRequest, GcReport, GcRequest, HeldPackage, KeptFor, ScrubReport, ScrubRequest,
    StoreReport,
};
use guildhall_protocol::name::Reference;
use serde_json::json;

use super::federation::list;
use super::table::counted;
use super::{Context, Failure, Period, Table, exit};

/// Hex digits of a package id in a table.
const ID_DIGITS: usize = 12;

/// `guild store`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// What takes how much room, and what could go
    Df(DfArgs),
    /// Make room: drop what nobody used for long and what belongs to nothing
    Gc(GcArgs),
    /// Read everything and check it; damage is named, and repaired from other holders if asked
    Scrub(ScrubArgs),
    /// Keep a package whatever happens; it is fetched if it is not here
    Pin(PinArgs),
    /// Keep a package no longer than the node would by itself
    Unpin(PinArgs),
    /// Build the catalogue anew from the records, while it works
    Reindex,
    /// Copy everything the node keeps into a folder, while it works
    Backup(BackupArgs),
    /// Make a node's home out of a backup, with new keys; the node must not be running
    Restore(RestoreArgs),
}

/// `guild store df`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DfArgs {
    /// Each package with its size and why it is here
    #[arg(long)]
    pub(crate) packages: bool,
}

/// `guild store gc`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GcArgs {
    /// Show what would go; nothing goes
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Drop fetched packages not used for this long, for example 7d; 0s drops them all [default: 30d, or as
    /// config.toml says]
    #[arg(long, value_name = "PERIOD", value_parser = super::period::or_none)]
    pub(crate) unused: Option<Period>,
}

/// `guild store scrub`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ScrubArgs {
    /// Fetch damaged files from other holders
    #[arg(long)]
    pub(crate) repair: bool,
    /// Read no faster than this in a second, for example 50MiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) rate: Option<ByteSize>,
}

/// `guild store pin` and `unpin`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PinArgs {
    /// org/name, org/name@version or b3:HASH
    #[arg(value_name = "REF")]
    pub(crate) reference: Reference,
}

/// `guild store backup`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BackupArgs {
    /// Where the copy goes; must not exist [default: a new folder in the home's `backups`]
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Leave out files of packages, which other holders have too
    #[arg(long)]
    pub(crate) without_content: bool,
}

/// `guild store restore`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The folder that `guild store backup` made
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The organisation's root key, with which new keys are made [default: beside the home, as `guild init` puts it]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key: Option<PathBuf>,
}

pub(super) async fn store(context: &Context, command: StoreCommand) -> Result<(), Failure> {
    let client = context.client().await?;
    match command {
        StoreCommand::Df(args) => df(context, &client, &args).await,
        StoreCommand::Gc(args) => gc(context, &client, &args).await,
        StoreCommand::Scrub(args) => scrub(context, &client, &args).await,
        StoreCommand::Pin(args) => pin(context, &client, &args, true).await,
        StoreCommand::Unpin(args) => pin(context, &client, &args, false).await,
        StoreCommand::Reindex => reindex(context, &client).await,
        StoreCommand::Backup(args) => backup(context, &client, &args).await,
        // Acts on this machine; see `commands`.
        StoreCommand::Restore(_) => Ok(()),
    }
}

async fn reindex(context: &Context, client: &Client) -> Result<(), Failure> {
    let output = &context.output;
    output.progress("reading the records");
    let done = client.reindex().await?;
    output.clear_progress();
    if output.is_json() {
        return output.json(&done);
    }
    if output.is_quiet() {
        return output.line(&done.listings.to_string());
    }
    let listings = counted(done.listings, "listing");
    output.line(&format!("{listings} in the catalogue, built in {:.1} s", done.seconds))
}

async fn df(context: &Context, client: &Client, args: &DfArgs) -> Result<(), Failure> {
    let output = &context.output;
    let report = client.store().await?;
    if !args.packages {
        if output.is_json() {
            return output.json(&report);
        }
        if output.is_quiet() {
            return output.line(&report.blob_bytes.to_string());
        }
        return output.table(&report_table(&report));
    }
    let held = client.held().await?;
    if output.is_json() {
        return output.json(&json!({ "store": report, "packages": held }));
    }
    if output.is_quiet() {
        return held.iter().try_for_each(|held| output.line(&held.package_id.to_string()));
    }
    let mut table = Table::with_head(["PACKAGE", "SIZE", "WHY", "REF"]);
    for package in &held {
        let hex = package.package_id.0.to_hex();
        table.row([
            hex.get(..ID_DIGITS).unwrap_or(&hex).to_owned(),
            ByteSize(package.bytes).to_string(),
            why(package.reason).to_owned(),
            list(&package.refs),
        ]);
    }
    output.table(&table)
}

fn report_table(report: &StoreReport) -> Table {
    let mut table = Table::plain();
    let size = |bytes| ByteSize(bytes).to_string();
    table.field("store", report.path.clone());
    table.field(
        "disk",
        format!(
            "{} free of {}; content leaves {} free",
            size(report.free_bytes),
            size(report.disk_bytes),
            size(report.reserve_bytes)
        ),
    );
    table.field("files", format!("{} in {}", size(report.blob_bytes), report.blobs));
    for share in &report.packages {
        let packages = counted(usize::try_from(share.packages).unwrap_or(usize::MAX), "package");
        table.field(why(share.reason), format!("{} in {packages}", size(share.bytes)));
    }
    if report.partials > 0 {
        let partials = counted(usize::try_from(report.partials).unwrap_or(usize::MAX), "file");
        table.field("in parts", format!("{} of {partials}", size(report.partial_bytes)));
    }
    table.field("copies", format!("at most {} for others", size(report.replica_max_bytes)));
    table.field(
        "catalogue",
        format!(
            "{}; {} records, {}",
            size(report.catalogue_bytes),
            report.records,
            size(report.record_bytes)
        ),
    );
    table.field("could go", format!("{} (guild store gc)", size(report.reclaimable_bytes)));
    table
}

const fn why(reason: KeptFor) -> &'static str {
    match reason {
        KeptFor::Published => "published",
        KeptFor::Pinned => "pinned",
        KeptFor::Replica => "replica",
        KeptFor::Cached => "cached",
        _ => "kept",
    }
}

async fn gc(context: &Context, client: &Client, args: &GcArgs) -> Result<(), Failure> {
    let output = &context.output;
    output.progress("making room");
    let unused_s = args.unused.map(|period| period.seconds);
    let report = client.collect(&GcRequest { dry_run: args.dry_run, unused_s }).await?;
    output.clear_progress();
    if output.is_json() {
        return output.json(&report);
    }
    if output.is_quiet() {
        return output.line(&report.freed_bytes.to_string());
    }
    output.line(&gc_text(&report, args.dry_run))?;
    if !report.packages.is_empty() && !args.dry_run {
        output.note("what came or was used within the last hour goes with a later gc");
    }
    Ok(())
}

fn gc_text(report: &GcReport, dry_run: bool) -> String {
    let files = report.blobs.saturating_add(report.partials);
    format!(
        "{} {}: {}, {}",
        ByteSize(report.freed_bytes),
        if dry_run { "would become free" } else { "are free again" },
        counted(report.packages.len(), "package"),
        counted(usize::try_from(files).unwrap_or(usize::MAX), "file"),
    )
}

async fn scrub(context: &Context, client: &Client, args: &ScrubArgs) -> Result<(), Failure> {
    let output = &context.output;
    output.progress("reading everything that is kept");
    let bytes_per_s = args.rate.map(|rate| rate.0);
    let report = client.scrub(&ScrubRequest { repair: args.repair, bytes_per_s }).await?;
    output.clear_progress();
    if output.is_json() {
        output.json(&report)?;
    } else {
        report.problems.iter().for_each(|problem| output.note(&format!("  {problem}")));
        output.line(&scrub_text(&report))?;
    }
    if report.found > report.repaired {
        let left = report.found - report.repaired;
        let message = match report.repaired {
            0 => "nothing was repaired".to_owned(),
            _ => format!("{} not repaired", counted(usize::try_from(left).unwrap_or(0), "problem")),
        };
        let failure = Failure::new(exit::FAILED, message);
        return Err(match args.repair {
            true => failure.with_help("guild peers"),
            false => failure.with_help("guild store scrub --repair"),
        });
    }
    Ok(())
}

fn scrub_text(report: &ScrubReport) -> String {
    format!(
        "{} in {} and {} rows read in {} s: {} found, {} repaired{}",
        ByteSize(report.bytes),
        counted(usize::try_from(report.blobs).unwrap_or(usize::MAX), "file"),
        report.rows,
        report.seconds,
        counted(usize::try_from(report.found).unwrap_or(usize::MAX), "problem"),
        report.repaired,
        if report.harmless > 0 { "; some leftovers (guild store gc)" } else { "" },
    )
}

async fn pin(
    context: &Context,
    client: &Client,
    args: &PinArgs,
    pinned: bool,
) -> Result<(), Failure> {
    let output = &context.output;
    let package = if pinned {
        output.progress("fetching");
        client.fetch(&args.reference).await?.package_id
    } else {
        package_of(client, &args.reference).await?
    };
    let held: HeldPackage = client.set_pin(package, pinned).await?;
    output.clear_progress();
    if output.is_json() {
        return output.json(&held);
    }
    if output.is_quiet() {
        return output.line(&held.package_id.to_string());
    }
    output.line(&format!("{}: {}", args.reference, why(held.reason)))
}

async fn package_of(client: &Client, reference: &Reference) -> Result<PackageId, Failure> {
    match reference {
        Reference::Package(package) => Ok(*package),
        named @ Reference::Named { .. } => Ok(client.show(named).await?.package_id),
    }
}

async fn backup(context: &Context, client: &Client, args: &BackupArgs) -> Result<(), Failure> {
    let output = &context.output;
    if let Some(dir) = args.dir.as_deref().filter(|dir| fs::symlink_metadata(dir).is_ok()) {
        let message = format!("{} exists; a backup makes a new folder", dir.display());
        return Err(Failure::new(exit::REFUSED, message).with_help("guild store backup NEW-FOLDER"));
    }
    output.progress("copying");
    let request = BackupRequest { without_content: args.without_content };
    let mut made = client.backup(&request).await?;
    if let Some(dir) = &args.dir {
        move_folder(Path::new(&made.path), dir)?;
        made.path = dir.display().to_string();
    }
    output.clear_progress();
    if output.is_json() {
        return output.json(&made);
    }
    if !output.is_quiet() {
        output.note(&format!("{}; it holds no secret key", ByteSize(made.bytes)));
        let dir = guildhall_client::shell_quote(Path::new(&made.path));
        output.note(&format!("restore: guild store restore {dir} --home NEW-HOME --root-key FILE"));
    }
    output.line(&made.path)
}

/// Moves a folder; to another file system its files are copied first.
fn move_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(exit::FAILED, format!("the backup stays in {}", from.display()))
            .with_cause(format!("{}: {error}", to.display()))
    };
    if fs::rename(from, to).is_ok() {
        return Ok(());
    }
    copy_folder(from, to).map_err(failed)?;
    fs::remove_dir_all(from).map_err(failed)
}

/// Copies a folder with everything below it. `to` must not exist.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            // Shares blocks where the file system can.
            fs::copy(entry.path(), &target)?;
            fs::File::open(&target)?.sync_all()?;
        }
    }
    fs::File::open(to)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_copied_with_everything_below_it() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/c"), "content").unwrap();
        copy_folder(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/b/c")).unwrap(), "content");
        assert!(copy_folder(&from, &to).is_err(), "nothing is written over");
        move_folder(&from, &root.path().join("moved")).unwrap();
        assert!(!from.exists());
    }

    #[test]
    fn what_became_free_is_said_in_words() {
        let report = GcReport { packages: Vec::new(), blobs: 1, partials: 0, freed_bytes: 1024 };
        assert_eq!(gc_text(&report, false), "1 KiB are free again: 0 packages, 1 file");
        assert!(gc_text(&report, true).contains("would become free"));
    }
}
