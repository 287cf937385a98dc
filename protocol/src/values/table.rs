//! Tables: lists of objects, columns by name, lists of rows or CSV become CSV in the order of the port's columns.
//!
//! Columns that the port does not name stay, behind those that it does. A cell that is `null`, or empty in CSV, is
//! missing, whatever its column's type.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::{Fault, Problem};
use super::{csv, number, number_of};
use crate::interface::{ElementType, TableType};
use crate::limits::VALUE_MAX_BYTES;

/// What JSON that is no table at all is told.
const EXPECTED: &str = "a list of objects, {\"columns\": {...}} or CSV in a text";

/// Most bytes of column names in a list of objects, where each row repeats them: sixteen times the largest value.
const REPEATED_MAX_BYTES: usize = 16 * VALUE_MAX_BYTES;

/// A table's rows as they came, each a list of cells in the order of `names`.
struct Grid<'j> {
    names: Vec<String>,
    rows: Vec<Vec<Option<&'j Value>>>,
    form: Form,
}

/// How a table was written, which tells where a cell stands.
#[derive(Clone, Copy)]
enum Form {
    Objects,
    Lists,
    Columns,
    Split,
}

pub(super) fn from_json(table: &TableType, json: &Value) -> Result<Vec<u8>, Fault> {
    let grid = match json {
        Value::String(text) => return of_csv(table, text),
        Value::Array(rows) if matches!(rows.first(), Some(Value::Array(_))) => {
            let names = table.columns.iter().map(|column| column.name.clone()).collect();
            lists(names, rows, Form::Lists)?
        }
        Value::Array(rows) => objects(table, rows)?,
        Value::Object(fields) => of_columns(fields)?,
        other => return Err(Problem::expected(EXPECTED, other).into()),
    };
    write(table, &grid)
}

/// Cells take at least a byte each, so that more of them than a value has bytes are too many.
fn check_size(rows: usize, columns: usize) -> Result<(), Problem> {
    match rows.checked_mul(columns.max(1)) {
        Some(cells) if cells <= VALUE_MAX_BYTES => Ok(()),
        _ => Err(Problem::TooLong),
    }
}

fn objects<'j>(table: &TableType, rows: &'j [Value]) -> Result<Grid<'j>, Fault> {
    let mut names: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut fields = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let Value::Object(cells) = row else {
            return Err(Fault::from(Problem::expected("an object", row)).within(at));
        };
        let missing = table.columns.iter().find(|column| !cells.contains_key(&column.name));
        if let Some(missing) = missing {
            let found = cells.keys().cloned().collect();
            let problem = Problem::Column { column: missing.name.clone(), found };
            return Err(Fault::from(problem).within(at));
        }
        names.extend(cells.keys().filter(|name| seen.insert(name.as_str())).cloned());
        fields.push(cells);
    }
    if rows.is_empty() {
        names = table.columns.iter().map(|column| column.name.clone()).collect();
    }
    check_size(rows.len(), names.len())?;
    let row = |cells: &&'j Map<String, Value>| {
        names.iter().map(|name| cells.get(name)).collect::<Vec<_>>()
    };
    let rows = fields.iter().map(row).collect();
    Ok(Grid { names, rows, form: Form::Objects })
}

fn lists(names: Vec<String>, rows: &[Value], form: Form) -> Result<Grid<'_>, Fault> {
    check_size(rows.len(), names.len())?;
    let mut read = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let cells = row.as_array().filter(|cells| cells.len() == names.len());
        let wrong = || Problem::expected(format!("a list of {}", names.len()), row);
        let cells = cells.ok_or_else(|| Fault::from(wrong()).within(at))?;
        read.push(cells.iter().map(Some).collect());
    }
    Ok(Grid { names, rows: read, form })
}

