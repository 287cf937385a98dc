//! Complete blob files in S3-compatible storage, under `<prefix>/ab/<64 hex>`.
//!
//! # Invariants
//! - **A row is younger than its object.** [`Shelf::prepare`] sends the file, from the thread of who commits, and asks
//!   how long the object is; only then is the batch queued. The writer thread waits for the network only to remove, and
//!   to send a blob again that was removed after it was sent. When a removal fails, those after it are left to the next
//!   sweep.
//! - **Nobody else removes.** The objects under a prefix belong to one store (`mark`), and only its writer thread
//!   removes them. So what was there when a batch was prepared is there when it is written, unless this process knows.
//! - **Nothing is believed.** What is fetched to be opened is hashed on the way; what is read by ranges the caller
//!   checks against the tree. Checks and repairs read the object, never the local copy.
//! - **Memory is bounded**: some parts of [`upload::PART_BYTES`] for each transfer, of which
//!   [`TRANSFERS_MAX`] run at a time.
//!
//! What the server is trusted with: to keep what it acknowledged. A reader cannot tell a bucket that lost an object from
//! a disk that lost a file, and does the same about it.
//!
//! # Tasks
//! Two threads named `store-remote` drive the sockets. Callers block, each call for a bounded time ([`calls`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use guildhall_protocol::Hash;
use guildhall_protocol::tree::PIECE_BYTES;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt as _};

use crate::backend::Spot;
use crate::blob::Source;
use crate::error::{BlobDamage, OpenError, RemoteError, RemoteFault};
use crate::layout::{Layout, TempFile, sync_dir};
use crate::shelf::{Prepared, Shelf, Unopened};

mod cache;
mod calls;
mod connect;
mod fetch;
mod mark;
mod sent;
mod upload;

use cache::Cache;
use calls::{ASK_MAX, Calls, Turns};
use sent::Sent;

/// Blobs that are sent or fetched at a time. More would not be faster over one line, and each takes some 32 MiB of
/// memory; whoever comes later waits.
pub(crate) const TRANSFERS_MAX: usize = 4;

/// Removals that run at a time: what a sweep removes at once is gone within seconds.
const REMOVALS_AT_ONCE: usize = 16;

const REMOVING: &str = "removing a blob";

/// See the module.
#[derive(Debug)]
pub(crate) struct Remote {
    link: Arc<Link>,
    cache: Cache,
    sent: Arc<Sent>,
    drafts: Drafts,
}

/// What it takes to talk to the storage.
#[derive(Debug)]
struct Link {
    objects: Arc<dyn ObjectStore>,
    prefix: Key,
    spot: Spot,
    calls: Calls,
    turns: Turns,
    layout: Arc<Layout>,
}

impl Link {
    /// The folder of objects whose hash begins with this byte.
    fn shard(&self, first: u8) -> Key {
        self.prefix.clone().join(format!("{first:02x}"))
    }

    fn key(&self, hash: &Hash) -> Key {
        let [first, ..] = hash.as_bytes();
        self.shard(*first).join(hash.to_hex())
    }

    /// How long an object is. Asks for its first byte: the answer to that says whether it is the object that is
    /// missing or the bucket, as the one to a `HEAD` does not.
    fn len_of(&self, hash: &Hash) -> Result<u64, RemoteError> {
        let (objects, key) = (Arc::clone(&self.objects), self.key(hash));
        self.calls.ask("looking at a blob", async move {
            let range = Some(GetRange::Bounded(0..1));
            let found = objects.get_opts(&key, GetOptions { range, ..GetOptions::default() }).await;
            Ok(found?.meta.size)
        })
    }

    /// A part of an object; shorter only at its end.
    fn range(
        &self,
        hash: &Hash,
        offset: u64,
        len: u64,
    ) -> Result<impl AsRef<[u8]> + use<>, RemoteError> {
        let (objects, key) = (Arc::clone(&self.objects), self.key(hash));
        let range = offset..offset.saturating_add(len);
        self.calls.run("reading a blob", async move { objects.get_range(&key, range).await })
    }
}

impl Remote {
    /// One that keeps its objects there. Looks at what local copies there are.
    pub(crate) fn new(
        objects: Arc<dyn ObjectStore>,
        spot: Spot,
        cache_max_bytes: u64,
        layout: &Arc<Layout>,
    ) -> Result<Self, OpenError> {
        let cache = Cache::load(layout, cache_max_bytes)?;
        let calls = Calls::start().map_err(OpenError::io(layout.dir()))?;
        let turns = Turns::new(TRANSFERS_MAX);
        let prefix = Key::from(spot.prefix.as_str());
        let layout = Arc::clone(layout);
        let link = Arc::new(Link { objects, prefix, spot, calls, turns, layout });
        Ok(Self { link, cache, sent: Arc::default(), drafts: Drafts::default() })
    }

    pub(crate) fn spot(&self) -> &Spot {
        &self.link.spot
    }

