//! The side that asks. One comparison is one [`Initiator`]; it holds some half a megabyte while it lasts.

use std::collections::BTreeSet;

use guildhall_protocol::wire::{
    CELL_BYTES, CELLS_PER_PAGE, COMPARE_CELLS_MAX, Cells, Compare, CompareKey, FIND_MAX,
    FindElements, SHORT_ID_BYTES,
};
use serde_bytes::ByteBuf;

use super::cells::{Keyed, PROBES, Table, probe_position, read_cells};
use super::peel::{Peel, Side};
use super::{ELEMENTS_MAX, Element, Elements};

/// Requests for cells in one comparison: the first ones, what the estimate says in at most two pages, and five times a
/// quarter more, which is three times the estimate. After the last, the sets count as too different.
pub const PAGES_MAX: u32 = 8;

/// Cells of the first request: 208 bytes, which settle up to nine differences.
const FIRST_CELLS: usize = 16;

/// With fewer empty probes than this the sets differ in more elements than all cells can tell.
const EMPTY_PROBES_MIN: usize = 3;

/// The side that asks, in one comparison.
#[derive(Clone, Debug)]
pub struct Initiator<E> {
    key: CompareKey,
    keyed: Keyed,
    ours: Table,
    peel: Peel,
    pages: u32,
    /// Cells that the estimate says are needed, once there is one.
    wanted: usize,
    state: State<E>,
}

#[derive(Clone, Debug)]
enum State<E> {
    /// This many cells were asked for.
    Asking(usize),
    /// The names of these short ids were asked for; the rest is known.
    Finding { asked: BTreeSet<u64>, found: Difference<E> },
    /// It is over.
    Ended,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<E> {
    /// Ask the peer this; the answer goes to [`Initiator::handle_cells`].
    Compare(Compare),
    /// Ask the peer this; the answer goes to [`Initiator::handle_elements`].
    Find(FindElements),
    /// The sets differ in this.
    Done(Difference<E>),
    /// It did not work; pages do.
    Failed(Failure),
}

/// Elements that one side has and the other one has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<E> {
    /// What the peer says to have. Nothing of it is proven.
    pub theirs: Vec<E>,
    /// What the peer does not say to have.
    pub ours: Vec<E>,
    /// Short ids in the peer's set without a name: more than [`FIND_MAX`], or the peer did not name them when asked,
    /// because its set changed or because it lies.
    pub unnamed: usize,
}

/// Why a comparison ends without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// More elements differ than a comparison finds.
    #[error("the sets differ too much to be compared in cells")]
    TooDifferent,
    /// Our set has more than [`ELEMENTS_MAX`] elements.
    #[error("the set is too large to be compared in cells")]
    TooLarge,
    /// The peer's answers fit no set, or not what was asked. The peer is at fault.
    #[error("the peer's cells make no sense")]
    Garbage,
}

impl<E: Element> Initiator<E> {
    /// Begins a comparison of `ours` with a peer's set. `key` is fresh from real randomness.
    pub fn start(
        key: CompareKey,
        ours: &impl Elements<Element = E>,
    ) -> Result<(Self, Compare), Failure> {
        let keyed = Keyed::new(key);
        let elements = ours.held().map(|element| element.to_bytes());
        let table = Table::of(&keyed, elements, ELEMENTS_MAX).ok_or(Failure::TooLarge)?;
        let mut this = Self {
            key,
            keyed,
            ours: table,
            peel: Peel::new(keyed),
            pages: 0,
            wanted: 0,
            state: State::Ended,
        };
        let first = this.ask(FIRST_CELLS);
        Ok((this, first))
    }

    /// The peer answered with cells. `ours` is the set as it is now; it may have changed.
    pub fn handle_cells(&mut self, page: &Cells, ours: &impl Elements<Element = E>) -> Step<E> {
        let State::Asking(count) = self.state else { return self.fail(Failure::Garbage) };
        let from = self.peel.len();
        let probes = if from == 0 { PROBES } else { 0 };
        if page.cells.len() != count * CELL_BYTES || page.probes.len() != probes {
            return self.fail(Failure::Garbage);
        }
        let own = (from..).map_while(|at| self.ours.cell(at));
        let difference = read_cells(&page.cells).zip(own).map(|(theirs, ours)| theirs.minus(ours));
        match self.peel.extend(difference) {
            Err(_) => self.fail(Failure::Garbage),
            Ok(true) => self.name(ours),
            Ok(false) => {
                if from == 0 {
                    match self.estimate(&page.probes) {
                        Some(wanted) => self.wanted = wanted,
                        None => return self.fail(Failure::TooDifferent),
                    }
                }
                self.ask_more()
            }
        }
    }

