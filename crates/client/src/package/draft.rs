//! From a folder to a draft of what is published.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use guildhall_protocol::api::{Detail, ListingDraft, PublishRequest};
use guildhall_protocol::body::Visibility;
use guildhall_protocol::cbor::DecodeError;
use guildhall_protocol::manifest::{FileEntry, Kind, MANIFEST_FORMAT, Manifest, Stage};
use guildhall_protocol::name::{Category, OrgName, PackageName, Reference, Version};

use super::description::{Description, WrittenReference, WrittenStage};
use super::error::PackageError;
use super::files::{self, OnReading};
use super::{DESCRIPTION_FILE, licence};

/// Longest description that is read, bytes: one with the labels of ImageNet-21k is a third of this.
const DESCRIPTION_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What stands for a licence that nobody named.
pub(super) const LICENCE_UNKNOWN: &str = "unknown";

/// The file that documents a package when the description names none.
const DOCUMENTATION_DEFAULT: &str = "README.md";

/// What is given besides the description, and wins over it.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Another kind.
    pub kind: Option<Kind>,
    /// Another name.
    pub name: Option<PackageName>,
    /// Another version.
    pub version: Option<Version>,
    /// Other categories; none leaves those of the description.
    pub categories: Vec<Category>,
    /// Another summary.
    pub summary: Option<String>,
    /// Another licence.
    pub licence: Option<String>,
    /// Another visibility.
    pub visibility: Option<Visibility>,
    /// Declare it sensitive; `false` leaves what the description says.
    pub sensitive: bool,
    /// Another number of orgs that should hold a copy.
    pub replicas: Option<u8>,
}

/// A package that is not published yet.
#[derive(Clone, Debug)]
pub struct Draft {
    manifest: Manifest,
    listing: ListingDraft,
    files: Vec<DraftFile>,
    stages: Vec<DraftStage>,
    dependencies: Vec<WrittenReference>,
    description: PathBuf,
    warnings: Vec<String>,
}

/// A file of a draft.
#[derive(Clone, Debug)]
pub struct DraftFile {
    /// Where its bytes are.
    pub path: PathBuf,
    /// How the manifest names it.
    pub entry: FileEntry,
}

/// A stage whose package is not looked up yet.
#[derive(Clone, Debug)]
struct DraftStage {
    name: String,
    package: WrittenReference,
    config: std::collections::BTreeMap<String, String>,
}

/// A folder that is to become a package: its files, hashed, and the text of its description if there is one.
#[derive(Clone, Debug)]
pub struct Folder {
    pub(super) dir: PathBuf,
    pub(super) files: Vec<DraftFile>,
    pub(super) text: Option<String>,
}

impl Folder {
    /// Reads the folder `dir`. Works offline and blocks while it hashes; `seen` is told how far it is.
    ///
    /// # Errors
    /// [`PackageError`], also for a description that is there and cannot be understood.
    pub fn read(dir: &Path, seen: OnReading<'_>) -> Result<Self, PackageError> {
        match fs::metadata(dir) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(PackageError::NotFolder { path: dir.to_owned() }),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(PackageError::NoFolder { dir: dir.to_owned() });
            }
            Err(source) => return Err(PackageError::Io { path: dir.to_owned(), source }),
        }
        let path = dir.join(DESCRIPTION_FILE);
        let text = read_description(&path)?;
        // Mistakes in it are said before anybody waits for hashes.
        text.as_deref().map(|text| Description::parse(&path, text)).transpose()?;
        Ok(Self { dir: dir.to_owned(), files: files::read(dir, seen)?, text })
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files, in order of name.
    #[must_use]
    pub fn files(&self) -> &[DraftFile] {
        &self.files
    }

    /// Whether there is a `guild.toml` that says everything that every package needs, so that nothing is proposed.
    #[must_use]
    pub fn is_described(&self) -> bool {
        let path = self.dir.join(DESCRIPTION_FILE);
        let parsed = self.text.as_deref().and_then(|text| Description::parse(&path, text).ok());
        parsed.is_some_and(|description| description.is_complete())
    }

    /// The draft that the description makes of it, with `overrides` instead of what the description says.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn draft(&self, overrides: &Overrides) -> Result<Draft, PackageError> {
        match &self.text {
            Some(text) => self.draft_of(text, overrides),
            None => Err(PackageError::NoDescription { dir: self.dir.clone() }),
        }
    }

    /// The draft that a description with this text makes of it.
    pub(super) fn draft_of(
        &self,
        text: &str,
        overrides: &Overrides,
    ) -> Result<Draft, PackageError> {
        let path = self.dir.join(DESCRIPTION_FILE);
        let description = Description::parse(&path, text)?;
        let draft = assemble(description, self.files.clone(), path, overrides)?;
        // What a pipeline lacks is added when its stages are looked up.
        if draft.stages.is_empty() {
            draft.check(&draft.manifest)?;
        }
        Ok(draft)
    }
}

