//! The records that go into a run.

use std::collections::BTreeMap;

use guildhall_protocol::PackageId;
use guildhall_protocol::limits::{JOB_MAX_RECORDS, VALUE_MAX_BYTES};
use guildhall_protocol::manifest::{FileEntry, Manifest};
use guildhall_protocol::wire::{JobInput, PartRecords, PortValue, RecordFrame};
use serde::{Deserialize, Serialize};

use super::super::App;

/// Longest labels file, bytes: a million lines of forty characters.
const LABELS_MAX_BYTES: u64 = 40 * 1024 * 1024;

/// A run's records, as far as the requester's node knows them.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// The requester's own.
    Records(Vec<NamedRecord>),
    /// The records of a data package, which the executor fetches.
    Package { package: PackageId, manifest: Box<Manifest> },
}

/// A record of the requester's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NamedRecord {
    /// To find its output by.
    pub(super) name: String,
    pub(super) values: Vec<PortValue>,
}

impl Input {
    /// Names of the records, in order.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Records(records) => records.iter().map(|record| record.name.clone()).collect(),
            Self::Package { manifest, .. } => {
                manifest.record_files().map(|file| file.name.to_string()).collect()
            }
        }
    }

    /// Lengths of the records, bytes, in order.
    pub(super) fn lens(&self) -> Vec<usize> {
        match self {
            Self::Records(records) => {
                records.iter().map(|record| PortValue::len_bytes(&record.values)).collect()
            }
            Self::Package { manifest, .. } => manifest
                .record_files()
                .map(|file| usize::try_from(file.len_bytes).unwrap_or(usize::MAX))
                .collect(),
        }
    }

    /// What an executor is told about where the records come from.
    pub(super) fn for_executors(&self) -> JobInput {
        match self {
            Self::Records(_) => JobInput::Stream,
            Self::Package { package, .. } => JobInput::Package(*package),
        }
    }

    /// These records as a part carries them.
    pub(super) fn part(&self, positions: &[u64]) -> PartRecords {
        let Self::Records(records) = self else {
            return PartRecords::Positions(positions.to_vec());
        };
        let record = |index: &u64| {
            let values = records.get(usize::try_from(*index).ok()?)?.values.clone();
            Some(RecordFrame { index: *index, values })
        };
        PartRecords::Values(positions.iter().filter_map(record).collect())
    }
}

/// The record files of a data package, checked against the bounds of a job.
pub(super) fn record_files(manifest: &Manifest) -> Result<Vec<FileEntry>, String> {
    let files: Vec<FileEntry> = manifest.record_files().cloned().collect();
    if files.is_empty() {
        return Err("the data package declares no records".to_owned());
    }
    if files.len() as u64 > JOB_MAX_RECORDS {
        return Err(format!("{} records, at most {JOB_MAX_RECORDS} in one job", files.len()));
    }
    match files.iter().find(|file| file.len_bytes > VALUE_MAX_BYTES as u64) {
        Some(file) => {
            Err(format!("`{}` has {} bytes, at most {VALUE_MAX_BYTES}", file.name, file.len_bytes))
        }
        None => Ok(files),
    }
}

impl App {
    /// What is right for each record of a data package, by the record's name.
    pub(super) fn read_labels(&self, file: &FileEntry) -> BTreeMap<String, String> {
        let bytes = self.store.read_blob(&file.hash, LABELS_MAX_BYTES).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        // The header is `file,label`; labels that need quoting are not compared.
        let lines = text.lines().skip(1).filter_map(|line| line.split_once(','));
        lines.map(|(name, label)| (name.to_owned(), label.trim().to_owned())).collect()
    }
}
