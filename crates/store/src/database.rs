//! Creating a catalogue, and reading what it says about itself.

use std::fs;
use std::io;

use redb::{Builder, Database, ReadableDatabase as _, WriteTransaction};

use crate::backend::Binding;
use crate::counters::Counters;
use crate::error::{Fault, OpenError, fenced};
use crate::layout::{Layout, sync_dir};
use crate::scan;
use crate::table::{
    BLOBS, COUNTERS_KEY, FORMAT_KEY, FORMAT_VERSION, META, PACKAGES, RECORDS, all_tables, seal,
    unseal,
};

/// What redb may cache, bytes. Its own default of 1 GiB is too much beside models on a small machine; the catalogue
/// lives in memory elsewhere, and the kernel caches the file as well. When full, redb drops the oldest pages.
pub const CACHE_BYTES: usize = 64 * 1024 * 1024;

pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_repair_callback(|session| {
        tracing::info!(
            progress = session.progress(),
            "the store was not closed; checking the catalogue"
        );
    });
    builder
}

/// Prepares a catalogue beside its place and renames it, so that a kill in between leaves none rather than half of one.
pub(crate) fn create_catalogue(
    layout: &Layout,
    binding: Option<&Binding>,
) -> Result<(), OpenError> {
    let (new, path) = (layout.new_catalogue(), layout.catalogue());
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::Io { path: new, source: error });
        }
        _ => {}
    }
    fenced(|| {
        let database = builder().create(&new)?;
        initialise(&database)?;
        if let Some(binding) = binding {
            write(&database, |transaction| binding.put(transaction))?;
        }
        database.close().map_err(Fault::from)
    })
    .map_err(|fault| OpenError::from_fault(&new, fault))?;
    fs::rename(&new, &path).map_err(OpenError::io(&path))?;
    sync_dir(layout.dir()).map_err(OpenError::io(layout.dir()))
}

/// Creates all tables and the rows of `meta`.
pub(crate) fn initialise(database: &Database) -> Result<(), Fault> {
    write(database, |transaction| {
        for table in all_tables() {
            transaction.open_table(table)?;
        }
        let version = FORMAT_VERSION.to_be_bytes();
        let sealed = seal(META, FORMAT_KEY, &[&version]);
        transaction.open_table(META)?.insert(FORMAT_KEY, sealed.as_slice())?;
        put_counters(transaction, Counters::default())
    })
}

pub(crate) fn put_counters(
    transaction: &WriteTransaction,
    counters: Counters,
) -> Result<(), Fault> {
    let sealed = seal(META, COUNTERS_KEY, &[&counters.encode()]);
    transaction.open_table(META)?.insert(COUNTERS_KEY, sealed.as_slice())?;
    Ok(())
}

/// Runs `work` in a transaction that is on disk when this returns.
pub(crate) fn write<T>(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut transaction = database.begin_write()?;
    // Recovery from a crash during recovery is sound for this mode in all versions we may meet.
    transaction.set_two_phase_commit(true);
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// The format of what is in a database.
pub(crate) fn format_of(database: &Database) -> Result<u32, Fault> {
    let meta = database.begin_read()?.open_table(META)?;
    let row = meta.get(FORMAT_KEY)?.ok_or(Fault::inconsistent("it does not say its format"))?;
    unseal(META, FORMAT_KEY, row.value())
        .and_then(|payload| payload.try_into().ok().map(u32::from_be_bytes))
        .ok_or(Fault::inconsistent("the row with its format is damaged"))
}

/// The totals; counted anew, which reads everything once, if their row is damaged.
pub(crate) fn load_counters(database: &Database) -> Result<Counters, Fault> {
    let meta = database.begin_read()?.open_table(META)?;
    if let Some(row) = meta.get(COUNTERS_KEY)?
        && let Some(counters) = unseal(META, COUNTERS_KEY, row.value()).and_then(Counters::decode)
    {
        return Ok(counters);
    }
    tracing::warn!("the totals of the store are damaged; counting again");
    let transaction = database.begin_read()?;
    let mut counters = Counters::default();
    let mut sum = |table, add: &mut dyn FnMut(&mut Counters, &[u8])| {
        scan::each(&transaction, table, |_, value| add(&mut counters, value))
    };
    sum(RECORDS, &mut |counters, value| counters.add_record(value))?;
    sum(PACKAGES, &mut |counters, value| counters.add_package(value))?;
    sum(BLOBS, &mut |counters, value| counters.add_blob(value))?;
    write(database, |transaction| put_counters(transaction, counters))?;
    Ok(counters)
}
