//! Why a folder is no package.

use std::io;
use std::path::{Path, PathBuf};

use guildhall_protocol::cbor::DecodeError;
use guildhall_protocol::name::NameError;

use super::DESCRIPTION_FILE;
use super::propose::Unsaid;
use crate::shell::shell_quote;

/// Why a folder is no package. Each names the file, and for `guild.toml` the line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// There is nothing of that name.
    #[error("there is no folder {}", dir.display())]
    NoFolder {
        /// What was given.
        dir: PathBuf,
    },
    /// A file was given where a folder is meant.
    #[error("{} is a file; give its folder", path.display())]
    NotFolder {
        /// The file.
        path: PathBuf,
    },
    /// There is no `guild.toml`.
    #[error("{} has no guild.toml", dir.display())]
    NoDescription {
        /// The folder.
        dir: PathBuf,
    },
    /// `guild.toml` cannot be read as one.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// Something that every package needs was given nowhere.
    #[error("{} does not say `{field}`", path.display())]
    Missing {
        /// The description.
        path: PathBuf,
        /// The key.
        field: &'static str,
        /// A line that would say it.
        example: &'static str,
    },
    /// Some things that every package needs follow from nothing.
    #[error("{}", incomplete(dir, *described, unsaid))]
    Incomplete {
        /// The folder.
        dir: PathBuf,
        /// There is a description.
        described: bool,
        /// What must be said.
        unsaid: Vec<Unsaid>,
    },
    /// The description contradicts itself, or names files that are not there.
    #[error("{}: {rule}", path.display())]
    Rule {
        /// The description.
        path: PathBuf,
        /// The rule that is broken.
        rule: DecodeError,
    },
    /// A file's name would not be accepted by other nodes.
    #[error("{}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with its name.
        source: NameError,
    },
    /// A file's name is not UTF-8.
    #[error("{}: the name is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// A link to a folder, out of the package, or to nothing.
    #[error("{}: a link may only point to a file of the same package", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// Neither a file nor a folder.
    #[error("{}: neither a file nor a folder", path.display())]
    Special {
        /// What is there.
        path: PathBuf,
    },
    /// A secret key: of an organisation, or of the node whose home this is.
    #[error("{}: a secret key is never published", path.display())]
    Secret {
        /// The key.
        path: PathBuf,
    },
    /// More files than one package may have.
    #[error("{}: more than {max} files", dir.display())]
    TooMany {
        /// The folder.
        dir: PathBuf,
        /// How many there may be.
        max: usize,
    },
    /// The system did not let us read.
    #[error("cannot read {}", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl PackageError {
    /// What the person can do.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoFolder { .. } => "guild publish DIR".to_owned(),
            Self::NotFolder { path } => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                format!("guild publish {}", shell_quote(folder.unwrap_or(Path::new("."))))
            }
            Self::NoDescription { dir } => {
                edit(&dir.join(DESCRIPTION_FILE), "   # kind, name, version, categories, summary")
            }
            Self::Description { path, line, .. } => {
                format!("${{EDITOR:-vi}} +{line} {}", shell_quote(path))
            }
            Self::Missing { path, example, .. } => edit(path, &format!("   # add: {example}")),
            Self::Incomplete { dir, .. } => {
                edit(&dir.join(DESCRIPTION_FILE), "   # add these lines")
            }
            Self::Rule { path, .. } => edit(path, ""),
            Self::Name { path, .. } | Self::NotUtf8 { path } => {
                format!("mv {} NEW-NAME", shell_quote(path))
            }
            // Never its target instead: that would publish what is outside.
            Self::Link { path } | Self::Special { path } => format!("rm {}", shell_quote(path)),
            Self::Secret { path } => format!("mv {} SAFE-PLACE", shell_quote(path)),
            Self::TooMany { .. } | Self::Io { .. } => return None,
        })
    }
}

fn incomplete(dir: &Path, described: bool, unsaid: &[Unsaid]) -> String {
    let lacks =
        if described { "a guild.toml that does not say everything" } else { "no guild.toml" };
    let keys: Vec<_> = unsaid.iter().map(|unsaid| unsaid.key).collect();
    let files = "and its files do not say";
    format!("{} has {lacks}, {files} {}", dir.display(), keys.join(", "))
}

/// A line that opens a file in the person's editor.
fn edit(path: &Path, remark: &str) -> String {
    format!("${{EDITOR:-vi}} {}{remark}", shell_quote(path))
}
