//! What can be read on disk at one moment: the segments of one commit, in order of their numbers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tantivy::fastfield::AliveBitSet;
use tantivy::index::{InvertedIndexReader, SegmentId, SegmentReader};
use tantivy::postings::BlockSegmentPostings;
use tantivy::schema::IndexRecordOption;
use tantivy::{IndexReader, TantivyError};

use crate::format::{Format, NUMBER};
use crate::merges::Size;
use crate::numbers::Numbers;

/// The segments that can be read.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    parts: Vec<Part>,
}

/// One segment.
#[derive(Debug)]
pub(crate) struct Part {
    reader: SegmentReader,
    terms: Arc<DebugReader>,
    numbers: Arc<Numbers>,
}

/// tantivy's reader of terms, which says nothing of itself.
struct DebugReader(Arc<InvertedIndexReader>);

impl std::fmt::Debug for DebugReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InvertedIndexReader")
    }
}

/// Why segments cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// They cannot be read.
    #[error("the segments cannot be read")]
    Unreadable(#[from] TantivyError),
    /// They hold something else.
    #[error("the numbers of a segment do not grow, or are not as many as its documents")]
    Numbers,
}

impl Disk {
    /// Reads the newest commit. Numbers of segments that are in `before` too are not read again.
    pub(crate) fn load(
        reader: &IndexReader,
        format: &Format,
        before: &Self,
    ) -> Result<Self, LoadError> {
        reader.reload()?;
        let known: BTreeMap<SegmentId, &Arc<Numbers>> =
            before.parts.iter().map(|part| (part.reader.segment_id(), &part.numbers)).collect();
        let mut parts = Vec::new();
        for reader in reader.searcher().segment_readers() {
            let numbers = match known.get(&reader.segment_id()) {
                Some(numbers) => Arc::clone(numbers),
                None => {
                    let column = reader.fast_fields().u64(NUMBER)?;
                    // The count stands in a file without a checksum.
                    let right = column.num_docs() == reader.max_doc();
                    let numbers = right.then(|| Numbers::read(&column, reader.max_doc())).flatten();
                    Arc::new(numbers.ok_or(LoadError::Numbers)?)
                }
            };
            let terms = Arc::new(DebugReader(reader.inverted_index(format.terms)?));
            parts.push(Part { reader: reader.clone(), terms, numbers });
        }
        parts.sort_by_key(|part| part.numbers.bounds());
        Ok(Self { parts })
    }

    /// The segments, in order of their numbers.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The largest number that is not deleted.
    pub(crate) fn last_number(&self) -> Option<u32> {
        self.parts.iter().filter_map(Part::last_number).max()
    }
}

impl Part {
    pub(crate) fn id(&self) -> SegmentId {
        self.reader.segment_id()
    }

    pub(crate) fn size(&self) -> Size {
        Size { alive: self.reader.num_docs(), deleted: self.reader.num_deleted_docs() }
    }

    pub(crate) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    pub(crate) fn alive(&self) -> Option<&AliveBitSet> {
        self.reader.alive_bitset()
    }

    /// How many documents it has, deleted ones included.
    pub(crate) fn documents(&self) -> u32 {
        self.reader.max_doc()
    }

    pub(crate) fn terms(&self) -> &InvertedIndexReader {
        &self.terms.0
    }

    /// The documents with a term.
    pub(crate) fn postings(
        &self,
        term: &tantivy::postings::TermInfo,
    ) -> io::Result<BlockSegmentPostings> {
        self.terms.0.read_block_postings_from_terminfo(term, IndexRecordOption::Basic)
    }

    fn last_number(&self) -> Option<u32> {
        let last = (0..self.documents()).rev().find(|doc| !self.reader.is_deleted(*doc))?;
        self.numbers.of(last)
    }
}
