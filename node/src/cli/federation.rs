//! `invite`, `join`, `status`, `peers`: who belongs together, and how the node is.

mod state;

use std::io::{self, Read as _};

use clap::Args;
use guildhall_client::package::ByteSize;
use guildhall_protocol::api::{InviteRequest, Notice, Peer, Status};
use guildhall_protocol::body::HardwareOffer;
use serde_json::json;

use super::period::{at_most_a_week, date};
use super::table::{clipped, counted, short_peer};
use super::{Context, Failure, Period, Table, exit};

/// Longest invite that is read from stdin, bytes: sixteen long addresses in base32.
const INVITE_MAX_BYTES: u64 = 16 * 1024;

/// Most characters of what a peer lends and follows in a table, so that most rows fit 100 columns.
const LENDS_SHOWN: usize = 36;
const FOLLOWS_SHOWN: usize = 22;

/// Notices that `status` shows: those of the last days at a busy node.
const NOTICES_SHOWN: usize = 10;

/// `guild invite`.
#[derive(Clone, Debug, Args)]
pub(crate) struct InviteArgs {
    /// How long it holds, at most 7d [default: 24h]
    #[arg(long, value_name = "PERIOD", value_parser = at_most_a_week)]
    pub(crate) expires: Option<Period>,
}

/// `guild join`.
#[derive(Clone, Debug, Args)]
pub(crate) struct JoinArgs {
    /// What `guild invite` printed at a member's node; `-` reads it from stdin
    pub(crate) invite: String,
}

pub(super) async fn invite(context: &Context, args: &InviteArgs) -> Result<(), Failure> {
    let request = InviteRequest { expires_in_s: args.expires.map(|period| period.seconds) };
    let invite = context.client().await?.invite(&request).await?;
    if context.output.is_json() {
        return context.output.json(&json!({ "invite": invite }));
    }
    context.output.note("Whoever has this string can join, once. Pass it on in private:");
    context.output.line(&invite)
}

pub(super) async fn join(context: &Context, args: &JoinArgs) -> Result<(), Failure> {
    let invite = match args.invite.as_str() {
        "-" => from_stdin().await.map_err(|error| Failure::from_error(exit::FAILED, &error))?,
        given => given.to_owned(),
    };
    let joined = context.client().await?.join(invite.trim()).await;
    let status = joined.map_err(|error| with_the_right_node(error.into()))?;
    if context.output.is_json() {
        return context.output.json(&status);
    }
    let federation = &status.federation;
    if context.output.is_quiet() {
        return context.output.line(&federation.id.to_string());
    }
    context.output.line(&format!(
        "joined {}, with {}",
        federation.name,
        list(&federation.members)
    ))?;
    context.output.note("next: guild peers, or guild search");
    Ok(())
}

/// An invite is made at a member's node, and never at the one that wants to come in.
fn with_the_right_node(failure: Failure) -> Failure {
    match failure.help.as_deref() {
        Some("guild invite") => failure
            .with_help("guild invite   # at the node of a member, who sends you what it prints"),
        _ => failure,
    }
}

/// Reads on a thread of its own, because a terminal may keep it waiting for ever.
async fn from_stdin() -> io::Result<String> {
    let read = || {
        let mut text = String::new();
        io::stdin().take(INVITE_MAX_BYTES).read_to_string(&mut text).map(|_| text)
    };
    tokio::task::spawn_blocking(read).await?
}

pub(super) async fn status(context: &Context) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    let status = client.status().await?;
    if output.is_json() {
        return output.json(&status);
    }
    if output.is_quiet() {
        return output.line(&status.peer_id);
    }
    output.table(&status_table(&status))?;
    output.lines(state::lines(&status, output.columns()))?;
    if status.notices > 0 {
        match client.notices().await {
            Ok(notices) => output.lines(notice_lines(&notices, output.columns()))?,
            // How the node is stands there already; that it does not tell more fails nothing.
            Err(error) => output.warning(&format!("its notices cannot be read: {error}")),
        }
    }
    Ok(())
}

/// What concerns content here, the newest first.
fn notice_lines(notices: &[Notice], columns: Option<usize>) -> Vec<String> {
    let mut table = Table::with_head(["DATE", "NOTICE", "ABOUT", "TEXT"]);
    for notice in notices.iter().take(NOTICES_SHOWN) {
        table.row([
            date(notice.time_ms),
            notice.kind.clone(),
            notice.reference.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            notice.text.clone(),
        ]);
    }
    let mut lines = vec![String::new()];
    lines.extend(table.rows_wrapped(columns).into_iter().flatten());
    if notices.len() > NOTICES_SHOWN {
        let more = counted(notices.len() - NOTICES_SHOWN, "older notice");
        lines.push(format!("{more} in GET /api/v1/notices"));
    }
    lines
}