/// Reads the package in `dir`. Works offline and blocks while it hashes.
///
/// # Errors
/// [`PackageError`].
pub fn read_dir(dir: &Path) -> Result<Draft, PackageError> {
    read_dir_with(dir, &Overrides::default())
}

/// Reads the package in `dir`, with `overrides` instead of what its description says.
///
/// # Errors
/// [`PackageError`].
pub fn read_dir_with(dir: &Path, overrides: &Overrides) -> Result<Draft, PackageError> {
    Folder::read(dir, &|_| {})?.draft(overrides)
}

/// `None` when there is no such file.
pub(super) fn read_description(path: &Path) -> Result<Option<String>, PackageError> {
    let failed = |source| PackageError::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(found) if found.len() > DESCRIPTION_MAX_BYTES => {
            return Err(failed(io::Error::other(format!(
                "longer than {DESCRIPTION_MAX_BYTES} bytes"
            ))));
        }
        Ok(_) => {}
    }
    fs::read_to_string(path).map(Some).map_err(failed)
}

fn assemble(
    description: Description,
    files: Vec<DraftFile>,
    path: PathBuf,
    overrides: &Overrides,
) -> Result<Draft, PackageError> {
    let missing = |field, example| PackageError::Missing { path: path.clone(), field, example };
    let kind =
        overrides.kind.or(description.kind).ok_or_else(|| missing("kind", "kind = \"data\""))?;
    let name = overrides
        .name
        .clone()
        .or(description.name)
        .ok_or_else(|| missing("name", "name = \"my-package\""))?;
    let version = overrides
        .version
        .clone()
        .or(description.version)
        .ok_or_else(|| missing("version", "version = \"1.0.0\""))?;
    let categories = match overrides.categories.as_slice() {
        [] => description.categories,
        given => given.to_vec(),
    };
    if categories.is_empty() {
        return Err(missing("categories", "categories = [\"vision/image-classification\"]"));
    }
    let summary = overrides
        .summary
        .clone()
        .or(description.summary)
        .ok_or_else(|| missing("summary", "summary = \"One sentence.\""))?;
    let licence = overrides.licence.clone().or(description.licence);
    let has_records = description.records.is_some();
    let warnings = warnings(kind, licence.as_deref(), has_records, &files);
    let sensitive = overrides.sensitive || description.sensitive;
    let visibility = overrides.visibility.clone().or(description.visibility);
    let readme =
        || files.iter().map(|f| &f.entry.name).find(|n| n.as_str() == DOCUMENTATION_DEFAULT);
    let listing = ListingDraft {
        name,
        version,
        categories,
        summary,
        keywords: description.keywords,
        claims: description.claims.unwrap_or_default().into(),
        suggested: description.suggested.into(),
        documentation: description.documentation.or_else(|| readme().cloned()),
        examples: description.examples,
        visibility: visibility.unwrap_or(match sensitive {
            true => Visibility::Org,
            false => Visibility::Federation,
        }),
        replicas: overrides.replicas.or(description.replicas),
    };
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        kind,
        files: files.iter().map(|file| file.entry.clone()).collect(),
        interface: description.interface.unwrap_or_default().into(),
        contract: description.contract.map(Into::into),
        code: description.code.map(Into::into),
        records: description.records.map(Into::into),
        stages: Vec::new(),
        tests: description.tests.into_iter().map(Into::into).collect(),
        dependencies: Vec::new(),
        licence: licence.unwrap_or_else(|| LICENCE_UNKNOWN.to_owned()),
        sensitive,
    };
    let stage = |WrittenStage { name, package, config }| DraftStage { name, package, config };
    Ok(Draft {
        manifest,
        listing,
        files,
        stages: description.stages.into_iter().map(stage).collect(),
        dependencies: description.dependencies,
        description: path,
        warnings,
    })
}

