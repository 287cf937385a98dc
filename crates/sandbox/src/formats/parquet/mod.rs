//! Parquet: the magic at both ends, and the metadata in front of the second one.
//!
//! Pages are not read. What is checked is that the metadata decodes, that its schema is a tree, and that every column
//! chunk lies inside the file. Source: <https://github.com/apache/parquet-format>.

mod thrift;

use guildhall_protocol::facts::{FACTS_MAX_ITEMS, Facts, TableFacts};
use guildhall_protocol::interface::{Column, ElementType};

use self::thrift::{Kind, Thrift};
use super::problem::{Checked, Problem, refused, refused_at};
use super::source::Source;

/// Longest metadata, bytes: it grows with columns times row groups; 1,000 columns in 100 groups take some 10 MiB.
const METADATA_MAX_BYTES: u64 = 16 << 20;

/// Bytes of the magic at either end.
const MAGIC_BYTES: u64 = 4;

/// Bytes of the length in front of the last magic.
const LENGTH_BYTES: u64 = 4;

/// Most elements of the schema.
const SCHEMA_MAX: usize = 65_536;

/// Deepest nesting of the schema; each level of nested data takes one or two.
const DEPTH_MAX: usize = 64;

/// Longest name of a column, bytes.
const NAME_MAX_BYTES: usize = 4_096;

const HELP: &str = "write the table again, for example with pandas: DataFrame.to_parquet(path)";

/// Checks the metadata and lists columns and rows.
pub(super) fn check(source: &Source<'_>) -> Checked<Facts> {
    table(source).map(Facts::Parquet).map_err(|problem| problem.help(HELP))
}

fn table(source: &Source<'_>) -> Checked<TableFacts> {
    if source.head(MAGIC_BYTES)? != b"PAR1" {
        return Err(refused_at(0, "it does not begin like Parquet"));
    }
    let (at, footer) = source.tail(LENGTH_BYTES + MAGIC_BYTES)?;
    let [a, b, c, d, magic @ ..] = footer.as_slice() else {
        return Err(refused_at(at, "it ends in the middle"));
    };
    if magic != b"PAR1" || at < MAGIC_BYTES {
        return Err(refused_at(at, "it does not end like Parquet, so its metadata is missing"));
    }
    let len_bytes = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
    if len_bytes > METADATA_MAX_BYTES {
        let why = format!("metadata of {len_bytes} bytes, at most {METADATA_MAX_BYTES} are taken");
        return Err(refused_at(at, why));
    }
    let start = at
        .checked_sub(len_bytes)
        .filter(|start| *start >= MAGIC_BYTES)
        .ok_or_else(|| refused_at(at, "its metadata is announced longer than the file"))?;
    let bytes = source.bytes(start, len_bytes)?;
    let mut thrift = Thrift::new(&bytes, start);
    let metadata = Metadata::read(&mut thrift, start)?;
    if thrift.left() > 0 {
        return Err(refused_at(thrift.position(), "bytes follow its metadata"));
    }
    let columns = columns(&metadata.schema)?;
    let leaves = metadata.schema.iter().skip(1).filter(|element| element.children == 0).count();
    if metadata.groups.iter().any(|group| group.chunks != leaves) {
        return Err(refused_at(start, "a row group has not as many columns as the schema"));
    }
    let rows = metadata
        .groups
        .iter()
        .try_fold(0_u64, |sum, group| sum.checked_add(group.rows))
        .filter(|sum| *sum == metadata.rows)
        .ok_or_else(|| refused_at(start, "its row groups have not as many rows as it says"))?;
    Ok(TableFacts { columns, rows: Some(rows) })
}

#[derive(Default)]
struct Metadata {
    schema: Vec<Element>,
    rows: u64,
    groups: Vec<Group>,
}

#[derive(Default)]
struct Element {
    name: String,
    physical: Option<i64>,
    children: usize,
    converted: Option<i64>,
    /// The logical type's number in its union, and for integers width and sign.
    logical: Option<(i16, Option<(i64, bool)>)>,
}

#[derive(Default)]
struct Group {
    chunks: usize,
    rows: u64,
}

