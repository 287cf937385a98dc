//! `get`: have the node fetch a package, then write its files below one folder and nowhere else.
//!
//! A file appears under its name when its bytes are complete and have the manifest's hash. A command that is repeated
//! keeps what is already right, so an interrupted one goes on where it was.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use futures::StreamExt as _;
use guildhall_client::Client;
use guildhall_client::package::{ByteSize, hash_file};
use guildhall_protocol::Hash;
use guildhall_protocol::api::{FetchRequest, Fetched, Transfer};
use guildhall_protocol::manifest::FileEntry;
use guildhall_protocol::name::{FileName, Reference};
use serde_json::json;
use tempfile::NamedTempFile;

use super::federation::list;
use super::table::counted;
use super::{Context, Failure, exit};

/// Hex digits of a package id in the name of a folder.
const ID_DIGITS: usize = 16;

/// Files that are written at once: enough that small ones do not wait for each other's requests.
const WRITTEN_AT_ONCE: usize = 8;

/// How often it is asked how far the node is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks over which a rate is taken: five seconds.
const RATE_LOOKS: usize = 20;

/// Characters of a full bar.
const BAR_WIDTH: usize = 20;

/// Permissions of files before the person's umask; nothing that was fetched is executable.
const FILE_MODE: u32 = 0o666;

/// `guild get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GetArgs {
    /// org/name, org/name@version or b3:HASH
    #[arg(value_name = "REF", value_parser = super::show::named)]
    pub(crate) reference: Reference,
    /// Folder for the files, made if it is missing [default: NAME, NAME-VERSION or b3-HASH here, as REF says it]
    #[arg(short = 'o', long = "out", value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Only files whose names match, for example 'weights/*' or '*.onnx'; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) include: Vec<String>,
    /// Replace files that are there and differ; without it the command stops at the first one
    #[arg(long)]
    pub(crate) force: bool,
    /// The query that led here, as `search` names it: then it does not count as unmet
    #[arg(long, value_name = "ID")]
    pub(crate) query: Option<Hash>,
}

pub(super) async fn get(context: &Context, args: &GetArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    let fetched = fetch(context, &client, args).await?;
    let asked_for: BTreeSet<&FileName> = fetched.included.iter().collect();
    let files: Vec<&FileEntry> =
        fetched.manifest.files.iter().filter(|file| asked_for.contains(&file.name)).collect();
    files.iter().try_for_each(|file| visible(&file.name))?;
    let dir = args.out.clone().unwrap_or_else(|| folder_name(&fetched));
    fs::create_dir_all(&dir).map_err(|error| cannot_write(&dir, &error))?;
    let (mut written, mut done) = (0_usize, 0_usize);
    let mut writing = futures::stream::iter(&files)
        .map(|file| write_file(&client, &dir, file, args.force))
        .buffered(WRITTEN_AT_ONCE);
    while let Some(wrote) = writing.next().await {
        done += 1;
        output.progress(&format!("writing {done} of {}", counted(files.len(), "file")));
        if wrote.map_err(|failure| with_way_out(failure, &args.reference))? {
            written += 1;
        }
    }
    drop(writing);
    output.clear_progress();
    show(context, &fetched, &dir, written)
}

