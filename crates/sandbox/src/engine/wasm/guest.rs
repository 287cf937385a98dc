//! A module's memory, as calls of the host see it: every pointer and length is the guest's, and may lead anywhere.

use wasmtime::{Caller, Extern, Memory};

/// The memory that a module exports for the host.
pub(super) fn memory<T>(caller: &mut Caller<'_, T>) -> Option<Memory> {
    caller.get_export("memory").and_then(Extern::into_memory)
}

/// These bytes of it; none if some are outside.
pub(super) fn bytes(data: &[u8], at: u32, len: u32) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    data.get(at..at.checked_add(usize::try_from(len).ok()?)?)
}

/// Writes bytes there; none if some would be outside, and then nothing is written.
pub(super) fn put(data: &mut [u8], at: u32, bytes: &[u8]) -> Option<()> {
    let at = usize::try_from(at).ok()?;
    data.get_mut(at..at.checked_add(bytes.len())?)?.copy_from_slice(bytes);
    Some(())
}