fn count(thrift: &Thrift<'_>, found: i64) -> Checked<u64> {
    u64::try_from(found).map_err(|_| refused_at(thrift.position(), "a negative count"))
}

impl Metadata {
    /// Reads the metadata; column chunks must lie between the first magic and `end`.
    fn read(thrift: &mut Thrift<'_>, end: u64) -> Checked<Self> {
        let mut found = Self::default();
        let mut seen = [false; 5];
        thrift.structure(|thrift, id, kind| {
            if let Some(slot) = usize::try_from(id).ok().and_then(|id| seen.get_mut(id)) {
                *slot = true;
            }
            match id {
                2 => thrift.list(kind, Kind::Struct, |thrift| {
                    if found.schema.len() >= SCHEMA_MAX {
                        let why = format!("more than {SCHEMA_MAX} columns");
                        return Err(refused_at(thrift.position(), why));
                    }
                    found.schema.push(Element::read(thrift)?);
                    Ok(())
                }),
                3 => {
                    let rows = thrift.integer(kind)?;
                    found.rows = count(thrift, rows)?;
                    Ok(())
                }
                4 => thrift.list(kind, Kind::Struct, |thrift| {
                    found.groups.push(Group::read(thrift, end)?);
                    Ok(())
                }),
                _ => thrift.skip(kind),
            }
        })?;
        match seen {
            [_, true, true, true, true] => Ok(found),
            _ => Err(refused("its metadata is not complete")),
        }
    }
}

impl Element {
    fn read(thrift: &mut Thrift<'_>) -> Checked<Self> {
        let mut found = Self::default();
        thrift.structure(|thrift, id, kind| {
            match id {
                1 => found.physical = Some(thrift.integer(kind)?),
                4 => found.name = thrift.text(kind, NAME_MAX_BYTES)?,
                5 => {
                    let children = thrift.integer(kind)?;
                    found.children = usize::try_from(children)
                        .map_err(|_| refused_at(thrift.position(), "a negative count"))?;
                }
                6 => found.converted = Some(thrift.integer(kind)?),
                10 => {
                    thrift.expect(kind, Kind::Struct)?;
                    found.logical = Some(logical(thrift)?);
                }
                _ => thrift.skip(kind)?,
            }
            Ok(())
        })?;
        if found.children == 0 && found.physical.is_none() {
            let why = format!("column `{}` has no type", found.name);
            return Err(refused_at(thrift.position(), why));
        }
        Ok(found)
    }

    fn dtype(&self) -> ElementType {
        use ElementType::{Bool, F16, F32, F64, I8, I16, I32, I64, Text, U8, U16, U32, U64};
        let integer = match (self.logical, self.converted) {
            (Some((10, Some(integer))), _) => Some(integer),
            // The integer types of the older annotation.
            (None, Some(at @ 11..=14)) => Some((8_i64 << (at - 11), false)),
            (None, Some(at @ 15..=18)) => Some((8_i64 << (at - 15), true)),
            _ => None,
        };
        match (self.physical, integer) {
            (Some(1 | 2), Some((8, true))) => I8,
            (Some(1 | 2), Some((16, true))) => I16,
            (Some(1 | 2), Some((32, true))) => I32,
            (Some(1 | 2), Some((64, true))) => I64,
            (Some(1 | 2), Some((8, false))) => U8,
            (Some(1 | 2), Some((16, false))) => U16,
            (Some(1 | 2), Some((32, false))) => U32,
            (Some(1 | 2), Some((64, false))) => U64,
            (Some(0), _) => Bool,
            (Some(7), _) if matches!(self.logical, Some((15, _))) => F16,
            // Any other annotation makes a date, a time or a decimal of it.
            _ if self.logical.is_some() || self.converted.is_some() => Text,
            (Some(1), _) => I32,
            (Some(2), _) => I64,
            (Some(4), _) => F32,
            (Some(5), _) => F64,
            _ => Text,
        }
    }
}

