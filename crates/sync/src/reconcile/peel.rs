//! Reads the elements in which two sets differ out of the difference of their cells.
//!
//! A cell with one element in it gives that element away; taken out of its other cells, it leaves new cells with one
//! element, and so on. Cells come from a peer and may hold anything: each element is found at most once, only in a cell
//! that holds it, and there are never more elements than cells.

use std::collections::BTreeMap;

use super::cells::{Cell, Keyed, Walk};

/// Elements of the peer's set count up in a difference, those of ours count down.
const THEIRS: u8 = 1;
const OURS: u8 = u8::MAX;

/// What was found out so far.
#[derive(Clone, Debug)]
pub(crate) struct Peel {
    keyed: Keyed,
    cells: Vec<Cell>,
    found: BTreeMap<u64, Found>,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    side: Side,
    /// Stands at the element's first cell that is not here yet.
    walk: Walk,
}

/// Whose an element is that only one side has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Theirs,
}

impl Side {
    const fn count(self) -> u8 {
        match self {
            Self::Ours => OURS,
            Self::Theirs => THEIRS,
        }
    }
}

/// No two sets have these cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Garbage;

impl Peel {
    pub(crate) const fn new(keyed: Keyed) -> Self {
        Self { keyed, cells: Vec::new(), found: BTreeMap::new() }
    }

    /// How many cells are here.
    pub(crate) const fn len(&self) -> usize {
        self.cells.len()
    }

    /// The elements found so far, as short ids.
    pub(crate) fn found(&self) -> impl Iterator<Item = (u64, Side)> {
        self.found.iter().map(|(short_id, found)| (*short_id, found.side))
    }

    /// Takes in the next cells of the difference. Says whether all elements are found now.
    pub(crate) fn extend(&mut self, cells: impl Iterator<Item = Cell>) -> Result<bool, Garbage> {
        let from = self.cells.len();
        self.cells.extend(cells);
        for (short_id, found) in &mut self.found {
            let check = self.keyed.check(*short_id);
            while let Some(cell) = self.cells.get_mut(found.walk.at()) {
                cell.add(*short_id, check, found.side.count().wrapping_neg());
                found.walk.advance();
            }
        }
        let mut single: Vec<usize> = (from..self.cells.len()).collect();
        while let Some(at) = single.pop() {
            let Some((short_id, side)) = self.single(at) else { continue };
            self.take_out(short_id, side, at, &mut single)?;
        }
        // The first cell holds every element.
        match self.cells.first() {
            Some(first) if first.is_empty() => {
                if self.cells.iter().all(Cell::is_empty) {
                    Ok(true)
                } else {
                    Err(Garbage)
                }
            }
            _ => Ok(false),
        }
    }

    /// The element of a cell that holds one.
    fn single(&self, at: usize) -> Option<(u64, Side)> {
        let cell = self.cells.get(at)?;
        let side = match cell.count {
            THEIRS => Side::Theirs,
            OURS => Side::Ours,
            _ => return None,
        };
        (self.keyed.check(cell.short_ids) == cell.checks).then_some((cell.short_ids, side))
    }

    /// Takes an element out of all its cells; those that may hold a single one now are noted.
    fn take_out(
        &mut self,
        short_id: u64,
        side: Side,
        found_at: usize,
        single: &mut Vec<usize>,
    ) -> Result<(), Garbage> {
        if self.found.len() >= self.cells.len() {
            return Err(Garbage);
        }
        let check = self.keyed.check(short_id);
        let mut walk = self.keyed.walk(short_id);
        let mut is_there = false;
        while let Some(cell) = self.cells.get_mut(walk.at()) {
            is_there |= walk.at() == found_at;
            cell.add(short_id, check, side.count().wrapping_neg());
            if matches!(cell.count, THEIRS | OURS) {
                single.push(walk.at());
            }
            walk.advance();
        }
        // An element that was in this cell though it does not belong there, or that is found again, would go on for
        // ever.
        let is_new = self.found.insert(short_id, Found { side, walk }).is_none();
        if is_there && is_new { Ok(()) } else { Err(Garbage) }
    }
}
