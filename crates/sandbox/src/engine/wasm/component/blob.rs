//! Bytes that are too long to be handed over at once. They live in the call's table and end with it.

use wasmtime::component::Resource;

use super::bindings::types::{BlobError, HostBlob};
use super::world::World;

/// Longest content that is handed over at once, in either direction, bytes. `wit/stage.wit` says so too.
pub(super) const INLINE_MAX_BYTES: usize = 1024 * 1024;

/// What a `blob` of the guest stands for.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum Blob {
    /// A value of a record.
    Input(Vec<u8>),
    /// What the guest has written so far.
    Output(Vec<u8>),
}

impl Blob {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Input(bytes) | Self::Output(bytes) => bytes,
        }
    }

    /// Its bytes, as an output.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Input(bytes) | Self::Output(bytes) => bytes,
        }
    }
}

impl HostBlob for World {
    fn new(&mut self) -> wasmtime::Result<Resource<Blob>> {
        // The table refuses when it is full, which ends the guest.
        Ok(self.table.push(Blob::Output(Vec::new()))?)
    }

    fn len(&mut self, blob: Resource<Blob>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&blob)?.bytes().len() as u64)
    }

    fn read(&mut self, blob: Resource<Blob>, offset: u64, len: u32) -> wasmtime::Result<Vec<u8>> {
        let bytes = self.table.get(&blob)?.bytes();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(INLINE_MAX_BYTES);
        let rest = bytes.get(start..).unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest).to_vec())
    }

    fn append(
        &mut self,
        blob: Resource<Blob>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), BlobError>> {
        let Blob::Output(written) = self.table.get_mut(&blob)? else {
            return Ok(Err(BlobError::ReadOnly));
        };
        let left = self.room_bytes.checked_sub(bytes.len() as u64);
        match left {
            Some(left) if bytes.len() <= INLINE_MAX_BYTES => {
                self.room_bytes = left;
                written.extend_from_slice(&bytes);
                Ok(Ok(()))
            }
            _ => Ok(Err(BlobError::TooLong)),
        }
    }

    fn drop(&mut self, blob: Resource<Blob>) -> wasmtime::Result<()> {
        // Its room is not given back: what a call writes is bounded, not what it holds.
        self.table.delete(blob)?;
        Ok(())
    }
}
