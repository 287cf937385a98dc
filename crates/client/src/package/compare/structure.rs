//! What changed inside files, as far as workers looked into them.

use std::collections::BTreeMap;

use guildhall_protocol::facts::{
    FACTS_MAX_ITEMS, Facts, NotebookFacts, OnnxFacts, TableFacts, TensorFacts, WasmFacts,
    WeightFacts,
};
use guildhall_protocol::interface::PortType;
use guildhall_protocol::name::FileName;

use super::{Change, FileChanges, FileStructure, Pair, by_name, note};

/// Every file that changed under its name; and the only one of a format that went, with the only one that came.
pub(super) fn of_files(
    files: &FileChanges,
    before: &BTreeMap<FileName, Facts>,
    after: &BTreeMap<FileName, Facts>,
) -> Vec<FileStructure> {
    let changed = files.changed.iter().map(|file| (&file.name, &file.name));
    let replaced = files.added.iter().filter_map(|new| {
        let format = after.get(&new.name)?.format();
        let is_one = |(name, facts): (&FileName, &BTreeMap<FileName, Facts>)| {
            facts.get(name).is_some_and(|facts| facts.format() == format)
        };
        let mut old = files.removed.iter().filter(|old| is_one((&old.name, before)));
        let mut new_ones = files.added.iter().filter(|other| is_one((&other.name, after)));
        match (old.next(), old.next(), new_ones.nth(1)) {
            (Some(only), None, None) => Some((&only.name, &new.name)),
            _ => None,
        }
    });
    let pairs = changed.chain(replaced);
    pairs
        .filter_map(|(old, new)| {
            let changes = of_file(before.get(old)?, after.get(new)?)?;
            Some(FileStructure { file: new.clone(), changes })
        })
        .collect()
}

/// `None` for formats that nobody looks into.
fn of_file(before: &Facts, after: &Facts) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    match (before, after) {
        (Facts::Onnx(old), Facts::Onnx(new)) => graph(&mut changes, old, new),
        (Facts::Safetensors(old), Facts::Safetensors(new))
        | (Facts::Gguf(old), Facts::Gguf(new)) => weights(&mut changes, old, new),
        (Facts::Parquet(old), Facts::Parquet(new))
        | (Facts::Arrow(old), Facts::Arrow(new))
        | (Facts::Csv(old), Facts::Csv(new)) => table(&mut changes, old, new),
        (Facts::Notebook(old), Facts::Notebook(new)) => notebook(&mut changes, old, new),
        (Facts::Wasm(old), Facts::Wasm(new)) => module(&mut changes, old, new),
        (Facts::JsonLines { values: old }, Facts::JsonLines { values: new }) => {
            numbers(&mut changes, "values", *old, *new);
        }
        (old, new) if old.format() == new.format() => return None,
        (old, new) => {
            let (old, new) = (old.format().to_owned(), new.format().to_owned());
            note(&mut changes, "format", Some(old), Some(new));
        }
    }
    Some(changes)
}

fn numbers(changes: &mut Vec<Change>, what: &str, before: u64, after: u64) {
    note(changes, what, Some(before.to_string()), Some(after.to_string()));
}

fn graph(changes: &mut Vec<Change>, before: &OnnxFacts, after: &OnnxFacts) {
    note(changes, "opset", Some(before.opset.to_string()), Some(after.opset.to_string()));
    note(changes, "producer", Some(before.producer.clone()), Some(after.producer.clone()));
    numbers(changes, "nodes", before.nodes, after.nodes);
    numbers(changes, "parameters", before.parameters, after.parameters);
    let shown = |tensors: &[TensorFacts]| -> Vec<Pair> {
        let one = |tensor: &TensorFacts| {
            let shape = tensor.tensor.clone().map(|shape| PortType::Tensor(shape).to_string());
            Pair::new(&tensor.name, shape.unwrap_or_else(|| "no tensor".to_owned()))
        };
        tensors.iter().map(one).collect()
    };
    by_name(changes, "input", &shown(&before.inputs), &shown(&after.inputs));
    by_name(changes, "output", &shown(&before.outputs), &shown(&after.outputs));
    names(changes, "weights in", &before.external, &after.external);
}

fn weights(changes: &mut Vec<Change>, before: &WeightFacts, after: &WeightFacts) {
    numbers(changes, "tensors", before.tensors, after.tensors);
    numbers(changes, "parameters", before.parameters, after.parameters);
    note(changes, "architecture", before.architecture.clone(), after.architecture.clone());
    let types = |facts: &WeightFacts| {
        let shown = facts.dtypes.iter().map(|(name, count)| format!("{count} {name}"));
        Some(shown.collect::<Vec<_>>().join(", "))
    };
    note(changes, "types", types(before), types(after));
    let items = |facts: &WeightFacts| -> Vec<Pair> {
        let one = |(name, dtype, shape): &(String, String, Vec<u64>)| {
            let dims: Vec<_> = shape.iter().map(u64::to_string).collect();
            Pair::new(name, format!("{dtype} [{}]", dims.join(", ")))
        };
        facts.items.iter().map(one).collect()
    };
    // Beyond what is reported, an absent tensor may only be one that was left out.
    let all_there = |facts: &WeightFacts| facts.items.len() < FACTS_MAX_ITEMS;
    if all_there(before) && all_there(after) {
        by_name(changes, "tensor", &items(before), &items(after));
    }
}

fn table(changes: &mut Vec<Change>, before: &TableFacts, after: &TableFacts) {
    let rows = |table: &TableFacts| table.rows.map(|rows| rows.to_string());
    note(changes, "rows", rows(before), rows(after));
    let columns = |table: &TableFacts| -> Vec<Pair> {
        table.columns.iter().map(|c| Pair::new(&c.name, c.dtype.to_string())).collect()
    };
    by_name(changes, "column", &columns(before), &columns(after));
}

fn notebook(changes: &mut Vec<Change>, before: &NotebookFacts, after: &NotebookFacts) {
    let format = |book: &NotebookFacts| Some(format!("{}.{}", book.nbformat.0, book.nbformat.1));
    note(changes, "format", format(before), format(after));
    note(changes, "title", before.title.clone(), after.title.clone());
    note(changes, "language", before.language.clone(), after.language.clone());
    note(changes, "kernel", before.kernel.clone(), after.kernel.clone());
    numbers(changes, "code cells", before.code_cells, after.code_cells);
    numbers(changes, "text cells", before.text_cells, after.text_cells);
}

fn module(changes: &mut Vec<Change>, before: &WasmFacts, after: &WasmFacts) {
    let form =
        |wasm: &WasmFacts| Some(if wasm.component { "component" } else { "module" }.to_owned());
    note(changes, "form", form(before), form(after));
    names(changes, "import", &before.imports, &after.imports);
    names(changes, "export", &before.exports, &after.exports);
}

fn names(changes: &mut Vec<Change>, what: &str, before: &[String], after: &[String]) {
    let pairs = |names: &[String]| names.iter().map(Pair::alone).collect::<Vec<_>>();
    by_name(changes, what, &pairs(before), &pairs(after));
}
