//! Local copies of blobs that are elsewhere, in `cache/`: each whole and checked when it came, the least recently used
//! removed first.
//!
//! A copy that is removed stays readable for who has it open; its room counts as free all the same. A blob that is
//! larger than the bound is removed as soon as it is open.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use guildhall_protocol::Hash;

use crate::error::{OpenError, RemoteError};
use crate::layout::{Layout, TempFile, create_dir, sync_dir};
use crate::shelf::Unopened;

/// See the module.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    copies: BTreeMap<Hash, Copy>,
    /// The same by their last use, the longest ago first.
    by_use: BTreeMap<u64, Hash>,
    /// Bytes of all copies.
    held_bytes: u64,
    /// Bytes that are being fetched.
    coming_bytes: u64,
    uses: u64,
    fetching: BTreeMap<Hash, Arc<Flight>>,
}

#[derive(Debug)]
struct Copy {
    len_bytes: u64,
    last_use: u64,
}

/// A fetch that others wait for.
#[derive(Debug, Default)]
struct Flight {
    /// `None` while it is under way.
    outcome: Mutex<Option<Result<(), Unopened>>>,
    ended: Condvar,
}

impl Cache {
    /// Takes stock of what is there.
    pub(super) fn load(layout: &Layout, max_bytes: u64) -> Result<Self, OpenError> {
        let dir = layout.cache_dir();
        let io = || OpenError::io(&dir);
        if create_dir(&dir)? {
            sync_dir(layout.dir()).map_err(OpenError::io(layout.dir()))?;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(io())? {
            let entry = entry.map_err(io())?;
            let hash = entry.file_name().to_str().and_then(|name| name.parse::<Hash>().ok());
            let metadata = entry.metadata().map_err(io())?;
            match hash {
                Some(hash) if metadata.is_file() => {
                    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    found.push((used, hash, metadata.len()));
                }
                _ => tracing::warn!(path = %entry.path().display(), "not ours, left alone"),
            }
        }
        found.sort_unstable();
        let mut state = State::default();
        for (_, hash, len_bytes) in found {
            state.insert(hash, len_bytes);
        }
        let cache = Self { dir, max_bytes, state: Mutex::new(state) };
        cache.shrink(&mut cache.lock(), 0);
        Ok(cache)
    }

    /// The copy, if there is one.
    pub(super) fn get(&self, hash: &Hash) -> Option<File> {
        let mut state = self.lock();
        state.copies.get(hash)?;
        match File::open(self.path(hash)) {
            Ok(file) => {
                state.touch(hash);
                // So that the order outlives the process.
                if let Err(error) = file.set_modified(SystemTime::now()) {
                    tracing::debug!(%hash, %error, "the last use of a local copy is not written down");
                }
                Some(file)
            }
            Err(error) => {
                tracing::debug!(%hash, %error, "a local copy is gone");
                state.forget(hash);
                None
            }
        }
    }

    /// The copy, or what `fetch` brings. Of several that ask for the same, one fetches.
    pub(super) fn open(
        &self,
        hash: &Hash,
        len_bytes: u64,
        fetch: impl Fn() -> Result<(TempFile, File), Unopened>,
    ) -> Result<File, Unopened> {
        loop {
            if let Some(file) = self.get(hash) {
                // Another length is that of another copy: not one of ours.
                if file.metadata()?.len() == len_bytes {
                    return Ok(file);
                }
                self.drop_copy(hash);
            }
            match self.begin(hash, len_bytes) {
                Begin::Theirs(flight) => flight.wait()?,
                Begin::Ours(landing) => {
                    let fetched = fetch().and_then(|fetched| self.land(hash, len_bytes, fetched));
                    landing.end(fetched.as_ref().map(drop).map_err(Unopened::again));
                    return fetched;
                }
            }
        }
    }

    /// Takes a file that has the blob's bytes. Says whether it is gone from where it was.
    pub(super) fn adopt(&self, path: &Path, hash: &Hash, len_bytes: u64) -> bool {
        let mut state = self.lock();
        let fits = len_bytes <= self.max_bytes.saturating_sub(state.coming_bytes);
        if !fits || state.copies.contains_key(hash) {
            return false;
        }
        self.shrink(&mut state, len_bytes);
        let moved = fs::rename(path, self.path(hash));
        if let Err(error) = &moved {
            tracing::debug!(%hash, %error, "a blob that was sent is not kept as a local copy");
        } else {
            state.insert(*hash, len_bytes);
        }
        moved.is_ok()
    }

    /// Removes the copy. Whether there was one.
    pub(super) fn drop_copy(&self, hash: &Hash) -> bool {
        let mut state = self.lock();
        let was_here = state.forget(hash);
        if was_here {
            self.remove_file(hash);
        }
        was_here
    }

    /// Says who fetches, and makes room.
    fn begin(&self, hash: &Hash, len_bytes: u64) -> Begin<'_> {
        let mut state = self.lock();
        if let Some(flight) = state.fetching.get(hash) {
            return Begin::Theirs(Arc::clone(flight));
        }
        let flight = Arc::<Flight>::default();
        state.fetching.insert(*hash, Arc::clone(&flight));
        state.coming_bytes = state.coming_bytes.saturating_add(len_bytes);
        self.shrink(&mut state, 0);
        Begin::Ours(Landing { cache: self, hash: *hash, len_bytes, flight, ended: false })
    }