/// How a node is, for people.
fn status_table(status: &Status) -> Table {
    let mut table = Table::plain();
    table.field("org", status.org.to_string());
    table.field("node", status.peer_id.clone());
    table.field("api", status.api.clone());
    table.field("home", status.home.clone());
    for address in &status.addresses {
        table.field("address", address.clone());
    }
    let federation = &status.federation;
    table.field("federation", format!("{} ({})", federation.name, list(&federation.members)));
    table.field("follows", state::follows(status));
    table.field("lends", offer_text(status.offer.as_ref()));
    if status.draining {
        let said = "finishes what others have here and takes no more; guild node drain --stop";
        table.field("draining", said);
    }
    table.field("engines", list(&status.engines));
    table.field("isolation", list(&status.isolation));
    table.field("peers", status.peers.to_string());
    table.field("records", state::records(status));
    table.field("bodies", state::bodies(&status.completeness));
    table.field("listings", status.listings.to_string());
    table.field("packages", status.packages.to_string());
    table.field("jobs", status.jobs.to_string());
    if let Some(heard_s) = status.heard_s {
        table.field("heard", format!("another node {} ago", uptime(heard_s)));
    }
    if let Some(stale) = status.stale {
        table.field("stale", state::stale(stale));
    }
    table.field("reached", state::reached(&status.reachability));
    table.field("version", status.software.clone());
    table.field("up", uptime(status.uptime_s));
    table
}

pub(super) async fn peers(context: &Context) -> Result<(), Failure> {
    let peers = context.client().await?.peers().await?;
    if context.output.is_json() {
        return context.output.json(&peers);
    }
    if context.output.is_quiet() {
        return peers.iter().try_for_each(|peer| context.output.line(&peer.peer_id));
    }
    if peers.is_empty() {
        context.output.note("no other node is known; guild invite brings one in");
        return Ok(());
    }
    context.output.table(&peers_table(&peers))
}

/// The other nodes, for people. Addresses are in the JSON: those of nodes that dialled this one say nothing to anybody.
fn peers_table(peers: &[Peer]) -> Table {
    let mut table = Table::with_head(["ORG", "STATE", "NODE", "LENDS", "FOLLOWS"]);
    for peer in peers {
        table.row([
            peer.org.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            state(peer).to_owned(),
            short_peer(&peer.peer_id),
            match peer.draining {
                true => "drains".to_owned(),
                false => clipped(&offer_text(peer.offer.as_ref()), LENDS_SHOWN),
            },
            clipped(&list(&peer.follows), FOLLOWS_SHOWN),
        ]);
    }
    table
}

const fn state(peer: &Peer) -> &'static str {
    match (peer.connected, peer.admitted) {
        (true, true) => "connected",
        (true, false) => "not admitted",
        (false, _) => "away",
    }
}

/// What is lent, in a few words.
pub(super) fn offer_text(offer: Option<&HardwareOffer>) -> String {
    let Some(offer) = offer else { return "nothing".to_owned() };
    let slots = if offer.slots == 1 { "slot" } else { "slots" };
    let memory = ByteSize(offer.limits.memory_bytes);
    let orgs = match offer.orgs.as_slice() {
        [] => "every member".to_owned(),
        orgs => list(orgs),
    };
    format!("{} {slots} of {memory} to {orgs}", offer.slots)
}

/// Items with commas between.
pub(super) fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Seconds in the two largest units that count.
pub(crate) fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn peers_fit_a_terminal() {
        let peer = serde_json::json!({
            "peer_id": "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
            "org": "a-university-hospital", "connected": true, "admitted": true,
            "address": "/ip4/203.0.113.7/tcp/51234", "rtt_ms": 1.5, "offer": null,
            "follows": ["vision/image-classification", "text/translation"], "engines": [],
        });
        let lines = peers_table(&[serde_json::from_value(peer).unwrap()]).lines();
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
        assert!(lines[1].contains("..4kx6nXTN") && !lines[1].contains("51234"), "{lines:#?}");
    }

    #[test]
    fn notices_are_told_the_newest_first_and_older_ones_counted() {
        let notice = Notice {
            kind: "yanked".into(),
            reference: Some("lab-a/digits@1.0.0".parse().unwrap()),
            text: "taken back: wrong labels\u{1b}[2J".into(),
            time_ms: 1_795_392_000_000,
        };
        let lines = notice_lines(&vec![notice; 12], Some(70));
        assert_eq!(lines.len(), 2 + 2 * NOTICES_SHOWN + 1);
        assert_eq!(lines[1], "DATE        NOTICE  ABOUT               TEXT");
        assert_eq!(lines[2], "2026-11-23  yanked  lab-a/digits@1.0.0  taken back: wrong");
        assert!(lines[3].ends_with("labels\\u{1b}[2J"), "{}", lines[3]);
        assert_eq!(lines.last().unwrap(), "2 older notices in GET /api/v1/notices");
    }

    #[test]
    fn nobody_is_told_to_invite_himself() {
        let refused = Failure::new(exit::REFUSED, "not admitted").with_help("guild invite");
        assert!(with_the_right_node(refused).help.unwrap().contains("a member"));
        let other = Failure::new(exit::REFUSED, "busy").with_help("guild status");
        assert_eq!(with_the_right_node(other).help.unwrap(), "guild status");
    }
}
