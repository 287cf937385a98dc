//! `new`: a folder with a small stage that builds, passes its tests and can be published as it is.
//!
//! Nothing that is there is ever replaced, and when something fails nothing of it stays behind.

mod fill;
mod language;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use guildhall_client::package::name_of;
use guildhall_client::shell_quote;
use guildhall_protocol::name::{Category, PackageName};
use serde_json::json;

use self::fill::{NewFile, Said};
pub(crate) use self::language::Language;
use super::table::counted;
use super::{Context, Failure, category, exit};

/// What the stage of the templates is about.
const CATEGORY_DEFAULT: &str = "text/classification/language";

/// What the stage of the templates does.
const SUMMARY_DEFAULT: &str = "Says which of four languages a text is in, by its commonest words.";

/// The licence that a new stage names until its author chooses another.
const LICENCE_DEFAULT: &str = "MIT";

/// The only thing that may be in the folder already: a repository that was just begun.
const MAY_BE_THERE: &str = ".git";

/// `guild new`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  guild new --lang wat words          needs no compiler: guild build words
  guild new --lang c words --name word-language --category language-detection")]
pub(crate) struct NewArgs {
    /// Folder for the stage, made if it is missing; it must be empty
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Programming language
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    pub(crate) lang: Language,
    /// Name of the package [default: the folder's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<PackageName>,
    /// Category, as `guild categories --all` lists them [default: text/classification/language]
    #[arg(long, value_name = "CATEGORY", value_parser = category::category)]
    pub(crate) category: Option<category::Given<Category>>,
    /// What it does, one sentence
    #[arg(long, value_name = "TEXT")]
    pub(crate) summary: Option<String>,
    /// Licence, as SPDX has it [default: MIT]
    #[arg(long, value_name = "SPDX")]
    pub(crate) licence: Option<String>,
}

pub(super) fn new(context: &Context, args: NewArgs) -> Result<(), Failure> {
    let output = &context.output;
    let given: Vec<_> = args.category.into_iter().collect();
    category::tell(output, &given);
    let name = match args.name {
        Some(name) => name,
        None => name_of(&args.dir).ok_or_else(|| nameless(&args.dir))?,
    };
    let said = Said {
        name: name.to_string(),
        category: given.first().map_or(CATEGORY_DEFAULT.into(), |given| given.value.to_string()),
        summary: args.summary.unwrap_or_else(|| SUMMARY_DEFAULT.into()),
        licence: args.licence.unwrap_or_else(|| LICENCE_DEFAULT.into()),
    };
    let files = fill::files(args.lang, &said);
    let is_new = claim(&args.dir)?;
    write(&args.dir, is_new, &files)?;
    let mut next: Vec<String> = match args.dir.as_path() {
        here if here == Path::new(".") => Vec::new(),
        dir => vec![format!("cd {}", shell_quote(dir))],
    };
    next.extend(args.lang.build().iter().map(|&line| line.to_owned()));
    next.extend(["guild test .", "guild publish ."].map(str::to_owned));
    show(context, &args.dir, &files, &next)
}

fn show(context: &Context, dir: &Path, files: &[NewFile], next: &[String]) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() {
        let files: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        return output.json(&json!({ "path": dir, "files": files, "next": next }));
    }
    if output.is_quiet() {
        return output.line(&dir.display().to_string());
    }
    output.line(&format!("{} in {}", counted(files.len(), "file"), dir.display()))?;
    output.lines(files.iter().map(|file| format!("  {}", file.name)))?;
    output.line("next, as its README.md explains:")?;
    output.lines(next.iter().map(|line| format!("  {line}")))
}

fn nameless(dir: &Path) -> Failure {
    let message = format!("no package can be named after {}", dir.display());
    Failure::new(exit::USAGE, message)
        .with_cause("a package name has 2 to 96 of a-z, 0-9 and inner `-`, `.` or `_`")
        .with_help("guild new --lang LANGUAGE DIR --name NAME")
}

/// Makes the folder, or finds it empty. Whether it was made.
fn claim(dir: &Path) -> Result<bool, Failure> {
    let failed = |error: io::Error| {
        Failure::new(exit::FAILED, format!("cannot make {}", dir.display()))
            .with_cause(error.to_string())
    };
    let refused = |why: &str| {
        Failure::new(exit::REFUSED, format!("{} {why}", dir.display()))
            .with_help("guild new --lang LANGUAGE OTHER-DIR")
    };
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => Err(refused("is a file")),
        Ok(_) => {
            for entry in fs::read_dir(dir).map_err(failed)? {
                if entry.map_err(failed)?.file_name() != MAY_BE_THERE {
                    return Err(refused("is not empty, and nothing in it is replaced"));
                }
            }
            Ok(false)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(dir).map_err(failed)?;
            Ok(true)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes the files; when one fails, those before it go again.
fn write(dir: &Path, is_new: bool, files: &[NewFile]) -> Result<(), Failure> {
    for (at, file) in files.iter().enumerate() {
        let path = dir.join(&file.name);
        let Err(error) = write_one(&path, &file.bytes) else { continue };
        let begun = files.iter().take(at.saturating_add(1));
        if error.kind() == io::ErrorKind::AlreadyExists {
            // Somebody else made it since the look, so this one stays.
            take_back(dir, is_new, begun.take(at));
        } else {
            take_back(dir, is_new, begun);
        }
        return Err(Failure::new(exit::FAILED, format!("cannot write {}", path.display()))
            .with_cause(error.to_string()));
    }
    Ok(())
}

fn write_one(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes)
}

/// Best effort: what cannot be removed was said to have failed already. Only empty folders go.
fn take_back<'a>(dir: &Path, is_new: bool, files: impl Iterator<Item = &'a NewFile>) {
    for file in files {
        let path = dir.join(&file.name);
        let _ = fs::remove_file(&path);
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != dir) {
            let _ = fs::remove_dir(folder);
        }
    }
    if is_new {
        let _ = fs::remove_dir(dir);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn files() -> Vec<NewFile> {
        let file = |name: &str| NewFile { name: name.into(), bytes: b"x".to_vec() };
        vec![file("a"), file("deep/er/b"), file("c")]
    }

    #[test]
    fn only_an_empty_folder_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/er");
        assert!(claim(&path).unwrap());
        assert!(!claim(&path).unwrap());
        fs::create_dir(path.join(".git")).unwrap();
        assert!(!claim(&path).unwrap(), "a repository that was just begun is as good as empty");
        fs::write(path.join("mine"), "").unwrap();
        assert_eq!(claim(&path).unwrap_err().code, exit::REFUSED);
        assert_eq!(claim(&path.join("mine")).unwrap_err().code, exit::REFUSED);
    }

    #[test]
    fn what_fails_half_way_leaves_nothing_behind_and_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // Made by somebody else after the look.
        fs::write(dir.path().join("c"), "precious").unwrap();
        assert_eq!(write(dir.path(), false, &files()).unwrap_err().code, exit::FAILED);
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["c"]);
        assert_eq!(fs::read_to_string(dir.path().join("c")).unwrap(), "precious");
        let path = dir.path().join("other");
        assert!(claim(&path).unwrap());
        write(&path, true, &files()).unwrap();
        assert_eq!(fs::read_to_string(path.join("deep/er/b")).unwrap(), "x");
    }
}
