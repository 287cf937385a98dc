//! The fold at start: every stored record, opened on all processors, goes through the core.

use std::num::NonZero;
use std::thread;

use guildhall_core::{Core, Effect};
use guildhall_protocol::PublicKey;
use guildhall_protocol::record::{Record, RecordError};
use guildhall_store::{ReadError, Store, StoredRecord};
use tracing::{error, info, warn};

/// Records that are opened together: enough work for some threads, and a few megabytes.
const GROUP: usize = 2_048;

/// Folds every stored record into the core: members first, then everything that its catalogue does not have.
pub(super) fn load_records(store: &Store, core: &mut Core) -> Result<Vec<Effect>, ReadError> {
    let mut left: Vec<(PublicKey, u64)> = Vec::new();
    let mut group: Vec<StoredRecord> = Vec::with_capacity(GROUP);
    let report = store.for_each_record(|stored| {
        group.push(stored);
        if group.len() >= GROUP {
            take(core, &std::mem::take(&mut group), &mut left);
        }
    })?;
    take(core, &group, &mut left);
    let mut effects = Vec::new();
    for places in left.chunks(GROUP) {
        let group: Vec<StoredRecord> = places
            .iter()
            // What cannot be read now was reported by the first pass, or is by the next.
            .filter_map(|(author, seq)| store.record(author, *seq).ok()?)
            .collect();
        // What cannot be opened was named by the first pass.
        for record in open_all(&group.iter().collect::<Vec<_>>()).into_iter().flatten() {
            effects.extend(core.load(&record));
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

/// First pass over some records: what a restored catalogue has is not opened, the others are, and what is to be evaluated
/// is noted.
fn take(core: &mut Core, group: &[StoredRecord], left: &mut Vec<(PublicKey, u64)>) {
    let is_known = |it: &&StoredRecord| core.is_restored_at(&it.author, it.seq, &it.id);
    let unknown: Vec<&StoredRecord> = group.iter().filter(|it| !is_known(it)).collect();
    let mut opened =
        unknown.iter().map(|it| (it.author, it.seq)).zip(open_all(&unknown)).peekable();
    for StoredRecord { author, seq, id, bytes } in group {
        let place = (*author, *seq);
        let record = match opened.next_if(|(of, _)| *of == place) {
            Some((_, record)) => record,
            None if core.restore_record(author, *seq, id) => continue,
            // Its log does not go on there, or nothing is known of its author yet.
            None => Record::open_kept(bytes),
        };
        match record {
            Ok(record) => {
                core.load_member(&record);
                if !core.is_restored(&record) {
                    left.push(place);
                }
            }
            Err(error) => warn!(%error, ?author, seq, "a stored record is left out"),
        }
    }
}

/// Opens records in their order. Their rows' seals held, and nobody else writes there, so that signatures need not be
/// looked at again.
fn open_all(group: &[&StoredRecord]) -> Vec<Result<Record, RecordError>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = group.len().div_ceil(threads).max(1);
    let open = |part: &[&StoredRecord]| -> Vec<_> {
        part.iter().map(|stored| Record::open_kept(&stored.bytes)).collect()
    };
    thread::scope(|scope| {
        let parts: Vec<_> =
            group.chunks(share).map(|part| scope.spawn(move || open(part))).collect();
        let opened = parts.into_iter().flat_map(|part| match part.join() {
            Ok(opened) => opened,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        opened.collect()
    })
}