/// What the person should know, and what is no error.
fn warnings(
    kind: Kind,
    licence: Option<&str>,
    has_records: bool,
    files: &[DraftFile],
) -> Vec<String> {
    let mut warnings = Vec::new();
    match licence {
        None => {
            warnings.push("no licence is named; others may not be allowed to use this".to_owned())
        }
        Some(named) if named != LICENCE_UNKNOWN => {
            if let Err(why) = licence::check(named) {
                warnings.push(format!("the licence `{named}` is no SPDX expression: {why}"));
            }
        }
        Some(_) => {}
    }
    if files.is_empty() && kind != Kind::Pipeline {
        warnings.push("there are no files in this package".to_owned());
    } else if kind == Kind::Data && !has_records {
        warnings.push(
            "this data has no [records]: it can be fetched, but no run can take it".to_owned(),
        );
    }
    warnings
}

impl Draft {
    /// The manifest so far; complete when nothing is [`unresolved`](Self::unresolved).
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How it is to be listed.
    #[must_use]
    pub const fn listing(&self) -> &ListingDraft {
        &self.listing
    }

    /// The files, in order of name.
    #[must_use]
    pub fn files(&self) -> &[DraftFile] {
        &self.files
    }

    /// What the person should know before publishing.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Packages that must be looked up: stages, then dependencies. `org` publishes.
    #[must_use]
    pub fn unresolved(&self, org: &OrgName) -> Vec<Reference> {
        let stages = self.stages.iter().map(|stage| &stage.package);
        stages.chain(&self.dependencies).map(|written| written.clone().of(org)).collect()
    }

    /// Fills in what was looked up: `found` answers [`unresolved`](Self::unresolved) one to one. A pipeline without an
    /// interface of its own gets that of its ends.
    ///
    /// # Errors
    /// [`PackageError::Rule`] when the number of answers is another, or a stage cannot be one.
    pub fn fill(&mut self, found: &[Detail]) -> Result<(), PackageError> {
        if found.len() != self.stages.len() + self.dependencies.len() {
            return Err(self.rule("stages", "not every package was looked up".into()));
        }
        let (stages, dependencies) = found.split_at(self.stages.len());
        let ends_given =
            self.manifest.interface != guildhall_protocol::interface::Interface::default();
        if let ([first, ..], [.., last], false) = (stages, stages, ends_given) {
            self.manifest.interface.inputs.clone_from(&first.listing.interface.inputs);
            self.manifest.interface.outputs.clone_from(&last.listing.interface.outputs);
        }
        for (stage, detail) in self.stages.iter().zip(stages) {
            if !matches!(detail.listing.kind, Kind::Algorithm | Kind::Model) {
                let (name, kind) = (&stage.name, detail.listing.kind);
                let why = format!("`{name}` is a {kind}; a stage is an algorithm or a model");
                return Err(self.rule("stages", why));
            }
        }
        let filled = self.stages.iter().zip(stages).map(|(stage, detail)| Stage {
            name: stage.name.clone(),
            package: detail.package_id,
            reference: Some(detail.reference.clone()),
            config: stage.config.clone(),
        });
        self.manifest.stages = filled.collect();
        self.manifest.dependencies = dependencies.iter().map(|detail| detail.package_id).collect();
        Ok(())
    }

    /// What [`Client::publish`](crate::Client::publish) takes.
    ///
    /// # Errors
    /// [`PackageError::Rule`] with the first rule that the manifest breaks.
    pub fn request(&self, dry_run: bool) -> Result<PublishRequest, PackageError> {
        self.check(&self.manifest)?;
        Ok(PublishRequest {
            manifest: self.manifest.clone(),
            listing: self.listing.clone(),
            dry_run,
            unlisted: false,
            although_alike: false,
        })
    }

    fn check(&self, manifest: &Manifest) -> Result<(), PackageError> {
        manifest
            .check()
            .map_err(|rule| PackageError::Rule { path: self.description.clone(), rule })?;
        let shown = self.listing.documentation.iter().chain(&self.listing.examples);
        match shown.into_iter().find(|name| manifest.file(name).is_none()) {
            Some(name) => Err(self.rule("files", format!("`{name}` is not in the package"))),
            None => Ok(()),
        }
    }

    fn rule(&self, what: &'static str, why: String) -> PackageError {
        let rule = DecodeError::Rule { what, why };
        PackageError::Rule { path: self.description.clone(), rule }
    }
}
