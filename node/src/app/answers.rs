//! Answers that are read from the store: pages of logs, and listings. They are read beside the driving task, because a
//! page may be a megabyte with a thousand signatures, and only so many at once.

use std::sync::Arc;
use std::time::Instant;

use guildhall_core::withhold_body;
use guildhall_overlay::Reply;
use guildhall_protocol::limits::MESSAGE_MAX_BYTES;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::{Reason, Refusal, Response};
use guildhall_protocol::{PublicKey, RecordId, cbor};
use guildhall_store::{Store, StoredRecord};
use serde_bytes::ByteBuf;
use tokio::sync::Semaphore;
use tracing::{debug, error};

use super::App;
use super::allowance::Asker;

/// Answers read at once, a few megabytes each at most. When all are taken the peer hears that the node is busy, and
/// asks again after its next comparison.
const READS_MAX: usize = 32;

/// Bytes of records in one response: a message less room for its frame.
const PAGE_MAX_BYTES: usize = MESSAGE_MAX_BYTES - 64 * 1024;

/// Records in one response.
const PAGE_MAX_RECORDS: usize = 1_024;

pub(super) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(READS_MAX))
}

impl App {
    /// Answers with what `read` finds in the store, at the cost of whoever asked.
    pub(super) fn answer_from_store(
        &self,
        reply: Reply,
        asker: Option<Asker>,
        read: impl FnOnce(&Store) -> Response + Send + 'static,
    ) {
        let Ok(turn) = Arc::clone(&self.reads).try_acquire_owned() else {
            send(
                reply,
                &Response::Refused(Refusal::new(Reason::Busy, "too many pages are being read")),
            );
            return;
        };
        let (store, allowances) = (self.store.clone(), self.allowances.clone());
        self.tasks.spawn("read-answer", async move {
            let reading = tokio::task::spawn_blocking(move || {
                let begun = Instant::now();
                let response = read(&store);
                drop(turn);
                if let Some(asker) = asker {
                    allowances.charge(asker, begun.elapsed(), Instant::now());
                }
                response
            });
            match reading.await {
                Ok(response) => send(reply, &response),
                Err(error) => error!(%error, "an answer was not read"),
            }
        });
    }
}

/// Sends an answer, unless the peer is gone.
pub(super) fn send(reply: Reply, response: &Response) {
    if let Err(error) = reply.send(cbor::encode(response)) {
        debug!(%error, "a response was not sent");
    }
}

/// A page of a log for a peer that follows `follows`.
pub(super) fn page_of(
    store: &Store,
    author: PublicKey,
    from_seq: u64,
    follows: &[CategoryPrefix],
) -> Response {
    let stored = store.records_of(&author, from_seq, PAGE_MAX_RECORDS, PAGE_MAX_BYTES);
    let stored = stored.unwrap_or_else(|error| {
        error!(%error, "a log is not served from here on");
        Vec::new()
    });
    let is_whole = follows.contains(&CategoryPrefix::everything());
    let bytes_of = |stored: StoredRecord| match is_whole {
        true => stored.bytes,
        false => match Record::open(&stored.bytes) {
            Ok(record) if withhold_body(&record, follows) => record.without_body().bytes().to_vec(),
            _ => stored.bytes,
        },
    };
    Response::Records { records: stored.into_iter().map(bytes_of).map(ByteBuf::from).collect() }
}

/// Listing records by id, as many as fit one response.
pub(super) fn listing_records(store: &Store, ids: &[RecordId]) -> Response {
    let mut len_bytes = 0;
    let mut listings = Vec::new();
    for id in ids {
        match store.record_by_id(id) {
            Ok(Some(stored)) => {
                len_bytes += stored.bytes.len();
                if len_bytes > PAGE_MAX_BYTES {
                    break;
                }
                listings.push(ByteBuf::from(stored.bytes));
            }
            // Looked up elsewhere and kept in memory only.
            Ok(None) => {}
            Err(error) => error!(%error, "a listing is left out of an answer"),
        }
    }
    Response::Found { listings }
}
