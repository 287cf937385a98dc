//! What `run --input` means: files, folders, stdin or a data package, made into records of the interface.
//!
//! Each `--input` feeds one port, or whatever ports its content names. Several for one port follow each other; those for
//! different ports are columns of the same records. What a file is taken for follows from its name and the port's type
//! ([`form`]) and is said in a note. Every record is read as the node will read it, so that what is wrong with it is
//! said with the file and the line. Blocks while it reads.

mod form;
mod lines;
mod npy;
mod record;
mod rows;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use guildhall_client::package::ByteSize;
use guildhall_protocol::api::RunInput;
use guildhall_protocol::interface::Port;
use guildhall_protocol::name::Reference;
use guildhall_protocol::values::{self, nearest};

pub(super) use self::form::As;
use self::form::Target;
use self::record::{Entry, REQUEST_MAX_BYTES, Records};
use super::federation::list;
use super::table::counted;
use super::{Failure, exit};

/// Everything that was given as `--input`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inputs {
    /// The records.
    pub(super) input: RunInput,
    /// What files were taken for and what was left out, for people.
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

/// The records that one port gets, or that name their ports themselves.
struct Column {
    port: Option<String>,
    entries: Vec<Entry>,
}

/// Reads what was given for an interface with these inputs; `forced` is what files are, whatever their names say.
pub(super) fn read(
    given: &[String],
    forced: Option<As>,
    ports: &[Port],
) -> Result<Inputs, Failure> {
    let sources = given.iter().map(|text| look_up(text)).collect::<Result<Vec<_>, _>>()?;
    for named in sources.iter().filter_map(|(named, _)| named.as_deref()) {
        check_port(named, ports)?;
    }
    if sources.iter().filter(|(_, source)| matches!(source, Source::Stdin)).count() > 1 {
        return Err(Failure::new(exit::USAGE, "stdin can be read only once"));
    }
    if sources.iter().any(|(_, source)| matches!(source, Source::Package(_))) {
        return package(sources);
    }
    let named: Vec<String> = sources.iter().filter_map(|(named, _)| named.clone()).collect();
    let mut notes = Vec::new();
    let mut columns: Vec<Column> = Vec::new();
    for (port, source) in sources {
        let target = Target::new(ports, port.as_deref(), &named);
        let entries = entries(&source, forced, &target, &mut notes)?;
        match columns.iter_mut().find(|column| column.port == port) {
            Some(column) => column.entries.extend(entries),
            None => columns.push(Column { port, entries }),
        }
    }
    let mut records = Records::new(ports);
    zip(columns, &mut records, &mut notes)?;
    Ok(Inputs { input: RunInput::Records(records.finish()), notes })
}

/// A port that is named must be one, so that nobody believes to have filled another.
fn check_port(named: &str, ports: &[Port]) -> Result<(), Failure> {
    if ports.iter().any(|port| port.name == named) {
        return Ok(());
    }
    let names: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
    let failure = Failure::new(exit::USAGE, format!("there is no input `{named}`"))
        .with_cause(format!("the inputs are: {}", list(&names)));
    Err(match nearest(named, names.iter().copied()) {
        Some(nearest) => failure.with_help(format!("--input {nearest}=...")),
        None => failure,
    })
}

fn package(sources: Vec<(Option<String>, Source)>) -> Result<Inputs, Failure> {
    match <[_; 1]>::try_from(sources) {
        Ok([(_, Source::Package(reference))]) => {
            Ok(Inputs { input: RunInput::Package(reference), notes: Vec::new() })
        }
        _ => {
            let message = "a data package cannot be mixed with other input";
            Err(Failure::new(exit::USAGE, message))
        }
    }
}

