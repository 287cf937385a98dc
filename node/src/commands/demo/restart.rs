//! Step 7: the lender's node is killed, and has everything when it comes back.

use std::time::Instant;

use guildhall_launch::Node;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::Status;

use super::broken::{Broken, Expect as _, ensure};
use super::content::Content;
use super::execute::{run_one, sees_lender};
use super::lab::{LENDER, Lab, status};
use super::narrator::{Narrator, time};
use super::report::{PublishedSeen, Restart};
use super::spread::followed_by;

/// Kills the lender's node without warning and starts it again in the same home.
pub(super) async fn run(
    narrator: &Narrator<'_>,
    content: &Content,
    lab: &mut Lab,
    published: &[PublishedSeen],
) -> Result<Restart, Broken> {
    narrator.step(&format!("{LENDER}'s node is killed with SIGKILL, and starts again"));
    let (before, held_before) = look(&lab.lender).await?;
    lab.lender.kill().await.expected(format!("{LENDER}'s node is killed"))?;
    let begun = Instant::now();
    lab.lender.restart().await.expected(format!("{LENDER}'s node starts again"))?;
    let took = begun.elapsed();
    let (after, held_after) = look(&lab.lender).await?;
    let same = after.node == before.node && after.federation.id == before.federation.id;
    ensure(same, "it is the same node in the same federation", || after.peer_id.clone())?;
    ensure(after.offer == before.offer, "it lends what it lent", || format!("{:?}", after.offer))?;
    ensure(after.listings == before.listings, format!("{} listings", before.listings), || {
        format!("{} listings", after.listings)
    })?;
    ensure(held_after == held_before, format!("the packages {held_before:?}"), || {
        format!("{held_after:?}")
    })?;
    followed_by(lab.lender.client(), published).await?;
    narrator.tell(format_args!(
        "ready again after {}, with its {} listings and {} packages",
        time(took),
        after.listings,
        after.packages
    ));
    sees_lender(lab.requester.client(), &after.peer_id).await?;
    let report = run_one(lab, content).await?;
    let seconds = report.seconds;
    narrator.tell(format_args!(
        "the others find it again, and it executes: one picture right, in {seconds:.2} s"
    ));
    Ok(Restart { listings: after.listings, packages: after.packages })
}

/// What a node says about itself, and the packages it holds.
async fn look(node: &Node) -> Result<(Status, Vec<PackageId>), Broken> {
    let status = status(node).await?;
    let mut held = node.client().packages().await.expected("it lists its packages")?;
    held.sort_unstable();
    ensure(u64::try_from(held.len()) == Ok(status.packages), "its counts agree", || {
        format!("{} packages listed, {} counted", held.len(), status.packages)
    })?;
    Ok((status, held))
}
