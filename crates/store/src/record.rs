//! Reading records. All calls block for a few page reads, except the scan for the start.

use guildhall_protocol::{PublicKey, RecordId};

use crate::error::{ReadError, Row};
use crate::store::Store;
use crate::table::{RECORD_IDS, RECORDS, parse_hash, parse_record_key, record_key, unseal};

/// Most damaged records that a [`LoadReport`] names. Beyond that the catalogue should be restored rather than repaired
/// record by record; the rest is only counted.
pub const LOAD_REPORT_MAX_ROWS: usize = 10_000;

/// A record as it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The log's key.
    pub author: PublicKey,
    /// The place in the log.
    pub seq: u64,
    /// The id given when it was put.
    pub id: RecordId,
    /// The record, verbatim.
    pub bytes: Vec<u8>,
}

/// What a scan over all records found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct LoadReport {
    /// Records that were handed over.
    pub loaded: u64,
    /// Places of damaged records, to be fetched again, at most [`LOAD_REPORT_MAX_ROWS`].
    pub corrupt: Vec<(PublicKey, u64)>,
    /// All damaged rows, also those whose place is unreadable.
    pub corrupt_total: u64,
    /// Records that should be there and are not even there as damaged rows.
    pub missing: u64,
}

impl LoadReport {
    /// Whether every record that was written was handed over.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.corrupt_total == 0 && self.missing == 0
    }
}

impl Store {
    /// The record at (`author`, `seq`).
    ///
    /// # Errors
    /// [`ReadError`]; `Corrupt` names the record.
    pub fn record(&self, author: &PublicKey, seq: u64) -> Result<Option<StoredRecord>, ReadError> {
        let key = record_key(author, seq);
        let row = || Row::Record { author: *author, seq };
        match self.inner.shared.payload(RECORDS, &key, row)? {
            None => Ok(None),
            Some(payload) => parse_payload(*author, seq, &payload).map(Some),
        }
    }

    /// The record with this id.
    ///
    /// # Errors
    /// [`ReadError`]; `Corrupt` names the record, or the index row that should lead to it.
    pub fn record_by_id(&self, id: &RecordId) -> Result<Option<StoredRecord>, ReadError> {
        let corrupt = || ReadError::Corrupt { what: Row::RecordId(*id) };
        let key = id.0.as_bytes();
        let place = self.inner.shared.payload(RECORD_IDS, key, || Row::RecordId(*id))?;
        let Some(place) = place else { return Ok(None) };
        let (author, seq) = parse_record_key(&place).ok_or_else(corrupt)?;
        // Rows and index rows are written together and records are never deleted.
        let record = self.record(&author, seq)?.ok_or_else(corrupt)?;
        // A damaged record that was replaced by another leaves its index row behind.
        Ok((record.id == *id).then_some(record))
    }

    /// Records of one log in order, from `from_seq` on: at most `max_count`, and at most `max_bytes` of record bytes,
    /// but at least one if there is one. Ends before a damaged record.
    ///
    /// # Errors
    /// [`ReadError`]; `Corrupt` only if the first record is damaged. Going on behind its `seq` is possible.
    pub fn records_of(
        &self,
        author: &PublicKey,
        from_seq: u64,
        max_count: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredRecord>, ReadError> {
        let (start, end) = (record_key(author, from_seq), record_key(author, u64::MAX));
        self.inner.shared.read(|transaction| {
            let table = transaction.open_table(RECORDS)?;
            let mut records: Vec<StoredRecord> = Vec::new();
            let mut size_bytes = 0_usize;
            for row in table.range::<&[u8]>(start.as_slice()..=end.as_slice())? {
                if records.len() >= max_count {
                    break;
                }
                let (key, value) = row?;
                match parse_row(key.value(), value.value()) {
                    Ok(record) => {
                        size_bytes = size_bytes.saturating_add(record.bytes.len());
                        if size_bytes > max_bytes && !records.is_empty() {
                            break;
                        }
                        records.push(record);
                    }
                    Err(place) if records.is_empty() => {
                        let (author, seq) = place.unwrap_or((*author, from_seq));
                        return Err(ReadError::Corrupt { what: Row::Record { author, seq } });
                    }
                    Err(_) => break,
                }
            }
            Ok(records)
        })
    }

    /// Shows every record to `visit`, log by log, each log in order: for the fold at start. Blocks for as long as that
    /// takes, about a second per million records; records written meanwhile may or may not be shown. Damaged records
    /// are skipped and reported, to be fetched from peers again.
    ///
    /// # Errors
    /// [`ReadError`] if the table itself cannot be read.
    pub fn for_each_record(
        &self,
        mut visit: impl FnMut(StoredRecord),
    ) -> Result<LoadReport, ReadError> {
        let expected = self.usage().map_or(0, |usage| usage.records);
        let mut report = LoadReport::default();
        self.inner.shared.for_each_row(RECORDS, |key, value| match parse_row(key, value) {
            Ok(record) => {
                report.loaded = report.loaded.saturating_add(1);
                visit(record);
            }
            Err(place) => {
                report.corrupt_total = report.corrupt_total.saturating_add(1);
                if let Some(place) = place
                    && report.corrupt.len() < LOAD_REPORT_MAX_ROWS
                {
                    report.corrupt.push(place);
                }
            }
        })?;
        let seen = report.loaded.saturating_add(report.corrupt_total);
        report.missing = expected.saturating_sub(seen);
        Ok(report)
    }
}

/// A row's record, or, if it is damaged, the place its key names.
fn parse_row(key: &[u8], value: &[u8]) -> Result<StoredRecord, Option<(PublicKey, u64)>> {
    let (author, seq) = parse_record_key(key).ok_or(None)?;
    let payload = unseal(RECORDS, key, value).ok_or(Some((author, seq)))?;
    parse_payload(author, seq, payload).map_err(|_| Some((author, seq)))
}

fn parse_payload(author: PublicKey, seq: u64, payload: &[u8]) -> Result<StoredRecord, ReadError> {
    let (id, bytes) = payload
        .split_first_chunk::<32>()
        .and_then(|(id, bytes)| Some((RecordId(parse_hash(id)?), bytes.to_vec())))
        .ok_or(ReadError::Corrupt { what: Row::Record { author, seq } })?;
    Ok(StoredRecord { author, seq, id, bytes })
}