/// Which member of the logical type's union is set, with the two fields of an integer.
fn logical(thrift: &mut Thrift<'_>) -> Checked<(i16, Option<(i64, bool)>)> {
    let mut member = None;
    thrift.structure(|thrift, id, kind| {
        let mut integer = None;
        if id == 10 && kind == Kind::Struct {
            let (mut width, mut is_signed) = (0, false);
            thrift.structure(|thrift, id, kind| {
                match (id, kind) {
                    (1, Kind::Byte) => width = thrift.integer(kind)?,
                    (2, Kind::True | Kind::False) => is_signed = kind == Kind::True,
                    _ => thrift.skip(kind)?,
                }
                Ok(())
            })?;
            integer = Some((width, is_signed));
        } else {
            thrift.skip(kind)?;
        }
        member = Some((id, integer));
        Ok(())
    })?;
    member.ok_or_else(|| refused_at(thrift.position(), "an empty logical type"))
}

impl Group {
    fn read(thrift: &mut Thrift<'_>, end: u64) -> Checked<Self> {
        let mut found = Self::default();
        thrift.structure(|thrift, id, kind| match id {
            1 => thrift.list(kind, Kind::Struct, |thrift| {
                found.chunks = found.chunks.saturating_add(1);
                chunk(thrift, end)
            }),
            3 => {
                let rows = thrift.integer(kind)?;
                found.rows = count(thrift, rows)?;
                Ok(())
            }
            _ => thrift.skip(kind),
        })?;
        Ok(found)
    }
}

/// Checks one column chunk: its pages lie in this file, in front of the metadata.
fn chunk(thrift: &mut Thrift<'_>, end: u64) -> Checked<()> {
    let at = thrift.position();
    let (mut has_metadata, mut len_bytes, mut first) = (false, 0_u64, None::<u64>);
    thrift.structure(|thrift, id, kind| match id {
        1 => Err(refused_at(thrift.position(), "a column lies in another file")
            .help("write the table into one file")),
        3 => {
            thrift.expect(kind, Kind::Struct)?;
            has_metadata = true;
            thrift.structure(|thrift, id, kind| {
                match id {
                    7 => {
                        let found = thrift.integer(kind)?;
                        len_bytes = count(thrift, found)?;
                    }
                    // The data page and the dictionary page; the first of them begins the chunk. Writers put 0 where
                    // there is none, as in a group without rows.
                    9 | 11 => {
                        let found = thrift.integer(kind)?;
                        let found = count(thrift, found)?;
                        if found > 0 {
                            first = Some(first.map_or(found, |first| first.min(found)));
                        }
                    }
                    _ => thrift.skip(kind)?,
                }
                Ok(())
            })
        }
        _ => thrift.skip(kind),
    })?;
    let wrong = |why: &str| -> Problem { refused_at(at, why) };
    if !has_metadata {
        return Err(wrong("a column chunk without metadata, as encrypted files have it"));
    }
    let first = match first {
        Some(first) => first,
        None if len_bytes == 0 => return Ok(()),
        None => return Err(wrong("a column chunk without pages")),
    };
    match first.checked_add(len_bytes) {
        Some(stop) if first >= MAGIC_BYTES && stop <= end => Ok(()),
        _ => Err(wrong("a column chunk lies outside the file")),
    }
}

/// The columns at the top of the schema's tree; what is nested has no type of ours.
fn columns(schema: &[Element]) -> Checked<Vec<Column>> {
    let wrong = |why: &str| refused(format!("its schema is no tree: {why}"));
    let Some((root, rest)) = schema.split_first() else { return Err(wrong("it is empty")) };
    let mut columns = Vec::new();
    // Children still to come at each level.
    let mut open = vec![root.children];
    for element in rest {
        while open.last() == Some(&0) {
            open.pop();
        }
        let depth = open.len();
        let Some(left) = open.last_mut() else { return Err(wrong("more elements than children")) };
        *left = left.saturating_sub(1);
        if depth > DEPTH_MAX {
            return Err(wrong("it is nested too deeply"));
        }
        if depth == 1 && columns.len() < FACTS_MAX_ITEMS {
            let dtype = if element.children == 0 { element.dtype() } else { ElementType::Text };
            columns.push(Column { name: element.name.clone(), dtype });
        }
        if element.children > 0 {
            open.push(element.children);
        }
    }
    if open.iter().any(|left| *left > 0) {
        return Err(wrong("fewer elements than children"));
    }
    Ok(columns)
}
