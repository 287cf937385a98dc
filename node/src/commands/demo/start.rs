//! Step 1: three nodes of three orgs that do not know each other.

use std::path::Path;
use std::time::Instant;

use super::broken::{Broken, ensure};
use super::lab::{Lab, ORGS};
use super::narrator::{Narrator, short, time};
use crate::cli::Table;

/// Starts the nodes and looks at each.
pub(super) async fn run(narrator: &Narrator<'_>, dir: &Path) -> Result<Lab, Broken> {
    narrator.step("Three orgs make their keys and start a node each");
    let begun = Instant::now();
    let lab = Lab::start(dir).await?;
    let took = begun.elapsed();
    let mut table = Table::plain();
    for (org, status) in ORGS.into_iter().zip(lab.statuses().await?) {
        ensure(status.org.as_str() == org, format!("a node of {org}"), || status.org.to_string())?;
        let follows: Vec<&str> = status.follows.iter().map(|category| category.as_str()).collect();
        table.row([
            org.to_owned(),
            status.api,
            short(&status.peer_id),
            format!("follows {}", follows.join(", ")),
        ]);
    }
    narrator.table(&table);
    narrator.tell(format_args!("{} processes ready in {}", ORGS.len(), time(took)));
    Ok(lab)
}
