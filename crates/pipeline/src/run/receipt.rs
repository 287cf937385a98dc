//! Whether an executor's job statements say what the requester agreed, sent and received.

use guildhall_protocol::receipt::{JobStatement, Outcome, RunStatement, open_jobs};
use guildhall_protocol::statement::Signed;
use guildhall_protocol::wire::JobFailure;
use guildhall_protocol::{Hash, PublicKey, RunId};

use super::{CAUSE_MAX_BYTES, State, Violation, quote};

/// Longest text of a job statement apart from the cause, bytes, and most names of isolation: four times what this
/// version says of itself. Reports keep them, so a peer must not be able to fill them.
const TEXT_MAX_BYTES: usize = 64;
const ISOLATION_MAX: usize = 16;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every record came out.
    Completed,
    /// A stage failed, and another node would not help.
    Failed(JobFailure),
    /// A stage failed by the executing node's own trouble; another node may do the run.
    Elsewhere(JobFailure),
}

/// An attempt whose receipt holds, ready to be signed by the requester's node.
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

/// Checks `jobs` against what `state` has seen of the attempt under way.
pub(super) fn verify(state: &State, signed: &[Signed]) -> Result<Verified, Violation> {
    let (spec, attempt) = (&state.spec, &state.attempt);
    if signed.len() != spec.packages.len() {
        return Err(Violation::Stages { expected: spec.packages.len(), found: signed.len() });
    }
    let jobs = open_jobs(signed)?;
    for (stage, (job, package)) in jobs.iter().zip(&spec.packages).enumerate() {
        let limits = attempt.limits.as_ref().and_then(|limits| limits.get(stage));
        let agreed = [
            ("run", job.run == spec.run),
            ("package", job.package == *package),
            ("executor", Some(job.executor) == attempt.executor),
            ("requester", job.requester == spec.requester),
            ("limit", limits.is_none_or(|limits| *limits == job.limits)),
            ("length of text", has_short_texts(job)),
        ];
        if let Some((what, _)) = agreed.into_iter().find(|(_, holds)| !holds) {
            return Err(Violation::Signed { stage, what });
        }
    }
    let ending = match &attempt.failure {
        None => completed(state, &jobs)?,
        Some(failure) => {
            failed(failure, &jobs)?;
            match quote::is_executors(spec, attempt.limits.as_deref(), failure) {
                true => Ending::Elsewhere(failure.clone()),
                false => Ending::Failed(failure.clone()),
            }
        }
    };
    check_edges(state, &jobs)?;
    Ok(Verified {
        run: spec.run,
        requester: spec.requester,
        ending,
        jobs,
        job_hashes: signed.iter().map(Signed::hash).collect(),
    })
}

/// What went in is what was sent, and what came out is what was received and delivered. After a failure the executor
/// may not have taken in everything that was sent, so the first edge is checked for complete runs only.
fn check_edges(state: &State, jobs: &[JobStatement]) -> Result<(), Violation> {
    let (Some(first), Some(last)) = (jobs.first(), jobs.last()) else { return Ok(()) };
    let is_whole = state.attempt.failure.is_none();
    if is_whole && state.spec.streamed && first.input != state.sent.hasher.commitment() {
        return Err(Violation::Signed { stage: 0, what: "input" });
    }
    let stage = jobs.len().saturating_sub(1);
    let received = &state.attempt.received;
    if last.output != received.hasher.commitment() {
        return Err(Violation::Signed { stage, what: "output" });
    }
    if last.records != received.next {
        return Err(Violation::Signed { stage, what: "number of records" });
    }
    if is_whole && received.next != state.delivered.next
        || received.next == state.delivered.next
            && received.hasher.commitment() != state.delivered.hasher.commitment()
    {
        return Err(Violation::Differs);
    }
    Ok(())
}

/// Without a failure, every stage completed with every record.
fn completed(state: &State, jobs: &[JobStatement]) -> Result<Ending, Violation> {
    let received = state.attempt.received.next;
    let expected = if state.input_ended { state.spec.records } else { Some(u64::MAX) };
    if let Some(expected) = expected
        && received != expected
    {
        return Err(Violation::Incomplete { received, expected });
    }
    for (stage, job) in jobs.iter().enumerate() {
        if job.outcome != Outcome::Completed {
            return Err(Violation::Signed { stage, what: "outcome" });
        }
        if job.records != received {
            return Err(Violation::Signed { stage, what: "number of records" });
        }
    }
    Ok(Ending::Completed)
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
