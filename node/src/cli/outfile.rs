//! The file of `-o`: opened before a run starts, so that nobody waits for outputs that have no place to go.
//!
//! A new file appears when it is complete, or not at all. A regular file that exists is replaced only with `--force`,
//! in the same way and with the permissions it had; links are followed to what they name. Anything else that exists, a
//! device or a pipe, is written into and stays what it is.
//!
//! A file called `.csv` gets rows ([`rows`]), any other one JSON value a line.

mod rows;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use guildhall_client::shell_quote;
use guildhall_protocol::api::OutputLine;
use tempfile::NamedTempFile;

use super::get::temporary_in;
use super::{Failure, exit};

/// Links that are followed from one name, as many as Linux does.
const LINKS_MAX: usize = 40;

/// Names of what this process has as stdout. Opened again, a file there would be written from its beginning.
const STDOUT_NAMES: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// Whether `-o` says stdout.
pub(super) fn is_stdout(path: &Path) -> bool {
    STDOUT_NAMES.iter().any(|name| path == Path::new(name))
}

/// Where the outputs of a run go.
pub(super) struct OutFile {
    shown: PathBuf,
    is_csv: bool,
    is_begun: bool,
    to: To,
}

enum To {
    Stdout(BufWriter<io::Stdout>),
    /// A device or a pipe.
    Straight(BufWriter<File>),
    /// A file beside the one that it becomes.
    File {
        temporary: BufWriter<NamedTempFile>,
        target: PathBuf,
        replaces: Option<fs::Permissions>,
    },
}

impl OutFile {
    /// Opens what `path` names; blocks, for a pipe until somebody reads it.
    ///
    /// # Errors
    /// When it cannot be written, or would be overwritten without `force`.
    pub(super) fn open(path: &Path, force: bool) -> Result<Self, Failure> {
        let to = if is_stdout(path) {
            To::Stdout(BufWriter::new(io::stdout()))
        } else {
            let failed = |error: &io::Error| cannot_write(path, error);
            match fs::metadata(path) {
                Ok(found) if found.is_dir() => {
                    let message =
                        format!("{} is a folder; the outputs are one file", path.display());
                    return Err(Failure::new(exit::REFUSED, message));
                }
                Ok(found) if found.is_file() && !is_open_already(path) => {
                    if !force {
                        return Err(exists(path));
                    }
                    // A file that may not be written is not replaced either.
                    OpenOptions::new().write(true).open(path).map_err(|error| failed(&error))?;
                    let target = path.canonicalize().map_err(|error| failed(&error))?;
                    Self::beside(target, Some(found.permissions()))
                        .map_err(|error| failed(&error))?
                }
                Ok(_) => {
                    let file = OpenOptions::new().append(true).open(path);
                    To::Straight(BufWriter::new(file.map_err(|error| failed(&error))?))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let target = follow(path).map_err(|error| failed(&error))?;
                    Self::beside(target, None).map_err(|error| failed(&error))?
                }
                Err(error) => return Err(failed(&error)),
            }
        };
        let is_csv = path.extension().is_some_and(|name| name.eq_ignore_ascii_case("csv"));
        Ok(Self { shown: path.to_owned(), is_csv, is_begun: false, to })
    }

    fn beside(target: PathBuf, replaces: Option<fs::Permissions>) -> io::Result<To> {
        let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let temporary = BufWriter::new(temporary_in(folder.unwrap_or(Path::new(".")))?);
        Ok(To::File { temporary, target, replaces })
    }

