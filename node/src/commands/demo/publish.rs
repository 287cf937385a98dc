//! Step 2: the producer publishes, exactly as `guild publish DIR` does.

use std::path::Path;
use std::time::{Duration, Instant};

use guildhall_client::Client;
use guildhall_client::package::read_dir;
use guildhall_protocol::name::OrgName;

use super::broken::{Broken, Expect as _, ensure};
use super::content::{Content, MODEL, PREPARE};
use super::lab::{Lab, PRODUCER};
use super::narrator::{Narrator, time};
use super::report::PublishedSeen;

/// Publishes what can be published before anybody else is there: the parts of the pipeline.
pub(super) async fn run(
    narrator: &Narrator<'_>,
    content: &Content,
    lab: &Lab,
) -> Result<Vec<PublishedSeen>, Broken> {
    narrator.step(&format!(
        "{PRODUCER} publishes: inspected and tested in workers, then signed and listed"
    ));
    let mut published = Vec::new();
    for name in [PREPARE, MODEL] {
        published.push(publish(narrator, lab.producer.client(), &content.folder(name)).await?.seen);
    }
    Ok(published)
}

/// One publication.
pub(super) struct Publication {
    /// As the producer's node lists it.
    pub(super) seen: PublishedSeen,
    /// When the node had answered.
    pub(super) at: Instant,
}

/// Publishes the package in `folder`, tells it, and reads it back.
pub(super) async fn publish(
    narrator: &Narrator<'_>,
    producer: &Client,
    folder: &Path,
) -> Result<Publication, Broken> {
    let what = format!("{} is published", folder.display());
    let org: OrgName = PRODUCER.parse().expected(&what)?;
    let begun = Instant::now();
    let place = folder.to_owned();
    let draft = tokio::task::spawn_blocking(move || read_dir(&place)).await.expected(&what)?;
    let mut draft = draft.expected(&what)?;
    draft.resolve(producer, &org).await.expected(&what)?;
    draft.upload(producer, |_| {}).await.expected(&what)?;
    let request = draft.request(false).expected(&what)?;
    let published = producer.publish(&request).await.expected(&what)?;
    let (at, took): (Instant, Duration) = (Instant::now(), begun.elapsed());

    let failed: Vec<&str> = published
        .checks
        .iter()
        .filter(|check| !check.passed)
        .map(|check| check.name.as_str())
        .collect();
    ensure(failed.is_empty(), "every check of a published package held", || failed.join(", "))?;
    let listed = producer.show(&published.reference).await.expected(&what)?;
    let seen = PublishedSeen {
        kind: listed.listing.kind,
        reference: listed.reference,
        package_id: listed.package_id,
    };
    ensure(
        seen.package_id == published.package_id,
        format!("{} is listed as {}", published.reference, published.package_id),
        || seen.package_id.to_string(),
    )?;
    narrator.tell(format_args!(
        "{:<10} {:<34} {:>3} files {:>7} bytes  {} checks passed  {}",
        seen.kind.as_str(),
        seen.reference.to_string(),
        draft.files().len(),
        listed.listing.len_bytes,
        published.checks.len(),
        time(took),
    ));
    Ok(Publication { seen, at })
}