    /// Makes what was fetched a copy, if it fits.
    fn land(
        &self,
        hash: &Hash,
        len_bytes: u64,
        (mut temp, file): (TempFile, File),
    ) -> Result<File, Unopened> {
        // Its own room is among what is coming.
        if len_bytes <= self.max_bytes {
            let mut state = self.lock();
            fs::rename(temp.path(), self.path(hash))?;
            temp.moved();
            state.forget(hash);
            state.insert(*hash, len_bytes);
        }
        drop(file);
        // Opened anew: for reading only, from the beginning.
        let path = if len_bytes <= self.max_bytes { self.path(hash) } else { temp.path().into() };
        Ok(File::open(path)?)
    }

    /// Removes copies until `more` bytes fit beside what is coming, or none is left.
    fn shrink(&self, state: &mut State, more: u64) {
        let used = |state: &State| state.held_bytes.saturating_add(state.coming_bytes);
        while used(state).saturating_add(more) > self.max_bytes
            && let Some((_, hash)) = state.by_use.first_key_value()
        {
            let hash = *hash;
            state.forget(&hash);
            self.remove_file(&hash);
        }
    }

    fn remove_file(&self, hash: &Hash) {
        if let Err(error) = fs::remove_file(self.path(hash))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%hash, %error, "a local copy stays until the next start");
        }
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        self.dir.join(hash.to_hex())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, hash: Hash, len_bytes: u64) {
        self.uses = self.uses.saturating_add(1);
        self.copies.insert(hash, Copy { len_bytes, last_use: self.uses });
        self.by_use.insert(self.uses, hash);
        self.held_bytes = self.held_bytes.saturating_add(len_bytes);
    }

    fn touch(&mut self, hash: &Hash) {
        if let Some(copy) = self.copies.get_mut(hash) {
            self.by_use.remove(&copy.last_use);
            self.uses = self.uses.saturating_add(1);
            copy.last_use = self.uses;
            self.by_use.insert(self.uses, *hash);
        }
    }

    fn forget(&mut self, hash: &Hash) -> bool {
        let Some(copy) = self.copies.remove(hash) else { return false };
        self.by_use.remove(&copy.last_use);
        self.held_bytes = self.held_bytes.saturating_sub(copy.len_bytes);
        true
    }
}

enum Begin<'a> {
    Ours(Landing<'a>),
    Theirs(Arc<Flight>),
}

/// Tells who waits how it went, at the latest when dropped.
struct Landing<'a> {
    cache: &'a Cache,
    hash: Hash,
    len_bytes: u64,
    flight: Arc<Flight>,
    ended: bool,
}

impl Landing<'_> {
    fn end(mut self, outcome: Result<(), Unopened>) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Result<(), Unopened>) {
        self.ended = true;
        let mut state = self.cache.lock();
        state.fetching.remove(&self.hash);
        state.coming_bytes = state.coming_bytes.saturating_sub(self.len_bytes);
        drop(state);
        *self.flight.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.flight.ended.notify_all();
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Err(Unopened::Io(io::Error::other("the thread that fetched it panicked"))));
        }
    }
}

impl Flight {
    fn wait(&self) -> Result<(), Unopened> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.ended.wait_while(outcome, |outcome| outcome.is_none());
        let outcome = outcome.unwrap_or_else(PoisonError::into_inner);
        match &*outcome {
            Some(Err(why)) => Err(why.again()),
            _ => Ok(()),
        }
    }
}

impl Unopened {
    /// The same, for another who asked.
    fn again(&self) -> Self {
        match self {
            Self::Missing => Self::Missing,
            Self::Damaged(damage) => Self::Damaged(*damage),
            Self::Io(error) => Self::Io(
                match error.get_ref().and_then(|inner| inner.downcast_ref::<RemoteError>()) {
                    Some(remote) => remote.clone().into(),
                    None => io::Error::new(error.kind(), error.to_string()),
                },
            ),
        }
    }
}