/// Puts the columns side by side: all as long as each other, or of one value, which is then repeated.
fn zip(
    columns: Vec<Column>,
    records: &mut Records<'_>,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let total = columns.iter().map(|column| column.entries.len()).max().unwrap_or_default();
    let shown = |column: &Column| column.port.clone().unwrap_or_else(|| "the others".to_owned());
    if columns.iter().any(|column| column.entries.len() != total && column.entries.len() != 1) {
        let counts = columns
            .iter()
            .map(|column| format!("{}: {}", shown(column), counted(column.entries.len(), "value")));
        let message = "the inputs are not as many for each port; one value alone is repeated";
        return Err(
            Failure::new(exit::USAGE, message).with_cause(counts.collect::<Vec<_>>().join(", "))
        );
    }
    let repeated = columns.iter().filter(|column| column.entries.len() == 1 && total > 1);
    notes.extend(repeated.map(|column| {
        let name = column.entries.first().map(|entry| entry.name.as_str()).unwrap_or_default();
        format!("{name} is used for {} in each of the {total} records", shown(column))
    }));
    let main = columns.iter().position(|column| column.entries.len() == total).unwrap_or(0);
    let (mut repeated, mut each) = (Vec::new(), Vec::new());
    for (at, mut column) in columns.into_iter().enumerate() {
        match column.entries.len() == 1 && total > 1 {
            true => repeated.extend(column.entries.pop()),
            false => each.push((at == main, column.entries.into_iter())),
        }
    }
    for _ in 0..total {
        let mut record = Entry::default();
        for (is_main, entries) in &mut each {
            if let Some(entry) = entries.next() {
                record.take(entry, *is_main)?;
            }
        }
        for entry in &repeated {
            record.take(entry.clone(), false)?;
        }
        records.add(record)?;
    }
    Ok(())
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

fn entries(
    source: &Source,
    forced: Option<As>,
    target: &Target<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>, Failure> {
    match source {
        Source::Stdin => {
            let bytes = whole(Path::new("-"), io::stdin())?;
            form::entries("stdin", bytes, forced.unwrap_or(As::Raw), target, notes)
        }
        Source::File(path) => file(path, forced, target, notes),
        Source::Folder(path) => folder(path, forced, target, notes),
        // Looked at before any file is read.
        Source::Package(_) => Ok(Vec::new()),
    }
}

/// The files of a folder, in order of name; hidden files and folders are left out.
fn folder(
    folder: &Path,
    forced: Option<As>,
    target: &Target<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>, Failure> {
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
        notes.push(format!("{}: left out {each}", folder.display()));
    }
    paths.sort();
    if paths.is_empty() {
        let message = format!("there are no files in {}", folder.display());
        return Err(Failure::new(exit::NOT_FOUND, message));
    }
    let mut entries = Vec::new();
    let mut bytes = 0_usize;
    for path in &paths {
        let read = file(path, forced, target, notes)?;
        bytes += read.iter().map(Entry::len_bytes).sum::<usize>();
        // What does not fit a request is not read to its end either.
        if bytes > REQUEST_MAX_BYTES {
            return Err(record::too_much());
        }
        entries.extend(read);
    }
    Ok(entries)
}

fn file(
    path: &Path,
    forced: Option<As>,
    target: &Target<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>, Failure> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let file = fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let bytes = whole(path, file)?;
    let form = match forced {
        Some(form) => form,
        None => form::of_name(path, &bytes, target)?,
    };
    form::entries(&name, bytes, form, target, notes)
}

/// All of a file, if it can be sent at all: records are not much shorter as JSON than they are in a file.
fn whole(path: &Path, source: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = u64::try_from(REQUEST_MAX_BYTES).unwrap_or(u64::MAX);
    source
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() > REQUEST_MAX_BYTES {
        let message = format!("{} is longer than {}", path.display(), ByteSize(most));
        return Err(Failure::new(exit::REFUSED, message)
            .with_cause(record::PUBLISH_IT)
            .with_help(record::PUBLISH_HELP));
    }
    Ok(bytes)
}

/// A failure that names the place in a file.
fn at(place: &str, error: &values::ValueError) -> Failure {
    Failure::new(exit::USAGE, format!("{place}: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