    /// An error of the storage, when opening.
    fn unusable(spot: &Spot, source: RemoteError) -> OpenError {
        let Spot { endpoint, bucket, .. } = spot.clone();
        OpenError::Remote { endpoint, bucket, source }
    }

    /// Checks an object's length.
    fn expect_len(&self, hash: &Hash, expected_bytes: u64) -> Result<(), Unopened> {
        let found_bytes = self.link.len_of(hash).map_err(io::Error::from)?;
        match found_bytes == expected_bytes {
            true => Ok(()),
            false => Err(Unopened::Damaged(BlobDamage::Length { expected_bytes, found_bytes })),
        }
    }

    /// Sends a file and asks whether it arrived.
    fn send(&self, staged: &Path, hash: &Hash, len_bytes: u64) -> io::Result<()> {
        self.link.layout.faults.step()?;
        self.link.upload(&File::open(staged)?, hash, len_bytes)?;
        let found_bytes = self.link.len_of(hash)?;
        if found_bytes != len_bytes {
            let cause = format!("{found_bytes} bytes arrived of {len_bytes}");
            return Err(RemoteError::new(RemoteFault::Protocol, "sending a blob", &cause).into());
        }
        Ok(())
    }

    /// Fetches an object as it is into a new file in `tmp/`, synced.
    fn fetch_raw(&self, hash: &Hash) -> Result<(TempFile, File), Unopened> {
        let len_bytes = self.link.len_of(hash).map_err(io::Error::from)?;
        let layout = &self.link.layout;
        let (temp, file) = TempFile::create(layout.next_temp_file(), &layout.faults)?;
        self.link.fetch(hash, len_bytes, &mut |offset, bytes| file.write_all_at(bytes, offset))?;
        file.sync_all()?;
        Ok((temp, file))
    }
}

impl Shelf for Remote {
    fn name(&self, hash: &Hash) -> PathBuf {
        PathBuf::from(format!("s3://{}/{}", self.link.spot.bucket, self.link.key(hash)))
    }

    fn is_far(&self) -> bool {
        true
    }

    fn prepare(&self, staged: &Path, hash: &Hash, len: u64) -> io::Result<Option<Prepared>> {
        let ticket = self.sent.begin(hash);
        self.send(staged, hash, len)?;
        ticket.arrived();
        Ok(Some(Box::new(ticket)))
    }

    fn place(&self, staged: &Path, hash: &Hash, len_bytes: u64) -> io::Result<bool> {
        if !self.sent.is_there(hash) {
            tracing::debug!(%hash, "a blob is sent again that was removed meanwhile");
            self.send(staged, hash, len_bytes)?;
        }
        Ok(false)
    }

    fn settle(&self, _: &BTreeSet<Hash>) -> io::Result<()> {
        Ok(())
    }

    fn keep(&self, staged: &Path, hash: &Hash, len_bytes: u64) -> bool {
        self.cache.adopt(staged, hash, len_bytes)
    }

    fn open(&self, hash: &Hash, len_bytes: u64) -> Result<File, Unopened> {
        self.cache.open(hash, len_bytes, || {
            self.expect_len(hash, len_bytes)?;
            self.link.fetch_checked(hash, len_bytes)
        })
    }

    fn source(&self, hash: &Hash, len_bytes: u64) -> Result<Box<dyn Source>, Unopened> {
        self.expect_len(hash, len_bytes)?;
        Ok(Box::new(Object { link: Arc::clone(&self.link), hash: *hash }))
    }

    fn read_at(&self, hash: &Hash, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        if let Some(file) = self.cache.get(hash) {
            return file.read_at(out, offset);
        }
        if out.is_empty() {
            return Ok(0);
        }
        let bytes = match self.link.range(hash, offset, out.len() as u64) {
            Ok(bytes) => bytes,
            // Servers refuse ranges that begin behind the end.
            Err(error) => {
                return match self.link.len_of(hash) {
                    Ok(len_bytes) if len_bytes <= offset => Ok(0),
                    _ => Err(error.into()),
                };
            }
        };
        let bytes = bytes.as_ref();
        let len = bytes.len().min(out.len());
        if let (Some(out), Some(bytes)) = (out.get_mut(..len), bytes.get(..len)) {
            out.copy_from_slice(bytes);
        }
        Ok(len)
    }

    fn draft(&self, hash: &Hash) -> Result<(File, Option<Prepared>), Unopened> {
        let (temp, file) = self.fetch_raw(hash)?;
        let draft = Draft::put(&self.drafts, hash, temp);
        Ok((file, Some(Box::new(draft))))
    }

    fn copy_out(&self, hash: &Hash, target: &Path) -> Result<(), Unopened> {
        let len_bytes = self.link.len_of(hash).map_err(io::Error::from)?;
        let file = File::create(target)?;
        self.link.fetch(hash, len_bytes, &mut |offset, bytes| file.write_all_at(bytes, offset))?;
        Ok(file.sync_all()?)
    }

