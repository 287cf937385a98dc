//! What a folder's files say about the package they make: a proposal for everything that `guild.toml` leaves open.
//!
//! A description that says `kind`, `name`, `version`, `categories` and `summary` is taken as it is. Anything less is
//! completed by these rules, first match first; what is written, or given on the command line, always wins.
//!
//! | key | proposed from |
//! |---|---|
//! | kind | `[[stages]]`: pipeline; `[code.onnx]`: model; `[code.command]`: algorithm; files `.onnx`, `.safetensors`, `.gguf`: model, unless the card describes data; `.wasm`: algorithm; nothing but `.ipynb` and words about them: notebook; else data |
//! | name | the card's `model_name`, `pretty_name`, first `model-index` name; the folder's name; each in letters that names may have |
//! | version | `0.1.0`, or what the command line knows of earlier ones |
//! | categories | the card's `pipeline_tag`, `task_categories`, tags that are tasks; `architectures` of `config.json` |
//! | summary | the first sentence of the card's prose; a notebook's first heading |
//! | keywords | the card's tags, language, library, data sets, base model |
//! | licence | the card's `license` as SPDX |
//! | interface, code of a model | tensors of `model.onnx`, `onnx/model.onnx`, or the only ONNX graph; a first dimension that is open in every input is the batch and no part of the ports, nor is one of 1; other open dimensions stay; an output of one score for each of `id2label` in `config.json` is a prediction, and then no other output is bound; else tensors, without a single whole number beside scores |
//! | interface, code of an algorithm | the only `.wasm` with `_start`: bytes in, bytes out |
//! | interface, records of data | the only folder of pictures, sounds, films or texts, with a CSV of `file,label` as its labels; else the columns that all tables share |
//! | contract of code | a guess: 10 s a record, four times the file and 256 MiB, 1 MiB of output, batches of 64 |
//! | accuracy claims | `model-index` results that lie between 0 and 1, or are such figures in per cent |
//!
//! Files are looked into by whoever calls: [`FactsOf`] asks a worker. Only words are read here, `README.md` and
//! `config.json`, with a limit on everything.

mod answer;
mod card;
mod graph;
mod names;
mod structure;
mod tasks;
mod write;

use std::fmt;
use std::fs::File;
use std::io::Read as _;

use guildhall_protocol::body::{AccuracyClaim, Claims, Visibility};
use guildhall_protocol::contract::Contract;
use guildhall_protocol::facts::Facts;
use guildhall_protocol::interface::Interface;
use guildhall_protocol::limits::LABELS_MAX;
use guildhall_protocol::manifest::{Code, Kind, RecordSet};
use guildhall_protocol::name::{Category, FileName, PackageName, Version};
use serde_json::Value;

pub use self::answer::{Question, Unsaid};
use self::card::Card;
pub use self::names::of_folder as name_of;
use self::structure::{Structure, ends_with, guessed_contract};
use super::DESCRIPTION_FILE;
use super::description::{Description, WrittenCode};
use super::draft::{Draft, DraftFile, Folder, Overrides};
use super::error::PackageError;
use super::licence;

/// The card and the configuration, as the Hugging Face Hub lays folders out.
const CARD_FILE: &str = "README.md";
const CONFIG_FILE: &str = "config.json";

/// Longest prefix of a card that is read, bytes: the front's limit and room for the first sentence.
const CARD_MAX_BYTES: u64 = 256 * 1024;

/// Longest configuration that is read, bytes: one with the labels of ImageNet-21k is a third of this.
const CONFIG_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Most categories of a listing.
const CATEGORIES_MAX: usize = 8;

/// The version of a package that nobody has given one.
const VERSION_FIRST: Version = Version::new(0, 1, 0);

/// Looks into a file; an error says in words why nothing is known about it.
pub type FactsOf<'a> = &'a mut dyn FnMut(&DraftFile) -> Result<Facts, String>;

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposed<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub from: Source,
}

