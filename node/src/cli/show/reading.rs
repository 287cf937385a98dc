//! `--readme` and `--notebook`: a file of a package, fetched and shown as text.

use guildhall_client::Client;
use guildhall_client::package::ByteSize;
use guildhall_protocol::api::{Detail, FetchRequest};
use guildhall_protocol::manifest::{FileEntry, Manifest};
use guildhall_protocol::name::{FileName, Reference};
use serde_json::json;

use super::super::screen::PROSE_COLUMNS;
use super::super::{Context, Failure, exit};
use super::snippets::quoted;
use super::{markdown, notebook};

/// Longest text that is shown, bytes: a book. Nobody reads more of it in a terminal.
const TEXT_MAX_BYTES: u64 = 1 << 20;

/// Longest notebook that is shown, bytes: those with many pictures in them reach some MiB.
const NOTEBOOK_MAX_BYTES: u64 = 32 << 20;

/// Files that are named where another one was asked for.
const NAMED_MAX: usize = 10;

/// Which file is meant.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// What explains how to use it.
    Readme,
    /// A notebook: the one of this name, or the first.
    Notebook(Option<FileName>),
}

/// Fetches the file that is wanted, and shows it.
pub(super) async fn show(
    context: &Context,
    client: &Client,
    detail: &Detail,
    wanted: &Wanted,
) -> Result<(), Failure> {
    let output = &context.output;
    let manifest = match &detail.manifest {
        Some(manifest) => manifest.clone(),
        None => client.manifest(detail.package_id).await?,
    };
    let file = choose(detail, &manifest, wanted)?;
    let bytes = fetch(client, detail, file).await?;
    let text = String::from_utf8_lossy(&bytes);
    if output.is_json() {
        return output.json(&json!({ "ref": detail.reference, "file": file.name, "text": text }));
    }
    if output.is_quiet() {
        return output.lines(text.lines());
    }
    let columns = output.columns().unwrap_or(PROSE_COLUMNS).min(PROSE_COLUMNS);
    let lines = if is_notebook(&file.name) {
        notebook::lines(&bytes, columns)
            .map_err(|why| Failure::new(exit::FAILED, format!("{}: {why}", file.name)))?
    } else if is_markdown(&file.name) {
        markdown::lines(&text, columns)
    } else {
        text.lines().map(|line| line.replace('\t', "    ")).collect()
    };
    output.lines(lines)?;
    output.note(&format!("{} of {}, as its producer wrote it", file.name, detail.reference));
    Ok(())
}

/// The file that is meant; else which ones there are.
fn choose<'m>(
    detail: &Detail,
    manifest: &'m Manifest,
    wanted: &Wanted,
) -> Result<&'m FileEntry, Failure> {
    let reference = &detail.reference;
    let missing = |message: String, of: &dyn Fn(&FileName) -> bool| {
        let named = manifest.files.iter().filter(|file| of(&file.name)).take(NAMED_MAX);
        let named: Vec<&str> = named.map(|file| file.name.as_str()).collect();
        let failure = Failure::new(exit::NOT_FOUND, message);
        match named.as_slice() {
            [] => failure.with_help(format!("guild show {reference}")),
            [first, ..] => failure
                .with_cause(format!("there are {}", named.join(", ")))
                .with_help(format!("guild show {reference} --notebook {}", quoted(first))),
        }
    };
    match wanted {
        Wanted::Readme => {
            let listed = detail.listing.documentation.as_ref();
            let listed = listed.and_then(|name| manifest.file(name));
            let usual = || {
                let mut files = manifest.files.iter();
                files.find(|file| file.name.as_str().eq_ignore_ascii_case("readme.md"))
            };
            listed
                .or_else(usual)
                .ok_or_else(|| missing(format!("{reference} has no documentation"), &|_| false))
        }
        Wanted::Notebook(Some(name)) => manifest
            .file(name)
            .ok_or_else(|| missing(format!("{reference} has no file `{name}`"), &is_notebook)),
        Wanted::Notebook(None) => {
            let shown = detail.listing.examples.iter().filter(|name| is_notebook(name));
            let mut shown = shown.filter_map(|name| manifest.file(name));
            let any = || manifest.files.iter().find(|file| is_notebook(&file.name));
            shown
                .next()
                .or_else(any)
                .ok_or_else(|| missing(format!("{reference} has no notebook"), &is_notebook))
        }
    }
}

/// The bytes of a file; the node fetches it if it has it not.
async fn fetch(client: &Client, detail: &Detail, file: &FileEntry) -> Result<Vec<u8>, Failure> {
    let most = if is_notebook(&file.name) { NOTEBOOK_MAX_BYTES } else { TEXT_MAX_BYTES };
    if file.len_bytes > most {
        let len = ByteSize(file.len_bytes);
        let message = format!("{} has {len}, and at most {} are shown", file.name, ByteSize(most));
        return Err(Failure::new(exit::REFUSED, message).with_help(format!(
            "guild get {} --include {}",
            detail.reference,
            quoted(file.name.as_str())
        )));
    }
    if !client.has_blob(file.hash).await? {
        let request = FetchRequest {
            reference: Reference::Package(detail.package_id),
            include: vec![literally(&file.name)],
            query_id: None,
        };
        client.fetch_some(&request).await?;
    }
    let mut bytes = Vec::new();
    client.download_blob(file.hash, &mut bytes).await?;
    Ok(bytes)
}

/// A pattern that means this name and no other.
fn literally(name: &FileName) -> String {
    let mut pattern = String::new();
    for c in name.as_str().chars() {
        match c {
            '*' | '?' | '[' | ']' => pattern.extend(['[', c, ']']),
            c => pattern.push(c),
        }
    }
    pattern
}

fn is_notebook(name: &FileName) -> bool {
    name.as_str().to_ascii_lowercase().ends_with(".ipynb")
}

fn is_markdown(name: &FileName) -> bool {
    let name = name.as_str().to_ascii_lowercase();
    name.ends_with(".md") || name.ends_with(".markdown")
}
