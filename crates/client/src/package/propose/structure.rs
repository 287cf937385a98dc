//! What files say about ports, code and records.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::contract::{Contract, Determinism, Hardware};
use guildhall_protocol::facts::{Facts, TableFacts};
use guildhall_protocol::interface::{Interface, MediaTypes, Port, PortType, TableType};
use guildhall_protocol::manifest::{Code, CommandCode, ComponentCode, Kind, RecordSet};
use guildhall_protocol::name::FileName;

use super::super::description::{BATCH_DEFAULT, OUTPUT_DEFAULT_BYTES};
use super::super::draft::DraftFile;
use super::{FactsOf, Proposed, Source, graph};

/// Wall time for one record of a proposed contract, milliseconds: more than most models need on one core, and short
/// enough that a reviewer does not wait long for one that hangs.
const SCORING_GUESS_MS: u64 = 10_000;

/// Memory of a proposed contract beside the model, bytes: activations of common models.
const MEMORY_GUESS_BYTES: u64 = 256 << 20;

/// How often the model's length a proposed contract grants: as read, decoded, planned and executed.
const MEMORY_GUESS_COPIES: u64 = 4;

/// Most files of tables that are compared: packages of many parts repeat one header.
const TABLES_MAX: usize = 64;

/// Folders that hold pictures for people.
const FOR_PEOPLE: [&str; 6] = ["assets", "doc", "docs", "figs", "figures", "tests"];

/// What is proposed beside the words of a listing.
#[derive(Clone, Debug, Default)]
pub(super) struct Structure {
    pub(super) interface: Option<Proposed<Interface>>,
    pub(super) code: Option<Proposed<Code>>,
    pub(super) records: Option<Proposed<RecordSet>>,
    pub(super) warnings: Vec<String>,
}

impl Structure {
    /// Infers ports, code and records of a package of this kind. `labels` are a model's classes, if something says so.
    pub(super) fn infer(
        kind: Kind,
        files: &[DraftFile],
        labels: Option<&Proposed<Vec<String>>>,
        facts_of: FactsOf<'_>,
    ) -> Self {
        match kind {
            Kind::Model => Self::of_graph(files, labels, facts_of),
            Kind::Algorithm => Self::of_module(files, facts_of),
            Kind::Data => Self::of_data(files, facts_of),
            Kind::Notebook | Kind::Pipeline => Self::default(),
        }
    }

    fn of_graph(
        files: &[DraftFile],
        labels: Option<&Proposed<Vec<String>>>,
        facts_of: FactsOf<'_>,
    ) -> Self {
        let mut made = Self::default();
        let Some(file) = main_file(files, ".onnx", &["model.onnx", "onnx/model.onnx"], &mut made)
        else {
            if made.warnings.is_empty() {
                made.warnings.push(
                    "there is no ONNX graph, so nodes cannot run this model; it can be fetched"
                        .to_owned(),
                );
            }
            return made;
        };
        let name = &file.entry.name;
        let facts = match facts_of(file) {
            Ok(Facts::Onnx(facts)) => facts,
            Ok(other) => {
                made.warnings.push(format!("{name} is {}, no ONNX graph", other.format()));
                return made;
            }
            Err(why) => {
                made.warnings.push(format!("nothing is inferred from {name}: {why}"));
                return made;
            }
        };
        let labels = labels.map(|said| said.value.as_slice()).unwrap_or_default();
        match graph::ports(name, &facts, labels) {
            Ok((interface, code)) => {
                let from = || Source::File(name.clone());
                made.interface = Some(Proposed { value: interface, from: from() });
                made.code = Some(Proposed { value: Code::Onnx(code), from: from() });
            }
            Err(why) => made.warnings.push(format!("{name} cannot be run as it is: {why}")),
        }
        made
    }

