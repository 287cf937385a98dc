//! Facts made fit to travel and to be shown. A worker bounds what it sends, so that it fits into a frame; the node does
//! it again with what arrives, because a worker's word is outside data.

use guildhall_protocol::facts::{FACTS_MAX_ITEMS, Facts, TableFacts, TensorFacts, WeightFacts};
use guildhall_protocol::interface::Dim;
use guildhall_protocol::limits::FRAME_MAX_BYTES;

/// Longest text in facts, bytes: names of tensors are built from paths of modules and reach some 300.
const TEXT_MAX_BYTES: usize = 1_024;

/// Most bytes that the facts of one file take, as they travel, give or take a factor of two.
const BUDGET_BYTES: usize = FRAME_MAX_BYTES / 4;

/// What an item takes beside its texts and numbers: the names of its fields.
const ITEM_BYTES: usize = 48;

/// What a number takes at most.
const NUMBER_BYTES: usize = 9;

/// The same facts with every text printable and short, and lists as long as fits.
pub(crate) fn bounded(mut facts: Facts) -> Facts {
    let mut budget = BUDGET_BYTES;
    match &mut facts {
        Facts::Onnx(onnx) => {
            shorten(&mut onnx.producer);
            texts(&mut onnx.external, &mut budget);
            texts(&mut onnx.operators, &mut budget);
            onnx.number.iter_mut().for_each(shorten);
            if let Some(classes) = &mut onnx.classifier {
                [&mut classes.label, &mut classes.scores].into_iter().flatten().for_each(shorten);
                texts(&mut classes.labels, &mut budget);
            }
            tensors(&mut onnx.outputs, &mut budget);
            tensors(&mut onnx.inputs, &mut budget);
        }
        Facts::Safetensors(weights) | Facts::Gguf(weights) => weight(weights, &mut budget),
        Facts::Parquet(table) | Facts::Arrow(table) | Facts::Csv(table) => {
            columns(table, &mut budget);
        }
        Facts::Notebook(notebook) => {
            let texts = [&mut notebook.language, &mut notebook.kernel, &mut notebook.title];
            texts.into_iter().flatten().for_each(shorten);
        }
        Facts::Wasm(wasm) => {
            texts(&mut wasm.imports, &mut budget);
            texts(&mut wasm.exports, &mut budget);
        }
        _ => {}
    }
    facts
}

/// What of an inspection's facts is worth keeping: how many bytes they take, roughly.
pub(crate) fn cost_bytes(facts: &Facts) -> usize {
    let text = |text: &String| text.len().saturating_add(ITEM_BYTES);
    match facts {
        Facts::Onnx(onnx) => onnx
            .inputs
            .iter()
            .chain(&onnx.outputs)
            .map(tensor_bytes)
            .chain(onnx.external.iter().chain(&onnx.operators).map(text))
            .chain(onnx.classifier.iter().flat_map(|classes| &classes.labels).map(text))
            .sum(),
        Facts::Safetensors(weights) | Facts::Gguf(weights) => {
            weights.items.iter().map(item_bytes).sum()
        }
        Facts::Parquet(table) | Facts::Arrow(table) | Facts::Csv(table) => {
            table.columns.iter().map(|column| text(&column.name)).sum()
        }
        Facts::Wasm(wasm) => wasm.imports.iter().chain(&wasm.exports).map(text).sum(),
        _ => ITEM_BYTES,
    }
}

fn shorten(text: &mut String) {
    *text = printable(text);
}

/// One line without control characters and marks that reorder what a person reads.
fn printable(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        let c = match c {
            c if c.is_control() => '\u{fffd}',
            '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            c => c,
        };
        if shown.len() + c.len_utf8() > TEXT_MAX_BYTES {
            break;
        }
        shown.push(c);
    }
    shown
}

/// Cuts a list to the number of items and to the budget that is left.
fn cut<T>(items: &mut Vec<T>, budget: &mut usize, bytes: impl Fn(&T) -> usize) {
    let mut kept = 0;
    for item in items.iter().take(FACTS_MAX_ITEMS) {
        let Some(left) = budget.checked_sub(bytes(item)) else { break };
        *budget = left;
        kept += 1;
    }
    items.truncate(kept);
}

fn texts(items: &mut Vec<String>, budget: &mut usize) {
    items.truncate(FACTS_MAX_ITEMS);
    items.iter_mut().for_each(shorten);
    cut(items, budget, |text| text.len().saturating_add(ITEM_BYTES));
}

fn tensor_bytes(tensor: &TensorFacts) -> usize {
    let dims = tensor.tensor.iter().flat_map(|tensor| &tensor.dims).map(|dim| match dim {
        Dim::Named(name) => name.len().saturating_add(NUMBER_BYTES),
        _ => NUMBER_BYTES,
    });
    dims.sum::<usize>().saturating_add(tensor.name.len()).saturating_add(ITEM_BYTES)
}

fn tensors(items: &mut Vec<TensorFacts>, budget: &mut usize) {
    items.truncate(FACTS_MAX_ITEMS);
    for item in items.iter_mut() {
        shorten(&mut item.name);
        for dim in item.tensor.iter_mut().flat_map(|tensor| &mut tensor.dims) {
            if let Dim::Named(name) = dim {
                shorten(name);
            }
        }
    }
    cut(items, budget, tensor_bytes);
}

fn item_bytes((name, dtype, shape): &(String, String, Vec<u64>)) -> usize {
    let shape = shape.len().saturating_mul(NUMBER_BYTES);
    name.len().saturating_add(dtype.len()).saturating_add(shape).saturating_add(ITEM_BYTES)
}

fn weight(weights: &mut WeightFacts, budget: &mut usize) {
    weights.architecture.iter_mut().for_each(shorten);
    weights.dtypes.truncate(FACTS_MAX_ITEMS);
    weights.dtypes.iter_mut().for_each(|(name, _)| shorten(name));
    cut(&mut weights.dtypes, budget, |(name, _)| name.len().saturating_add(ITEM_BYTES));
    weights.items.truncate(FACTS_MAX_ITEMS);
    for (name, dtype, _) in &mut weights.items {
        shorten(name);
        shorten(dtype);
    }
    cut(&mut weights.items, budget, item_bytes);
}

fn columns(table: &mut TableFacts, budget: &mut usize) {
    table.columns.truncate(FACTS_MAX_ITEMS);
    table.columns.iter_mut().for_each(|column| shorten(&mut column.name));
    cut(&mut table.columns, budget, |column| column.name.len().saturating_add(ITEM_BYTES));
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::cbor;

    use super::*;

    #[test]
    fn facts_of_any_size_fit_into_a_frame_and_come_back() {
        let shape = vec![u64::MAX; 64];
        let name = "\u{202e}x".repeat(1_000);
        let items = vec![(name.clone(), "F32".to_owned(), shape); 2 * FACTS_MAX_ITEMS];
        let facts = bounded(Facts::Safetensors(WeightFacts {
            tensors: 9_000,
            parameters: 1,
            dtypes: vec![(name.clone(), 1); 5_000],
            architecture: Some(name),
            items,
        }));
        let bytes = cbor::encode(&facts);
        assert!(bytes.len() < FRAME_MAX_BYTES, "{}", bytes.len());
        assert_eq!(cbor::decode::<Facts>(&bytes, FRAME_MAX_BYTES), Ok(facts.clone()));
        let Facts::Safetensors(weights) = facts else { panic!("{facts:?}") };
        assert!(!weights.items.is_empty() || !weights.dtypes.is_empty());
        assert!(!format!("{weights:?}").contains('\u{202e}'));
    }
}
