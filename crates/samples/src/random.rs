//! Random numbers that are the same for the same seed, and the distributions that listings follow.

use std::f64::consts::TAU;

/// A generator of random numbers: xoshiro256++ (Blackman and Vigna 2019), seeded by splitmix64. Not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Random([u64; 4]);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }))
    }

    /// Any 64 bits.
    pub(super) const fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.0;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.0 = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// Below `end`, which is not 0 and far below 2^32, so that the bias of the multiplication does not matter.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(((self.bits() >> 32) * end as u64) >> 32).unwrap_or_default()
    }

    /// From `first` to `last`, both included.
    pub(super) fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// At least 0 and below 1.
    pub(super) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in `share` of the cases.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// One of `list`, each as likely.
    pub(super) fn one<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// Exponential, with this mean.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }

    /// Log-normal: half lie below `median`, two thirds within a factor of e^`spread` of it (Box and Muller 1958).
    pub(super) fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        median * (spread * radius * (TAU * self.share()).cos()).exp()
    }
}

/// Draws ranks by Zipf's law, rank r as often as 1/(r+1)^s: a table of columns, each split between two ranks (Vose
/// 1991), so that a draw takes the same short time for any number of ranks.
#[derive(Debug)]
pub(super) struct Zipf(Vec<Column>);

#[derive(Clone, Copy, Debug)]
struct Column {
    /// The share of the column that is its own rank's.
    own: f64,
    /// The rank that has the rest.
    other: usize,
}

impl Zipf {
    pub(super) fn new(ranks: usize, exponent: f64) -> Self {
        let weights: Vec<f64> = (1..=ranks).map(|rank| (rank as f64).powf(-exponent)).collect();
        let sum: f64 = weights.iter().sum();
        let mut shares: Vec<f64> =
            weights.iter().map(|weight| weight * ranks as f64 / sum).collect();
        let mut columns: Vec<Column> =
            (0..ranks).map(|rank| Column { own: 1.0, other: rank }).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..ranks).partition(|rank| shares[*rank] < 1.0);
        while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
            columns[poor] = Column { own: shares[poor], other: rich };
            shares[rich] -= 1.0 - shares[poor];
            if shares[rich] < 1.0 {
                small.push(rich);
            } else {
                large.push(rich);
            }
        }
        Self(columns)
    }

    /// A rank, from 0.
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        let rank = random.below(self.0.len());
        let Column { own, other } = self.0[rank];
        if random.chance(own) { rank } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_generator() {
        let mut random = Random([1, 2, 3, 4]);
        let first: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn ranks_follow_zipfs_law() {
        let (zipf, mut random) = (Zipf::new(100, 1.0), Random::new(1));
        let mut counts = [0_u32; 100];
        for _ in 0..100_000 {
            counts[zipf.draw(&mut random)] += 1;
        }
        // The sum of 1/r for r up to 100 is 5.187.
        assert!((18_700..19_900).contains(&counts[0]), "{}", counts[0]);
        assert!((1_750..2_100).contains(&counts[9]), "{}", counts[9]);
        assert!((140..250).contains(&counts[99]), "{}", counts[99]);
    }

    #[test]
    fn half_of_log_normal_numbers_lie_below_the_median() {
        let mut random = Random::new(2);
        let below = (0..10_000).filter(|_| random.log_normal(40.0, 1.3) < 40.0).count();
        assert!((4_800..5_200).contains(&below), "{below}");
        let sum: f64 = (0..10_000).map(|_| random.exponential(400.0)).sum();
        assert!((3_850_000.0..4_150_000.0).contains(&sum), "{sum}");
    }
}