/// `{"columns": {"a": [...]}}`, or `{"columns": ["a"], "data": [[...]]}`.
fn of_columns(fields: &Map<String, Value>) -> Result<Grid<'_>, Fault> {
    let known = vec!["columns", "data", "index"];
    if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Problem::Field { name: name.clone(), known }.into());
    }
    let columns = match (fields.get("columns"), fields.get("data")) {
        (Some(Value::Object(columns)), None) => columns,
        (Some(Value::Array(names)), Some(Value::Array(rows))) => {
            let name = |(at, name): (usize, &Value)| {
                let text = name.as_str().map(str::to_owned);
                let wrong = || Fault::from(Problem::expected("a name", name));
                text.ok_or_else(|| wrong().within(at).within("columns"))
            };
            let names = names.iter().enumerate().map(name).collect::<Result<_, _>>()?;
            return lists(names, rows, Form::Split).map_err(|fault| fault.within("data"));
        }
        (Some(other), _) => {
            let problem = Problem::expected("lists of cells by column", other);
            return Err(Fault::from(problem).within("columns"));
        }
        (None, _) => return Err(Problem::Lacks("columns").into()),
    };
    let mut rows: Vec<Vec<Option<&Value>>> = Vec::new();
    for (at, (name, cells)) in columns.iter().enumerate() {
        let wrong = |problem| Fault::from(problem).within(name).within("columns");
        let Value::Array(cells) = cells else {
            return Err(wrong(Problem::expected("a list of cells", cells)));
        };
        if at == 0 {
            check_size(cells.len(), columns.len())?;
            rows.resize_with(cells.len(), Vec::new);
        }
        if cells.len() != rows.len() {
            let (column, found, expected) = (name.clone(), cells.len(), rows.len());
            return Err(wrong(Problem::ColumnLength { column, found, expected }));
        }
        rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(Some(cell)));
    }
    Ok(Grid { names: columns.keys().cloned().collect(), rows, form: Form::Columns })
}

/// Where each column of the CSV is among `names`, and its type if the port says one.
fn order(
    table: &TableType,
    names: &[String],
) -> Result<Vec<(usize, Option<ElementType>)>, Problem> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(Problem::ColumnTwice { column: twice.clone() });
    }
    let mut order = Vec::new();
    for column in &table.columns {
        match names.iter().position(|name| *name == column.name) {
            Some(at) => order.push((at, Some(column.dtype))),
            None => {
                let (column, found) = (column.name.clone(), names.to_vec());
                return Err(Problem::Column { column, found });
            }
        }
    }
    let named: BTreeSet<usize> = order.iter().map(|(at, _)| *at).collect();
    order.extend((0..names.len()).filter(|at| !named.contains(at)).map(|at| (at, None)));
    Ok(order)
}

fn write(table: &TableType, grid: &Grid<'_>) -> Result<Vec<u8>, Fault> {
    let order = order(table, &grid.names)?;
    let mut text = String::new();
    let name = |(at, _): &(usize, _)| grid.names.get(*at).map(String::as_str);
    csv::write_row(&mut text, order.iter().map(name));
    for (line, row) in grid.rows.iter().enumerate() {
        let mut cells = Vec::new();
        for (at, dtype) in &order {
            let json = row.get(*at).copied().flatten();
            let cell = cell(*dtype, json.unwrap_or(&Value::Null)).map_err(|problem| {
                let name = grid.names.get(*at).cloned().unwrap_or_default();
                let fault = Fault::from(problem);
                match grid.form {
                    Form::Objects => fault.within(name).within(line),
                    Form::Lists => fault.within(at).within(line),
                    Form::Columns => fault.within(line).within(name).within("columns"),
                    Form::Split => fault.within(at).within(line).within("data"),
                }
            })?;
            cells.push(cell);
        }
        csv::write_row(&mut text, cells.iter().map(Option::as_deref));
        if text.len() > VALUE_MAX_BYTES {
            return Err(Problem::TooLong.into());
        }
    }
    Ok(text.into_bytes())
}

/// A cell as CSV has it; `None` when it is missing.
fn cell(dtype: Option<ElementType>, json: &Value) -> Result<Option<String>, Problem> {
    match (dtype, json) {
        (_, Value::Null) => Ok(None),
        (Some(ElementType::Text) | None, Value::String(text)) => Ok(Some(text.clone())),
        (Some(ElementType::Text), other) => Err(Problem::expected("a text", other)),
        (None, Value::Number(_) | Value::Bool(_)) => Ok(Some(json.to_string())),
        (None, other) => Err(Problem::expected("a text or a number", other)),
        (Some(dtype), json) => {
            let mut element = Vec::new();
            number::push(dtype, json, &mut element)?;
            Ok(Some(match (dtype, json) {
                (ElementType::Bool, _) => (element == [1]).to_string(),
                (_, Value::String(name)) => name.clone(),
                (_, json) => json.to_string(),
            }))
        }
    }
}

