//! Arrow IPC, files and streams: the schema, and that every message lies inside the file.
//!
//! The columns' bytes are not read. Source: <https://arrow.apache.org/docs/format/Columnar.html#format-ipc>.

mod flat;

use guildhall_protocol::facts::{FACTS_MAX_ITEMS, Facts, TableFacts};
use guildhall_protocol::interface::{Column, ElementType};

use self::flat::{Flat, Table, Vector};
use super::problem::{Checked, refused_at};
use super::source::Source;

/// The magic at both ends of a file; at its beginning two zeros follow.
pub(super) const MAGIC: &[u8] = b"ARROW1";

/// What a message of a stream begins with.
pub(super) const CONTINUATION: [u8; 4] = [0xff; 4];

/// Longest footer or metadata of a message, bytes.
const METADATA_MAX_BYTES: u64 = 16 << 20;

/// Most fields of a schema, nested ones counted.
const FIELDS_MAX: usize = 65_536;

/// Deepest nesting of fields.
const DEPTH_MAX: usize = 64;

/// Most messages; a batch has 1,000 to 1,000,000 rows as a rule.
const MESSAGES_MAX: u64 = 1 << 20;

/// Bytes of a block in the footer: offset, length of metadata, length of body.
const BLOCK_BYTES: usize = 24;

const HELP: &str =
    "write the table again, for example with pyarrow.feather.write_feather(table, path)";

/// Kinds of messages.
const SCHEMA: u8 = 1;
const DICTIONARY: u8 = 2;
const RECORD_BATCH: u8 = 3;

/// Checks a file or a stream.
pub(super) fn check(source: &Source<'_>) -> Checked<Facts> {
    let found = if source.head(6)? == MAGIC { file(source) } else { stream(source) };
    found.map(Facts::Arrow).map_err(|problem| problem.help(HELP))
}

fn file(source: &Source<'_>) -> Checked<TableFacts> {
    let (at, tail) = source.tail(10)?;
    let [a, b, c, d, magic @ ..] = tail.as_slice() else {
        return Err(refused_at(at, "it ends in the middle"));
    };
    if magic != MAGIC {
        return Err(refused_at(at, "it does not end like Arrow, so its footer is missing"));
    }
    let len_bytes = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
    if len_bytes > METADATA_MAX_BYTES {
        let why = format!("a footer of {len_bytes} bytes, at most {METADATA_MAX_BYTES} are taken");
        return Err(refused_at(at, why));
    }
    let start = at.checked_sub(len_bytes).filter(|start| *start >= 8);
    let start =
        start.ok_or_else(|| refused_at(at, "its footer is announced longer than the file"))?;
    let bytes = source.bytes(start, len_bytes)?;
    let footer = Flat::new(&bytes, start).root()?;
    let wrong = |why: &str| refused_at(start, why);
    let schema = footer.table(1)?.ok_or_else(|| wrong("it has no schema"))?;
    let mut facts = TableFacts { columns: columns(schema, start)?, rows: None };
    if let Some(blocks) = footer.vector(2, BLOCK_BYTES)? {
        walk(source, blocks, start, DICTIONARY)?;
    }
    facts.rows = match footer.vector(3, BLOCK_BYTES)? {
        Some(blocks) => Some(walk(source, blocks, start, RECORD_BATCH)?),
        None => Some(0),
    };
    Ok(facts)
}

/// Checks the blocks that a footer lists, and counts their rows.
fn walk(source: &Source<'_>, blocks: Vector<'_>, end: u64, kind: u8) -> Checked<u64> {
    let mut rows = 0_u64;
    if blocks.len as u64 > MESSAGES_MAX {
        return Err(refused_at(end, format!("more than {MESSAGES_MAX} batches")));
    }
    for index in 0..blocks.len {
        let offset = u64::from_le_bytes(blocks.part(index, BLOCK_BYTES, 0)?);
        let metadata_bytes = u64::from(u32::from_le_bytes(blocks.part(index, BLOCK_BYTES, 8)?));
        let body_bytes = u64::from_le_bytes(blocks.part(index, BLOCK_BYTES, 16)?);
        let stop = offset.checked_add(metadata_bytes).and_then(|at| at.checked_add(body_bytes));
        if offset < 8 || stop.is_none_or(|stop| stop > end) {
            return Err(refused_at(end, format!("batch {index} lies outside the file")));
        }
        let found = message(source, offset)?
            .ok_or_else(|| refused_at(offset, format!("batch {index} is empty")))?;
        let is_same = found.kind == kind && found.next.checked_sub(offset) == Some(metadata_bytes);
        if !is_same || found.body_bytes != body_bytes {
            return Err(refused_at(offset, format!("batch {index} is not what the footer says")));
        }
        rows = rows.saturating_add(found.rows);
    }
    Ok(rows)
}

