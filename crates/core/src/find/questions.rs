//! Every question that is open or remembered. Whoever asks the same again while it is open waits for the same answer.
//!
//! Invariant: there are at most [`QUESTIONS_MAX`] questions, and at most [`ASKS_MAX`] requesters wait.

use std::collections::BTreeMap;

use guildhall_protocol::query::Query;
use guildhall_protocol::{Hash, cbor};

use super::question::{Asking, Question, Waiting};
use super::told::REMEMBERED_MS;
use crate::moment::Moment;

/// Requesters that may wait for other nodes at once; a further one is answered from here alone, and is told so.
pub(super) const ASKS_MAX: usize = 256;

/// Questions that are open or remembered. A further one takes the place of the one that nobody asked for longest.
const QUESTIONS_MAX: usize = 1_024;

/// What makes two queries one question: what travels.
pub(super) fn id_of(query: &Query) -> Hash {
    Hash::of(&cbor::encode(&query.to_ask()))
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Questions {
    questions: BTreeMap<Hash, Question>,
    /// Requesters that wait.
    waiting: usize,
}

impl Questions {
    /// Lets somebody wait for the answer; `None` when too many do. The flag says whether a round has to be begun.
    pub(super) fn try_open(
        &mut self,
        now: Moment,
        waiting: Waiting,
    ) -> Option<(Hash, &mut Question, bool)> {
        if self.waiting >= ASKS_MAX {
            return None;
        }
        let id = id_of(&waiting.query);
        if self.questions.len() >= QUESTIONS_MAX && !self.questions.contains_key(&id) {
            self.forget_oldest();
        }
        self.waiting += 1;
        let new = || Question::new(waiting.query.to_ask(), now);
        let question = self.questions.entry(id).or_insert_with(new);
        question.join(waiting);
        let is_idle = !question.is_open();
        Some((id, question, is_idle))
    }

    pub(super) fn get(&self, id: &Hash) -> Option<&Question> {
        self.questions.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &Hash) -> Option<&mut Question> {
        self.questions.get_mut(id)
    }

    /// Ends a question's round.
    pub(super) fn end(&mut self, id: &Hash, now: Moment) -> Option<(Vec<Waiting>, Asking)> {
        let (waiting, asking) = self.questions.get_mut(id)?.end(now);
        self.waiting -= waiting.len();
        Some((waiting, asking))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Hash, &Question)> {
        self.questions.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Hash, &mut Question)> {
        self.questions.iter_mut()
    }

    /// Forgets what nobody asked for so long that no answer is remembered.
    pub(super) fn forget_old(&mut self, now: Moment) {
        let is_kept =
            |question: &Question| question.is_open() || question.used().age_ms(now) < REMEMBERED_MS;
        self.questions.retain(|_, question| is_kept(question));
    }

    /// The members are others: what was found out about nodes may not hold any more.
    pub(crate) fn forget_idle(&mut self) {
        self.questions.retain(|_, question| question.is_open());
    }

    fn forget_oldest(&mut self) {
        let idle = self.questions.iter().filter(|(_, question)| !question.is_open());
        let oldest = idle.min_by_key(|(_, question)| question.used().tick).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.questions.remove(&id);
        }
    }
}
