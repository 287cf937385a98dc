//! The fold at start: every stored record, opened on all processors, goes through the core.

use std::num::NonZero;
use std::thread;

use guildhall_core::{Core, Effect};
use guildhall_protocol::PublicKey;
use guildhall_protocol::record::{Record, RecordError};
use guildhall_store::{ReadError, Store};
use tracing::{error, info, warn};

/// Records that are opened together: enough work for some threads, and a few megabytes.
const GROUP: usize = 2_048;

/// A stored record's place and bytes.
type Row = (PublicKey, u64, Vec<u8>);

/// Folds every stored record into the core: members first, then everything that its catalogue does not have.
pub(super) fn load_records(store: &Store, core: &mut Core) -> Result<Vec<Effect>, ReadError> {
    let mut left: Vec<(PublicKey, u64)> = Vec::new();
    let mut group: Vec<Row> = Vec::with_capacity(GROUP);
    let mut take = |group: &mut Vec<Row>| {
        for (author, seq, opened) in open_all(std::mem::take(group)) {
            match opened {
                Ok(record) => {
                    core.load_member(&record);
                    if !core.is_restored(&record) {
                        left.push((author, seq));
                    }
                }
                Err(error) => {
                    warn!(%error, ?author, seq, "a stored record is left out");
                }
            }
        }
    };
    let report = store.for_each_record(|author, seq, bytes| {
        group.push((author, seq, bytes.to_vec()));
        if group.len() >= GROUP {
            take(&mut group);
        }
    })?;
    take(&mut group);
    let mut effects = Vec::new();
    for places in left.chunks(GROUP) {
        let rows = places.iter().filter_map(|(author, seq)| {
            // What cannot be read now was reported by the first pass, or is by the next.
            let stored = store.record(author, *seq).ok()??;
            Some((*author, *seq, stored.bytes))
        });
        for (_, _, opened) in open_all(rows.collect()) {
            if let Ok(record) = opened {
                effects.extend(core.load(&record));
            }
        }
    }
    effects.extend(core.finish_load());
    if report.is_complete() {
        info!(records = report.loaded, evaluated = left.len(), "records loaded");
    } else {
        error!(
            loaded = report.loaded,
            damaged = report.corrupt_total,
            missing = report.missing,
            "records are damaged; peers will be asked for them"
        );
    }
    Ok(effects)
}

/// Opens records in their order. Their rows' seals held, and nobody else writes there, so that signatures need not be
/// looked at again.
fn open_all(rows: Vec<Row>) -> Vec<(PublicKey, u64, Result<Record, RecordError>)> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = rows.len().div_ceil(threads).max(1);
    let open = |rows: &[Row]| -> Vec<_> {
        let opened = rows.iter();
        opened.map(|(author, seq, bytes)| (*author, *seq, Record::open_kept(bytes))).collect()
    };
    thread::scope(|scope| {
        let parts: Vec<_> =
            rows.chunks(share).map(|rows| scope.spawn(move || open(rows))).collect();
        let opened = parts.into_iter().flat_map(|part| match part.join() {
            Ok(opened) => opened,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        opened.collect()
    })
}
