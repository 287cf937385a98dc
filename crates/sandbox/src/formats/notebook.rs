//! Jupyter notebooks: JSON of format 4, its cells counted, their content not judged.

use std::fmt;

use guildhall_protocol::facts::{Facts, NotebookFacts};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use super::json;
use super::problem::{Checked, refused, refused_at};
use super::source::Source;

/// Largest notebook, bytes: its texts are held while it is read. Those with pictures in them reach some 20 MiB.
const NOTEBOOK_MAX_BYTES: u64 = 64 << 20;

/// The only major version whose cells stand at the top.
const MAJOR: u64 = 4;

const HELP: &str =
    "open the notebook in Jupyter and save it again, or run `jupyter nbconvert --to notebook`";

/// Checks a notebook and reads its cover.
pub(super) fn check(source: &Source<'_>) -> Checked<Facts> {
    if source.len_bytes() > NOTEBOOK_MAX_BYTES {
        let why = format!("{} bytes, at most {NOTEBOOK_MAX_BYTES} are taken", source.len_bytes());
        return Err(refused(why).help("clear the outputs before saving"));
    }
    // First its depth and encoding, which the typed reader leaves out where it skips.
    json::check(source).map_err(|problem| problem.help(HELP))?;
    let notebook: Notebook = serde_json::from_reader(source.reader())
        .map_err(|error| refused(format!("it is no notebook: {error}")).help(HELP))?;
    if notebook.nbformat < MAJOR {
        let why = format!("notebook format {}; {MAJOR} is taken", notebook.nbformat);
        return Err(refused_at(0, why).help(HELP));
    }
    let metadata = notebook.metadata;
    let kernel = metadata.kernelspec.unwrap_or_default();
    let language = metadata.language_info.and_then(|info| info.name).or(kernel.language);
    Ok(Facts::Notebook(NotebookFacts {
        nbformat: (notebook.nbformat, notebook.nbformat_minor),
        language,
        kernel: kernel.name,
        title: notebook.cells.title,
        code_cells: notebook.cells.code,
        text_cells: notebook.cells.text,
    }))
}

#[derive(Deserialize)]
struct Notebook {
    nbformat: u64,
    nbformat_minor: u64,
    metadata: Metadata,
    cells: Cells,
}

#[derive(Deserialize)]
struct Metadata {
    kernelspec: Option<Kernel>,
    language_info: Option<Language>,
}

#[derive(Default, Deserialize)]
struct Kernel {
    name: Option<String>,
    language: Option<String>,
}

#[derive(Deserialize)]
struct Language {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Cell {
    cell_type: CellType,
    source: Lines,
    #[serde(rename = "metadata")]
    _metadata: serde::de::IgnoredAny,
    #[serde(default)]
    outputs: Option<Vec<Output>>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CellType {
    Code,
    Markdown,
    Raw,
}

#[derive(Deserialize)]
struct Output {
    #[serde(rename = "output_type")]
    _output_type: OutputType,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutputType {
    Stream,
    DisplayData,
    ExecuteResult,
    Error,
}

/// A text in one piece or in lines.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lines {
    One(String),
    Many(Vec<String>),
}

impl Lines {
    /// The first heading.
    fn heading(&self) -> Option<String> {
        let lines: Vec<&str> = match self {
            Self::One(text) => text.lines().collect(),
            Self::Many(lines) => lines.iter().map(String::as_str).collect(),
        };
        let heading = lines.into_iter().map(str::trim).find(|line| line.starts_with('#'))?;
        let title = heading.trim_start_matches('#').trim();
        (!title.is_empty()).then(|| title.to_owned())
    }
}

/// The cells, counted one by one.
#[derive(Default)]
struct Cells {
    code: u64,
    text: u64,
    title: Option<String>,
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(CellsVisitor)
    }
}

struct CellsVisitor;

impl<'de> Visitor<'de> for CellsVisitor {
    type Value = Cells;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of cells")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cells, A::Error> {
        let mut cells = Cells::default();
        while let Some(cell) = seq.next_element::<Cell>()? {
            match cell.cell_type {
                CellType::Code if cell.outputs.is_none() => {
                    return Err(A::Error::custom("a code cell has no list of outputs"));
                }
                CellType::Code => cells.code = cells.code.saturating_add(1),
                CellType::Markdown | CellType::Raw => {
                    if cells.text == 0 && cell.cell_type == CellType::Markdown {
                        cells.title = cell.source.heading();
                    }
                    cells.text = cells.text.saturating_add(1);
                }
            }
        }
        Ok(cells)
    }
}
