//! Which segments are merged next.
//!
//! Segments are in order of their numbers, and only neighbours are merged, so that numbers go on growing inside each.
//! A segment's rank is how often it was merged, about: one more for each factor of [`FACTOR`] in its size. Where
//! [`FACTOR`] neighbours have no more than some rank, they become one, unless the largest of them alone makes up more
//! than half: it would be copied for the sake of a few small ones. So a document is copied about once for each rank,
//! and there are some 30 segments for a million listings.

use std::ops::Range;

/// So many segments become one. Larger: fewer copies and more segments for each search to look at.
const FACTOR: usize = 8;

/// Segments of up to so many documents are of the first rank: smaller ones cost as much to look at as to merge.
const FIRST_RANK: u32 = 128;

/// A segment of which half is deleted is written again.
const DELETED_MAX_PERCENT: u64 = 50;

/// Size of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Documents that are not deleted.
    pub(crate) alive: u32,
    /// Deleted documents that are still there.
    pub(crate) deleted: u32,
}

impl Size {
    fn rank(self) -> u32 {
        self.weight().ilog(8)
    }

    /// What it costs to copy, in segments of the first rank.
    fn weight(self) -> u32 {
        self.alive.max(1).div_ceil(FIRST_RANK)
    }

    fn is_mostly_deleted(self) -> bool {
        let all = u64::from(self.alive) + u64::from(self.deleted);
        u64::from(self.deleted) * 100 > all * DELETED_MAX_PERCENT
    }
}

/// The segments to merge next, of all in their order; `None` when it is well as it is.
pub(crate) fn next(sizes: &[Size]) -> Option<Range<usize>> {
    let ranks: Vec<u32> = sizes.iter().map(|size| size.rank()).collect();
    let highest = ranks.iter().copied().max()?;
    for rank in 0..=highest {
        let mut from = 0;
        for run in ranks.split_inclusive(|other| *other > rank) {
            // The last of a run is the larger neighbour that ends it, if there is one.
            let len = run.iter().take_while(|other| **other <= rank).count();
            if len >= FACTOR && is_worth_it(&sizes[from..from + len]) {
                return Some(from..from + len);
            }
            from += run.len();
        }
    }
    sizes.iter().position(|size| size.is_mostly_deleted()).map(|at| at..at + 1)
}

/// Whether none of them is larger than the others together.
fn is_worth_it(sizes: &[Size]) -> bool {
    let sum: u64 = sizes.iter().map(|size| u64::from(size.weight())).sum();
    sizes.iter().all(|size| u64::from(size.weight()) * 2 <= sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(sizes: &[u32]) -> Vec<Size> {
        sizes.iter().map(|alive| Size { alive: *alive, deleted: 0 }).collect()
    }

    #[test]
    fn eight_neighbours_of_a_size_become_one() {
        assert_eq!(next(&alive(&[])), None);
        assert_eq!(next(&alive(&[1; 7])), None);
        assert_eq!(next(&alive(&[1; 8])), Some(0..8));
        assert_eq!(next(&alive(&[500_000, 1, 1, 1, 1, 1, 1, 1, 1, 1])), Some(1..10));
        assert_eq!(next(&alive(&[1, 1, 1, 1, 500_000, 1, 1, 1, 1])), None);
        assert_eq!(next(&alive(&[9000, 9000, 9000, 1, 9000, 9000, 9000, 9000])), Some(0..8));
    }

    #[test]
    fn what_is_mostly_deleted_is_written_again() {
        let mut sizes = alive(&[500_000, 9000]);
        sizes[1].deleted = 9001;
        assert_eq!(next(&sizes), Some(1..2));
        sizes[1].deleted = 9000;
        assert_eq!(next(&sizes), None);
    }

    #[test]
    fn few_segments_remain_and_documents_are_copied_few_times() {
        for batch in [1, 100, 4096] {
            let (mut sizes, mut copied, mut most) = (Vec::new(), 0_u64, 0);
            let batches = 1_000_000 / batch.max(100);
            for _ in 0..batches {
                sizes.push(Size { alive: batch, deleted: 0 });
                while let Some(range) = next(&sizes) {
                    let sum = sizes[range.clone()].iter().map(|size| size.alive).sum();
                    copied += u64::from(sum);
                    sizes.splice(range, [Size { alive: sum, deleted: 0 }]);
                }
                most = most.max(sizes.len());
            }
            let all = u64::from(batch * batches);
            assert!(most <= 40, "{most} segments of batches of {batch}");
            assert!(copied <= all * 80, "copied {copied} of {all}, batches of {batch}");
        }
    }
}
