//! What can go wrong in a share, and on whose side.

use guildhall_protocol::receipt::ReceiptError;
use guildhall_protocol::wire::PART_MAX_RECORDS;

use super::Phase;

/// Why a part cannot be sent; a mistake on the requester's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotSend {
    /// The executor takes none, or enough are on their way.
    #[error("no part can be sent now: {phase}")]
    NotNow {
        /// Where the share stands.
        phase: Phase,
    },
    /// The records make no part.
    #[error("a part has 1 to {PART_MAX_RECORDS} records in ascending order")]
    Records,
}

/// What an executor did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It sent something at the wrong time.
    #[error("the executor sent a frame out of turn: {phase}")]
    Phase {
        /// Where the share stood.
        phase: Phase,
    },
    /// It speaks of a part that is not the next to be over.
    #[error("the executor sent results of part {part}, which is not the next one")]
    Part {
        /// The part.
        part: u64,
    },
    /// It skipped a record or sent one too many.
    #[error("the executor sent record {index}, which is not the next of its part")]
    OutOfOrder {
        /// The next one's position, if one is due.
        expected: Option<u64>,
        /// The position that came.
        index: u64,
    },
    /// It sent a record that is too long.
    #[error(
        "the executor sent record {index} of {len_bytes} bytes, at most {max_bytes} are allowed"
    )]
    TooLong {
        /// Its position.
        index: u64,
        /// Its length, bytes.
        len_bytes: usize,
        /// What the limits allow, bytes.
        max_bytes: usize,
    },
    /// It sent a record whose values are not those of the output ports.
    #[error("the executor sent record {index} with other values than the output ports have")]
    Ports {
        /// Its position.
        index: u64,
    },
    /// It sent a frame that says nothing, as one could for ever.
    #[error("the executor sent results of part {part} with nothing in them")]
    Nothing {
        /// The part.
        part: u64,
    },
    /// It speaks of another number of stages.
    #[error("the executor speaks of {found} stages, not {expected}")]
    Stages {
        /// Stages of the run.
        expected: usize,
        /// Stages it speaks of.
        found: usize,
    },
    /// It quotes a limit that no node may set.
    #[error(
        "stage {stage}: the executor quotes {value} as the limit of {what}, which was not agreed"
    )]
    Limit {
        /// The stage.
        stage: usize,
        /// Which limit.
        what: &'static str,
        /// What it quotes, in the limit's unit.
        value: u64,
    },
    /// It speaks of a stage that there is not.
    #[error("the executor speaks of stage {stage}, which the run does not have")]
    NoSuchStage {
        /// Which.
        stage: u32,
    },
    /// It says something that this version does not know.
    #[error("the executor ended a record in a way that this version does not know")]
    Unknown,
    /// A signature does not hold, or the jobs are no row of stages.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// It signed something else than what was agreed or received.
    #[error("stage {stage}: the executor signed another {what} than was agreed or received")]
    Signed {
        /// The stage.
        stage: usize,
        /// What differs.
        what: &'static str,
    },
    /// It finished before every part was over.
    #[error("the executor finished while {parts} parts were not over")]
    Incomplete {
        /// Parts that were not over.
        parts: usize,
    },
}
