//! Whether an executor's job statements say what the requester agreed, sent and received.

use guildhall_protocol::receipt::{JobStatement, Outcome, RunStatement, open_jobs};
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::JobFailure;
use guildhall_protocol::{Hash, PublicKey, RunId};

use super::{CAUSE_MAX_BYTES, State, Violation};

/// Longest text of a job statement apart from the cause, bytes, and most names of isolation: four times what this
/// version says of itself. Reports keep them, so a peer must not be able to fill them.
const TEXT_MAX_BYTES: usize = 64;
const ISOLATION_MAX: usize = 16;

/// How a share ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every part that was sent is over.
    Completed,
    /// A stage ended the job, and another node would not help.
    Failed(JobFailure),
    /// The job ended by the executing node's own trouble; another node may go on.
    Elsewhere(JobFailure),
}

/// A share whose receipt holds, ready to be signed by the requester's node.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The run.
    pub run: RunId,
    /// The requester's node.
    pub requester: PublicKey,
    /// How it ended.
    pub ending: Ending,
    /// What the executor signed, in order of stage.
    pub jobs: Vec<JobStatement>,
    /// Hashes of the signed statements, in the same order.
    pub job_hashes: Vec<Hash>,
}

impl Verified {
    /// What the requester's node signs, at a time in milliseconds since 1970.
    #[must_use]
    pub fn run_statement(&self, time_ms: u64) -> RunStatement {
        RunStatement {
            run: self.run,
            requester: self.requester,
            jobs: self.job_hashes.clone(),
            time_ms,
        }
    }
}

/// Checks `jobs` against what `state` has seen of the share.
pub(super) fn verify(state: &State, signed: &[Signed]) -> Result<Verified, Violation> {
    let spec = &state.spec;
    if signed.len() != spec.packages.len() {
        return Err(Violation::Stages { expected: spec.packages.len(), found: signed.len() });
    }
    let jobs = open_jobs(signed)?;
    for (stage, (job, package)) in jobs.iter().zip(&spec.packages).enumerate() {
        let limits = state.limits.as_ref().and_then(|limits| limits.get(stage));
        let agreed = [
            ("run", job.run == spec.run),
            ("package", job.package == *package),
            ("executor", job.executor == spec.executor),
            ("requester", job.requester == spec.requester),
            ("limit", limits.is_none_or(|limits| *limits == job.limits)),
            ("length of text", has_short_texts(job)),
        ];
        if let Some((what, _)) = agreed.into_iter().find(|(_, holds)| !holds) {
            return Err(Violation::Signed { stage, what });
        }
    }
    let ending = match &state.failure {
        None => completed(state, &jobs)?,
        Some(failure) => {
            failed(failure, &jobs)?;
            match state.is_executors(failure) {
                true => Ending::Elsewhere(failure.clone()),
                false => Ending::Failed(failure.clone()),
            }
        }
    };
    check_edges(state, &jobs)?;
    check_counts(state, &jobs)?;
    Ok(Verified {
        run: spec.run,
        requester: spec.requester,
        ending,
        jobs,
        job_hashes: signed.iter().map(Signed::hash).collect(),
    })
}

/// What went in is what was sent, and what came out is what was received, in the parts that are over. What an executor
/// reads from a data package is not known here.
fn check_edges(state: &State, jobs: &[JobStatement]) -> Result<(), Violation> {
    let (Some(first), Some(last)) = (jobs.first(), jobs.last()) else { return Ok(()) };
    if state.is_streamed && first.input != state.input.commitment() {
        return Err(Violation::Signed { stage: 0, what: "input" });
    }
    if last.output != state.output.commitment() {
        return Err(Violation::Signed { stage: jobs.len().saturating_sub(1), what: "output" });
    }
    Ok(())
}

/// What leaves a stage enters the next, where it comes out or fails; at the end it is what was received.
fn check_counts(state: &State, jobs: &[JobStatement]) -> Result<(), Violation> {
    let what = "number of records";
    let mut entering = state.came.saturating_add(state.failed);
    for (stage, job) in jobs.iter().enumerate() {
        if job.records.saturating_add(job.failed) != entering {
            return Err(Violation::Signed { stage, what });
        }
        entering = job.records;
    }
    if entering != state.came {
        return Err(Violation::Signed { stage: jobs.len().saturating_sub(1), what });
    }
    Ok(())
}

/// Without a failure, every stage completed and every part is over.
fn completed(state: &State, jobs: &[JobStatement]) -> Result<Ending, Violation> {
    if !state.sent.is_empty() {
        return Err(Violation::Incomplete { parts: state.sent.len() });
    }
    match jobs.iter().position(|job| job.outcome != Outcome::Completed) {
        Some(stage) => Err(Violation::Signed { stage, what: "outcome" }),
        None => Ok(Ending::Completed),
    }
}

/// After a failure, the stage that failed says so, with the same cause and record.
fn failed(failure: &JobFailure, jobs: &[JobStatement]) -> Result<(), Violation> {
    let stage = usize::try_from(failure.stage).unwrap_or(usize::MAX);
    let says_so = jobs.get(stage).is_some_and(|job| match &job.outcome {
        Outcome::Failed { cause, record } => *record == failure.record && *cause == failure.cause,
        Outcome::Completed | Outcome::Stopped => false,
    });
    if says_so { Ok(()) } else { Err(Violation::Signed { stage, what: "outcome" }) }
}

fn has_short_texts(job: &JobStatement) -> bool {
    let cause = match &job.outcome {
        Outcome::Failed { cause, .. } => cause.as_str(),
        Outcome::Completed | Outcome::Stopped => "",
    };
    cause.len() <= CAUSE_MAX_BYTES
        && job.engine.len() <= TEXT_MAX_BYTES
        && job.isolation.len() <= ISOLATION_MAX
        && job.isolation.iter().all(|name| name.len() <= TEXT_MAX_BYTES)
}
