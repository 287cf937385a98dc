//! Step 6: a stage that never ends is stopped at its producer's limit, and the node goes on.

use guildhall_protocol::api::RunState;

use super::broken::{Broken, Expect as _, ensure};
use super::content::Content;
use super::execute::{on_lender, run_one, run_to_end};
use super::lab::{LENDER, Lab, REQUESTER, status};
use super::narrator::Narrator;
use super::receipts;
use super::report::{ReceiptSeen, Timeout};
use super::story::of_producer;

/// The word for the cause.
const TIMEOUT: &str = "timeout";

/// How much later than its limit a stage may be stopped, milliseconds: an epoch's tick and the way to the worker, on a
/// busy machine.
const LATE_MAX_MS: u64 = 2_000;

/// Runs the stage over the picture on which it never ends, then the pipeline once more.
pub(super) async fn run(
    narrator: &Narrator<'_>,
    content: &Content,
    lab: &mut Lab,
) -> Result<(Timeout, Vec<ReceiptSeen>), Broken> {
    narrator.step(&format!("{REQUESTER} runs a stage that never ends, on {LENDER}"));
    let pid = lab.lender.pid();
    let requester = lab.requester.client();
    let reference = of_producer("digits-stuck")?;
    let stuck = requester.show(&reference).await.expected("the stuck stage is found")?;
    let record = content.poison_record().expected("there is a picture to run")?;
    let report = run_to_end(requester, &on_lender(reference, record)?).await?;
    let failure = report.failure.as_ref().filter(|_| report.state == RunState::Failed);
    let failure = failure.expected("the run fails")?;
    ensure(failure.cause == TIMEOUT, format!("the cause is `{TIMEOUT}`"), || {
        format!("{}: {}", failure.cause, failure.message)
    })?;
    let limit_ms = failure.limit_ms.expected("the failure names the limit")?;
    let contract = stuck.listing.contract.as_ref().expected("the stuck stage has a contract")?;
    ensure(limit_ms == contract.scoring_ms, "the limit is the producer's", || {
        format!("{limit_ms} ms instead of {} ms", contract.scoring_ms)
    })?;
    let stopped_after_ms = failure.stopped_after_ms.expected("the failure says when")?;
    let on_time = (limit_ms..=limit_ms + LATE_MAX_MS).contains(&stopped_after_ms);
    ensure(
        on_time,
        format!("it is stopped {limit_ms} to {} ms after its start", limit_ms + LATE_MAX_MS),
        || format!("after {stopped_after_ms} ms"),
    )?;
    narrator.tell(format_args!(
        "stopped after {stopped_after_ms} ms, at its producer's limit of {limit_ms} ms"
    ));
    narrator.tell(format_args!("{}: {}", failure.cause, failure.message));
    let receipts = receipts::of(narrator, lab, &report, &[stuck.package_id]).await?;
    let jobs = report.receipts.iter().flat_map(|receipt| &receipt.jobs);
    let counts: Vec<_> = jobs.map(|job| (job.records, job.failed)).collect();
    let signed = counts.iter().all(|(came, failed)| (*came, *failed) == (0, 1));
    ensure(signed, "the receipt counts it as failed", || format!("{counts:?}"))?;

    status(&lab.lender).await?;
    run_one(lab, content).await?;
    let same = lab.lender.pid() == pid && lab.lender.is_running().expected("its process runs")?;
    ensure(same, format!("{LENDER}'s node is still the same process"), || {
        "another one".to_owned()
    })?;
    narrator.tell(format_args!(
        "{LENDER} goes on: the same process answers, and scores the next picture right"
    ));
    Ok((Timeout { limit_ms, stopped_after_ms, node_alive: true }, receipts))
}
