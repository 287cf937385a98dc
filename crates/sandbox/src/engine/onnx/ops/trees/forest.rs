//! Trees laid out to be walked fast: 16 bytes a node, children side by side, so that a step is one load, one comparison
//! and one addition, without a jump that could be guessed wrong. Several walks go on at once and hide each other's waits:
//! of several trees for one row, of several rows through one tree otherwise.
//!
//! A leaf leads to itself, so walks that end early do no harm. Links are checked by the way they are made: every
//! node's children lie behind it.

use tract_onnx::tract_hir::internal::*;

use super::draft::{Draft, Drafts, Test};

/// Deepest tree; scikit-learn's without a limit reach some hundred, and a walk must end.
const DEPTH_MAX: usize = 4_096;

/// Walks at once: more than the loads that a core waits for, and few enough for its registers.
const LANES: usize = 8;

/// Rows that go through all trees together: their features and sums stay in the first cache.
const BLOCK_ROWS: usize = 64;

/// In [`Node::kind`]: it has children.
const INNER: u32 = 1;

/// In [`Node::kind`] of inner nodes: a missing value goes the way of yes.
const MISSING_IS_YES: u32 = 2;

/// In [`Node::kind`] of inner nodes: how far the test stands up.
const TEST_SHIFT: u32 = 8;

/// Nodes do not all ask the same.
const MIXED: u8 = 255;

/// A node of numbers `V`.
#[derive(Clone, Copy, Debug)]
struct Node<V> {
    value: V,
    feature: u32,
    /// The child for yes, and behind it the one for no; of a leaf, itself.
    next: u32,
    /// Flags of an inner node; of a leaf, twice its number.
    kind: u32,
}

/// What one class or target has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) value: f64,
    /// Any leaf had a word on it.
    pub(super) is_hit: bool,
}

/// How leaves add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

/// Trees with thresholds in single or double precision.
#[derive(Debug)]
pub(super) enum Forest {
    Single(Trees<f32>),
    Double(Trees<f64>),
}