    fn of_module(files: &[DraftFile], facts_of: FactsOf<'_>) -> Self {
        let mut made = Self::default();
        let Some(file) = main_file(files, ".wasm", &[], &mut made) else { return made };
        let name = &file.entry.name;
        match facts_of(file) {
            Ok(Facts::Wasm(facts)) if facts.component && has_scoring(&facts.exports) => {
                let code = ComponentCode { component: name.clone(), models: Vec::new() };
                made.guess_bytes(name, Code::Component(code));
                made.warnings.push(
                    "what a component takes and gives is only seen when it is run: both ports are \
                     bytes for now; write [[interface.inputs]] and [[interface.outputs]] into \
                     guild.toml, and publishing compares them with what its `describe` says"
                        .to_owned(),
                );
            }
            Ok(Facts::Wasm(facts)) if !facts.component && has_start(&facts.exports) => {
                made.guess_bytes(
                    name,
                    Code::Command(CommandCode { module: name.clone(), models: Vec::new() }),
                );
                made.warnings.push(
                    "a module does not say what it reads and writes: both ports are bytes, which \
                     fit no port of another type; write [[interface.inputs]] and \
                     [[interface.outputs]] into guild.toml"
                        .to_owned(),
                );
            }
            Ok(Facts::Wasm(facts)) if facts.component => made.warnings.push(format!(
                "{name} is a component, but no stage: it does not export `{SCORING}0`"
            )),
            Ok(_) => made.warnings.push(format!(
                "{name} is no WASI command: it is no module with a function `_start`"
            )),
            Err(why) => made.warnings.push(format!("nothing is inferred from {name}: {why}")),
        }
        made
    }

    /// One port of bytes on each side, until somebody says more.
    fn guess_bytes(&mut self, file: &FileName, code: Code) {
        let bytes = |name: &str| Port {
            name: name.to_owned(),
            port_type: PortType::Bytes(MediaTypes::default()),
            optional: false,
            location: None,
        };
        self.interface = Some(Proposed {
            value: Interface { inputs: vec![bytes("in")], outputs: vec![bytes("out")] },
            from: Source::Guessed,
        });
        self.code = Some(Proposed { value: code, from: Source::File(file.clone()) });
    }

    fn of_data(files: &[DraftFile], facts_of: FactsOf<'_>) -> Self {
        let mut made = Self::default();
        let mut tables: Vec<(&FileName, TableFacts)> = Vec::new();
        for file in files.iter().filter(|file| is_table(&file.entry.name)).take(TABLES_MAX) {
            let name = &file.entry.name;
            match facts_of(file) {
                Ok(Facts::Csv(table) | Facts::Parquet(table) | Facts::Arrow(table)) => {
                    tables.push((name, table));
                }
                Ok(_) => {}
                Err(why) => made.warnings.push(format!("nothing is inferred from {name}: {why}")),
            }
        }
        if let Some((folder, port)) = record_folder(files) {
            let labels = labels_file(&tables);
            let from = Source::File(folder.clone());
            made.records = Some(Proposed {
                value: RecordSet { port: port.name.clone(), folder, labels },
                from: from.clone(),
            });
            let interface = Interface { inputs: Vec::new(), outputs: vec![port] };
            made.interface = Some(Proposed { value: interface, from });
        } else if let [(name, first), rest @ ..] = tables.as_slice()
            && !first.columns.is_empty()
            && rest.iter().all(|(_, table)| table.columns == first.columns)
        {
            let port = Port {
                name: "rows".to_owned(),
                port_type: PortType::Table(TableType { columns: first.columns.clone() }),
                optional: false,
                location: None,
            };
            let interface = Interface { inputs: Vec::new(), outputs: vec![port] };
            let from = Source::File((*name).clone());
            made.interface = Some(Proposed { value: interface, from });
        } else if tables.len() > 1 {
            made.warnings.push(
                "the tables have different columns, so no port is proposed for them".to_owned(),
            );
        }
        made
    }
}

/// The contract when nobody measured: a guess, and it says so.
pub(super) fn guessed_contract(code: &Code, files: &[DraftFile]) -> Contract {
    let file = files.iter().find(|file| file.entry.name == *code.file());
    let len_bytes = file.map_or(0, |file| file.entry.len_bytes);
    let wanted = len_bytes.saturating_mul(MEMORY_GUESS_COPIES).saturating_add(MEMORY_GUESS_BYTES);
    Contract {
        scoring_ms: SCORING_GUESS_MS,
        measured_on: "not measured".to_owned(),
        // Whole mebibytes are easier to read and to change.
        memory_bytes: wanted.div_ceil(1 << 20).saturating_mul(1 << 20),
        scratch_bytes: 0,
        output_bytes: OUTPUT_DEFAULT_BYTES,
        batch_max: BATCH_DEFAULT,
        total_ms: None,
        queue_ms: None,
        imports: Vec::new(),
        hardware: Hardware::default(),
        determinism: match code {
            Code::Command(_) | Code::Component(_) => Determinism::Bitwise,
            _ => Determinism::Numeric,
        },
    }
}

