//! `get`: have the node fetch a package, then write its files below one folder and nowhere else.
//!
//! A file appears under its name when its bytes are complete and have the manifest's hash. A command that is repeated
//! keeps what is already right, so an interrupted one goes on where it was.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use guildhall_client::Client;
use guildhall_client::package::{ByteSize, hash_file};
use guildhall_protocol::api::Fetched;
use guildhall_protocol::manifest::FileEntry;
use guildhall_protocol::name::{FileName, Reference};
use serde_json::json;
use tempfile::NamedTempFile;

use super::federation::list;
use super::table::counted;
use super::{Context, Failure, exit};

/// Hex digits of a package id in the name of a folder.
const ID_DIGITS: usize = 16;

/// Permissions of files before the person's umask; nothing that was fetched is executable.
const FILE_MODE: u32 = 0o666;

/// `guild get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GetArgs {
    /// org/name, org/name@version or b3:HASH
    #[arg(value_name = "REF")]
    pub(crate) reference: Reference,
    /// Folder for the files, made if it is missing [default: NAME, NAME-VERSION or b3-HASH here, as REF says it]
    #[arg(short = 'o', long = "out", value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Replace files that are there and differ; without it the command stops at the first one
    #[arg(long)]
    pub(crate) force: bool,
}

pub(super) async fn get(context: &Context, args: &GetArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    output.progress("fetching");
    let fetched = client.fetch(&args.reference).await?;
    fetched.manifest.files.iter().try_for_each(|file| visible(&file.name))?;
    let dir = args.out.clone().unwrap_or_else(|| folder_name(&fetched));
    fs::create_dir_all(&dir).map_err(|error| cannot_write(&dir, &error))?;
    let files = &fetched.manifest.files;
    let mut written = 0_usize;
    for (file, place) in files.iter().zip(1_usize..) {
        output.progress(&format!("{place} of {}", counted(files.len(), "file")));
        let done = write_file(&client, &dir, file, args.force).await;
        if done.map_err(|failure| with_way_out(failure, &args.reference))? {
            written += 1;
        }
    }
    output.clear_progress();
    show(context, &fetched, &dir, written)
}

fn show(context: &Context, fetched: &Fetched, dir: &Path, written: usize) -> Result<(), Failure> {
    let output = &context.output;
    let shown_dir = dir.display().to_string();
    if output.is_json() {
        return output.json(&json!({
            "ref": fetched.reference,
            "package_id": fetched.package_id,
            "dir": shown_dir,
            "files": fetched.manifest.files.len(),
            "written": written,
            "fetched_bytes": fetched.fetched_bytes,
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
    let files = counted(fetched.manifest.files.len(), "file");
    let size = ByteSize(fetched.manifest.len_bytes());
    output.note(&format!("{}: {from}; {files}, {size}, {written} written", fetched.reference));
    output.line(&shown_dir)
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

    use super::*;

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
