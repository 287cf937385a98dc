//! Step 3: the listings reach every node that follows the category: those of before its time when it joins, by pull;
//! those that are published then, by gossip.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use guildhall_client::Client;
use guildhall_launch::{NotYet, converge};
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{InviteRequest, OfferChange, Via};
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::{Hardware, NodeLimits};
use guildhall_protocol::query::Query;

use super::broken::{Broken, Expect as _, ensure};
use super::content::{Content, IMAGES, PIPELINE, STUCK};
use super::lab::{FOLLOWED, LENDER, Lab, PRODUCER};
use super::narrator::{Narrator, time};
use super::publish::publish;
use super::report::{PublishedSeen, Spread};

/// How long a listing may take to reach a node that is up: gossip needs a heartbeat, a second, when it goes wrong once.
const SPREAD_MAX: Duration = Duration::from_secs(15);

/// Jobs that the lender executes at once.
const SLOTS: u32 = 2;

/// Lets the lender join late, publishes the rest, and waits for both.
pub(super) async fn run(
    narrator: &Narrator<'_>,
    content: &Content,
    lab: &Lab,
    published: &mut Vec<PublishedSeen>,
) -> Result<Spread, Broken> {
    narrator.step(&format!("{LENDER} joins late, and the listings spread"));
    let (producer, lender) = (lab.producer.client(), lab.lender.client());
    let begun = Instant::now();
    join(producer, lender, LENDER).await?;
    narrator.tell(format_args!(
        "{LENDER} joins {PRODUCER}'s federation with an invite  {}",
        time(begun.elapsed())
    ));
    followed_by(lender, published).await?;
    narrator.tell(format_args!(
        "it pulls the {} listings from before its time  {} after it asked to join",
        published.len(),
        time(begun.elapsed())
    ));
    offer(narrator, lender).await?;

    let mut slowest = Duration::ZERO;
    for name in [STUCK, IMAGES, PIPELINE] {
        let publication = publish(narrator, producer, &content.folder(name)).await?;
        published.push(publication.seen);
        followed_by(lender, published).await?;
        slowest = slowest.max(publication.at.elapsed());
    }
    // The producer follows the category too, and its answers are the measure for everybody's.
    followed_by(producer, published).await?;
    narrator.tell(format_args!(
        "every node that follows `{FOLLOWED}` has all {}; gossip took {} at most",
        published.len(),
        time(slowest)
    ));
    Ok(Spread { all_nodes: true, seconds: slowest.as_secs_f64() })
}

/// Brings a node into the federation of another one, and waits until both count it as a member.
pub(super) async fn join(member: &Client, joiner: &Client, org: &str) -> Result<(), Broken> {
    let what = format!("{org} joins with an invite");
    let invite = member.invite(&InviteRequest::default()).await.expected(&what)?;
    joiner.join(&invite).await.expected(&what)?;
    for node in [member, joiner] {
        let what = format!("{} counts {org} and {PRODUCER} as members", node.url());
        let look = async || -> Result<(), NotYet> {
            let members = node.status().await?.federation.members;
            let is_member = |org: &&str| members.iter().any(|member| member.as_str() == *org);
            match [org, PRODUCER].iter().all(is_member) {
                true => Ok(()),
                false => Err(NotYet::saw(format!("{members:?}"))),
            }
        };
        converge(SPREAD_MAX, &what, look).await.expected(&what)?;
    }
    Ok(())
}

/// Lends the lender's hardware.
async fn offer(narrator: &Narrator<'_>, lender: &Client) -> Result<(), Broken> {
    let offer = HardwareOffer {
        slots: SLOTS,
        hardware: Hardware { cores: 1, gpu_memory_bytes: 0 },
        limits: NodeLimits::default(),
        orgs: Vec::new(),
        ..HardwareOffer::default()
    };
    let change = OfferChange { offer: Some(offer.clone()) };
    let what = format!("{LENDER} lends {SLOTS} slots");
    let status = lender.set_offer(&change).await.expected(&what)?;
    ensure(status.offer.as_ref() == Some(&offer), &what, || format!("{:?}", status.offer))?;
    narrator
        .tell(format_args!("{LENDER} lends its hardware to every member: {SLOTS} jobs at once"));
    Ok(())
}

/// Waits until a node that follows the category answers with all of it from its own catalogue.
pub(super) async fn followed_by(node: &Client, published: &[PublishedSeen]) -> Result<(), Broken> {
    let query = Query { category: FOLLOWED.parse().ok(), ..Query::default() };
    let what = format!("{} lists all of {} packages by itself", node.url(), published.len());
    let look = async || -> Result<(), NotYet> {
        let answer = node.search(&query).await?;
        if answer.via != Via::Local {
            return Err(NotYet::saw("it had to ask others"));
        }
        let found: BTreeSet<PackageId> = answer.results.iter().map(|it| it.package_id).collect();
        match published.iter().find(|seen| !found.contains(&seen.package_id)) {
            Some(missing) => Err(NotYet::saw(format!("no {}", missing.reference))),
            None => Ok(()),
        }
    };
    converge(SPREAD_MAX, &what, look).await.expected(&what)
}
