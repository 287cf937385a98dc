//! Totals that no table length gives, kept in one row and updated in the transaction that changes them.

use crate::row::BlobRow;
use crate::table::SEAL_BYTES;

/// The totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) records: u64,
    pub(crate) record_bytes: u64,
    pub(crate) package_bytes: u64,
    pub(crate) blob_bytes: u64,
}

impl Counters {
    pub(crate) fn encode(self) -> [u8; 32] {
        let fields = [self.records, self.record_bytes, self.package_bytes, self.blob_bytes];
        let mut bytes = [0; 32];
        for (space, field) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *space = field.to_be_bytes();
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (fields, []) = bytes.as_chunks::<8>() else { return None };
        let [records, record_bytes, package_bytes, blob_bytes] = fields else { return None };
        Some(Self {
            records: u64::from_be_bytes(*records),
            record_bytes: u64::from_be_bytes(*record_bytes),
            package_bytes: u64::from_be_bytes(*package_bytes),
            blob_bytes: u64::from_be_bytes(*blob_bytes),
        })
    }
}

/// What a stored value adds to the totals, and takes away when it goes. Damaged values count with their length.
impl Counters {
    pub(crate) fn add_record(&mut self, value: &[u8]) {
        self.records = self.records.saturating_add(1);
        self.record_bytes = self.record_bytes.saturating_add(record_len(value));
    }

    pub(crate) fn remove_record(&mut self, value: &[u8]) {
        self.records = self.records.saturating_sub(1);
        self.record_bytes = self.record_bytes.saturating_sub(record_len(value));
    }

    pub(crate) fn add_package(&mut self, value: &[u8]) {
        self.package_bytes = self.package_bytes.saturating_add(payload_len(value));
    }

    pub(crate) fn remove_package(&mut self, value: &[u8]) {
        self.package_bytes = self.package_bytes.saturating_sub(payload_len(value));
    }

    pub(crate) fn add_blob(&mut self, value: &[u8]) {
        self.blob_bytes = self.blob_bytes.saturating_add(blob_len(value));
    }

    pub(crate) fn remove_blob(&mut self, value: &[u8]) {
        self.blob_bytes = self.blob_bytes.saturating_sub(blob_len(value));
    }
}

fn payload_len(value: &[u8]) -> u64 {
    value.len().saturating_sub(SEAL_BYTES) as u64
}

fn record_len(value: &[u8]) -> u64 {
    payload_len(value).saturating_sub(32)
}

fn blob_len(value: &[u8]) -> u64 {
    value.get(SEAL_BYTES..).and_then(BlobRow::parse).map_or(0, |row| row.len_bytes())
}
