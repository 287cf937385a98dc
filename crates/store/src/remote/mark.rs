//! The store's mark, an object `<prefix>/store`: whose objects these are.

use std::sync::Arc;

use object_store::{ObjectStoreExt as _, PutMode, PutPayload};

use crate::error::{OpenError, RemoteError, RemoteFault};

use super::Remote;

/// Longest mark that is read, bytes: twice what we write.
const MARK_MAX_BYTES: u64 = 64;

const MARKING: &str = "looking whose objects these are";

impl Remote {
    /// Checks that this place has this mark, or puts it there if `was_marked` says that it never was.
    pub(crate) fn claim(&self, mark: &str, was_marked: bool) -> Result<(), OpenError> {
        let not_ours = |why| OpenError::NotOurs { place: self.link.spot.to_string(), why };
        let unusable = |source| Self::unusable(&self.link.spot, source);
        match self.mark().map_err(unusable)? {
            Some(found) if found == mark => Ok(()),
            Some(_) => Err(not_ours("another store keeps its blobs there")),
            None if was_marked => Err(not_ours("its mark is gone; was the bucket emptied?")),
            None => {
                self.put_mark(mark).map_err(unusable)?;
                // Another may have been faster, at a server that does not know conditions.
                match self.mark().map_err(unusable)? {
                    Some(found) if found == mark => Ok(()),
                    _ => Err(not_ours("another store keeps its blobs there")),
                }
            }
        }
    }

    fn mark(&self) -> Result<Option<String>, RemoteError> {
        let (objects, key) =
            (Arc::clone(&self.link.objects), self.link.prefix.clone().join("store"));
        let found = self
            .link
            .calls
            .run(MARKING, async move { objects.get_range(&key, 0..MARK_MAX_BYTES).await });
        match found {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.fault() == RemoteFault::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts the mark where none is.
    fn put_mark(&self, mark: &str) -> Result<(), RemoteError> {
        let (objects, key) =
            (Arc::clone(&self.link.objects), self.link.prefix.clone().join("store"));
        let bytes = PutPayload::from(mark.as_bytes().to_vec());
        self.link.calls.ask(MARKING, async move {
            match objects.put_opts(&key, bytes.clone(), PutMode::Create.into()).await {
                // Somebody's is there: looking at it says whose.
                Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
                Err(object_store::Error::NotImplemented { .. }) => {
                    objects.put(&key, bytes).await.map(drop)
                }
                put => put.map(drop),
            }
        })
    }
}