/// Rows of features in the precision they came in.
pub(super) enum Rows<'a> {
    Single(&'a [f32]),
    Double(&'a [f64]),
}

impl Forest {
    pub(super) fn new(drafts: &Drafts, targets: usize, aggregate: Aggregate) -> TractResult<Self> {
        Ok(if drafts.is_double {
            Self::Double(Trees::new(drafts, targets, aggregate, |value| value)?)
        } else {
            #[expect(clippy::cast_possible_truncation, reason = "they came from single precision")]
            Self::Single(Trees::new(drafts, targets, aggregate, |value| value as f32)?)
        })
    }

    /// The sums of each row's targets, row by row.
    pub(super) fn sums(&self, rows: &Rows<'_>, columns: usize) -> TractResult<Vec<Sum>> {
        match (self, rows) {
            (Self::Single(trees), Rows::Single(rows)) => trees.sums(rows, columns),
            (Self::Single(trees), Rows::Double(rows)) => trees.sums(rows, columns),
            (Self::Double(trees), Rows::Double(rows)) => trees.sums(rows, columns),
            (Self::Double(trees), Rows::Single(rows)) => {
                let rows: Vec<f64> = rows.iter().copied().map(f64::from).collect();
                trees.sums(&rows, columns)
            }
        }
    }
}

/// The trees themselves, with thresholds `V`.
#[derive(Debug)]
pub(super) struct Trees<V> {
    nodes: Vec<Node<V>>,
    roots: Vec<u32>,
    /// Where each leaf's weights begin; one more than leaves.
    leaves: Vec<u32>,
    weights: Vec<(u32, f64)>,
    sets: Vec<Vec<f64>>,
    targets: usize,
    aggregate: Aggregate,
    /// One more than the highest feature asked for.
    columns_min: usize,
    /// The one test of all nodes, or [`MIXED`].
    test: u8,
    has_missing: bool,
}

impl<V: Copy + Into<f64>> Trees<V> {
    fn new(
        drafts: &Drafts,
        targets: usize,
        aggregate: Aggregate,
        threshold: impl Fn(f64) -> V,
    ) -> TractResult<Self> {
        let mut made = Self {
            nodes: Vec::with_capacity(drafts.nodes.len()),
            roots: Vec::with_capacity(drafts.roots.len()),
            leaves: vec![0],
            weights: Vec::with_capacity(drafts.weights.len()),
            sets: drafts.sets.clone(),
            targets,
            aggregate,
            columns_min: 0,
            test: MIXED,
            has_missing: false,
        };
        let mut tests = Vec::new();
        let empty = Node { value: threshold(0.0), feature: 0, next: 0, kind: 0 };
        for root in &drafts.roots {
            made.roots.push(u32::try_from(made.nodes.len())?);
            let mut left = vec![(*root, made.nodes.len(), 0_usize)];
            made.nodes.push(empty);
            while let Some((draft, slot, depth)) = left.pop() {
                if depth > DEPTH_MAX {
                    bail!("a tree is deeper than {DEPTH_MAX}");
                }
                let draft = drafts.nodes.get(draft).context("a node is missing")?;
                let next = u32::try_from(made.nodes.len())?;
                let laid = match *draft {
                    Draft::Leaf { start, count } => made.leaf(drafts, slot, start, count, empty)?,
                    Draft::Inner { feature, value, test, missing_is_yes, yes, no } => {
                        made.nodes.extend([empty; 2]);
                        let first = made.nodes.len() - 2;
                        left.extend([(no, first + 1, depth + 1), (yes, first, depth + 1)]);
                        made.columns_min = made.columns_min.max(usize::try_from(feature)? + 1);
                        made.has_missing |= missing_is_yes;
                        if !tests.contains(&test) {
                            tests.push(test);
                        }
                        let missing = if missing_is_yes { MISSING_IS_YES } else { 0 };
                        let kind = INNER | missing | u32::from(test as u8) << TEST_SHIFT;
                        Node { value: threshold(value), feature, next, kind }
                    }
                };
                if let Some(node) = made.nodes.get_mut(slot) {
                    *node = laid;
                }
            }
        }
        // A circle has no root, so nothing came by.
        if made.nodes.len() != drafts.nodes.len() {
            bail!("some nodes lead in a circle");
        }
        if let [only] = tests.as_slice() {
            made.test = *only as u8;
        }
        Ok(made)
    }

    fn leaf(
        &mut self,
        drafts: &Drafts,
        slot: usize,
        start: usize,
        count: usize,
        empty: Node<V>,
    ) -> TractResult<Node<V>> {
        let number = u32::try_from(self.leaves.len() - 1)?;
        let weights = drafts.weights.get(start..start.saturating_add(count));
        self.weights.extend(weights.context("a leaf's weights are missing")?);
        self.leaves.push(u32::try_from(self.weights.len())?);
        let kind = number.checked_mul(2).context("too many leaves")?;
        Ok(Node { next: u32::try_from(slot)?, kind, ..empty })
    }

    fn sums<X: Number<V>>(&self, rows: &[X], columns: usize) -> TractResult<Vec<Sum>> {
        if columns < self.columns_min {
            bail!("its trees ask for {} features, a row has {columns}", self.columns_min);
        }
        let count = rows.len() / columns.max(1);
        let mut sums = vec![Sum::default(); super::super::rows::volume(&[count, self.targets])?];
        let blocks = rows.chunks(BLOCK_ROWS * columns.max(1));
        for (rows, sums) in blocks.zip(sums.chunks_mut(BLOCK_ROWS * self.targets.max(1))) {
            match (self.test, self.has_missing) {
                (0, false) => self.block::<X, 0, false>(rows, columns, sums),
                (0, true) => self.block::<X, 0, true>(rows, columns, sums),
                (1, false) => self.block::<X, 1, false>(rows, columns, sums),
                (1, true) => self.block::<X, 1, true>(rows, columns, sums),
                _ => self.block::<X, MIXED, true>(rows, columns, sums),
            }
        }
        Ok(sums)
    }

    /// Rows through all trees.
    fn block<X: Number<V>, const TEST: u8, const MISSING: bool>(
        &self,
        rows: &[X],
        columns: usize,
        sums: &mut [Sum],
    ) {
        let mut groups = rows.chunks_exact(LANES * columns.max(1));
        let mut groups_of_sums = sums.chunks_exact_mut(LANES * self.targets.max(1));
        for (rows, sums) in groups.by_ref().zip(groups_of_sums.by_ref()) {
            let mut lanes = [rows; LANES];
            for (lane, row) in lanes.iter_mut().zip(rows.chunks_exact(columns.max(1))) {
                *lane = row;
            }
            for root in &self.roots {
                let ends = self.walk::<X, TEST, MISSING>([*root; LANES], lanes);
                for (end, sums) in ends.iter().zip(sums.chunks_exact_mut(self.targets.max(1))) {
                    self.count(*end, sums);
                }
            }
        }
        let rest = groups.remainder().chunks_exact(columns.max(1));
        let rest_of_sums = groups_of_sums.into_remainder().chunks_exact_mut(self.targets.max(1));
        for (row, sums) in rest.zip(rest_of_sums) {
            for roots in self.roots.chunks(LANES) {
                let mut lanes = [roots.first().copied().unwrap_or_default(); LANES];
                for (lane, root) in lanes.iter_mut().zip(roots) {
                    *lane = *root;
                }
                let ends = self.walk::<X, TEST, MISSING>(lanes, [row; LANES]);
                for end in ends.iter().take(roots.len()) {
                    self.count(*end, sums);
                }
            }
        }
    }

    /// From these nodes to leaves, each for its row; the leaves' `kind`.
    #[inline(always)]
    fn walk<X: Number<V>, const TEST: u8, const MISSING: bool>(
        &self,
        mut at: [u32; LANES],
        rows: [&[X]; LANES],
    ) -> [u32; LANES] {
        let mut kinds = [0; LANES];
        loop {
            let mut inner = 0;
            for ((at, row), kind) in at.iter_mut().zip(rows).zip(&mut kinds) {
                // Neither can fail: links are made here, and rows have all features. No panic, should it happen.
                let Some(node) = self.nodes.get(*at as usize) else { continue };
                let value = row.get(node.feature as usize).copied().unwrap_or_default();
                let is_yes = self.ask::<X, TEST, MISSING>(node, value);
                *at = node.next + (u32::from(!is_yes) & node.kind & INNER);
                *kind = node.kind;
                inner |= node.kind;
            }
            if inner & INNER == 0 {
                return kinds;
            }
        }
    }

    #[inline(always)]
    fn ask<X: Number<V>, const TEST: u8, const MISSING: bool>(
        &self,
        node: &Node<V>,
        value: X,
    ) -> bool {
        let threshold = X::from(node.value);
        let is_yes = match TEST {
            0 => value <= threshold,
            1 => value < threshold,
            _ => self.ask_any(node, value),
        };
        is_yes | (MISSING && node.kind & MISSING_IS_YES != 0 && value.is_nan())
    }

    #[inline(never)]
    fn ask_any<X: Number<V>>(&self, node: &Node<V>, value: X) -> bool {
        let threshold = X::from(node.value);
        match node.kind >> TEST_SHIFT & 7 {
            test if test == Test::AtMost as u32 => value <= threshold,
            test if test == Test::Less as u32 => value < threshold,
            test if test == Test::AtLeast as u32 => value >= threshold,
            test if test == Test::More as u32 => value > threshold,
            test if test == Test::Equal as u32 => value == threshold,
            test if test == Test::NotEqual as u32 => value != threshold,
            _ => {
                let number: f64 = node.value.into();
                let set = self.sets.iter().zip(0_u32..).find(|(_, at)| f64::from(*at) == number);
                set.is_some_and(|(set, _)| set.contains(&value.into()))
            }
        }
    }

    /// Adds a leaf's weights.
    #[inline(always)]
    fn count(&self, kind: u32, sums: &mut [Sum]) {
        let leaf = (kind >> 1) as usize;
        let ends = (self.leaves.get(leaf), self.leaves.get(leaf + 1));
        let (Some(start), Some(end)) = ends else { return };
        let Some(weights) = self.weights.get(*start as usize..*end as usize) else { return };
        for (target, weight) in weights {
            let Some(sum) = sums.get_mut(*target as usize) else { continue };
            sum.value = match self.aggregate {
                Aggregate::Sum | Aggregate::Average => sum.value + weight,
                Aggregate::Min if sum.is_hit => sum.value.min(*weight),
                Aggregate::Max if sum.is_hit => sum.value.max(*weight),
                Aggregate::Min | Aggregate::Max => *weight,
            };
            sum.is_hit = true;
        }
    }

    fn finish_average(&self, sums: &mut [Sum]) {
        let count = f64::from(u32::try_from(self.roots.len()).unwrap_or(u32::MAX));
        sums.iter_mut().for_each(|sum| sum.value /= count);
    }
}

impl Forest {
    /// [`Forest::sums`] with averages taken.
    pub(super) fn results(&self, rows: &Rows<'_>, columns: usize) -> TractResult<Vec<Sum>> {
        let mut sums = self.sums(rows, columns)?;
        match self {
            Self::Single(trees) if trees.aggregate == Aggregate::Average => {
                trees.finish_average(&mut sums);
            }
            Self::Double(trees) if trees.aggregate == Aggregate::Average => {
                trees.finish_average(&mut sums);
            }
            _ => {}
        }
        Ok(sums)
    }
}

/// A feature's value, compared with thresholds `V`.
pub(super) trait Number<V>: Copy + Default + PartialOrd + From<V> + Into<f64> {
    fn is_nan(self) -> bool;
}

impl Number<f32> for f32 {
    fn is_nan(self) -> bool {
        self.is_nan()
    }
}

impl<V> Number<V> for f64
where
    Self: From<V>,
{
    fn is_nan(self) -> bool {
        self.is_nan()
    }
}
