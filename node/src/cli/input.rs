//! What `run --input` means: a file, a folder of files, stdin, or a data package.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use guildhall_client::package::ByteSize;
use guildhall_protocol::api::{InputRecord, RunInput};
use guildhall_protocol::limits::VALUE_MAX_BYTES;
use guildhall_protocol::name::Reference;

use super::table::counted;
use super::{Failure, exit};

/// Most bytes of records in one request, with base64 and the JSON around them: what a gateway takes, less a margin
/// for the rest of the request.
const REQUEST_MAX_BYTES: usize = 63 * 1024 * 1024;

/// What JSON adds to a record besides its name and value, at most.
const RECORD_FRAME_BYTES: usize = 64;

/// Everything that was given as `--input`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inputs {
    /// The input port, when one was named.
    pub(super) port: Option<String>,
    /// The records.
    pub(super) input: RunInput,
    /// What was left out, for people.
    pub(super) notes: Vec<String>,
}

impl Inputs {
    /// The names of the records, in their order; none when they are a package's.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.input {
            RunInput::Records(records) => {
                records.iter().map(|record| record.name.clone()).collect()
            }
            RunInput::Package(_) => Vec::new(),
        }
    }
}

/// One `--input`, looked up.
enum Source {
    Stdin,
    File(PathBuf),
    Folder(PathBuf),
    Package(Reference),
}

/// Reads what was given. Blocks while it reads.
pub(super) fn read(given: &[String]) -> Result<Inputs, Failure> {
    let mut port = None;
    let mut records = Records::default();
    for text in given {
        let (named, source) = look_up(text)?;
        if let Some(named) = named {
            if port.as_ref().is_some_and(|port| *port != named) {
                let message = "a run takes its records at one port, and two are named";
                return Err(Failure::new(exit::USAGE, message));
            }
            port = Some(named);
        }
        match source {
            Source::Package(reference) if given.len() == 1 => {
                let input = RunInput::Package(reference);
                return Ok(Inputs { port, input, notes: Vec::new() });
            }
            Source::Package(_) => {
                let message = "a data package cannot be mixed with other input";
                return Err(Failure::new(exit::USAGE, message));
            }
            Source::Stdin => records.read("stdin", Path::new("-"), io::stdin())?,
            Source::File(path) => records.file(&path)?,
            Source::Folder(path) => records.folder(&path)?,
        }
    }
    Ok(Inputs { port, input: RunInput::Records(records.records), notes: records.notes })
}