/// Has the node fetch what is asked for, and shows how far it is.
async fn fetch(context: &Context, client: &Client, args: &GetArgs) -> Result<Fetched, Failure> {
    let output = &context.output;
    output.progress("looking for holders");
    let request = FetchRequest {
        reference: args.reference.clone(),
        include: args.include.clone(),
        query_id: args.query,
    };
    let fetching = client.fetch_some(&request);
    tokio::pin!(fetching);
    let mut rate = Rate::default();
    loop {
        tokio::select! {
            fetched = &mut fetching => return match fetched {
                Ok(fetched) => Ok(fetched),
                Err(error) => {
                    let failure = super::show::explained(client, &args.reference, error).await;
                    Err(named(failure, &args.reference))
                }
            },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        // How far it is is nice to know; not knowing it stops nothing.
        if output.is_watched()
            && let Ok(transfers) = client.transfers().await
            && let [transfer] = transfers.as_slice()
        {
            output.progress(&rate.line(transfer, Instant::now()));
        }
    }
}

/// A node that finds nobody names the package by its hash; people know it by what they asked for.
fn named(mut failure: Failure, reference: &Reference) -> Failure {
    if failure.code == exit::TRY_LATER {
        let message = format!("{reference} cannot be fetched now");
        failure.causes.insert(0, std::mem::replace(&mut failure.message, message));
    }
    failure
}

/// How fast a transfer is, over its last seconds.
#[derive(Debug, Default)]
struct Rate {
    seen: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// One line: how much, how fast, how long still, from whom.
    fn line(&mut self, transfer: &Transfer, now: Instant) -> String {
        let (done, total) = (transfer.done_bytes, transfer.total_bytes);
        self.seen.push_back((now, done));
        while self.seen.len() > RATE_LOOKS {
            self.seen.pop_front();
        }
        let per_second = match (self.seen.front(), self.seen.back()) {
            (Some((from, before)), Some((to, after))) if to > from => {
                after.saturating_sub(*before) as f64 / (*to - *from).as_secs_f64()
            }
            _ => 0.0,
        };
        let mut line = format!("{} {} of {}", bar(done, total), ByteSize(done), ByteSize(total));
        if per_second >= 1.0 {
            let left = total.saturating_sub(done) as f64 / per_second;
            let rate = ByteSize(per_second as u64);
            line.push_str(&format!(", {rate}/s, {} left", seconds_text(left)));
        }
        let from: BTreeSet<String> = transfer
            .sources
            .iter()
            .filter(|source| source.gave_up.is_none() && source.bytes > 0)
            .map(|source| source.org.to_string())
            .collect();
        if !from.is_empty() {
            let from: Vec<String> = from.into_iter().collect();
            line.push_str(&format!(", from {}", from.join(" and ")));
        }
        line
    }
}

/// A bar of a fixed width.
fn bar(done: u64, total: u64) -> String {
    let part = if total == 0 { 1.0 } else { done as f64 / total as f64 };
    let full = ((part * BAR_WIDTH as f64) as usize).min(BAR_WIDTH);
    format!("[{}{}]", "=".repeat(full), " ".repeat(BAR_WIDTH - full))
}

fn seconds_text(seconds: f64) -> String {
    match seconds as u64 {
        0..=59 => format!("{} s", seconds.ceil() as u64),
        60..=3_599 => format!("{} min", (seconds / 60.0).ceil() as u64),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

fn show(context: &Context, fetched: &Fetched, dir: &Path, written: usize) -> Result<(), Failure> {
    let output = &context.output;
    let shown_dir = dir.display().to_string();
    if output.is_json() {
        return output.json(&json!({
            "ref": fetched.reference,
            "package_id": fetched.package_id,
            "dir": shown_dir,
            "files": fetched.included.len(),
            "written": written,
            "fetched_bytes": fetched.fetched_bytes,
            "reused_bytes": fetched.reused_bytes,
            "seconds": fetched.seconds,
            "from": fetched.from,
        }));
    }
    if output.is_quiet() {
        return output.line(&shown_dir);
    }
    let from = match fetched.from.as_slice() {
        [] => "was here".to_owned(),
        from => format!("{} from {}", ByteSize(fetched.fetched_bytes), list(from)),
    };
    let (all, some) = (fetched.manifest.files.len(), fetched.included.len());
    let files = match all == some {
        true => counted(all, "file"),
        false => format!("{some} of {}", counted(all, "file")),
    };
    let size = ByteSize(len_of(fetched));
    output.note(&format!("{}: {from}; {files}, {size}, {written} written", fetched.reference));
    output.line(&shown_dir)
}

/// Bytes of the files that were asked for.
fn len_of(fetched: &Fetched) -> u64 {
    let asked_for: BTreeSet<&FileName> = fetched.included.iter().collect();
    let files = fetched.manifest.files.iter().filter(|file| asked_for.contains(&file.name));
    files.map(|file| file.len_bytes).sum()
}

/// The folder when none is named.
fn folder_name(fetched: &Fetched) -> PathBuf {
    match &fetched.reference {
        Reference::Named { name, version: Some(version), .. } => format!("{name}-{version}").into(),
        Reference::Named { name, version: None, .. } => name.to_string().into(),
        Reference::Package(id) => {
            let hex = id.0.to_hex();
            format!("b3-{}", hex.get(..ID_DIGITS).unwrap_or(&hex)).into()
        }
    }
}

/// Writes one file below `root`. `false` when it was there already.
async fn write_file(
    client: &Client,
    root: &Path,
    file: &FileEntry,
    force: bool,
) -> Result<bool, Failure> {
    let (folder, path) = place(root, &file.name)?;
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() => {
            if hash_file(&path).map_err(|error| cannot_write(&path, &error))?.0 == file.hash {
                return Ok(false);
            }
            if !force {
                let message = format!("{} is there and differs", path.display());
                return Err(Failure::new(exit::REFUSED, message));
            }
        }
        Ok(_) => return Err(in_the_way(&path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(cannot_write(&path, &error)),
    }
    let temporary = temporary_in(&folder).map_err(|error| cannot_write(&path, &error))?;
    let handle = temporary.reopen().map_err(|error| cannot_write(&path, &error))?;
    let mut out = tokio::fs::File::from_std(handle);
    client.download_blob(file.hash, &mut out).await?;
    // Renaming replaces what is there; it never follows a link that somebody put there meanwhile.
    temporary.persist(&path).map_err(|error| cannot_write(&path, &error.error))?;
    Ok(true)
}

/// Refuses a file that would be hidden: nobody would see it, and programs act on many of that kind, such as `.git`.
fn visible(name: &FileName) -> Result<(), Failure> {
    if !name.as_str().split('/').any(|part| part.starts_with('.')) {
        return Ok(());
    }
    let message = format!("the package holds a hidden file, `{name}`; nothing is written");
    Err(Failure::new(exit::REFUSED, message)
        .with_cause("packages are published without them; this one was made in another way"))
}

/// The folder and the path of a file, with every folder made. Links on the way are not followed: an earlier package,
/// or somebody else with access to the folder, could have put them there.
fn place(root: &Path, name: &FileName) -> Result<(PathBuf, PathBuf), Failure> {
    let mut folder = root.to_owned();
    let (parents, last) = name.as_str().rsplit_once('/').unwrap_or(("", name.as_str()));
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        folder.push(part);
        match fs::symlink_metadata(&folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(in_the_way(&folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(&folder).map_err(|error| cannot_write(&folder, &error))?;
            }
            Err(error) => return Err(cannot_write(&folder, &error)),
        }
    }
    let path = folder.join(last);
    Ok((folder, path))
}

/// A new file beside the one that it will become.
pub(super) fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".guild-")
        .permissions(Permissions::from_mode(FILE_MODE))
        .tempfile_in(folder)
}

fn in_the_way(path: &Path) -> Failure {
    let message = format!("{} is in the way: neither followed nor replaced", path.display());
    Failure::new(exit::REFUSED, message)
}

/// Whatever stands in the way here does not in a new folder.
fn with_way_out(failure: Failure, reference: &Reference) -> Failure {
    match failure.code {
        exit::REFUSED if failure.help.is_none() => {
            failure.with_help(format!("guild get {reference} -o NEW-FOLDER"))
        }
        _ => failure,
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(exit::FAILED, format!("cannot write {}", path.display()))
        .with_cause(error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::fs::symlink;

    use guildhall_protocol::api::TransferSource;

    use super::*;

    #[test]
    fn progress_says_how_much_how_fast_how_long_and_from_whom() {
        let source = |org: &str, bytes, gave_up: Option<&str>| TransferSource {
            org: org.parse().unwrap(),
            peer_id: String::new(),
            bytes,
            gave_up: gave_up.map(str::to_owned),
        };
        let mut transfer = Transfer {
            package_id: guildhall_protocol::PackageId(guildhall_protocol::Hash::of(b"")),
            total_bytes: 100 << 20,
            done_bytes: 0,
            total_files: 1,
            done_files: 0,
            sources: vec![
                source("lab-a", 1, None),
                source("lab-b", 1, Some("it lied")),
                source("lab-c", 0, None),
            ],
        };
        let (mut rate, now) = (Rate::default(), Instant::now());
        let first = rate.line(&transfer, now);
        assert_eq!(first, "[                    ] 0 B of 100 MiB, from lab-a");
        transfer.done_bytes = 50 << 20;
        let second = rate.line(&transfer, now + Duration::from_secs(1));
        assert_eq!(
            second,
            "[==========          ] 50 MiB of 100 MiB, 50 MiB/s, 1 s left, from lab-a"
        );
    }

    #[test]
    fn folders_are_made_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let name = |text: &str| text.parse::<FileName>().unwrap();
        let (folder, path) = place(root.path(), &name("a/b/c.txt")).unwrap();
        assert!(folder.is_dir());
        assert_eq!(path, root.path().join("a/b/c.txt"));
        symlink(outside.path(), root.path().join("link")).unwrap();
        let refused = place(root.path(), &name("link/c.txt")).unwrap_err();
        assert_eq!(refused.code, exit::REFUSED);
        fs::write(root.path().join("file"), "").unwrap();
        assert!(place(root.path(), &name("file/c.txt")).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn hidden_files_are_refused_by_name() {
        let check = |name: &str| visible(&name.parse().unwrap());
        check("a/b.c/d.txt").unwrap();
        for name in [".bashrc", ".git/config", "a/.ssh/authorized_keys", "a/..b"] {
            let refused = check(name).unwrap_err();
            assert_eq!(refused.code, exit::REFUSED);
            assert!(refused.message.contains(name), "{}", refused.message);
        }
    }

    #[test]
    fn a_temporary_file_becomes_an_ordinary_one() {
        let root = tempfile::tempdir().unwrap();
        let temporary = temporary_in(root.path()).unwrap();
        let mode = temporary.as_file().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0, "nothing is executable");
        assert_eq!(mode & 0o600, 0o600);
    }
}
