//! What files say about ports, code and records.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::contract::{Contract, Determinism, Hardware};
use guildhall_protocol::facts::{ClassifierFacts, Facts, OnnxFacts, TableFacts, TensorFacts};
use guildhall_protocol::interface::{
    Column, Dim, ElementType, Interface, MediaTypes, Port, PortType, PredictionKind,
    PredictionType, TableType, TensorType,
};
use guildhall_protocol::limits::{INTERFACE_MAX_PORTS, LABELS_MAX, TENSOR_MAX_RANK};
use guildhall_protocol::manifest::{
    Binding, Code, CommandCode, ComponentCode, Kind, OnnxCode, RecordSet,
};
use guildhall_protocol::name::FileName;

use super::super::description::{BATCH_DEFAULT, OUTPUT_DEFAULT_BYTES};
use super::super::draft::DraftFile;
use super::{FactsOf, Proposed, Source};

/// Wall time for one record of a proposed contract, milliseconds: more than most models need on one core, and short
/// enough that a reviewer does not wait long for one that hangs.
const SCORING_GUESS_MS: u64 = 10_000;

/// Memory of a proposed contract beside the model, bytes: activations of common models.
const MEMORY_GUESS_BYTES: u64 = 256 << 20;

/// How often the model's length a proposed contract grants: as read, decoded, planned and executed.
const MEMORY_GUESS_COPIES: u64 = 4;

