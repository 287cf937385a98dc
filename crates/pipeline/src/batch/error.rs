//! What can go wrong while records are spread, and on whose side.

/// Why an input record is not taken; a mistake on the requester's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The end was announced, or the known total was reached.
    #[error("input record {record} came after the end")]
    Ended {
        /// Its position.
        record: u64,
    },
    /// [`State::wants_input`](super::State::wants_input) said no.
    #[error("input record {record} came before there was room")]
    Full {
        /// Its position.
        record: u64,
    },
}

/// How an executor broke the protocol. The caller gives it up and says
/// [`handle_gone`](super::State::handle_gone).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It is not among those that are ready.
    #[error("executor {executor} was not asked for anything")]
    UnknownExecutor {
        /// The executor.
        executor: u32,
    },
    /// The part is not its, or over already.
    #[error("part {part} is not one that executor {executor} has")]
    UnknownPart {
        /// The executor.
        executor: u32,
        /// The part.
        part: u64,
    },
    /// Another part was sent earlier and is not over.
    #[error("something came about part {part}, but part {expected} is first")]
    PartOutOfOrder {
        /// The part that is first.
        expected: u64,
        /// The part that came.
        part: u64,
    },
    /// Another record of the part is next.
    #[error("record {record} of part {part} came where {expected} is next")]
    RecordOutOfOrder {
        /// The part.
        part: u64,
        /// The record that is next.
        expected: u64,
        /// The record that came.
        record: u64,
    },
    /// All records of the part came, and one more.
    #[error("record {record} came, but part {part} is complete")]
    TooMany {
        /// The part.
        part: u64,
        /// The record that came.
        record: u64,
    },
    /// Several parts in a row were over, and no record of them was scored.
    #[error("executor {executor} takes parts and scores nothing")]
    NoProgress {
        /// The executor.
        executor: u32,
    },
}
