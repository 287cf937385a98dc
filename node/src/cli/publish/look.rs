//! What files are: asked of workers, never found out here.

use std::collections::BTreeMap;
use std::fs::File;

use guildhall_client::package::{
    DraftFile, Folder, Overrides, PackageError, Proposal, Proposed, Source,
};
use guildhall_protocol::facts::{Facts, OnnxFacts, TableFacts, WeightFacts};
use guildhall_protocol::manifest::{Code, Kind, ONNX, ONNXRUNTIME};
use guildhall_protocol::name::FileName;
use guildhall_sandbox::{Examiner, onnx_lacks};

use super::super::table::counted;
use super::super::{Failure, exit};

/// Most files of a package that are looked into to describe it; nobody reads more lines.
pub(in crate::cli) const LOOKED_INTO_MAX: usize = 256;

/// Looks into files, one after another, and remembers what it saw.
pub(in crate::cli) struct Looker {
    examiner: Examiner,
    seen: BTreeMap<FileName, Result<Facts, String>>,
}

impl Looker {
    /// Starts nothing before the first file.
    pub(in crate::cli) fn new() -> Self {
        Self { examiner: crate::engines::spawner().examiner(), seen: BTreeMap::new() }
    }

    /// What a file is; else why that is not known, in words. Blocks while a worker looks.
    pub(in crate::cli) fn facts(&mut self, file: &DraftFile) -> Result<Facts, String> {
        let name = &file.entry.name;
        if let Some(known) = self.seen.get(name) {
            return known.clone();
        }
        let opened = File::open(&file.path).map_err(|error| error.to_string());
        let facts = opened.and_then(|opened| {
            let looked = self.examiner.examine(name, &file.entry.media_type, None::<Kind>, opened);
            looked.map_err(|failure| failure.to_string())
        });
        self.seen.insert(name.clone(), facts.clone());
        facts
    }

    /// What the first files of a package are, as far as a worker could tell.
    pub(in crate::cli) fn all(&mut self, files: &[DraftFile]) -> BTreeMap<FileName, Facts> {
        let look = |file: &DraftFile| Some((file.entry.name.clone(), self.facts(file).ok()?));
        files.iter().take(LOOKED_INTO_MAX).filter_map(look).collect()
    }
}

/// Completes what the folder's `guild.toml` leaves open.
pub(in crate::cli) async fn propose(
    folder: &Folder,
    overrides: &Overrides,
) -> Result<Proposal, Failure> {
    let (folder, overrides) = (folder.clone(), overrides.clone());
    blocking(move || {
        let mut looker = Looker::new();
        let mut proposal = folder.propose(&overrides, &mut |file| looker.facts(file))?;
        choose_engine(&mut proposal, &looker);
        Ok::<_, PackageError>(proposal)
    })
    .await?
    .map_err(Failure::from)
}

/// Says which engine a graph needs that the one built in cannot run, as far as its operators tell.
fn choose_engine(proposal: &mut Proposal, looker: &Looker) {
    let Some(Proposed { value: Code::Onnx(onnx), from }) = &mut proposal.code else { return };
    let Some(Ok(Facts::Onnx(facts))) = looker.seen.get(&onnx.model) else { return };
    let lacking = onnx_lacks(&facts.operators);
    if onnx.engine.is_some() || lacking.is_empty() {
        return;
    }
    let (model, lacking) = (&onnx.model, lacking.join(", "));
    let lacks = format!("the engine `{ONNX}` has no {lacking}, which {model} uses");
    let then = match from {
        Source::Written => format!("write engine = \"{ONNXRUNTIME}\" into [code.onnx]"),
        _ => {
            onnx.engine = Some(ONNXRUNTIME.to_owned());
            format!("only nodes with `{ONNXRUNTIME}` can run it")
        }
    };
    proposal.warnings.push(format!("{lacks}; {then}"));
}

/// Does something that blocks where that is allowed.
pub(in crate::cli) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::from_error(exit::FAILED, &error))
}

/// Facts in a few words.
pub(in crate::cli) fn facts_text(facts: &Facts) -> String {
    let format = facts.format();
    match facts {
        Facts::Onnx(OnnxFacts { inputs, outputs, opset, parameters, .. }) => format!(
            "{format}: {} -> {}, opset {opset}, {} parameters",
            counted(inputs.len(), "input"),
            counted(outputs.len(), "output"),
            rounded(*parameters)
        ),
        Facts::Safetensors(WeightFacts { tensors, parameters, .. })
        | Facts::Gguf(WeightFacts { tensors, parameters, .. }) => {
            format!("{format}: {}, {} parameters", counted(tensors, "tensor"), rounded(*parameters))
        }
        Facts::Parquet(TableFacts { columns, rows })
        | Facts::Arrow(TableFacts { columns, rows })
        | Facts::Csv(TableFacts { columns, rows }) => {
            let rows = rows.map(|rows| format!(", {}", counted(rows, "row"))).unwrap_or_default();
            format!("{format}: {}{rows}", counted(columns.len(), "column"))
        }
        Facts::JsonLines { values } => format!("{format}: {}", counted(values, "value")),
        Facts::Notebook(book) => format!(
            "{format}: {}, {}",
            counted(book.code_cells, "code cell"),
            counted(book.text_cells, "text cell")
        ),
        Facts::Wasm(wasm) => {
            let form = if wasm.component { "component" } else { "module" };
            format!("{format} {form}: {}", counted(wasm.imports.len(), "import"))
        }
        _ => format.to_owned(),
    }
}

/// A large number as people say it: `1.2 M`.
fn rounded(count: u64) -> String {
    const STEPS: [(u64, &str); 3] = [(1_000_000_000, "B"), (1_000_000, "M"), (1_000, "k")];
    match STEPS.into_iter().find(|(step, _)| count >= *step) {
        None => count.to_string(),
        Some((step, unit)) => format!("{}.{} {unit}", count / step, count % step * 10 / step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_told_in_a_few_words() {
        let table = TableFacts { columns: Vec::new(), rows: Some(1) };
        assert_eq!(facts_text(&Facts::Csv(table)), "CSV: 0 columns, 1 row");
        assert_eq!(facts_text(&Facts::Opaque), "opaque");
        let shown: Vec<_> = [999, 1_000, 86_400_000, 7_000_000_001].map(rounded).into();
        assert_eq!(shown, ["999", "1.0 k", "86.4 M", "7.0 B"]);
    }
}
