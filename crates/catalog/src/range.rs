//! A numeric column as bitmaps, so that "at most" and "at least" need few of them.
//!
//! Values fall into 64 buckets, in order. A set is kept for each bucket, and one for each eight buckets together with
//! everything below. A bound is answered by one of those and at most seven of the others; only rows of the bucket that
//! the bound falls into have to be looked at. Where few rows are in question, their values are compared one by one,
//! rounded to 16 bits each in one array; only those that round to the same as the bound have to be looked at.

use roaring::RoaringBitmap;

const BUCKETS: usize = 64;
const BUCKETS_PER_BLOCK: usize = 8;

/// Rows for each one in question from which on the sets are slower: they are bitmaps from this share on, and those are
/// intersected word by word.
const ROWS_PER_COMPARED: u64 = 16;

/// A bucket's number, 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket(usize);

impl Bucket {
    /// Of a share from 0 to 1, in equal steps.
    pub(crate) fn of_share(value: f32) -> Self {
        Self::clamped(value * 64.0)
    }

    /// Of a number from 2^-12 to 2^20 in half octaves: latencies in milliseconds from a microsecond to a quarter of an
    /// hour.
    pub(crate) fn of_ms(value: f32) -> Self {
        Self::clamped(value.log2().mul_add(2.0, 24.0))
    }

    /// Of a count of bytes, in octaves.
    pub(crate) fn of_bytes(value: u64) -> Self {
        Self(usize::try_from(64 - value.leading_zeros()).unwrap_or(BUCKETS).min(BUCKETS - 1))
    }

    /// Of a small count, one each.
    pub(crate) fn of_count(value: u32) -> Self {
        Self(usize::try_from(value).unwrap_or(BUCKETS).min(BUCKETS - 1))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=63 before; not a number becomes 0"
    )]
    fn clamped(value: f32) -> Self {
        Self(value.clamp(0.0, 63.0) as usize)
    }
}

/// A value rounded down to 16 bits, in order: the upper half of a float that is not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rounded(u16);

impl Rounded {
    /// Above every value: there is none.
    const NONE: Self = Self(u16::MAX);

    /// Of a number; what is negative or none counts as 0.
    pub(crate) fn of(value: f32) -> Self {
        let bits = if value > 0.0 { value.to_bits() >> 16 } else { 0 };
        Self(u16::try_from(bits).unwrap_or_default())
    }

    /// Of a count.
    #[expect(
        clippy::cast_precision_loss,
        reason = "rounding is what is wanted, and it keeps order"
    )]
    pub(crate) fn of_count(value: u64) -> Self {
        Self::of(value as f32)
    }
}

/// The column.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Range {
    fine: Vec<RoaringBitmap>,
    /// Everything up to the end of a block.
    up_to: Vec<RoaringBitmap>,
    has: RoaringBitmap,
    /// By row.
    rounded: Vec<Rounded>,
}

/// Rows that meet a bound, and rows whose value has to be looked at.
pub(crate) struct Bounded {
    pub(crate) certain: RoaringBitmap,
    pub(crate) doubtful: RoaringBitmap,
}

impl Range {
    /// Adds a row, whose number is greater than every one before.
    pub(crate) fn push(&mut self, number: u32, bucket: Bucket, rounded: Rounded) {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        self.rounded.resize(place, Rounded::NONE);
        self.rounded.push(rounded);
        self.fine.resize_with(BUCKETS, RoaringBitmap::new);
        self.up_to.resize_with(BUCKETS / BUCKETS_PER_BLOCK, RoaringBitmap::new);
        self.has.insert(number);
        if let Some(set) = self.fine.get_mut(bucket.0) {
            set.insert(number);
        }
        for set in self.up_to.iter_mut().skip(bucket.0 / BUCKETS_PER_BLOCK) {
            set.insert(number);
        }
    }

    /// Rows of `within` whose value lies in a bucket below `bucket`, and those in it.
    fn below(&self, within: &RoaringBitmap, bucket: Bucket) -> (RoaringBitmap, RoaringBitmap) {
        let block = bucket.0 / BUCKETS_PER_BLOCK;
        let whole = block.checked_sub(1).and_then(|block| self.up_to.get(block));
        let mut below = whole.map(|set| within & set).unwrap_or_default();
        let rest = self.fine.iter().take(bucket.0).skip(block * BUCKETS_PER_BLOCK);
        rest.for_each(|set| below |= within & set);
        let at = self.fine.get(bucket.0).map(|set| within & set).unwrap_or_default();
        (below, at)
    }

    /// Rows of `within` with at most a value that falls into `bucket` and is `bound` when it is rounded.
    pub(crate) fn at_most(
        &self,
        within: &RoaringBitmap,
        bucket: Bucket,
        bound: Rounded,
    ) -> Bounded {
        if self.is_few(within) {
            return self.compared(within, bound, |value| value < bound);
        }
        let (certain, doubtful) = self.below(within, bucket);
        Bounded { certain, doubtful }
    }

    /// Rows of `within` with at least a value that falls into `bucket` and is `bound` when it is rounded.
    pub(crate) fn at_least(
        &self,
        within: &RoaringBitmap,
        bucket: Bucket,
        bound: Rounded,
    ) -> Bounded {
        if self.is_few(within) {
            return self.compared(within, bound, |value| value > bound && value < Rounded::NONE);
        }
        let (below, doubtful) = self.below(within, bucket);
        let mut certain = within & &self.has;
        certain -= &below;
        certain -= &doubtful;
        Bounded { certain, doubtful }
    }

    fn is_few(&self, within: &RoaringBitmap) -> bool {
        let all = u64::try_from(self.rounded.len()).unwrap_or(u64::MAX);
        within.len().saturating_mul(ROWS_PER_COMPARED) < all
    }

    fn compared(
        &self,
        within: &RoaringBitmap,
        bound: Rounded,
        meets: impl Fn(Rounded) -> bool,
    ) -> Bounded {
        let mut doubtful = RoaringBitmap::new();
        let certain = within.iter().filter(|number| {
            let place = usize::try_from(*number).unwrap_or(usize::MAX);
            let value = self.rounded.get(place).copied().unwrap_or(Rounded::NONE);
            if value == bound {
                doubtful.insert(*number);
            }
            meets(value)
        });
        let certain = RoaringBitmap::from_sorted_iter(certain).unwrap_or_default();
        Bounded { certain, doubtful }
    }
}
