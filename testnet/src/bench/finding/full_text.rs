//! tantivy alone, as one would set it up for these listings.
//!
//! Kinds, categories with everything they lie in, and port types are untokenised terms; numbers are fast fields, by
//! which ranges are asked and answers without words are ordered; the stems of name, keywords, categories and summary
//! are four fields with frequencies and without positions. The listing is stored. Everything is merged into one segment
//! before it is measured, the best that there is for searching.

use std::ops::Bound;
use std::path::Path;

use guildhall_protocol::body::Listing;
use guildhall_protocol::cbor;
use guildhall_protocol::limits::RECORD_MAX_BYTES;
use tantivy::collector::{Collector, Count, TopDocs};
use tantivy::columnar::Column;
use tantivy::query::{
    BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery, Occur, Query, RangeQuery,
    RegexQuery, TermQuery,
};
use tantivy::schema::{
    FAST, Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
    Value as _,
};
use tantivy::{DocAddress, Index, IndexWriter, Order, Searcher, TantivyDocument, Term};

use super::plain::{Filter, Plain, PlainQuery};
use super::{Failed, RESULTS, failed};

/// Memory of its writer, bytes: some fifty thousand listings between two segments.
const WRITER_BYTES: usize = 128 << 20;

/// What a hit is worth in name, keywords, categories and summary, as with us.
const WORTHS: [f32; 4] = [1.0, 0.8, 0.8, 0.6];

/// The field that answers without words are ordered by.
const STANDING: &str = "standing";

/// The index.
pub(super) struct FullText {
    index: Index,
    writer: IndexWriter,
    fields: Fields,
    searcher: Option<(Searcher, Column<u64>)>,
}

struct Fields {
    number: Field,
    kind: Field,
    categories: Field,
    takes: Field,
    yields: Field,
    latency_ms: Field,
    accuracy: Field,
    memory_bytes: Field,
    standing: Field,
    words: [Field; 4],
    body: Field,
}

