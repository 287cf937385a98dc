//! Receipts, verified here from their bytes and not by the word of the node that shows them.

use guildhall_overlay::peer_id_string;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::RunReport;

use super::broken::{Broken, Expect as _, ensure};
use super::lab::{LENDER, Lab, REQUESTER, status};
use super::narrator::{Narrator, short};
use super::report::ReceiptSeen;

/// Gets a run's receipt from the requester's node and checks it: both signatures, both keys, every stage, every record.
pub(super) async fn of(
    narrator: &Narrator<'_>,
    lab: &Lab,
    report: &RunReport,
    stages: &[PackageId],
) -> Result<Vec<ReceiptSeen>, Broken> {
    let what = format!("the receipt of the run of {} verifies", report.reference);
    let (lender, requester) = (status(&lab.lender).await?, status(&lab.requester).await?);
    let receipt = lab.requester.client().run_receipt(report.run_id).await.expected(&what)?;
    let (run, jobs) = receipt.verify().expected(&what)?;
    ensure(run.run == report.run_id, &what, || format!("it is that of {}", run.run))?;
    ensure(run.requester == requester.node, format!("{REQUESTER} signed the run"), || {
        format!("signed by {}", run.requester)
    })?;
    let executors: Vec<_> = jobs.iter().map(|job| job.executor).collect();
    let by_lender = executors.iter().all(|executor| *executor == lender.node);
    ensure(by_lender, format!("{LENDER} signed every job"), || format!("{executors:?}"))?;
    let packages: Vec<PackageId> = jobs.iter().map(|job| job.package).collect();
    ensure(packages == stages, format!("jobs for the stages {stages:?}"), || {
        format!("{packages:?}")
    })?;
    let records: Vec<u64> = jobs.iter().map(|job| job.records + job.failed).collect();
    let all = records.iter().all(|count| *count == report.records);
    ensure(all, format!("{} records in each job", report.records), || format!("{records:?}"))?;
    let claimed = report.receipts.iter().map(|receipt| {
        let same = receipt.run == run && receipt.jobs == jobs;
        (receipt.executor.as_str(), receipt.requester.as_str(), same && receipt.verified)
    });
    let claimed: Vec<_> = claimed.collect();
    let own = [(lender.peer_id.as_str(), requester.peer_id.as_str(), true)];
    ensure(claimed == own, "the node shows the same receipt, verified", || format!("{claimed:?}"))?;
    narrator.tell(format_args!(
        "receipt: {} jobs signed by {LENDER} ({}), the run by {REQUESTER} ({}); verified from its bytes",
        jobs.len(),
        short(&lender.peer_id),
        short(&requester.peer_id),
    ));
    Ok(vec![ReceiptSeen {
        executor: peer_id_string(&lender.node),
        requester: peer_id_string(&run.requester),
        verified: true,
    }])
}
