//! `publish`: read a folder, look up what it names, send its files, let the node test, sign and list it.

use std::path::PathBuf;

use clap::Args;
use guildhall_client::package::{self, ByteSize, Draft, Overrides};
use guildhall_protocol::api::Published;
use guildhall_protocol::name::{Category, PackageName, Version};
use serde_json::json;

use super::table::counted;
use super::{Context, Failure, Table, exit};

/// `guild publish`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PublishArgs {
    /// Folder with the files and a guild.toml
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Another name than guild.toml says
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<PackageName>,
    /// Another version than guild.toml says
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<Version>,
    /// Other categories than guild.toml says; may be repeated, the most fitting first
    #[arg(long, value_name = "CATEGORY")]
    pub(crate) category: Vec<Category>,
    /// Test only: nothing is signed or listed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

pub(super) async fn publish(context: &Context, args: PublishArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    let overrides = Overrides { name: args.name, version: args.version, categories: args.category };
    let dir = args.dir;
    output.progress("reading files");
    let mut draft = tokio::task::spawn_blocking(move || package::read_dir_with(&dir, &overrides))
        .await
        .map_err(|error| Failure::from_error(exit::FAILED, &error))??;
    draft.warnings().iter().for_each(|warning| output.warning(warning));
    let org = client.status().await?.org;
    draft.resolve(&client, &org).await?;
    // Before anything is sent, what can be seen without the node is checked.
    let request = draft.request(args.dry_run)?;
    output.note(&summary(&draft));
    let (mut sent, all) = (0_usize, draft.files().len());
    draft
        .upload(&client, |_| {
            sent += 1;
            output.progress(&format!("sent {sent} of {}", counted(all, "file")));
        })
        .await?;
    output.progress("testing");
    let published = client.publish(&request).await?;
    show(context, &published)
}

fn summary(draft: &Draft) -> String {
    let manifest = draft.manifest();
    let (listing, files) = (draft.listing(), counted(manifest.files.len(), "file"));
    let size = ByteSize(manifest.len_bytes());
    format!("{} {}@{}: {files}, {size}", manifest.kind, listing.name, listing.version)
}

fn show(context: &Context, published: &Published) -> Result<(), Failure> {
    let output = &context.output;
    for check in &published.checks {
        let passed = if check.passed { "ok" } else { "FAILED" };
        let detail = if check.detail.is_empty() { "" } else { ": " };
        output.note(&format!("  {passed:6}  {}{detail}{}", check.name, check.detail));
    }
    if output.is_json() {
        return output.json(&json!({
            "ref": published.reference,
            "package_id": published.package_id,
            "listing_id": published.listing_id,
        }));
    }
    if output.is_quiet() {
        return output.line(&published.reference.to_string());
    }
    let mut table = Table::plain();
    table.field("ref", published.reference.to_string());
    table.field("package", published.package_id.to_string());
    match published.listing_id {
        Some(listing) => table.field("listing", listing.to_string()),
        None => output.note("dry run: nothing was signed or listed"),
    }
    output.table(&table)
}
