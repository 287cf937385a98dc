//! All terms there are, in their order: those of segments and batches, merged.

use std::io;

use tantivy::termdict::TermStreamer;

use crate::batch::Batch;
use crate::disk::Disk;
use crate::format;

/// Calls `each` with the terms from `start` on and how many listings have each, until it says no.
pub(crate) fn from(
    start: &str,
    disk: &Disk,
    batches: &[&Batch],
    each: &mut dyn FnMut(&str, u64) -> bool,
) -> io::Result<()> {
    let mut parts = Vec::with_capacity(disk.parts().len());
    for part in disk.parts() {
        let mut stream = part.terms().terms().range().ge(start).into_stream()?;
        if stream.advance() {
            parts.push(stream);
        }
    }
    let mut batches: Vec<_> =
        batches.iter().map(|batch| batch.postings_from(start).peekable()).collect();
    let mut term = String::new();
    loop {
        let in_parts = parts.iter().filter_map(|stream| format::read_term(stream.key()));
        let in_batches = batches.iter_mut().filter_map(|batch| batch.peek());
        let heads = in_parts.map(|(term, _)| term).chain(in_batches.map(|(term, _)| *term));
        let Some(first) = heads.min() else { return Ok(()) };
        term.clear();
        term.push_str(first);
        let mut count = 0;
        parts.retain_mut(|stream| take(stream, &term, &mut count));
        for batch in &mut batches {
            if let Some((_, postings)) = batch.next_if(|(other, _)| *other == term) {
                count += postings.len() as u64;
            }
        }
        if !each(&term, count) {
            return Ok(());
        }
    }
}

/// Moves behind `term`, which stands there once for each field; says whether anything is left.
fn take(stream: &mut TermStreamer<'_>, term: &str, count: &mut u64) -> bool {
    loop {
        match format::read_term(stream.key()) {
            Some((found, _)) if found == term => *count += u64::from(stream.value().doc_freq),
            Some(_) => return true,
            // Nothing that we wrote.
            None => {}
        }
        if !stream.advance() {
            return false;
        }
    }
}
