//! Why a folder is no package.

use std::io;
use std::path::PathBuf;

use guildhall_protocol::cbor::DecodeError;
use guildhall_protocol::name::NameError;

/// Why a folder is no package. Each names the file, and for `guild.toml` the line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
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
            Self::NoDescription { dir } => {
                format!(
                    "$EDITOR {}/guild.toml   # kind, name, version, categories, summary",
                    dir.display()
                )
            }
            Self::Description { path, line, .. } => format!("$EDITOR +{line} {}", path.display()),
            Self::Missing { path, example, .. } => {
                format!("$EDITOR {}   # add: {example}", path.display())
            }
            Self::Rule { path, .. } => format!("$EDITOR {}", path.display()),
            Self::Name { path, .. } | Self::NotUtf8 { path } => {
                format!("mv {:?} NEW-NAME", path.display().to_string())
            }
            Self::Link { path } => {
                let path = path.display();
                format!("cp --remove-destination \"$(readlink -f {path})\" {path}")
            }
            Self::Special { path } => format!("rm {}", path.display()),
            Self::TooMany { .. } | Self::Io { .. } => return None,
        })
    }
}