/// Longest name of a port.
const PORT_NAME_MAX_BYTES: usize = 64;

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
        match graph_ports(name, &facts, labels) {
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

/// Ports for a graph's tensors; else why it cannot be run.
fn graph_ports(
    model: &FileName,
    facts: &OnnxFacts,
    labels: &[String],
) -> Result<(Interface, OnnxCode), String> {
    if let Some(first) = facts.external.first() {
        return Err(format!("its weights lie in other files, such as `{first}`"));
    }
    let mut inputs = Side::default();
    if let Some(table) = table_of_columns(&facts.inputs) {
        inputs.ports.push(port("rows", PortType::Table(table)));
        inputs.bindings = facts
            .inputs
            .iter()
            .map(|input| Binding { port: "rows".to_owned(), tensor: input.name.clone() })
            .collect();
    } else {
        for input in &facts.inputs {
            let Some(tensor) = &input.tensor else {
                return Err(format!("its input `{}` is no tensor", input.name));
            };
            inputs.add(&input.name, PortType::Tensor(without_batch(tensor)))?;
        }
    }
    let outputs = match &facts.classifier {
        Some(classes) => class_port(classes, labels),
        None => graph_outputs(facts, labels)?,
    };
    if inputs.ports.is_empty() || outputs.ports.is_empty() {
        return Err("it has no input, or no output that is a tensor".to_owned());
    }
    let code = OnnxCode {
        model: model.clone(),
        engine: None,
        inputs: inputs.bindings,
        outputs: outputs.bindings,
    };
    Ok((Interface { inputs: inputs.ports, outputs: outputs.ports }, code))
}

fn port(name: &str, port_type: PortType) -> Port {
    Port { name: name.to_owned(), port_type, optional: false, location: None }
}

/// The table that graphs of named columns take: several inputs, each one value of a row.
fn table_of_columns(inputs: &[TensorFacts]) -> Option<TableType> {
    let column = |input: &TensorFacts| {
        let tensor = input.tensor.as_ref()?;
        let is_one = matches!(tensor.dims.as_slice(), [Dim::Free | Dim::Named(_), Dim::Fixed(1)]);
        is_one.then(|| Column { name: input.name.clone(), dtype: tensor.dtype })
    };
    let columns: Option<Vec<Column>> = inputs.iter().map(column).collect();
    columns.filter(|columns| columns.len() > 1).map(|columns| TableType { columns })
}

/// One port for a classifier's label and scores. Names that something else gives stand for the graph's numbers, one
/// for each.
fn class_port(classes: &ClassifierFacts, given: &[String]) -> Side {
    let are_numbers = classes.labels.iter().all(|label| label.parse::<i64>().is_ok());
    let labels = if are_numbers && given.len() == classes.labels.len() {
        given
    } else {
        classes.labels.as_slice()
    };
    let prediction =
        PredictionType { value: PredictionKind::Class, labels: labels.to_vec(), location: None };
    let name = "prediction";
    let tensors = classes.label.iter().chain(&classes.scores);
    let bound = tensors.map(|tensor| Binding { port: name.to_owned(), tensor: tensor.clone() });
    Side { ports: vec![port(name, PortType::Prediction(prediction))], bindings: bound.collect() }
}

/// Ports for outputs of graphs that say nothing of classes.
fn graph_outputs(facts: &OnnxFacts, labels: &[String]) -> Result<Side, String> {
    let mut outputs = Side::default();
    // What no port can carry is not bound.
    let carried = facts.outputs.iter().filter_map(|output| Some((output, output.tensor.as_ref()?)));
    let number =
        PredictionType { value: PredictionKind::Number, labels: Vec::new(), location: None };
    let typed: Vec<_> = carried
        .map(|(output, tensor)| {
            let is_number = facts.number.as_ref() == Some(&output.name);
            let port_type = match is_number {
                true => PortType::Prediction(number.clone()),
                false => output_type(tensor, labels),
            };
            (output, tensor, port_type)
        })
        .collect();
    let has_classes = typed.iter().any(|(.., port)| matches!(port, PortType::Prediction(_)));
    let has_scores = typed.iter().any(|(_, tensor, _)| is_float(tensor.dtype));
    for (output, tensor, port_type) in typed {
        let is_prediction = matches!(port_type, PortType::Prediction(_));
        let is_index = !is_float(tensor.dtype) && without_batch(tensor).dims.is_empty();
        // One whole number a record beside scores says again which of them is highest.
        if is_prediction || !(has_classes || is_index && has_scores) {
            outputs.add(&output.name, port_type)?;
        }
    }
    Ok(outputs)
}

/// One side of an interface while it is put together.
#[derive(Default)]
struct Side {
    ports: Vec<Port>,
    bindings: Vec<Binding>,
}

impl Side {
    fn add(&mut self, tensor: &str, port_type: PortType) -> Result<(), String> {
        if self.ports.len() == INTERFACE_MAX_PORTS {
            return Err(format!("it has more than {INTERFACE_MAX_PORTS} tensors on one side"));
        }
        if let PortType::Tensor(shape) = &port_type
            && shape.dims.len() > TENSOR_MAX_RANK
        {
            return Err(format!("no port can carry its tensor `{tensor}`"));
        }
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' }
        };
        let mut name: String = tensor.chars().take(PORT_NAME_MAX_BYTES - 4).map(plain).collect();
        if name.is_empty() || self.ports.iter().any(|port| port.name == name) {
            name = format!("{name}_{}", self.ports.len());
        }
        self.bindings.push(Binding { port: name.clone(), tensor: tensor.to_owned() });
        self.ports.push(Port { name, port_type, optional: false, location: None });
        Ok(())
    }
}

/// One record's part of a tensor: a first dimension of 1, or of any size, is the batch.
fn without_batch(tensor: &TensorType) -> TensorType {
    let dims = match tensor.dims.as_slice() {
        [Dim::Free | Dim::Named(_) | Dim::Fixed(1), rest @ ..] => rest,
        all => all,
    };
    TensorType { dtype: tensor.dtype, dims: dims.to_vec() }
}

fn is_float(dtype: ElementType) -> bool {
    matches!(dtype, ElementType::F16 | ElementType::F32 | ElementType::F64)
}

/// One score for each label is a prediction; everything else stays a tensor.
fn output_type(tensor: &TensorType, labels: &[String]) -> PortType {
    let record = without_batch(tensor);
    let is_row = match record.dims.as_slice() {
        [Dim::Fixed(count)] => *count == labels.len() as u64,
        [Dim::Free | Dim::Named(_)] => true,
        _ => false,
    };
    if is_float(record.dtype) && is_row && (1..=LABELS_MAX).contains(&labels.len()) {
        return PortType::Prediction(PredictionType {
            value: PredictionKind::Class,
            labels: labels.to_vec(),
            location: None,
        });
    }
    PortType::Tensor(record)
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