impl FullText {
    pub(super) fn new(folder: &Path) -> Result<Self, Failed> {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer("whitespace")
            .set_index_option(IndexRecordOption::WithFreqs);
        let text = TextOptions::default().set_indexing_options(indexing);
        let fields = Fields {
            number: schema.add_u64_field("number", FAST),
            kind: schema.add_text_field("kind", STRING),
            categories: schema.add_text_field("category", STRING),
            takes: schema.add_text_field("takes", STRING),
            yields: schema.add_text_field("yields", STRING),
            latency_ms: schema.add_f64_field("latency_ms", FAST),
            accuracy: schema.add_f64_field("accuracy", FAST),
            memory_bytes: schema.add_u64_field("memory_bytes", FAST),
            standing: schema.add_f64_field(STANDING, FAST),
            words: ["name", "keywords", "category_words", "summary"]
                .map(|name| schema.add_text_field(name, text.clone())),
            body: schema.add_bytes_field("body", STORED),
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let index = Index::create_in_dir(folder, schema.build()).map_err(failed)?;
        let writer = index.writer_with_num_threads(1, WRITER_BYTES).map_err(failed)?;
        Ok(Self { index, writer, fields, searcher: None })
    }

    pub(super) fn add(&self, listings: &[&Plain]) -> Result<(), Failed> {
        let fields = &self.fields;
        for listing in listings {
            let mut document = TantivyDocument::new();
            document.add_u64(fields.number, u64::from(listing.number));
            document.add_text(fields.kind, listing.kind);
            listing.categories.iter().for_each(|one| document.add_text(fields.categories, one));
            listing.takes.iter().for_each(|one| document.add_text(fields.takes, one));
            listing.yields.iter().for_each(|one| document.add_text(fields.yields, one));
            listing.latency_ms.iter().for_each(|ms| document.add_f64(fields.latency_ms, *ms));
            listing.accuracy.iter().for_each(|one| document.add_f64(fields.accuracy, *one));
            document.add_u64(fields.memory_bytes, listing.memory_bytes);
            document.add_f64(fields.standing, listing.standing);
            for (field, words) in fields.words.iter().zip(&listing.words) {
                document.add_text(*field, words);
            }
            document.add_bytes(fields.body, &listing.body);
            self.writer.add_document(document).map_err(failed)?;
        }
        Ok(())
    }

    /// Commits, merges everything, and looks at the result from now on.
    pub(super) fn settle(&mut self) -> Result<(), Failed> {
        self.writer.commit().map_err(failed)?;
        let segments = self.index.searchable_segment_ids().map_err(failed)?;
        if segments.len() > 1 {
            self.writer.merge(&segments).wait().map_err(failed)?;
        }
        let reader = self.index.reader().map_err(failed)?;
        let searcher = reader.searcher();
        let [segment] = searcher.segment_readers() else {
            return Err(failed("tantivy did not merge its segments"));
        };
        let numbers = segment.fast_fields().u64("number").map_err(failed)?;
        self.searcher = Some((searcher, numbers));
        Ok(())
    }

    /// Numbers of the best, in order: by standing without words, else by BM25.
    pub(super) fn ids(&self, query: &PlainQuery) -> Result<Vec<u32>, Failed> {
        self.ids_by(query, &*self.query(query))
    }

    /// The same where a word also answers as the start of a longer one.
    pub(super) fn ids_by_starts(&self, query: &PlainQuery) -> Result<Vec<u32>, Failed> {
        self.ids_by(query, &*self.query_by_starts(query)?)
    }

    /// How many answer, and the best of them as listings.
    pub(super) fn page(&self, query: &PlainQuery) -> Result<(u64, Vec<Listing>), Failed> {
        let asked = self.query(query);
        let (count, best) = self.best(query, &*asked, Some(Count))?;
        let (searcher, _) = self.searcher()?;
        let listing = |address: DocAddress| {
            let document: TantivyDocument = searcher.doc(address).map_err(failed)?;
            let body = document.get_first(self.fields.body).and_then(|value| value.as_bytes());
            let body = body.ok_or_else(|| failed("a listing is not stored"))?;
            cbor::decode(body, RECORD_MAX_BYTES).map_err(failed)
        };
        let listings = best.into_iter().map(listing).collect::<Result<_, _>>()?;
        Ok((count, listings))
    }

    fn ids_by(&self, query: &PlainQuery, asked: &dyn Query) -> Result<Vec<u32>, Failed> {
        let (_, best) = self.best(query, asked, None)?;
        let (_, numbers) = self.searcher()?;
        let number = |address: DocAddress| numbers.first(address.doc_id);
        Ok(best.into_iter().filter_map(number).filter_map(|one| u32::try_from(one).ok()).collect())
    }

    fn best(
        &self,
        query: &PlainQuery,
        asked: &dyn Query,
        count: Option<Count>,
    ) -> Result<(u64, Vec<DocAddress>), Failed> {
        if query.words.is_empty() {
            let top = TopDocs::with_limit(RESULTS);
            self.collect(asked, count, top.order_by_fast_field::<f64>(STANDING, Order::Desc))
        } else {
            self.collect(asked, count, TopDocs::with_limit(RESULTS).order_by_score())
        }
    }

    fn collect<T: Send + 'static>(
        &self,
        asked: &dyn Query,
        count: Option<Count>,
        top: impl Collector<Fruit = Vec<(T, DocAddress)>>,
    ) -> Result<(u64, Vec<DocAddress>), Failed> {
        let (searcher, _) = self.searcher()?;
        let (count, best) = match count {
            Some(count) => searcher.search(asked, &(count, top)).map_err(failed)?,
            None => (0, searcher.search(asked, &top).map_err(failed)?),
        };
        Ok((count as u64, best.into_iter().map(|(_, address)| address).collect()))
    }

    fn searcher(&self) -> Result<&(Searcher, Column<u64>), Failed> {
        self.searcher.as_ref().ok_or_else(|| failed("nothing was committed"))
    }