/// Where a proposed value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `guild.toml`.
    Written,
    /// The command line.
    Given,
    /// The command line, where `guild.toml` says something else.
    GivenInstead,
    /// An answer on the terminal.
    Answered,
    /// This file, or the files of this folder.
    File(FileName),
    /// The folder's name.
    Folder,
    /// The highest version that is listed under the name.
    Listed(Version),
    /// Nothing in particular.
    Guessed,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written => f.write_str("from guild.toml"),
            Self::Given | Self::GivenInstead => f.write_str("as given"),
            Self::Answered => f.write_str("as answered"),
            Self::File(name) => write!(f, "from {name}"),
            Self::Folder => f.write_str("from the folder's name"),
            Self::Listed(version) => write!(f, "{version} is listed"),
            Self::Guessed => f.write_str("guessed"),
        }
    }
}

/// What a package will be published as, value by value.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are named as the keys of guild.toml")]
pub struct Proposal {
    pub kind: Option<Proposed<Kind>>,
    pub name: Option<Proposed<PackageName>>,
    pub version: Option<Proposed<Version>>,
    pub categories: Option<Proposed<Vec<Category>>>,
    pub summary: Option<Proposed<String>>,
    pub keywords: Option<Proposed<Vec<String>>>,
    pub licence: Option<Proposed<String>>,
    pub visibility: Option<Proposed<Visibility>>,
    pub sensitive: Option<Proposed<bool>>,
    pub replicas: Option<Proposed<u8>>,
    pub interface: Option<Proposed<Interface>>,
    pub contract: Option<Proposed<Contract>>,
    pub code: Option<Proposed<Code>>,
    pub records: Option<Proposed<RecordSet>>,
    pub accuracy: Option<Proposed<Vec<AccuracyClaim>>>,
    /// What could not be inferred, and what was guessed and should be looked at.
    pub warnings: Vec<String>,
    /// The text of `guild.toml`, if there is one.
    written: Option<String>,
}

impl Folder {
    /// Completes what its `guild.toml` says, if it has one, from `overrides` and from the files.
    ///
    /// # Errors
    /// [`PackageError::Description`] when there is a `guild.toml` that cannot be understood.
    pub fn propose(
        &self,
        overrides: &Overrides,
        facts_of: FactsOf<'_>,
    ) -> Result<Proposal, PackageError> {
        let path = self.dir.join(DESCRIPTION_FILE);
        let text = self.text.as_deref().unwrap_or_default();
        let described = Description::parse(&path, text)?;
        let is_complete = described.is_complete();
        let mut proposal = Proposal::of_description(described, self.text.clone());
        if !is_complete {
            proposal.infer(self, overrides.kind, facts_of);
        }
        proposal.override_with(overrides);
        Ok(proposal)
    }
}

impl Proposal {
    fn of_description(described: Description, written: Option<String>) -> Self {
        let of_tables = match &described.code {
            _ if !described.stages.is_empty() => Some(Kind::Pipeline),
            Some(WrittenCode::Onnx { .. }) => Some(Kind::Model),
            Some(WrittenCode::Command { .. } | WrittenCode::Component { .. }) => {
                Some(Kind::Algorithm)
            }
            None => None,
        };
        let kind = described.kind.or(of_tables);
        // A kind that follows from the tables is not a line that is written.
        let kind_from = if described.kind.is_some() { Source::Written } else { Source::Guessed };
        let claims = described.claims.map(Claims::from);
        Self {
            kind: kind.map(|value| Proposed { value, from: kind_from }),
            name: said(described.name),
            version: said(described.version),
            categories: said(Some(described.categories).filter(|list| !list.is_empty())),
            summary: said(described.summary),
            keywords: said(Some(described.keywords).filter(|list| !list.is_empty())),
            licence: said(described.licence),
            visibility: said(described.visibility),
            sensitive: said(described.sensitive.then_some(true)),
            replicas: said(described.replicas),
            interface: said(described.interface.map(Into::into)),
            contract: said(described.contract.map(Into::into)),
            code: said(described.code.map(Into::into)),
            records: said(described.records.map(Into::into)),
            accuracy: said(claims.map(|claims| claims.accuracy)),
            warnings: Vec::new(),
            written,
        }
    }