    /// The peer named elements.
    pub fn handle_elements(&mut self, bytes: &[u8]) -> Step<E> {
        let State::Finding { mut asked, mut found } =
            std::mem::replace(&mut self.state, State::Ended)
        else {
            return Step::Failed(Failure::Garbage);
        };
        let len_bytes = E::Bytes::default().as_ref().len();
        for bytes in bytes.chunks(len_bytes.max(1)) {
            let was_asked = asked.remove(&self.keyed.short_id(bytes));
            match E::from_bytes(bytes) {
                Some(element) if was_asked => found.theirs.push(element),
                _ => return Step::Failed(Failure::Garbage),
            }
        }
        found.unnamed += asked.len();
        Step::Done(found)
    }

    fn fail(&mut self, failure: Failure) -> Step<E> {
        self.state = State::Ended;
        Step::Failed(failure)
    }

    /// How many cells it takes, by how many of the probed ones differ; `None` when there are too few.
    ///
    /// A cell number i differs with a chance of 1 - exp(-2 d / i) for d differences, so that about as many probes differ
    /// as lie in front of cell 3.6 d. Sets are read out of 1.35 d cells (many differences) to 1.7 d (few); half of 3.6 d
    /// leaves room for the error of the estimate, so that four of five times it is enough.
    fn estimate(&self, theirs: &[u8]) -> Option<usize> {
        let ours = self.ours.probes();
        let differ = ours.iter().zip(theirs).filter(|(ours, theirs)| ours != theirs).count();
        let is_countable = differ + EMPTY_PROBES_MIN <= PROBES;
        is_countable.then(|| probe_position(differ) / 2)
    }

    /// What the estimate says is missing, or a quarter more than there is.
    fn ask_more(&mut self) -> Step<E> {
        let (have, max) = (self.peel.len(), cells_max());
        if have >= max || self.pages >= PAGES_MAX {
            return self.fail(Failure::TooDifferent);
        }
        let more = match self.wanted.checked_sub(have) {
            Some(missing) if missing > 0 => missing,
            _ => (have / 4).max(FIRST_CELLS),
        };
        Step::Compare(self.ask(more.min(max - have)))
    }

    fn ask(&mut self, count: usize) -> Compare {
        let page = u32::try_from(count).unwrap_or(CELLS_PER_PAGE).min(CELLS_PER_PAGE);
        let from = u32::try_from(self.peel.len()).unwrap_or(COMPARE_CELLS_MAX);
        self.pages += 1;
        self.state = State::Asking(count.min(usize::try_from(page).unwrap_or(count)));
        Compare { set: E::SET, key: self.key, from, count: page }
    }

    /// All short ids are known: says which elements they are, as far as that is known here.
    fn name(&mut self, ours: &impl Elements<Element = E>) -> Step<E> {
        let mut found = Difference { theirs: Vec::new(), ours: Vec::new(), unnamed: 0 };
        let (mut only_ours, mut only_theirs) = (BTreeSet::new(), BTreeSet::new());
        for (short_id, side) in self.peel.found() {
            let _is_new = match side {
                Side::Ours => only_ours.insert(short_id),
                Side::Theirs => only_theirs.insert(short_id),
            };
        }
        let short_id = |element: &E| self.keyed.short_id(element.to_bytes().as_ref());
        if !only_ours.is_empty() {
            found.ours.extend(ours.held().filter(|element| only_ours.contains(&short_id(element))));
        }
        let near = found.ours.iter().flat_map(Element::neighbours);
        for element in near.chain(ours.missing().take(ELEMENTS_MAX)) {
            if only_theirs.is_empty() {
                break;
            }
            if only_theirs.remove(&short_id(&element)) {
                found.theirs.push(element);
            }
        }
        self.find(only_theirs.into_iter().collect(), found)
    }

    /// Asks for the names of short ids, as many as fit the request; the next comparison brings the others.
    fn find(&mut self, mut asked: Vec<u64>, mut found: Difference<E>) -> Step<E> {
        if asked.is_empty() {
            self.state = State::Ended;
            return Step::Done(found);
        }
        found.unnamed = asked.len().saturating_sub(FIND_MAX);
        asked.truncate(FIND_MAX);
        let mut short_ids = Vec::with_capacity(asked.len() * SHORT_ID_BYTES);
        asked.iter().for_each(|short_id| short_ids.extend_from_slice(&short_id.to_be_bytes()));
        self.state = State::Finding { asked: asked.into_iter().collect(), found };
        let short_ids = ByteBuf::from(short_ids);
        Step::Find(FindElements { set: E::SET, key: self.key, short_ids })
    }
}

fn cells_max() -> usize {
    usize::try_from(COMPARE_CELLS_MAX).unwrap_or_default()
}
