//! Sets summed up in cells.
//!
//! Cell number i holds each element with probability 2 / (i + 2): the first one holds all of them, later ones ever
//! fewer. A cell is the xor of the short ids in it, the xor of their checks, and how many they are, modulo 256. Two
//! sets' cells of one number, subtracted, hold exactly the elements in which the sets differ. Which cells an element is
//! in follows from its short id and the comparison's key alone, so that both sides agree on it.
//!
//! This is the rateless invertible Bloom lookup table of Yang, Gilad and Alizadeh, "Practical Rateless Set
//! Reconciliation" (SIGCOMM 2024, arXiv 2402.02668), with a short id instead of the element.

use guildhall_protocol::wire::{CELL_BYTES, COMPARE_CELLS_MAX, CompareKey};

/// First cell that is probed: earlier ones are sent whole with the first page.
const PROBES_FROM: usize = 16;

/// Probes in each doubling of the number of cells. With 16 the estimate is within a fifth of the truth two times in
/// three.
const PROBES_PER_OCTAVE: usize = 16;

/// Probes of a comparison: those of the ten doublings from 16 to [`COMPARE_CELLS_MAX`].
pub(crate) const PROBES: usize = 10 * PROBES_PER_OCTAVE;

/// Which cell is probed as number `probe`; for [`PROBES`], the number of all cells.
pub(crate) const fn probe_position(probe: usize) -> usize {
    let (octave, step) = (probe / PROBES_PER_OCTAVE, probe % PROBES_PER_OCTAVE);
    (PROBES_FROM << octave) + (step << octave) * PROBES_FROM / PROBES_PER_OCTAVE
}

/// A comparison's key, ready for use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    key: CompareKey,
    /// Goes into every check, so that checks cannot be foreseen without the key either. The short id of no bytes; no
    /// element is empty.
    salt: u64,
}

impl Keyed {
    pub(crate) fn new(key: CompareKey) -> Self {
        Self { key, salt: key.short_id(b"") }
    }

    pub(crate) fn short_id(&self, element: &[u8]) -> u64 {
        self.key.short_id(element)
    }

    /// Where the walk over the cells of a short id starts; its upper half is the check.
    const fn start(&self, short_id: u64) -> u64 {
        mix(short_id ^ self.salt)
    }

    pub(crate) const fn check(&self, short_id: u64) -> u32 {
        (self.start(short_id) >> 32) as u32
    }

    pub(crate) const fn walk(&self, short_id: u64) -> Walk {
        Walk { state: self.start(short_id), at: 0 }
    }
}

/// The cells that one element is in, from the first one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    state: u64,
    at: u64,
}

impl Walk {
    /// The cell that the walk stands at.
    pub(crate) fn at(&self) -> usize {
        usize::try_from(self.at).unwrap_or(usize::MAX)
    }

    /// Goes to the element's next cell.
    ///
    /// The chance that no cell from i + 1 to j holds the element is the product of k / (k + 2) over them, which is
    /// (i + 1)(i + 2) / ((j + 1)(j + 2)), nearly ((i + 1.5) / (j + 1.5))². The larger of two uniform numbers in (0, 1] is
    /// below x with a chance of x²; in place of (i + 1.5) / (j + 1.5) and solved for j it gives the next cell. In whole
    /// numbers, so that all machines agree.
    pub(crate) fn advance(&mut self) {
        /// 2^64 / phi: the usual odd step, so that the states of a walk differ in many bits.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        const ONE: u64 = 1 << 32;
        self.state = self.state.wrapping_add(STEP);
        let drawn = mix(self.state);
        let larger = 1 + (drawn >> 32).max(drawn % ONE);
        // Below 2^48 while the cell is one that there is.
        let gap = 1 + (2 * self.at + 3).saturating_mul(ONE - larger) / (2 * larger);
        self.at = self.at.saturating_add(gap);
    }
}

/// Spreads every bit of the input over the output: a bijection (the finalizer of splitmix64, public domain).
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A sum of elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) short_ids: u64,
    pub(crate) checks: u32,
    pub(crate) count: u8,
}

impl Cell {
    /// Adds an element, or takes it out with 255 for `count`.
    pub(crate) const fn add(&mut self, short_id: u64, check: u32, count: u8) {
        self.short_ids ^= short_id;
        self.checks ^= check;
        self.count = self.count.wrapping_add(count);
    }