fn stream(source: &Source<'_>) -> Checked<TableFacts> {
    let mut at = 0;
    let mut facts: Option<TableFacts> = None;
    let mut rows = 0_u64;
    for _ in 0..MESSAGES_MAX {
        if at == source.len_bytes() {
            break;
        }
        let Some(found) = message(source, at)? else {
            let end = at.saturating_add(8);
            if end < source.len_bytes() {
                return Err(refused_at(end, "other bytes follow the end of the stream"));
            }
            at = source.len_bytes();
            break;
        };
        match (found.kind, &facts) {
            (SCHEMA, None) => {
                facts = Some(TableFacts { columns: found.columns, rows: None });
            }
            (SCHEMA, Some(_)) => return Err(refused_at(at, "a second schema")),
            (DICTIONARY | RECORD_BATCH, Some(_)) => rows = rows.saturating_add(found.rows),
            (_, None) => return Err(refused_at(at, "it does not begin with a schema")),
            _ => return Err(refused_at(at, "a message that tables do not have")),
        }
        at = found
            .next
            .checked_add(found.body_bytes)
            .filter(|next| *next <= source.len_bytes())
            .ok_or_else(|| refused_at(at, "a message reaches beyond the end of the file"))?;
    }
    if at != source.len_bytes() {
        return Err(refused_at(at, format!("more than {MESSAGES_MAX} messages")));
    }
    let mut facts = facts.ok_or_else(|| refused_at(0, "it has no schema"))?;
    facts.rows = Some(rows);
    Ok(facts)
}

struct Message {
    kind: u8,
    /// Where its body begins.
    next: u64,
    body_bytes: u64,
    rows: u64,
    columns: Vec<Column>,
}

/// The message at this place; none at the mark that ends a stream.
fn message(source: &Source<'_>, at: u64) -> Checked<Option<Message>> {
    let mut reader = source.reader_of(at, source.len_bytes());
    if reader.array()? != CONTINUATION {
        return Err(refused_at(at, "a message does not begin like one"));
    }
    let len_bytes = u64::from(reader.u32()?);
    if len_bytes == 0 {
        return Ok(None);
    }
    if !len_bytes.is_multiple_of(8) {
        return Err(refused_at(at, "a message is not padded"));
    }
    let start = reader.position();
    let bytes = reader.vector(len_bytes, METADATA_MAX_BYTES)?;
    let table = Flat::new(&bytes, start).root()?;
    let kind = table.u8(1)?;
    let header = table.table(2)?.ok_or_else(|| refused_at(start, "a message without a header"))?;
    let body_bytes = table.count(3)?;
    let mut found =
        Message { kind, next: reader.position(), body_bytes, rows: 0, columns: Vec::new() };
    match kind {
        SCHEMA => found.columns = columns(header, start)?,
        RECORD_BATCH => {
            found.rows = header.count(0)?;
            buffers(header, body_bytes, start)?;
        }
        DICTIONARY => {
            let batch = header.table(1)?;
            buffers(
                batch.ok_or_else(|| refused_at(start, "an empty dictionary"))?,
                body_bytes,
                start,
            )?;
        }
        _ => {}
    }
    Ok(Some(found))
}

/// Whether a batch's buffers lie inside its body.
fn buffers(batch: Table<'_>, body_bytes: u64, start: u64) -> Checked<()> {
    let Some(buffers) = batch.vector(2, 16)? else { return Ok(()) };
    for index in 0..buffers.len {
        let offset = u64::from_le_bytes(buffers.part(index, 16, 0)?);
        let len_bytes = u64::from_le_bytes(buffers.part(index, 16, 8)?);
        if offset.checked_add(len_bytes).is_none_or(|end| end > body_bytes) {
            return Err(refused_at(start, format!("buffer {index} lies outside its batch")));
        }
    }
    Ok(())
}

/// The columns of a schema.
fn columns(schema: Table<'_>, start: u64) -> Checked<Vec<Column>> {
    if schema.i16(0)? != 0 {
        return Err(refused_at(start, "its numbers are big-endian"));
    }
    let Some(fields) = schema.vector(1, 4)? else { return Ok(Vec::new()) };
    let mut columns = Vec::new();
    let mut count = 0;
    for index in 0..fields.len {
        let field = fields.table(index)?;
        check_field(field, 1, &mut count, start)?;
        if columns.len() < FACTS_MAX_ITEMS {
            columns.push(Column { name: field.text(0)?, dtype: dtype(field)? });
        }
    }
    Ok(columns)
}

/// Walks a field's children. Offsets may lead to the same table twice, so what counts is visits, not tables.
fn check_field(field: Table<'_>, depth: usize, count: &mut usize, start: u64) -> Checked<()> {
    *count = count.saturating_add(1);
    if depth > DEPTH_MAX || *count > FIELDS_MAX {
        return Err(refused_at(start, "its schema is nested too deeply or has too many fields"));
    }
    if field.u8(2)? == 0 || field.table(3)?.is_none() {
        return Err(refused_at(start, "a field has no type"));
    }
    if let Some(children) = field.vector(5, 4)? {
        for index in 0..children.len {
            check_field(children.table(index)?, depth + 1, count, start)?;
        }
    }
    Ok(())
}

fn dtype(field: Table<'_>) -> Checked<ElementType> {
    use ElementType::{Bool, F16, F32, F64, I8, I16, I32, I64, Text, U8, U16, U32, U64};
    // The numbers of a dictionary's indices are not what the column holds.
    let (Some(of), None) = (field.table(3)?, field.table(4)?) else { return Ok(Text) };
    Ok(match field.u8(2)? {
        2 => match (of.i32(0)?, of.u8(1)? != 0) {
            (8, true) => I8,
            (16, true) => I16,
            (32, true) => I32,
            (64, true) => I64,
            (8, false) => U8,
            (16, false) => U16,
            (32, false) => U32,
            (64, false) => U64,
            _ => return Ok(Text),
        },
        3 => match of.i16(0)? {
            0 => F16,
            1 => F32,
            2 => F64,
            _ => return Ok(Text),
        },
        6 => Bool,
        _ => Text,
    })
}
