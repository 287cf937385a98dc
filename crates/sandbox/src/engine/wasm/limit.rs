//! What a guest may take: memory over all its linear memories together, table entries, instances.

use wasmtime::ResourceLimiter;

/// Most entries of a table; an entry takes 8 bytes of ours. CPython, the largest guest that we know, has about 15,000.
pub(super) const TABLE_ENTRIES_MAX: usize = 100_000;

/// Most tables of one call.
pub(super) const TABLES_MAX: u32 = 32;

/// Most core instances in one component; a Python stage has about forty.
pub(super) const INSTANCES_MAX: u32 = 128;

/// Most linear memories in one component: its own and those of adapters.
pub(super) const MEMORIES_MAX: u32 = 8;

/// Counts a guest's memory and refuses what exceeds its limit.
pub(super) struct Limit {
    max_bytes: u64,
    now_bytes: u64,
    peak_bytes: u64,
    was_refused: bool,
}

impl Limit {
    /// Nothing taken yet.
    pub(super) const fn new(max_bytes: u64) -> Self {
        Self { max_bytes, now_bytes: 0, peak_bytes: 0, was_refused: false }
    }

    /// What it may have at most, bytes.
    pub(super) const fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Most memory that it had at once, bytes.
    pub(super) const fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Counts memory that the host holds for the guest, as if it were the guest's own; false if it may not have so much.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let wanted = self.now_bytes.saturating_add(bytes);
        if wanted > self.max_bytes {
            self.was_refused = true;
            return false;
        }
        self.now_bytes = wanted;
        self.peak_bytes = self.peak_bytes.max(wanted);
        true
    }

    /// The host holds so much less.
    pub(super) const fn give_back(&mut self, bytes: u64) {
        self.now_bytes = self.now_bytes.saturating_sub(bytes);
    }

    /// Something that the guest asked for did not get the memory that it takes.
    pub(super) const fn refuse(&mut self) {
        self.was_refused = true;
    }

    /// The guest wanted more than it may have; if it then fails, that is why.
    pub(super) const fn was_refused(&self) -> bool {
        self.was_refused
    }
}

impl ResourceLimiter for Limit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A memory never shrinks, and all of a call's memories live as long as the call.
        let more = (desired as u64).saturating_sub(current as u64);
        Ok(self.take(more))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // The process is at its own limit, which is the stage's and the engine's together.
        self.was_refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ENTRIES_MAX)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_of_a_call_share_one_limit() {
        let mut limit = Limit::new(100);
        let mut grow = |from, to| limit.memory_growing(from, to, None).unwrap();
        assert!(grow(0, 60), "the first memory");
        assert!(grow(0, 30), "the second");
        assert!(!grow(30, 50), "together they would have 110");
        assert!(grow(60, 70));
        assert!(!grow(0, usize::MAX));
        assert_eq!((limit.peak_bytes(), limit.was_refused()), (100, true));
    }

    #[test]
    fn what_the_host_holds_for_the_guest_counts_until_it_is_given_back() {
        let mut limit = Limit::new(100);
        assert!(limit.take(70) && !limit.was_refused());
        assert!(!limit.memory_growing(0, 31, None).unwrap() && limit.was_refused());
        limit.give_back(70);
        assert!(limit.memory_growing(0, 100, None).unwrap());
        assert!(!limit.take(1) && !limit.take(u64::MAX));
        assert_eq!(limit.peak_bytes(), 100);
    }
}