    /// What is given wins over everything, also over what is written.
    fn override_with(&mut self, overrides: &Overrides) {
        fn give<T: Clone>(place: &mut Option<Proposed<T>>, given: Option<&T>) {
            if let Some(value) = given.cloned() {
                let was_written = place.as_ref().is_some_and(|said| said.from == Source::Written);
                let from = if was_written { Source::GivenInstead } else { Source::Given };
                *place = Some(Proposed { value, from });
            }
        }
        give(&mut self.kind, overrides.kind.as_ref());
        give(&mut self.name, overrides.name.as_ref());
        give(&mut self.version, overrides.version.as_ref());
        give(&mut self.categories, Some(&overrides.categories).filter(|list| !list.is_empty()));
        give(&mut self.summary, overrides.summary.as_ref());
        give(&mut self.licence, overrides.licence.as_ref());
        give(&mut self.visibility, overrides.visibility.as_ref());
        give(&mut self.sensitive, overrides.sensitive.then_some(&true));
        give(&mut self.replicas, overrides.replicas.as_ref());
    }

    fn infer(&mut self, folder: &Folder, given: Option<Kind>, facts_of: FactsOf<'_>) {
        let files = &folder.files;
        let card_file = file_named(files, CARD_FILE);
        let card = card_file.and_then(|file| read_start(file, CARD_MAX_BYTES).ok());
        let (card, problem) = card.map(|bytes| Card::parse(&text_of(bytes))).unwrap_or_default();
        if let Some(why) = problem {
            self.warnings.push(format!("the YAML in front of {CARD_FILE} is not used: {why}"));
        }
        let config = config(files, &mut self.warnings);
        let kind = given.or_else(|| self.kind.as_ref().map(|kind| kind.value));
        let (found, found_in) = kind_of(files, &card);
        let kind = kind.unwrap_or(found);
        fill(&mut self.kind, Some(kind), || found_in);

        let title =
            (kind == Kind::Notebook).then(|| notebook_title(files, &mut *facts_of)).flatten();
        self.words_of_card(card, card_file, folder);
        if kind == Kind::Model
            && let Some((file, config)) = &config
        {
            let classes = config["architectures"].as_array();
            let category = classes.and_then(|list| {
                list.iter().filter_map(Value::as_str).find_map(tasks::category_of_class)
            });
            fill(&mut self.categories, category.map(|one| vec![one]), || of_file(file));
        }
        if let Some((file, title)) = title {
            fill(&mut self.summary, Some(title), || of_file(file));
        }
        fill(&mut self.version, Some(VERSION_FIRST), || Source::Guessed);
        self.structure(kind, files, config.as_ref(), facts_of);
    }

    fn words_of_card(&mut self, card: Card, file: Option<&DraftFile>, folder: &Folder) {
        let from_card = || file.map_or(Source::Guessed, of_file);
        let named = card.name.as_deref().and_then(names::package);
        fill(&mut self.name, named, from_card);
        fill(&mut self.name, names::of_folder(&folder.dir), || Source::Folder);
        let mut categories: Vec<Category> = Vec::new();
        for category in card.tasks.iter().chain(&card.keywords).filter_map(|t| tasks::category(t)) {
            if categories.len() < CATEGORIES_MAX && !categories.contains(&category) {
                categories.push(category);
            }
        }
        fill(&mut self.categories, Some(categories).filter(|list| !list.is_empty()), from_card);
        fill(&mut self.summary, card.summary, from_card);
        fill(&mut self.keywords, Some(card.keywords).filter(|l| !l.is_empty()), from_card);
        let licence = card.licence.and_then(|(word, name)| licence::of_hub(&word, name.as_deref()));
        fill(&mut self.licence, licence, from_card);
        fill(&mut self.accuracy, Some(card.accuracy).filter(|l| !l.is_empty()), from_card);
    }

    /// Ports, code and records, unless something is written about any of them.
    fn structure(
        &mut self,
        kind: Kind,
        files: &[DraftFile],
        config: Option<&(&DraftFile, Value)>,
        facts_of: FactsOf<'_>,
    ) {
        if self.interface.is_none() && self.code.is_none() && self.records.is_none() {
            let labels = config.and_then(|(file, config)| labels(file, config));
            let made = Structure::infer(kind, files, labels.as_ref(), facts_of);
            self.interface = made.interface;
            self.code = made.code;
            self.records = made.records;
            self.warnings.extend(made.warnings);
        } else if self.code.is_none() && matches!(kind, Kind::Model | Kind::Algorithm) {
            let why = "[interface] is written but no [code], so nodes cannot run this";
            self.warnings.push(why.to_owned());
        }
        if let (Some(code), None) = (&self.code, &self.contract) {
            let contract = guessed_contract(&code.value, files);
            self.warnings.push(
                "nobody measured this code, so its limits are guessed; measure, and write \
                 [contract] into guild.toml"
                    .to_owned(),
            );
            self.contract = Some(Proposed { value: contract, from: Source::Guessed });
        }
    }

