//! Who is asked for which part of a package's files.
//!
//! Files of one group travel many at a time; larger ones in pieces, after the list of their pieces' hashes. A holder
//! that has room [asks](State::next) for work, so a fast one gets more of it. What nobody works at is given out first;
//! when nothing is left, an idle holder gets a copy of what another one has been at for long (work stealing), so that a
//! slow or silent holder delays the end by little. Whoever [lied](Fault::Lied) is not asked again; whoever lacks a file
//! is asked for the others.
//!
//! Parts are checked by the shell, which says here how it went. Each part is done once, whoever was first.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::tree::Shape;
use guildhall_protocol::wire::BATCH_MAX_BLOBS;
use guildhall_protocol::{Hash, PublicKey};

/// How long a holder may be at a part before an idle one gets a copy of it, milliseconds: longer than a part takes on a
/// line that deserves the name, much shorter than a person's patience.
pub const STEAL_AFTER_MS: u64 = 1_000;

/// Holders that work at one part, copies included. A third one would mostly waste what it sends.
const COPIES_MAX: usize = 2;

/// Times a holder may break off or fall silent before it is given up. A restart or a lost connection is forgiven.
const STRIKES_MAX: u32 = 3;

/// Number of a blob in its download.
pub type BlobIndex = u32;

/// A blob that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub hash: Hash,
    /// Its length, bytes.
    pub len_bytes: u64,
    /// Pieces that are missing; of no meaning for a blob of one group.
    pub missing: Vec<u64>,
    /// Whether the hashes of its pieces are known. A blob of one piece needs none.
    pub is_listed: bool,
}

/// One thing to ask a holder for. In the order in which they are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// The hashes of a blob's pieces.
    List(BlobIndex),
    /// The blobs of one group that [`State::batch`] names.
    Batch(u32),
    /// A piece of a blob.
    Piece(BlobIndex, u64),
}

/// What a holder that has room gets to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This.
    Do(Task),
    /// Nothing now; that may change when another one fails, a list arrives, or time passes.
    Wait,
    /// Nothing more: all is done, or this holder is given up or lacks what is left.
    Leave,
}

/// What went wrong with a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It sent what the hash does not vouch for, or broke the protocol. It is not asked again.
    Lied,
    /// It broke off, fell silent, or was too slow.
    Lost,
}

#[derive(Clone, Debug, Default)]
struct Holder {
    lacks: BTreeSet<BlobIndex>,
    strikes: u32,
    lied: bool,
}

impl Holder {
    const fn is_given_up(&self) -> bool {
        self.lied || self.strikes >= STRIKES_MAX
    }
}

#[derive(Clone, Copy, Debug)]
struct Copy {
    holder: PublicKey,
    since_ms: u64,
}

/// A download under way.
#[derive(Clone, Debug, Default)]
pub struct State {
    blobs: Vec<Wanted>,
    /// Batches by number. Bounded: each holder splits a batch once at most for each blob it lacks.
    batches: Vec<Vec<BlobIndex>>,
    todo: BTreeSet<Task>,
    under_way: BTreeMap<Task, Vec<Copy>>,
    holders: BTreeMap<PublicKey, Holder>,
}

impl State {
    /// A download of these blobs.
    #[must_use]
    pub fn new(blobs: Vec<Wanted>) -> Self {
        let mut state = Self { blobs, ..Self::default() };
        let mut small = Vec::new();
        for (index, blob) in (0..).zip(&state.blobs) {
            let shape = Shape::of(blob.len_bytes);
            if shape.is_one_group() {
                small.push(index);
            } else if shape.pieces() > 1 && !blob.is_listed {
                state.todo.insert(Task::List(index));
            } else {
                state.todo.extend(blob.missing.iter().map(|piece| Task::Piece(index, *piece)));
            }
        }
        for batch in small.chunks(BATCH_MAX_BLOBS) {
            state.add_batch(batch.to_vec());
        }
        state
    }

    /// One of the blobs.
    #[must_use]
    pub fn blob(&self, index: BlobIndex) -> Option<&Wanted> {
        self.blobs.get(usize::try_from(index).ok()?)
    }

    /// The blobs of a batch.
    #[must_use]
    pub fn batch(&self, number: u32) -> &[BlobIndex] {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        self.batches.get(at).map_or(&[], Vec::as_slice)
    }