    fn doubt(&self, hash: &Hash) -> bool {
        self.cache.drop_copy(hash)
    }

    fn take(&self, hash: &Hash, target: &Path) -> io::Result<()> {
        self.link.layout.faults.step()?;
        let other = |why| match why {
            Unopened::Missing => io::ErrorKind::NotFound.into(),
            Unopened::Damaged(damage) => io::Error::new(io::ErrorKind::InvalidData, damage),
            Unopened::Io(error) => error,
        };
        let mut temp = match Draft::take(&self.drafts, hash) {
            Some(temp) => temp,
            None => self.fetch_raw(hash).map_err(other)?.0,
        };
        fs::rename(temp.path(), target)?;
        temp.moved();
        sync_dir(target.parent().unwrap_or(Path::new(".")))?;
        // It is given away all the same; what stays is overwritten when the blob is whole again.
        self.remove(&BTreeSet::from([*hash]), &mut |hash, error| {
            tracing::warn!(%hash, %error, "an object stays that is not needed any more");
        });
        Ok(())
    }

    fn remove(&self, hashes: &BTreeSet<Hash>, failed: &mut dyn FnMut(&Hash, io::Error)) {
        let requests = self.link.calls.batch(REMOVALS_AT_ONCE);
        let (mut left, mut running) = (hashes.iter(), BTreeSet::new());
        let mut given_up: Option<RemoteError> = None;
        loop {
            let next = if running.len() < REMOVALS_AT_ONCE { left.next() } else { None };
            if let Some(hash) = next {
                let ready = self.link.layout.faults.step();
                match (ready, &given_up) {
                    (Err(error), _) => failed(hash, error),
                    // It would only keep the writer thread waiting once more.
                    (_, Some(error)) => failed(hash, error.clone().into()),
                    (Ok(()), None) => {
                        // Who sends this blob right now has to send it again; also if it arrives meanwhile.
                        self.sent.gone(hash);
                        self.cache.drop_copy(hash);
                        let (objects, key) = (Arc::clone(&self.link.objects), self.link.key(hash));
                        let removal = async move { objects.delete(&key).await };
                        requests.start(&self.link.calls, (REMOVING, ASK_MAX), *hash, removal);
                        running.insert(*hash);
                    }
                }
                continue;
            }
            if running.is_empty() {
                return;
            }
            let (hash, removed) = match requests.next(REMOVING) {
                Ok(answer) => answer,
                Err(error) => {
                    running.iter().for_each(|hash| failed(hash, error.clone().into()));
                    return;
                }
            };
            running.remove(&hash);
            self.sent.gone(&hash);
            if let Err(error) = removed
                && error.fault() != RemoteFault::Missing
            {
                failed(&hash, error.clone().into());
                given_up = Some(error);
            }
        }
    }

    fn list(&self, first: u8) -> io::Result<Vec<(Hash, u64)>> {
        let (objects, folder) = (Arc::clone(&self.link.objects), self.link.shard(first));
        let mut files = self.link.calls.run("listing blobs", async move {
            let mut files = Vec::new();
            let mut found = objects.list(Some(&folder));
            while let Some(object) = found.next().await {
                let object = object?;
                // Also of hidden folders in between nothing is ours.
                let name = object
                    .location
                    .filename()
                    .filter(|name| folder.clone().join(*name) == object.location);
                if let Some(hash) = name.and_then(|name| name.parse::<Hash>().ok()) {
                    files.push((hash, object.size));
                }
            }
            Ok(files)
        })?;
        files.retain(|(hash, _)| !self.sent.is_known(hash));
        Ok(files)
    }
}

/// Damaged blobs that are being looked at, as they came.
type Drafts = Arc<Mutex<BTreeMap<Hash, TempFile>>>;

/// Removes the draft when dropped, unless it was taken.
#[derive(Debug)]
struct Draft {
    drafts: Drafts,
    hash: Hash,
}

impl Draft {
    fn put(drafts: &Drafts, hash: &Hash, temp: TempFile) -> Self {
        drafts.lock().unwrap_or_else(PoisonError::into_inner).insert(*hash, temp);
        Self { drafts: Arc::clone(drafts), hash: *hash }
    }

    fn take(drafts: &Drafts, hash: &Hash) -> Option<TempFile> {
        drafts.lock().unwrap_or_else(PoisonError::into_inner).remove(hash)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        Self::take(&self.drafts, &self.hash);
    }
}

/// An object, read by ranges.
#[derive(Debug)]
struct Object {
    link: Arc<Link>,
    hash: Hash,
}

impl Source for Object {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.link.range(&self.hash, offset, out.len() as u64)?;
        let bytes = bytes.as_ref();
        if bytes.len() != out.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.copy_from_slice(bytes);
        Ok(())
    }

    /// One request a piece.
    fn slice_bytes(&self) -> usize {
        usize::try_from(PIECE_BYTES).unwrap_or(1)
    }
}