    /// The draft that it makes of the folder it is about.
    ///
    /// # Errors
    /// [`PackageError::Incomplete`] when something is still [unsaid](Self::unsaid); else as [`Folder::draft`].
    pub fn draft(&self, folder: &Folder, overrides: &Overrides) -> Result<Draft, PackageError> {
        let unsaid = self.unsaid();
        if !unsaid.is_empty() {
            return Err(PackageError::Incomplete {
                dir: folder.dir.clone(),
                described: folder.text.is_some(),
                unsaid,
            });
        }
        folder.draft_of(&self.text(), overrides)
    }
}

fn said<T>(value: Option<T>) -> Option<Proposed<T>> {
    value.map(|value| Proposed { value, from: Source::Written })
}

fn fill<T>(place: &mut Option<Proposed<T>>, value: Option<T>, from: impl FnOnce() -> Source) {
    if place.is_none() {
        *place = value.map(|value| Proposed { value, from: from() });
    }
}

fn of_file(file: &DraftFile) -> Source {
    Source::File(file.entry.name.clone())
}

fn file_named<'a>(files: &'a [DraftFile], name: &str) -> Option<&'a DraftFile> {
    files.iter().find(|file| file.entry.name.as_str() == name)
}

fn read_start(file: &DraftFile, max_bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(&file.path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// `config.json`, with the file it comes from.
fn config<'a>(
    files: &'a [DraftFile],
    warnings: &mut Vec<String>,
) -> Option<(&'a DraftFile, Value)> {
    let file = file_named(files, CONFIG_FILE)?;
    if file.entry.len_bytes > CONFIG_MAX_BYTES {
        warnings.push(format!("{CONFIG_FILE} is longer than {CONFIG_MAX_BYTES} bytes; not used"));
        return None;
    }
    let bytes = read_start(file, CONFIG_MAX_BYTES).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(value) => Some((file, value)),
        Err(error) => {
            warnings.push(format!("{CONFIG_FILE} is no JSON and not used: {error}"));
            None
        }
    }
}

/// `id2label`: one label for each number from 0.
fn labels(file: &DraftFile, config: &Value) -> Option<Proposed<Vec<String>>> {
    let map = config["id2label"].as_object()?;
    if map.is_empty() || map.len() > LABELS_MAX {
        return None;
    }
    let label = |at: usize| map.get(&at.to_string())?.as_str().map(str::to_owned);
    let value = (0..map.len()).map(label).collect::<Option<Vec<_>>>()?;
    Some(Proposed { value, from: of_file(file) })
}

/// The kind, and the file that shows it.
fn kind_of(files: &[DraftFile], card: &Card) -> (Kind, Source) {
    let first = |ending: &str| files.iter().find(|file| ends_with(&file.entry.name, ending));
    let is_about = |file: &DraftFile| {
        let name = file.entry.name.as_str().to_ascii_lowercase();
        [".md", ".txt", ".ipynb", ".yml", ".yaml", ".toml"].iter().any(|e| name.ends_with(e))
            || name.starts_with("licen")
    };
    let weights = [".onnx", ".safetensors", ".gguf"].into_iter().find_map(first);
    if let Some(file) = weights.filter(|_| !card.is_of_data) {
        (Kind::Model, of_file(file))
    } else if let Some(file) = first(".wasm") {
        (Kind::Algorithm, of_file(file))
    } else if let Some(file) = first(".ipynb").filter(|_| files.iter().all(is_about)) {
        (Kind::Notebook, of_file(file))
    } else {
        (Kind::Data, Source::Guessed)
    }
}

/// The first heading of the only, or first, notebook.
fn notebook_title<'a>(
    files: &'a [DraftFile],
    facts_of: FactsOf<'_>,
) -> Option<(&'a DraftFile, String)> {
    let file = files.iter().find(|file| ends_with(&file.entry.name, ".ipynb"))?;
    match facts_of(file) {
        Ok(Facts::Notebook(facts)) => facts.title.map(|title| (file, title)),
        _ => None,
    }
}
