//! Documents that are to be deleted, as a query of tantivy: by their number, without an index of numbers.

use std::sync::Arc;

use roaring::RoaringBitmap;
use tantivy::query::{
    BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight,
};
use tantivy::{BitSet, DocId, Score, SegmentReader, TantivyError};

use crate::format::NUMBER;

/// Matches documents by number. It reads the numbers of every segment, some milliseconds for a million.
#[derive(Clone, Debug)]
pub(crate) struct Doomed {
    /// These numbers.
    pub(crate) listed: Arc<RoaringBitmap>,
    /// And all from here on, if anywhere.
    pub(crate) from: Option<u32>,
}

impl Doomed {
    fn contains(&self, number: u64) -> bool {
        self.from.is_some_and(|from| number >= u64::from(from))
            || u32::try_from(number).is_ok_and(|number| self.listed.contains(number))
    }
}

impl Query for Doomed {
    fn weight(&self, _scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for Doomed {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let numbers = reader.fast_fields().u64(NUMBER)?;
        let mut documents = BitSet::with_max_value(reader.max_doc());
        for doc in 0..reader.max_doc() {
            if numbers.first(doc).is_some_and(|number| self.contains(number)) {
                documents.insert(doc);
            }
        }
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(documents), boost)))
    }

    fn explain(&self, _reader: &SegmentReader, _doc: DocId) -> tantivy::Result<Explanation> {
        Err(TantivyError::InvalidArgument("deleting needs no explanation".to_owned()))
    }
}