/// CSV that came as such: its cells are checked, and its columns put in order.
fn of_csv(table: &TableType, text: &str) -> Result<Vec<u8>, Fault> {
    let mut rows = csv::Reader::new(text, ',');
    let header = match rows.next() {
        Some(header) => header.map_err(Problem::from)?,
        None => return Err(Problem::Lacks("the header line").into()),
    };
    let names: Vec<String> = header.cells.iter().map(|cell| cell.text.trim().to_owned()).collect();
    let order = order(table, &names)?;
    let mut written = String::new();
    let name = |(at, _): &(usize, _)| names.get(*at).map(String::as_str);
    csv::write_row(&mut written, order.iter().map(name));
    for row in rows {
        let row = row.map_err(Problem::from)?;
        if row.cells.len() != names.len() {
            let (found, expected) = (row.cells.len(), names.len());
            return Err(Problem::RowLength { line: row.line, found, expected }.into());
        }
        let mut cells = Vec::new();
        for (at, dtype) in &order {
            let Some(cell) = row.cells.get(*at) else { continue };
            cells.push(csv_cell(*dtype, cell).map_err(|problem| Problem::Cell {
                line: row.line,
                column: names.get(*at).cloned().unwrap_or_default(),
                problem: Box::new(problem),
            })?);
        }
        csv::write_row(&mut written, cells);
        if written.len() > VALUE_MAX_BYTES {
            return Err(Problem::TooLong.into());
        }
    }
    Ok(written.into_bytes())
}

fn csv_cell<'c>(
    dtype: Option<ElementType>,
    cell: &'c csv::Cell<'_>,
) -> Result<Option<&'c str>, Problem> {
    let Some(dtype) = dtype.filter(|dtype| *dtype != ElementType::Text) else {
        return Ok((!cell.is_missing()).then_some(&*cell.text));
    };
    let text = cell.text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let json = typed(dtype, text).unwrap_or_else(|| Value::String(text.to_owned()));
    number::push(dtype, &json, &mut Vec::new())?;
    Ok(Some(match json {
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        _ => text,
    }))
}

/// The number or truth that a cell's text is.
fn typed(dtype: ElementType, text: &str) -> Option<Value> {
    match dtype {
        ElementType::Text => None,
        ElementType::Bool if text.eq_ignore_ascii_case("true") || text == "1" => Some(true.into()),
        ElementType::Bool if text.eq_ignore_ascii_case("false") || text == "0" => {
            Some(false.into())
        }
        ElementType::Bool => None,
        _ => number_of(text),
    }
}

/// A table as a list of objects; `None` when it is no CSV. Where the names of the columns would be repeated too often,
/// the columns come as lists.
pub(super) fn to_json(table: &TableType, bytes: &[u8]) -> Option<Value> {
    let mut rows = csv::Reader::new(std::str::from_utf8(bytes).ok()?, ',');
    let header = rows.next()?.ok()?;
    let names: Vec<String> = header.cells.into_iter().map(|cell| cell.text.into_owned()).collect();
    order(&TableType::default(), &names).ok()?;
    let dtype = |name: &String| {
        let column = table.columns.iter().find(|column| column.name == *name);
        column.map_or(ElementType::Text, |column| column.dtype)
    };
    let dtypes: Vec<ElementType> = names.iter().map(dtype).collect();
    let rows = rows.collect::<Result<Vec<_>, _>>().ok()?;
    if rows.iter().any(|row| row.cells.len() != names.len()) {
        return None;
    }
    let value = |cell: &csv::Cell<'_>, dtype: ElementType| match cell {
        cell if cell.is_missing() => Value::Null,
        // A row of one missing cell is written with quotes.
        cell if dtype != ElementType::Text && cell.text.trim().is_empty() => Value::Null,
        cell => typed(dtype, cell.text.trim())
            .unwrap_or_else(|| Value::String(cell.text.clone().into_owned())),
    };
    let repeated = names.iter().map(String::len).sum::<usize>().checked_mul(rows.len())?;
    if repeated > REPEATED_MAX_BYTES {
        let column = |(at, (name, dtype)): (usize, (&String, &ElementType))| {
            let cells = rows.iter().filter_map(|row| row.cells.get(at));
            (name.clone(), cells.map(|cell| value(cell, *dtype)).collect::<Value>())
        };
        let columns: Map<_, _> = names.iter().zip(&dtypes).enumerate().map(column).collect();
        return Some(serde_json::json!({ "columns": columns }));
    }
    let object = |row: &csv::Row<'_>| {
        let cells = row.cells.iter().zip(&dtypes).map(|(cell, dtype)| value(cell, *dtype));
        Value::Object(names.iter().cloned().zip(cells).collect())
    };
    Some(rows.iter().map(object).collect())
}
