//! The order of the steps.

use std::path::Path;

use guildhall_protocol::name::{OrgName, Reference};

use super::broken::{Broken, Expect as _};
use super::content::Content;
use super::lab::{Lab, PRODUCER};
use super::narrator::Narrator;
use super::report::{NodeSeen, Report};
use super::{execute, find, overrun, publish, restart, spread, start};

/// The steps, as they are counted.
pub(super) const STEPS: [&str; 7] =
    ["start", "publish", "spread", "find", "run", "timeout", "restart"];

/// Goes through the steps. The nodes are put into `lab` as soon as they run, so that whoever ends the story early can
/// stop them.
pub(super) async fn tell(
    narrator: &Narrator<'_>,
    dir: &Path,
    lab: &mut Option<Lab>,
) -> Result<Report, Broken> {
    let [start, publish, spread, find, run, timeout, restart] = STEPS;
    let at = |step: &'static str| move |broken: Broken| broken.during(step);

    narrator.say("Three orgs on this machine, a node each: real processes, real content.");
    // It blocks, for a moment and while nothing else is under way, so that it is never left half done.
    let content = &Content::unpack(&dir.join("content"))
        .expected("the content that the program carries can be written down")?;
    let lab = lab.insert(start::run(narrator, dir).await.map_err(at(start))?);
    let mut published = publish::run(narrator, content, lab).await.map_err(at(publish))?;
    let spread = spread::run(narrator, content, lab, &mut published).await.map_err(at(spread))?;
    let (lookup, suggestions) = find::run(narrator, lab, &published).await.map_err(at(find))?;
    let (run, mut receipts) =
        execute::run(narrator, content, lab, &published).await.map_err(at(run))?;
    let (timeout, stopped) = overrun::run(narrator, content, lab).await.map_err(at(timeout))?;
    receipts.extend(stopped);
    let seen = restart::run(narrator, content, lab, &published).await.map_err(at(restart))?;
    let nodes = lab.statuses().await.map_err(at(restart))?.map(|status| NodeSeen {
        org: status.org,
        peer_id: status.peer_id,
        api: status.api,
        home: status.home,
    });
    Ok(Report {
        nodes: nodes.into(),
        published,
        spread,
        lookup,
        suggestions,
        run,
        timeout,
        receipts,
        restart: seen,
    })
}

/// A package of the producer, the newest version.
pub(super) fn of_producer(name: &str) -> Result<Reference, Broken> {
    let org: OrgName = PRODUCER.parse().expected("the producer has a good name")?;
    let name = name.parse().expected("a package has a good name")?;
    Ok(Reference::Named { org, name, version: None })
}