    /// Adds an output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn line(&mut self, line: &OutputLine) -> Result<(), Failure> {
        let mut text = match self.is_csv {
            true if self.is_begun => rows::of(line),
            true => format!("{}{}", rows::head(), rows::of(line)),
            false => serde_json::to_string(line)
                .map_err(|error| cannot_write(&self.shown, &io::Error::from(error)))?,
        };
        if !self.is_csv {
            text.push('\n');
        }
        self.is_begun = true;
        let to: &mut dyn Write = match &mut self.to {
            To::Stdout(stdout) => stdout,
            To::Straight(file) => file,
            To::File { temporary, .. } => temporary,
        };
        to.write_all(text.as_bytes()).map_err(|error| cannot_write(&self.shown, &error))
    }

    /// Says that everything was added.
    ///
    /// # Errors
    /// When it cannot be written, or somebody else made a file of that name meanwhile.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let failed = |error: &io::Error| cannot_write(&self.shown, error);
        match self.to {
            To::Stdout(mut stdout) => stdout.flush().map_err(|error| failed(&error)),
            To::Straight(mut file) => file.flush().map_err(|error| failed(&error)),
            To::File { temporary, target, replaces } => {
                let temporary = temporary.into_inner().map_err(|error| failed(error.error()))?;
                let persisted = match replaces {
                    None => temporary.persist_noclobber(&target),
                    Some(permissions) => {
                        let kept = temporary.as_file().set_permissions(permissions);
                        kept.map_err(|error| failed(&error))?;
                        temporary.persist(&target)
                    }
                };
                persisted.map(|_| ()).map_err(|error| match error.error.kind() {
                    io::ErrorKind::AlreadyExists => exists(&self.shown),
                    _ => failed(&error.error),
                })
            }
        }
    }
}

/// Whether the path names a file by a descriptor: whoever opened it decides where in it is written.
fn is_open_already(path: &Path) -> bool {
    ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder))
}

/// The path of a file that does not exist, with links that lead to it followed.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(target) => {
                path.pop();
                path.push(target);
            }
            // No link, or nothing at all.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links"))
}

fn exists(path: &Path) -> Failure {
    Failure::new(exit::REFUSED, format!("{} exists already", path.display()))
        .with_help(format!("add --force to replace it, or: mv {} OTHER-NAME", shell_quote(path)))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::unheard();
    }
    Failure::new(exit::FAILED, format!("cannot write {}", path.display()))
        .with_cause(error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};

    use guildhall_protocol::api::OutputValue;

    use super::*;

    fn output() -> OutputLine {
        OutputLine { index: 0, name: "a".into(), value: OutputValue::Text("x".into()) }
    }

    fn write(path: &Path, force: bool) -> Result<(), Failure> {
        let mut file = OutFile::open(path, force)?;
        file.line(&output())?;
        file.finish()
    }

    fn lines(path: &Path) -> usize {
        fs::read_to_string(path).unwrap().lines().count()
    }

    #[test]
    fn a_new_file_appears_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let file = OutFile::open(&path, false).unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing stays behind");
        write(&path, false).unwrap();
        assert_eq!(lines(&path), 1);
        assert!(OutFile::open(&dir.path().join("no/out"), false).is_err());
        assert_eq!(OutFile::open(dir.path(), true).err().unwrap().code, exit::REFUSED);
    }

    #[test]
    fn a_file_is_replaced_only_when_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "precious").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = write(&path, false).unwrap_err();
        assert_eq!(refused.code, exit::REFUSED);
        assert!(refused.help.unwrap().contains("--force"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        write(&path, true).unwrap();
        assert_eq!(lines(&path), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        // One that somebody makes meanwhile is safe too.
        let late = dir.path().join("late");
        let file = OutFile::open(&late, false).unwrap();
        fs::write(&late, "precious").unwrap();
        assert_eq!(file.finish().unwrap_err().code, exit::REFUSED);
        assert_eq!(fs::read_to_string(&late).unwrap(), "precious");
    }

    #[test]
    fn links_stay_and_what_they_name_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("folder")).unwrap();
        symlink("folder/new", path("link")).unwrap();
        write(&path("link"), false).unwrap();
        assert_eq!(lines(&path("folder/new")), 1);
        assert_eq!(write(&path("link"), false).unwrap_err().code, exit::REFUSED);
        fs::write(path("folder/new"), "").unwrap();
        write(&path("link"), true).unwrap();
        assert_eq!(lines(&path("folder/new")), 1);
        assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
        symlink("circle", path("circle")).unwrap();
        assert!(write(&path("circle"), true).is_err());
    }

    #[test]
    fn devices_and_pipes_stay_what_they_are() {
        for force in [false, true] {
            write(Path::new("/dev/null"), force).unwrap();
        }
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write(&pipe, false).unwrap();
        assert_eq!(reader.join().unwrap().lines().count(), 1);
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        assert!(is_stdout(Path::new("-")) && is_stdout(Path::new("/dev/stdout")));
    }
}