/// The file with this ending that is meant: one of the usual names, or the only one.
fn main_file<'a>(
    files: &'a [DraftFile],
    ending: &str,
    usual: &[&str],
    made: &mut Structure,
) -> Option<&'a DraftFile> {
    let all: Vec<_> = files.iter().filter(|file| ends_with(&file.entry.name, ending)).collect();
    let named = usual
        .iter()
        .find_map(|name| all.iter().find(|file| file.entry.name.as_str() == *name).copied());
    match (named, all.as_slice()) {
        (Some(file), _) => Some(file),
        (None, [only]) => Some(only),
        (None, []) => None,
        (None, several) => {
            let names: Vec<_> = several.iter().take(3).map(|f| f.entry.name.as_str()).collect();
            made.warnings.push(format!(
                "{} files end in {ending} ({}, ...), and nothing says which is meant; write [code] \
                 into guild.toml",
                several.len(),
                names.join(", ")
            ));
            None
        }
    }
}

/// Whether a name ends so, in small or capital letters.
pub(super) fn ends_with(name: &FileName, ending: &str) -> bool {
    name.as_str().to_ascii_lowercase().ends_with(ending)
}

/// What a stage of the full form exports, but for the end of its version.
const SCORING: &str = "guildhall:stage/scoring@0.1.";

fn has_scoring(exports: &[String]) -> bool {
    exports.iter().any(|export| export.starts_with(SCORING))
}

fn has_start(exports: &[String]) -> bool {
    exports.iter().any(|export| export == "_start")
}

fn is_table(name: &FileName) -> bool {
    [".csv", ".tsv", ".parquet", ".arrow", ".feather"].iter().any(|ending| ends_with(name, ending))
}

/// The one folder at the top whose files, two or more, are all pictures, or all sounds, and so on; with its port.
fn record_folder(files: &[DraftFile]) -> Option<(FileName, Port)> {
    let mut folders: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for file in files {
        if let Some((folder, _)) = file.entry.name.as_str().split_once('/') {
            let (count, media) = folders.entry(folder).or_default();
            *count += 1;
            media.insert(&file.entry.media_type);
        }
    }
    let mut fitting = folders.into_iter().filter_map(|(folder, (count, media))| {
        if count < 2 || FOR_PEOPLE.contains(&folder) {
            return None;
        }
        let (name, port_type) = record_type(&media)?;
        let port = Port { name: name.to_owned(), port_type, optional: false, location: None };
        Some((folder.parse().ok()?, port))
    });
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn record_type(media: &BTreeSet<&str>) -> Option<(&'static str, PortType)> {
    let all = |family: &str| media.iter().all(|media| media.starts_with(family));
    let types =
        || MediaTypes { media_types: media.iter().map(|media| (*media).to_owned()).collect() };
    Some(if all("image/") {
        ("image", PortType::Image(types()))
    } else if all("audio/") {
        ("audio", PortType::Audio(types()))
    } else if all("video/") {
        ("video", PortType::Video(types()))
    } else if all("text/plain") {
        ("text", PortType::Text)
    } else {
        return None;
    })
}

/// The table with the header `file,label`; `labels.csv` if there are several.
fn labels_file(tables: &[(&FileName, TableFacts)]) -> Option<FileName> {
    let fitting: Vec<_> = tables
        .iter()
        .filter(|(name, table)| {
            let columns: Vec<_> = table.columns.iter().map(|column| column.name.as_str()).collect();
            ends_with(name, ".csv") && columns == ["file", "label"]
        })
        .map(|(name, _)| *name)
        .collect();
    match fitting.as_slice() {
        [only] => Some((*only).clone()),
        several => several.iter().find(|name| name.as_str() == "labels.csv").copied().cloned(),
    }
}
