//! What can go wrong in a run, and on whose side.

use guildhall_protocol::limits::{JOB_MAX_RECORDS, VALUE_MAX_BYTES};
use guildhall_protocol::receipt::ReceiptError;

use super::{ATTEMPTS_MAX, Phase};

/// Why no attempt can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotStart {
    /// An attempt is under way or the run has ended.
    #[error("no attempt can begin: {phase}")]
    Phase {
        /// Where the run stands.
        phase: Phase,
    },
    /// There were [`ATTEMPTS_MAX`] attempts.
    #[error("{ATTEMPTS_MAX} nodes were tried already")]
    Attempts,
}

/// What is wrong with an input record; a mistake on the requester's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Another record is next, or none is.
    #[error("input record {index} came where {expected} is next or the end was announced")]
    OutOfOrder {
        /// The next position.
        expected: u64,
        /// The position that came.
        index: u64,
    },
    /// The record is too long, or there are too many.
    #[error(
        "input record {index} of {len_bytes} bytes is beyond {JOB_MAX_RECORDS} records of \
         {VALUE_MAX_BYTES} bytes"
    )]
    TooMuch {
        /// Its position.
        index: u64,
        /// Its length, bytes.
        len_bytes: usize,
    },
}

/// What an executor did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It sent something at the wrong time.
    #[error("the executor sent a frame out of turn: {phase}")]
    Phase {
        /// Where the run stood.
        phase: Phase,
    },
    /// It skipped a record.
    #[error("the executor sent record {index} where {expected} is next")]
    OutOfOrder {
        /// The next position.
        expected: u64,
        /// The position that came.
        index: u64,
    },
    /// It sent more records than it was given.
    #[error("the executor sent more records than the {expected} it was given")]
    TooMany {
        /// Records it was given so far.
        expected: u64,
    },
    /// It sent a record that is too long.
    #[error("the executor sent record {index} of {len_bytes} bytes, at most {VALUE_MAX_BYTES}")]
    TooLong {
        /// Its position.
        index: u64,
        /// Its length, bytes.
        len_bytes: usize,
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
    /// It finished without sending every record.
    #[error("the executor finished after {received} of {expected} records")]
    Incomplete {
        /// Records received.
        received: u64,
        /// Records that there are.
        expected: u64,
    },
    /// Earlier attempts delivered other records than this one signed for.
    #[error(
        "the records that an earlier attempt delivered are not the ones that this receipt covers"
    )]
    Differs,
}
