//! A Jupyter notebook as plain text: its prose, its code, and what came out when it was saved. Nothing is executed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::super::table::counted;
use super::markdown;

/// What a line of code, and of what came out, begins with.
const INDENT: &str = "    ";

/// Lines of one output that are shown: enough for a table, while logs go on for thousands.
const OUTPUT_MAX_LINES: usize = 40;

#[derive(Deserialize)]
struct Notebook {
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    cell_type: String,
    #[serde(default)]
    source: Text,
    #[serde(default)]
    execution_count: Option<u64>,
    #[serde(default)]
    outputs: Vec<Output>,
}

/// What came out: a stream's text, values in several forms of which one is for text, or an error.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Output {
    text: Text,
    data: BTreeMap<String, Value>,
    ename: String,
    evalue: String,
}

/// Text as notebooks keep it: whole, or line by line with the line breaks.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Whole(String),
    Lines(Vec<String>),
}

impl Default for Text {
    fn default() -> Self {
        Self::Whole(String::new())
    }
}

impl Text {
    fn whole(&self) -> String {
        match self {
            Self::Whole(text) => text.clone(),
            Self::Lines(lines) => lines.concat(),
        }
    }
}

/// Lines that show the notebook whose bytes these are.
///
/// # Errors
/// Why it is none.
pub(super) fn lines(bytes: &[u8], columns: usize) -> Result<Vec<String>, String> {
    let notebook: Notebook =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no notebook: {error}"))?;
    let mut lines: Vec<String> = Vec::new();
    for cell in &notebook.cells {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let source = cell.source.whole();
        match cell.cell_type.as_str() {
            "markdown" => lines.extend(markdown::lines(&source, columns)),
            "code" => code(&mut lines, cell, &source),
            _ => lines.extend(indented(&source)),
        }
    }
    Ok(lines)
}

fn code(lines: &mut Vec<String>, cell: &Cell, source: &str) {
    let count = cell.execution_count.map(|count| count.to_string()).unwrap_or_default();
    lines.push(format!("In [{count}]:"));
    lines.extend(indented(source));
    for output in &cell.outputs {
        lines.push(format!("Out [{count}]:"));
        let shown = indented(&shown(output));
        let more = shown.len().saturating_sub(OUTPUT_MAX_LINES);
        lines.extend(shown.into_iter().take(OUTPUT_MAX_LINES));
        if more > 0 {
            lines.push(format!("{INDENT}({})", counted(more, "more line")));
        }
    }
}

/// The form of an output that a terminal can show.
fn shown(output: &Output) -> String {
    if !output.ename.is_empty() {
        return format!("{}: {}", output.ename, output.evalue);
    }
    let plain = output.data.get("text/plain").map(|value| match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        other => other.to_string(),
    });
    let pictures = output.data.keys().filter(|form| form.starts_with("image/"));
    let pictures: Vec<String> = pictures.map(|form| format!("[picture: {form}]")).collect();
    let parts = [plain.unwrap_or_default(), output.text.whole(), pictures.join("\n")];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn indented(text: &str) -> Vec<String> {
    let text = without_colours(text).replace('\t', "    ");
    text.lines().map(|line| format!("{INDENT}{line}").trim_end().to_owned()).collect()
}

/// Text without the sequences that colour it, which many programs put out: `ESC [`, parameters, a letter.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let parameters = |c: char| c.is_ascii_digit() || matches!(c, ';' | '?');
        let behind = part.trim_start_matches(parameters);
        let mut behind = behind.chars();
        match behind.clone().next() {
            Some(letter) if letter.is_ascii_alphabetic() => {
                behind.next();
                plain.push_str(behind.as_str());
            }
            // No colour: it stays, and is shown as an escape.
            _ => {
                plain.push_str("\u{1b}[");
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(cells: &Value) -> Vec<String> {
        let notebook =
            json!({ "nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells });
        lines(notebook.to_string().as_bytes(), 60).unwrap()
    }

    #[test]
    fn prose_code_and_outputs_stand_in_their_order() {
        let cells = json!([
            { "cell_type": "markdown", "metadata": {}, "source": ["# Tour\n", "of digits"] },
            { "cell_type": "code", "execution_count": 3, "source": "for x in y:\n\tprint(x)",
              "outputs": [
                { "output_type": "stream", "name": "stdout", "text": ["\u{1b}[31mred\u{1b}[0m\n", "2\n"] },
                { "output_type": "display_data", "data": {
                    "text/plain": ["<Figure>"], "image/png": "iVBORw0K" } },
                { "output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": [] },
              ] },
            { "cell_type": "raw", "source": "as it is" },
            { "cell_type": "code", "execution_count": null, "source": [], "outputs": [] },
        ]);
        assert_eq!(
            read(&cells),
            [
                "Tour",
                "====",
                "",
                "of digits",
                "",
                "In [3]:",
                "    for x in y:",
                "        print(x)",
                "Out [3]:",
                "    red",
                "    2",
                "Out [3]:",
                "    <Figure>",
                "    [picture: image/png]",
                "Out [3]:",
                "    ValueError: no",
                "",
                "    as it is",
                "",
                "In []:",
            ]
        );
    }

    #[test]
    fn long_outputs_end_with_how_many_more_there_are() {
        let cells = json!([{ "cell_type": "code", "source": "x", "outputs": [
            { "output_type": "stream", "text": "line\n".repeat(100) },
        ] }]);
        let shown = read(&cells);
        assert_eq!(shown.len(), 3 + OUTPUT_MAX_LINES + 1);
        assert_eq!(shown.last().unwrap(), "    (60 more lines)");
    }

    #[test]
    fn what_is_no_notebook_says_so() {
        for text in ["", "[]", "{}", "{\"cells\": 5}", "{\"cells\":[{\"source\":\"x\"}]}", "\u{1b}"]
        {
            assert!(lines(text.as_bytes(), 80).unwrap_err().starts_with("it is no notebook: "));
        }
        let deep = format!("{{\"cells\":{}", "[".repeat(100_000));
        assert!(lines(deep.as_bytes(), 80).is_err());
    }

    #[test]
    fn colours_go_and_other_controls_stay_to_be_escaped() {
        assert_eq!(without_colours("a\u{1b}[1;31mb\u{1b}[0m"), "ab");
        assert_eq!(without_colours("\u{1b}[\u{7}x"), "\u{1b}[\u{7}x");
        assert_eq!(without_colours("\u{1b}[1"), "\u{1b}[1");
    }
}