    /// Whether everything is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.todo.is_empty() && self.under_way.is_empty()
    }

    /// Whether a holder is not asked any more.
    #[must_use]
    pub fn is_given_up(&self, holder: &PublicKey) -> bool {
        self.holders.get(holder).is_some_and(Holder::is_given_up)
    }

    /// Whether somebody still has to finish this. A holder that is late may stop.
    #[must_use]
    pub fn is_wanted(&self, task: Task) -> bool {
        self.todo.contains(&task) || self.under_way.contains_key(&task)
    }

    /// Holders that were added and are not given up.
    pub fn holders(&self) -> impl Iterator<Item = &PublicKey> {
        self.holders.iter().filter(|(_, holder)| !holder.is_given_up()).map(|(key, _)| key)
    }

    /// A blob that no holder can supply as far as is known, if there is one.
    #[must_use]
    pub fn stuck_at(&self) -> Option<BlobIndex> {
        let has = |holder: &Holder, blob| !holder.is_given_up() && !holder.lacks.contains(&blob);
        let nobody_has = |blob: &BlobIndex| !self.holders.values().any(|h| has(h, *blob));
        // Tasks of one blob lie together, and most blobs are not stuck.
        let mut last = None;
        for task in self.todo.iter().chain(self.under_way.keys()) {
            let found = match *task {
                Task::Batch(number) => self.batch(number).iter().copied().find(nobody_has),
                Task::List(blob) | Task::Piece(blob, _) if last == Some(blob) => None,
                Task::List(blob) | Task::Piece(blob, _) => {
                    last = Some(blob);
                    nobody_has(&blob).then_some(blob)
                }
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// A holder that may be asked. What it did before still counts.
    pub fn handle_holder(&mut self, holder: PublicKey) {
        self.holders.entry(holder).or_default();
    }

    /// What a holder with room is to do. Whatever is given out ends with one of the `handle_*` below.
    pub fn next(&mut self, holder: PublicKey, now_ms: u64) -> Next {
        match self.holders.get(&holder) {
            Some(known) if !known.is_given_up() && !self.is_complete() => {}
            _ => return Next::Leave,
        }
        let Some(task) = self.fresh(&holder).or_else(|| self.stolen(&holder, now_ms)) else {
            return if self.has_use_for(&holder) { Next::Wait } else { Next::Leave };
        };
        self.todo.remove(&task);
        self.under_way.entry(task).or_default().push(Copy { holder, since_ms: now_ms });
        Next::Do(task)
    }

    /// The first task that nobody is at and this holder can do.
    fn fresh(&mut self, holder: &PublicKey) -> Option<Task> {
        let lacks = &self.holders.get(holder)?.lacks;
        let mut at = self.todo.first().copied()?;
        loop {
            let task = self.todo.range(at..).next().copied()?;
            at = match task {
                Task::Batch(number) => {
                    if !self.batch(number).iter().all(|blob| lacks.contains(blob)) {
                        return Some(self.split(task, number, holder));
                    }
                    Task::Batch(number.checked_add(1)?)
                }
                Task::List(blob) | Task::Piece(blob, _) if !lacks.contains(&blob) => {
                    return Some(task);
                }
                Task::List(blob) => Task::List(blob.checked_add(1)?),
                // Past all pieces of this blob.
                Task::Piece(blob, _) => Task::Piece(blob.checked_add(1)?, 0),
            };
        }
    }

    /// Whether there is anything left that the holder may have.
    fn has_use_for(&self, holder: &PublicKey) -> bool {
        let Some(Holder { lacks, .. }) = self.holders.get(holder) else { return false };
        let may_have = |task: &Task| match *task {
            Task::Batch(number) => !self.batch(number).iter().all(|blob| lacks.contains(blob)),
            Task::List(blob) | Task::Piece(blob, _) => !lacks.contains(&blob),
        };
        self.todo.iter().chain(self.under_way.keys()).any(may_have)
    }

    /// Leaves in a batch only what the holder has; the rest becomes another batch.
    fn split(&mut self, task: Task, number: u32, holder: &PublicKey) -> Task {
        let Some(known) = self.holders.get(holder) else { return task };
        let blobs = self.batch(number).iter().copied();
        let (lacking, having): (Vec<_>, Vec<_>) = blobs.partition(|b| known.lacks.contains(b));
        if !lacking.is_empty() {
            self.set_batch(number, having);
            self.add_batch(lacking);
        }
        task
    }

    /// What another holder was given last and has had for long. The last, because the first of what a holder was given
    /// is what it is sending.
    fn stolen(&self, holder: &PublicKey, now_ms: u64) -> Option<Task> {
        let lacks = &self.holders.get(holder)?.lacks;
        let can = |task: Task| match task {
            Task::Batch(number) => !self.batch(number).iter().any(|blob| lacks.contains(blob)),
            Task::List(blob) | Task::Piece(blob, _) => !lacks.contains(&blob),
        };
        let late = |copy: &Copy| now_ms.saturating_sub(copy.since_ms) >= STEAL_AFTER_MS;
        self.under_way
            .iter()
            .filter(|(task, copies)| {
                copies.len() < COPIES_MAX
                    && copies.iter().all(|copy| copy.holder != *holder && late(copy))
                    && can(**task)
            })
            .max_by_key(|(_, copies)| copies.first().map(|copy| copy.since_ms))
            .map(|(task, _)| *task)
    }

    /// A task is done. `false` when another holder was first.
    pub fn handle_done(&mut self, task: Task) -> bool {
        let was_wanted = self.under_way.remove(&task).is_some() | self.todo.remove(&task);
        if let Task::Batch(number) = task {
            self.set_batch(number, Vec::new());
        }
        was_wanted
    }

    /// The hashes of a blob's pieces are known, and these pieces are still missing.
    pub fn handle_list(&mut self, blob: BlobIndex, missing: &[u64]) {
        if self.handle_done(Task::List(blob)) {
            self.todo.extend(missing.iter().map(|piece| Task::Piece(blob, *piece)));
        }
    }

    /// A batch brought some blobs; the holder lacks these others.
    pub fn handle_batch(&mut self, holder: PublicKey, number: u32, missing: &[BlobIndex]) {
        if self.handle_done(Task::Batch(number)) && !missing.is_empty() {
            self.add_batch(missing.to_vec());
        }
        self.handle_lacking(holder, missing);
    }

    /// The holder does not have a blob: what it was to do for it goes to others.
    pub fn handle_missing(&mut self, holder: PublicKey, blob: BlobIndex) {
        self.handle_lacking(holder, &[blob]);
        self.give_back(
            &holder,
            |task| matches!(task, Task::List(b) | Task::Piece(b, _) if b == blob),
        );
    }

    fn handle_lacking(&mut self, holder: PublicKey, blobs: &[BlobIndex]) {
        self.holders.entry(holder).or_default().lacks.extend(blobs);
    }

    /// A holder stops: everything it was at goes to others.
    pub fn handle_fault(&mut self, holder: PublicKey, fault: Fault) {
        let known = self.holders.entry(holder).or_default();
        match fault {
            Fault::Lied => known.lied = true,
            Fault::Lost => known.strikes = known.strikes.saturating_add(1),
        }
        self.give_back(&holder, |_| true);
    }

    /// A holder's stream ends without anybody's fault: what it was at goes to others.
    pub fn handle_left(&mut self, holder: PublicKey) {
        self.give_back(&holder, |_| true);
    }

    fn give_back(&mut self, holder: &PublicKey, which: impl Fn(Task) -> bool) {
        let todo = &mut self.todo;
        self.under_way.retain(|task, copies| {
            if which(*task) {
                copies.retain(|copy| copy.holder != *holder);
            }
            if copies.is_empty() {
                todo.insert(*task);
            }
            !copies.is_empty()
        });
    }

    fn add_batch(&mut self, blobs: Vec<BlobIndex>) {
        if let Ok(number) = u32::try_from(self.batches.len()) {
            self.batches.push(blobs);
            self.todo.insert(Task::Batch(number));
        }
    }

    fn set_batch(&mut self, number: u32, blobs: Vec<BlobIndex>) {
        if let Some(batch) = usize::try_from(number).ok().and_then(|at| self.batches.get_mut(at)) {
            *batch = blobs;
        }
    }
}
