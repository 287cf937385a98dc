//! Pipelines that are not whole yet: a `guild.toml` in which `package = "?"` stands for a stage that is looked for.
//!
//! Only what the stages are and what goes in and out of the whole is read; the rest of the file need not be there.

use std::io;
use std::path::Path;

use guildhall_protocol::interface::Interface;
use guildhall_protocol::limits::PIPELINE_MAX_STAGES;
use guildhall_protocol::name::{OrgName, Reference};
use serde::Deserialize;

use super::description::{WrittenInterface, WrittenReference, located};
use super::draft::read_description;
use super::{DESCRIPTION_FILE, PackageError};

/// What stands for a package that is looked for.
const WANTED: &str = "?";

/// A pipeline that may lack stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    /// What goes in and comes out of the whole; empty where that is not written down.
    pub interface: Interface,
    /// Its stages, in order.
    pub stages: Vec<SketchStage>,
}

/// One of its stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SketchStage {
    /// Name.
    pub name: String,
    /// The package; `None` when it is looked for.
    pub package: Option<Reference>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    stages: Vec<WrittenStage>,
    interface: Option<WrittenInterface>,
}

#[derive(Deserialize)]
struct WrittenStage {
    name: String,
    package: Wanted,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Wanted(Option<WrittenReference>);

impl TryFrom<String> for Wanted {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == WANTED { Ok(Self(None)) } else { text.try_into().map(Some).map(Self) }
    }
}

impl Sketch {
    /// Reads the description of a folder, or the one at `path` itself. In references `self` means `org`.
    ///
    /// # Errors
    /// [`PackageError`]: there is none, it cannot be read, or it has no stages.
    pub fn read(path: &Path, org: &OrgName) -> Result<Self, PackageError> {
        let file = if path.is_dir() { path.join(DESCRIPTION_FILE) } else { path.to_owned() };
        let text = read_description(&file)?.ok_or_else(|| match path.is_dir() {
            true => PackageError::NoDescription { dir: path.to_owned() },
            false => PackageError::NoFolder { dir: path.to_owned() },
        })?;
        let written: Written =
            toml::from_str(&text).map_err(|error| located(&file, &text, &error))?;
        let wrong = |why: String| PackageError::Io {
            path: file.clone(),
            source: io::Error::new(io::ErrorKind::InvalidData, why),
        };
        match written.stages.len() {
            0 => return Err(wrong("it has no [[stages]], so it is no pipeline".to_owned())),
            count if count > PIPELINE_MAX_STAGES => {
                return Err(wrong(format!("more than {PIPELINE_MAX_STAGES} stages")));
            }
            _ => {}
        }
        let stage = |stage: WrittenStage| SketchStage {
            name: stage.name,
            package: stage.package.0.map(|written| written.of(org)),
        };
        Ok(Self {
            interface: written.interface.map(Interface::from).unwrap_or_default(),
            stages: written.stages.into_iter().map(stage).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Sketch, PackageError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(DESCRIPTION_FILE), text).unwrap();
        Sketch::read(dir.path(), &"lab-a".parse().unwrap())
    }

    #[test]
    fn stages_are_read_and_a_question_mark_is_one_that_is_looked_for() {
        let sketch = read(
            "summary = \"not whole yet\"\n\
             [[interface.inputs]]\nname = \"page\"\ntype = { image = {} }\n\
             [[stages]]\nname = \"cut\"\npackage = \"self/cut@1.0.0\"\n\
             [[stages]]\nname = \"read\"\npackage = \"?\"\nconfig = { a = \"b\" }\n",
        )
        .unwrap();
        let packages: Vec<_> = sketch.stages.iter().map(|stage| stage.package.clone()).collect();
        assert_eq!(packages, [Some("lab-a/cut@1.0.0".parse().unwrap()), None]);
        assert_eq!(sketch.stages[1].name, "read");
        assert_eq!((sketch.interface.inputs.len(), sketch.interface.outputs.len()), (1, 0));
    }

    #[test]
    fn what_is_no_pipeline_says_why() {
        for (text, says) in [
            ("kind = \"model\"", "no [[stages]]"),
            ("[[stages]]\nname = \"a\"\npackage = \"digits\"", ":3:"),
            ("[[stages]]\npackage = \"?\"", "name"),
            ("stages = 5", ":1:"),
            (&"[[stages]]\nname = \"a\"\npackage = \"?\"\n".repeat(2_000), "more than"),
        ] {
            let error = read(text).unwrap_err();
            let shown = match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            assert!(shown.contains(says), "{shown}");
        }
        let nowhere = Sketch::read(Path::new("/nowhere/at/all"), &"lab-a".parse().unwrap());
        assert!(matches!(nowhere, Err(PackageError::NoFolder { .. })));
    }
}
