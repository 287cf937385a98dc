//! `build`: assembles WebAssembly's text form. The only language that needs no tools of its own.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use guildhall_client::package::ByteSize;
use guildhall_client::shell_quote;
use serde_json::json;

use super::{Context, Failure, exit};

/// Longest text that is assembled, bytes: far more than anybody writes, and little enough for the memory it takes.
const TEXT_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The script that every other language of `guild new` is built with.
const SCRIPT: &str = "build.sh";

/// `guild build`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BuildArgs {
    /// Folder with the .wat files
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

pub(super) fn build(context: &Context, args: &BuildArgs) -> Result<(), Failure> {
    let texts = texts(&args.dir)?;
    if texts.is_empty() {
        return Err(nothing(&args.dir));
    }
    let mut built = Vec::new();
    for from in &texts {
        let to = from.with_extension("wasm");
        let module = assemble(from)?;
        replace(&to, &module)?;
        built.push((from, to, module.len()));
    }
    let output = &context.output;
    if output.is_json() {
        let files: Vec<_> = built
            .iter()
            .map(|(from, to, len)| json!({ "from": from, "to": to, "len_bytes": len }))
            .collect();
        return output.json(&json!({ "built": files }));
    }
    for (from, to, len) in built {
        let size = ByteSize(u64::try_from(len).unwrap_or(u64::MAX));
        output.line(&if output.is_quiet() {
            to.display().to_string()
        } else {
            format!("{} -> {}, {size}", from.display(), to.display())
        })?;
    }
    Ok(())
}

/// The texts of a folder, in order of name.
fn texts(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::new(exit::NOT_FOUND, format!("there is no folder {}", dir.display()))
                .with_help("guild new --lang wat DIR")
        }
        io::ErrorKind::NotADirectory => {
            Failure::new(exit::REFUSED, format!("{} is a file; give its folder", dir.display()))
        }
        _ => Failure::new(exit::FAILED, format!("cannot read {}", dir.display()))
            .with_cause(error.to_string()),
    };
    let mut texts = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "wat") && path.is_file() {
            texts.push(path);
        }
    }
    texts.sort();
    Ok(texts)
}

fn nothing(dir: &Path) -> Failure {
    let message =
        format!("there is no .wat file in {}, and nothing else is built here", dir.display());
    let script = dir.join(SCRIPT);
    let help = script.is_file().then(|| format!("sh {}", shell_quote(&script)));
    Failure::new(exit::NOT_FOUND, message)
        .with_help(help.unwrap_or_else(|| "guild new --lang wat DIR".into()))
}

fn assemble(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| {
        Failure::new(exit::FAILED, format!("cannot read {}", path.display()))
            .with_cause(error.to_string())
    };
    let mut text = String::new();
    let most = TEXT_MAX_BYTES.saturating_add(1);
    File::open(path).and_then(|file| file.take(most).read_to_string(&mut text)).map_err(failed)?;
    if text.len() as u64 > TEXT_MAX_BYTES {
        let message = format!("{} is longer than {}", path.display(), ByteSize(TEXT_MAX_BYTES));
        return Err(Failure::new(exit::REFUSED, message));
    }
    wat::parse_str(&text).map_err(|mut error| {
        error.set_path(path);
        Failure::new(exit::REFUSED, format!("{} cannot be assembled", path.display()))
            .with_cause(error.to_string())
    })
}

/// Beside it and then renamed, so that no half of it is ever there.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(exit::FAILED, format!("cannot write {}", path.display()))
            .with_cause(error.to_string())
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = super::get::temporary_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
