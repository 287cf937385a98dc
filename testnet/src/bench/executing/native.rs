//! The three kernels as a Rust program would have them: the same arithmetic in the same order as in `kernels/`, so that
//! they yield the same numbers. The compiler may use what it likes for it.

/// Numbers in each array of the dot product.
const NUMBERS: usize = 4_096;

/// Trees, and places for the nodes of each.
const TREES: usize = 64;
const PLACES: usize = 1_024;

/// Levels of inner nodes.
const LEVELS: usize = 10;

/// Numbers in a row that the trees look at.
const FEATURES: usize = 32;

/// Where the generator starts.
const SEED: u64 = 88_172_645_463_325_252;

/// `rounds` dot products, summed.
pub(super) fn dot(rounds: u32) -> f64 {
    let left: Vec<f32> = (0..NUMBERS).map(|at| small(at & 15) * 0.25).collect();
    let right: Vec<f32> = (0..NUMBERS).map(|at| small(at & 7) - 3.5).collect();
    let mut sums = [0.0_f32; 16];
    for _ in 0..rounds {
        let pairs = left.as_chunks::<16>().0.iter().zip(right.as_chunks::<16>().0);
        for (left, right) in pairs {
            for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
                *sum += left * right;
            }
        }
    }
    let [a, b, c, d] = std::array::from_fn(|part: usize| {
        std::array::from_fn::<f32, 4, _>(|lane| {
            sums.get(4 * part + lane).copied().unwrap_or_default()
        })
    });
    let lane = |at: usize| {
        let of = |part: &[f32; 4]| part.get(at).copied().unwrap_or_default();
        (of(&a) + of(&b)) + (of(&c) + of(&d))
    };
    f64::from((lane(0) + lane(1)) + (lane(2) + lane(3)))
}

fn small(number: usize) -> f32 {
    u8::try_from(number).map_or(0.0, f32::from)
}

/// `rounds` numbers of a generator, summed.
pub(super) fn scalar(rounds: u32) -> f64 {
    let (mut x, mut sum) = (SEED, 0.0);
    for _ in 0..rounds {
        x = step(x);
        sum += (x >> 40) as f64;
    }
    sum
}

const fn step(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^ (x << 17)
}

/// An inner node: which number of the row it looks at, and beyond what it goes right.
#[derive(Clone, Copy, Default)]
struct Inner {
    feature: u32,
    threshold: f32,
}

/// `rounds` rows through all trees, the leaves summed.
pub(super) fn trees(rounds: u32) -> f64 {
    let mut x = SEED;
    let mut next = move || {
        x = step(x);
        x >> 40
    };
    let mut inner = vec![Inner::default(); TREES * PLACES];
    let mut leaves = vec![0.0_f32; TREES * PLACES];
    for (inner, leaf) in inner.iter_mut().zip(&mut leaves) {
        inner.feature = u32::try_from(next() & 31).unwrap_or_default();
        inner.threshold = next() as f32;
        *leaf = (next() & 1_023) as f32;
    }
    let (mut row, mut sum) = ([0.0_f32; FEATURES], 0.0);
    for _ in 0..rounds {
        row.iter_mut().for_each(|feature| *feature = next() as f32);
        for (inner, leaves) in inner.chunks_exact(PLACES).zip(leaves.chunks_exact(PLACES)) {
            sum += f64::from(leaf(inner, leaves, &row));
        }
    }
    sum
}

fn leaf(inner: &[Inner], leaves: &[f32], row: &[f32; FEATURES]) -> f32 {
    let mut at = 0;
    for _ in 0..LEVELS {
        let node = inner.get(at).copied().unwrap_or_default();
        let feature = row.get(node.feature as usize).copied().unwrap_or_default();
        at = 2 * at + 1 + usize::from(feature > node.threshold);
    }
    leaves.get(at - (PLACES - 1)).copied().unwrap_or_default()
}