/// `[PORT=]FILE|DIR|REF`. What is there as a file is a file, whatever else its name could mean.
fn look_up(text: &str) -> Result<(Option<String>, Source), Failure> {
    if let Some(source) = source(text)? {
        return Ok((None, source));
    }
    let is_port = |port: &str| {
        !port.is_empty()
            && port.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    if let Some((port, rest)) = text.split_once('=').filter(|(port, _)| is_port(port))
        && let Some(source) = source(rest)?
    {
        return Ok((Some(port.to_owned()), source));
    }
    let message = format!("there is no file `{text}`, and it is no reference to a data package");
    Err(Failure::new(exit::NOT_FOUND, message).with_help("guild search --kind data"))
}

fn source(text: &str) -> Result<Option<Source>, Failure> {
    if text == "-" {
        return Ok(Some(Source::Stdin));
    }
    match fs::metadata(text) {
        Ok(found) if found.is_dir() => Ok(Some(Source::Folder(text.into()))),
        Ok(_) => Ok(Some(Source::File(text.into()))),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::InvalidFilename
            ) =>
        {
            Ok(text.parse().ok().map(Source::Package))
        }
        Err(error) => Err(unreadable(Path::new(text), &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(exit::FAILED, format!("cannot read {}", path.display()))
        .with_cause(error.to_string())
}

/// Records as they are collected, within what one request can carry.
#[derive(Default)]
struct Records {
    records: Vec<InputRecord>,
    request_bytes: usize,
    notes: Vec<String>,
}

impl Records {
    /// Each file is one record, in order of name; hidden files and folders are none.
    fn folder(&mut self, folder: &Path) -> Result<(), Failure> {
        let mut paths = Vec::new();
        let (mut hidden, mut folders, mut special) = (0_usize, 0_usize, 0_usize);
        for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
            let path = entry.map_err(|error| unreadable(folder, &error))?.path();
            let name = path.file_name().unwrap_or_default();
            if name.as_encoded_bytes().starts_with(b".") {
                hidden += 1;
            } else if path.is_file() {
                paths.push(path);
            } else if path.is_dir() {
                folders += 1;
            } else {
                special += 1;
            }
        }
        let left_out = [(folders, "subfolder"), (hidden, "hidden file"), (special, "special file")];
        let left_out: Vec<_> = left_out.iter().filter(|(count, _)| *count > 0).collect();
        if !left_out.is_empty() {
            let each = left_out.iter().map(|(count, what)| counted(count, what));
            let each = each.collect::<Vec<_>>().join(", ");
            self.notes.push(format!("{}: left out {each}", folder.display()));
        }
        paths.sort();
        if paths.is_empty() {
            let message = format!("there are no files in {}", folder.display());
            return Err(Failure::new(exit::NOT_FOUND, message));
        }
        paths.iter().try_for_each(|path| self.file(path))
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let file = fs::File::open(path).map_err(|error| unreadable(path, &error))?;
        self.read(&name, path, file)
    }

    fn read(&mut self, name: &str, path: &Path, source: impl Read) -> Result<(), Failure> {
        let mut value = Vec::new();
        let most = u64::try_from(VALUE_MAX_BYTES).unwrap_or(u64::MAX);
        source
            .take(most.saturating_add(1))
            .read_to_end(&mut value)
            .map_err(|error| unreadable(path, &error))?;
        if value.len() > VALUE_MAX_BYTES {
            let message =
                format!("{} is longer than a record may be, {}", path.display(), ByteSize(most));
            return Err(Failure::new(exit::REFUSED, message));
        }
        let value = BASE64.encode(&value);
        self.request_bytes += value.len() + name.len() * 2 + RECORD_FRAME_BYTES;
        if self.request_bytes > REQUEST_MAX_BYTES {
            return Err(Failure::new(exit::REFUSED, "this is more than one run can be sent")
                .with_cause("publish it as a data package, and run over its reference")
                .with_help("guild publish DIR"));
        }
        self.records.push(InputRecord::new(name, value));
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn names(inputs: &Inputs) -> Vec<&str> {
        match &inputs.input {
            RunInput::Records(records) => {
                records.iter().map(|record| record.name.as_str()).collect()
            }
            RunInput::Package(_) => Vec::new(),
        }
    }

    #[test]
    fn a_folder_is_its_files_in_order_of_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["10.pgm", "2.pgm", "01.pgm", ".hidden"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("folder")).unwrap();
        let inputs = read(&[dir.path().display().to_string()]).unwrap();
        assert_eq!(names(&inputs), ["01.pgm", "10.pgm", "2.pgm"]);
        assert_eq!(inputs.names(), names(&inputs));
        let note = inputs.notes.join("\n");
        assert!(note.ends_with(": left out 1 subfolder, 1 hidden file"), "{note}");
        let RunInput::Records(records) = inputs.input else { panic!("records were given") };
        assert_eq!(records[0].value, BASE64.encode(b"01.pgm"));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(read(&[empty.path().display().to_string()]).unwrap_err().code, exit::NOT_FOUND);
    }

    #[test]
    fn files_win_over_references_and_ports() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::write(path("a=b"), "x").unwrap();
        fs::write(path("c"), "x").unwrap();
        let plain = read(&[path("a=b"), path("c")]).unwrap();
        assert_eq!((plain.port.as_deref(), names(&plain)), (None, vec!["a=b", "c"]));
        let named = read(&[format!("image={}", path("c"))]).unwrap();
        assert_eq!((named.port.as_deref(), names(&named)), (Some("image"), vec!["c"]));
        let two = read(&[format!("a={}", path("c")), format!("b={}", path("c"))]);
        assert_eq!(two.unwrap_err().code, exit::USAGE);
    }

    #[test]
    fn what_is_no_file_may_be_a_package() {
        let reference = "lab-a/digits-images@1.0.0";
        let package = RunInput::Package(reference.parse().unwrap());
        assert_eq!(read(&[reference.into()]).unwrap().input, package);
        let named = read(&[format!("image={reference}")]).unwrap();
        assert_eq!((named.port.as_deref(), named.input), (Some("image"), package));
        assert_eq!(read(&[reference.into(), reference.into()]).unwrap_err().code, exit::USAGE);
        assert_eq!(read(&["no/such file".into()]).unwrap_err().code, exit::NOT_FOUND);
    }

    #[test]
    fn a_record_that_is_too_long_is_refused_before_it_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        fs::write(&path, vec![0; VALUE_MAX_BYTES + 1]).unwrap();
        assert_eq!(read(&[path.display().to_string()]).unwrap_err().code, exit::REFUSED);
    }
}
