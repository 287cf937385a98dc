//! How the process's allocator treats memory that is freed, where that is the GNU C library's.
//!
//! Bytes of a stream pass through blocks of 64 KiB that live for a moment: one per frame in Yamux and one per message in
//! Noise, on both sides. By default the library returns freed memory to the kernel as soon as 128 KiB lie at the end of
//! a heap, so the next frame faults the same pages in again; measured over loopback, that is a third of all time spent
//! on a transfer. The threshold follows the largest block that was ever mapped and freed (mallopt(3), `M_MMAP_THRESHOLD`)
//! and so can be raised without calling the library by name. Elsewhere this does nothing.

/// The block that is freed. The library keeps twice as much in each of its heaps, of which there is one per thread at
/// most: 16 MiB, some two hundred frames under way.
const BLOCK_BYTES: usize = 8 * 1024 * 1024;

/// Lets the allocator keep what is freed. The block is never written, so it takes no memory itself.
pub(crate) fn keep_freed() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(BLOCK_BYTES)));
}