    pub(crate) const fn minus(&self, other: &Self) -> Self {
        Self {
            short_ids: self.short_ids ^ other.short_ids,
            checks: self.checks ^ other.checks,
            count: self.count.wrapping_sub(other.count),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The byte by which a cell is probed: that of an empty one is 0, that of another one by chance only.
    pub(crate) const fn probe(&self) -> u8 {
        let [.., last] = self.checks.to_be_bytes();
        last
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.short_ids.to_be_bytes());
        out.extend_from_slice(&self.checks.to_be_bytes());
        out.push(self.count);
    }

    fn read(bytes: &[u8; CELL_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, check @ .., count] = *bytes;
        Self {
            short_ids: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            checks: u32::from_be_bytes(check),
            count,
        }
    }
}

/// The cells of a whole set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    cells: Vec<Cell>,
}

impl Table {
    /// Sums up the elements, each given as its bytes and no two alike. `None` when there are more than `elements_max`.
    pub(crate) fn of<B: AsRef<[u8]>>(
        keyed: &Keyed,
        elements: impl Iterator<Item = B>,
        elements_max: usize,
    ) -> Option<Self> {
        let len = usize::try_from(COMPARE_CELLS_MAX).ok()?;
        let mut table = Self { cells: vec![Cell::default(); len] };
        for (number, element) in elements.enumerate() {
            if number >= elements_max {
                return None;
            }
            let short_id = keyed.short_id(element.as_ref());
            let check = keyed.check(short_id);
            let mut walk = keyed.walk(short_id);
            while let Some(cell) = table.cells.get_mut(walk.at()) {
                cell.add(short_id, check, 1);
                walk.advance();
            }
        }
        Some(table)
    }

    pub(crate) fn cell(&self, at: usize) -> Option<&Cell> {
        self.cells.get(at)
    }

    /// As they are kept and sent.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.cells.len() * CELL_BYTES);
        self.cells.iter().for_each(|cell| cell.write(&mut bytes));
        bytes
    }

    pub(crate) fn probes(&self) -> Vec<u8> {
        let cells = (0..PROBES).map(|probe| self.cell(probe_position(probe)));
        cells.map(|cell| cell.map_or(0, Cell::probe)).collect()
    }
}

/// The cells in bytes; a rest that is no cell is not looked at.
pub(crate) fn read_cells(bytes: &[u8]) -> impl Iterator<Item = Cell> {
    bytes.as_chunks::<CELL_BYTES>().0.iter().map(Cell::read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed() -> Keyed {
        Keyed::new(CompareKey::from_bytes([7; 32]))
    }

    #[test]
    fn a_cell_holds_an_element_as_often_as_it_should() {
        let keyed = keyed();
        let elements: u32 = 20_000;
        let mut held = [0u32; 1_024];
        for element in 0..elements {
            let mut walk = keyed.walk(keyed.short_id(&element.to_be_bytes()));
            while let Some(held) = held.get_mut(walk.at()) {
                *held += 1;
                walk.advance();
            }
        }
        assert_eq!(held[0], elements, "the first cell holds all");
        for (at, held) in held.iter().enumerate().skip(1) {
            let expected = 2.0 * f64::from(elements) / (at as f64 + 2.0);
            // Five standard deviations and the error of the approximation.
            let slack = 5.0 * expected.sqrt() + 0.06 * expected;
            assert!((f64::from(*held) - expected).abs() < slack, "cell {at}: {held}, {expected}");
        }
    }

    /// Both sides have to walk alike, whatever their version.
    #[test]
    fn the_walk_of_one_short_id_is_written_down() {
        let keyed = keyed();
        let mut walk = keyed.walk(0x0123_4567_89ab_cdef);
        let mut cells = Vec::new();
        while walk.at() < 16_384 {
            cells.push(walk.at());
            walk.advance();
        }
        let expected =
            [0, 1, 3, 4, 6, 8, 14, 24, 79, 121, 158, 199, 418, 757, 2930, 7912, 10_517, 14_995];
        assert_eq!(cells, expected);
        assert_eq!(keyed.check(0x0123_4567_89ab_cdef), 2_715_916_457);
    }

    #[test]
    fn cells_are_read_as_they_were_written() {
        let elements = (0u32..300).map(u32::to_be_bytes);
        let table = Table::of(&keyed(), elements, 300).expect("few");
        let read: Vec<Cell> = read_cells(&table.to_bytes()).collect();
        assert_eq!(read, table.cells);
        assert_eq!(table.probes().len(), PROBES);
    }

    #[test]
    fn no_more_elements_are_summed_up_than_are_allowed() {
        let elements = |count: u32| (0..count).map(u32::to_be_bytes);
        assert!(Table::of(&keyed(), elements(10), 10).is_some());
        assert_eq!(Table::of(&keyed(), elements(11), 10), None);
    }

    #[test]
    fn probes_lie_between_the_first_cells_and_the_last() {
        let positions: Vec<usize> = (0..=PROBES).map(probe_position).collect();
        assert!(positions.is_sorted_by(|one, next| one < next));
        assert_eq!((positions[0], positions[PROBES]), (16, 16_384));
    }
}