    fn query(&self, query: &PlainQuery) -> Box<dyn Query> {
        let word = |word: &String| -> Box<dyn Query> {
            let fields = self.fields.words.iter().zip(WORTHS);
            let hits = fields.map(|(field, worth)| -> Box<dyn Query> {
                let term = Term::from_field_text(*field, word);
                let term = TermQuery::new(term, IndexRecordOption::WithFreqs);
                Box::new(BoostQuery::new(Box::new(term), worth))
            });
            Box::new(DisjunctionMaxQuery::new(hits.collect()))
        };
        self.with_filters(query, query.words.iter().map(word).collect())
    }

    fn query_by_starts(&self, query: &PlainQuery) -> Result<Box<dyn Query>, Failed> {
        let mut words: Vec<Box<dyn Query>> = Vec::new();
        for word in &query.words {
            let mut hits: Vec<Box<dyn Query>> = Vec::new();
            for (field, worth) in self.fields.words.iter().zip(WORTHS) {
                let term = Term::from_field_text(*field, word);
                let term = TermQuery::new(term, IndexRecordOption::WithFreqs);
                hits.push(Box::new(BoostQuery::new(Box::new(term), worth)));
                if word.chars().count() > 2 {
                    let starts = RegexQuery::from_pattern(&format!("{word}.+"), *field);
                    let starts = starts.map_err(failed)?;
                    hits.push(Box::new(BoostQuery::new(Box::new(starts), worth * 0.9)));
                }
            }
            words.push(Box::new(DisjunctionMaxQuery::new(hits)));
        }
        Ok(self.with_filters(query, words))
    }

    fn with_filters(&self, query: &PlainQuery, words: Vec<Box<dyn Query>>) -> Box<dyn Query> {
        let filters = query.filters.iter().map(|filter| self.filter(filter));
        // Filters do not score.
        let silent =
            filters.map(|filter| -> Box<dyn Query> { Box::new(ConstScoreQuery::new(filter, 0.0)) });
        let mut all: Vec<(Occur, Box<dyn Query>)> = silent.map(|one| (Occur::Must, one)).collect();
        if !words.is_empty() {
            all.push((Occur::Must, Box::new(BooleanQuery::union(words))));
        }
        Box::new(BooleanQuery::new(all))
    }

    fn filter(&self, filter: &Filter) -> Box<dyn Query> {
        let fields = &self.fields;
        let term = |field: Field, text: &str| -> Box<dyn Query> {
            let term = Term::from_field_text(field, text);
            Box::new(TermQuery::new(term, IndexRecordOption::Basic))
        };
        let one_of = |field: Field, tokens: &[String]| -> Box<dyn Query> {
            match tokens {
                [one] => term(field, one),
                many => {
                    Box::new(BooleanQuery::union(many.iter().map(|one| term(field, one)).collect()))
                }
            }
        };
        let range = |from: Bound<Term>, to: Bound<Term>| -> Box<dyn Query> {
            Box::new(RangeQuery::new(from, to))
        };
        match filter {
            Filter::Kind(kind) => term(fields.kind, kind),
            Filter::Category(prefix) => term(fields.categories, prefix),
            Filter::Takes(tokens) => one_of(fields.takes, tokens),
            Filter::Yields(tokens) => one_of(fields.yields, tokens),
            Filter::LatencyAtMost(max) => {
                let max = Term::from_field_f64(fields.latency_ms, *max);
                range(Bound::Unbounded, Bound::Included(max))
            }
            Filter::AccuracyAtLeast(min) => {
                let min = Term::from_field_f64(fields.accuracy, *min);
                range(Bound::Included(min), Bound::Unbounded)
            }
            Filter::MemoryAtMost(max) => {
                let max = Term::from_field_u64(fields.memory_bytes, *max);
                range(Bound::Unbounded, Bound::Included(max))
            }
        }
    }
}
