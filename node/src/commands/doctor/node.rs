//! What a node that is up says of itself, and what to think of it.

use std::collections::BTreeSet;

use guildhall_client::package::ByteSize;
use guildhall_protocol::api::{Disagreement, Peer, Reach, Status, StoreReport};
use guildhall_protocol::manifest::ONNXRUNTIME;
use guildhall_protocol::name::OrgName;

use super::Answers;
use super::check::{Check, Report};
use crate::cli::uptime;

/// Records that are dated further ahead wait at other nodes.
const CLOCK_WRONG_MS: u64 = 5 * 60 * 1_000;

/// From here on a clock is not kept by anything.
const CLOCK_OFF_MS: u64 = 30 * 1_000;

/// Links to other orgs that make it unlikely that one of them decides what a node sees.
const LINKED_ORGS_WANTED: usize = 2;

/// Differences are nothing unusual while records spread. After an hour they are not spreading.
const DIFFERS_LONG_S: u64 = 60 * 60;

/// Peers that disagree are named one by one up to here.
const DISAGREEING_SHOWN: usize = 4;

pub(super) fn look(answers: &Answers, report: &mut Report) {
    let Answers { status, peers, .. } = answers;
    report.add_all(is_member(status));
    report.add(clock(status));
    report.add(links(status, peers));
    report.add_all(fresh(status));
    report.add(complete(status));
    report.add_all(full(status));
    report.add(reachability(status));
}

/// Which node it is, and since when.
pub(super) fn who(status: &Status) -> String {
    let Status { software, home, .. } = status;
    format!("{software} in {home}, up for {}", uptime(status.uptime_s))
}

/// Whether the node sees itself among the members.
fn is_member(status: &Status) -> Option<Check> {
    if status.federation.members.contains(&status.org) {
        return None;
    }
    let saw = format!("{} is not among the members of {}", status.org, status.federation.name);
    Some(Check::problem(
        "membership",
        saw,
        "guild join INVITE   # a member prints one: guild invite",
    ))
}

fn clock(status: &Status) -> Check {
    const CHECK: &str = "clock";
    let Some(clock) = status.clock else {
        return Check::ok(CHECK, "no other organisation said what time it is");
    };
    let off_ms = clock.off_ms.unsigned_abs();
    let off = match off_ms {
        ms if ms < 2_000 => "as the others' clocks are".to_owned(),
        ms if clock.off_ms > 0 => format!("{} behind the others' clocks", uptime(ms / 1_000)),
        ms => format!("{} ahead of the others' clocks", uptime(ms / 1_000)),
    };
    let of = match clock.orgs {
        1 => "1 organisation".to_owned(),
        orgs => format!("the median of {orgs} organisations"),
    };
    let saw = format!("{off} ({of})");
    let help = "timedatectl set-ntp true; timedatectl timesync-status";
    match off_ms {
        ms if ms > CLOCK_WRONG_MS => {
            Check::problem(CHECK, format!("{saw}; records of this node wait or run out"), help)
        }
        ms if ms > CLOCK_OFF_MS => Check::warning(CHECK, saw, help),
        _ => Check::ok(CHECK, saw),
    }
}

/// To how many other orgs there is a connection: a node that hears only one sees what that one wants it to see.
fn links(status: &Status, peers: &[Peer]) -> Check {
    const CHECK: &str = "links";
    let others = status.federation.members.iter().filter(|org| **org != status.org).count();
    let linked: BTreeSet<&OrgName> = peers
        .iter()
        .filter(|peer| peer.connected && peer.admitted)
        .filter_map(|peer| peer.org.as_ref())
        .filter(|org| **org != status.org)
        .collect();
    let names: Vec<String> = linked.iter().map(ToString::to_string).collect();
    match (others, linked.len()) {
        (0, _) => Check::ok(CHECK, "there is no other organisation in the federation"),
        (_, 0) => Check::problem(
            CHECK,
            format!("connected to none of {others} other organisations"),
            "guild peers; is 7481 (tcp or udp) open between you? else guild up --peer MULTIADDR",
        ),
        (others, linked) if linked < LINKED_ORGS_WANTED.min(others) => Check::warning(
            CHECK,
            format!(
                "connected to {} only, of {others}; it alone decides what you see",
                names.join(", ")
            ),
            "guild peers; guild up --peer MULTIADDR of a node of another organisation",
        ),
        (others, linked) => {
            Check::ok(CHECK, format!("connected to {linked} of {others} other organisations"))
        }
    }
}

fn fresh(status: &Status) -> Option<Check> {
    let stale = status.stale?;
    let saw = format!("nothing was heard from another organisation for {}", uptime(stale.heard_s));
    let help = "guild peers; guild up --peer MULTIADDR of a node that is up";
    Some(match stale.refuses {
        true => Check::problem("freshness", format!("{saw}; code of others is not run"), help),
        false => Check::warning("freshness", saw, help),
    })
}

/// Whether what others have is here, and nobody has differed for long.
fn complete(status: &Status) -> Check {
    const CHECK: &str = "records";
    let complete = &status.completeness;
    let saw = format!("{} of {} that are known of", complete.records_held, complete.records_known);
    let long: Vec<&Disagreement> =
        status.disagreeing.iter().filter(|one| one.since_s >= DIFFERS_LONG_S).collect();
    if long.is_empty() {
        return Check::ok(CHECK, saw);
    }
    let named = long.iter().take(DISAGREEING_SHOWN).map(|one| {
        let (here, there) = (one.missing_here, one.missing_there);
        format!("{} for {} ({here} missing here, {there} there)", one.org, uptime(one.since_s))
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let left = long.len().saturating_sub(DISAGREEING_SHOWN);
    let more = if left == 0 { String::new() } else { format!(" and {left} more") };
    let saw = format!("{saw}; differs from {named}{more}");
    Check::warning(CHECK, saw, "guild status says what is dropped; the log of guild up says why")
}

/// Queues that are full: what comes next waits or is dropped.
fn full(status: &Status) -> Vec<Check> {
    let full = status.queued.iter().filter(|one| one.count >= one.bound);
    let check = |one: &guildhall_protocol::api::Queued| {
        let saw = format!("{}: {} of {} wait", one.what, one.count, one.bound);
        Check::warning("queues", saw, "look at the load and the disk of this machine; guild status")
    };
    full.map(check).collect()
}

fn reachability(status: &Status) -> Check {
    const CHECK: &str = "reachability";
    let reach = &status.reachability;
    match reach.state {
        Reach::Public => {
            Check::ok(CHECK, format!("others reach it at {}", reach.confirmed.join(", ")))
        }
        Reach::Private if reach.relays.is_empty() => Check::problem(
            CHECK,
            "others do not reach it, and no relay does it for them: only what it dials itself works",
            "forward 7481 (tcp and udp) to this machine, or let a node that is reached be its relay",
        ),
        Reach::Private => Check::ok(
            CHECK,
            format!("behind a NAT; others reach it through {}", reach.relays.join(", ")),
        ),
        Reach::Unknown if is_loopback_only(&status.addresses) => {
            Check::ok(CHECK, "it listens on this machine only")
        }
        Reach::Unknown => Check::ok(CHECK, "no other node tried yet"),
    }
}

fn is_loopback_only(addresses: &[String]) -> bool {
    let is_loopback =
        |address: &String| address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/");
    !addresses.is_empty() && addresses.iter().all(is_loopback)
}

/// What the store takes.
pub(super) fn store(store: &StoreReport) -> Check {
    let content = store.blob_bytes.saturating_add(store.partial_bytes);
    let saw = format!(
        "{} of records and rows, {} of files; {} could go",
        ByteSize(store.catalogue_bytes),
        ByteSize(content),
        ByteSize(store.reclaimable_bytes)
    );
    Check::ok("store", saw)
}

pub(super) fn engines(status: &Status) -> Check {
    judge_engines(&status.engines)
}

pub(super) fn judge_engines(names: &[String]) -> Check {
    const CHECK: &str = "engines";
    let saw = names.join(", ");
    if names.is_empty() {
        return Check::problem(CHECK, "none; nothing can be executed here", "guild --version");
    }
    match names.iter().any(|name| name == ONNXRUNTIME) {
        true => Check::ok(CHECK, saw),
        // The engine that is built in does what it does; this one is faster.
        false => Check::ok(CHECK, format!("{saw}; onnxruntime is not installed or not found")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use guildhall_protocol::api::{ClockDifference, Queued, Stale};
    use serde_json::json;

    use super::super::check::State;
    use super::*;

    fn status(members: &[&str]) -> Status {
        let zero = "0".repeat(64);
        serde_json::from_value(json!({
            "org": "lab-a", "root": zero, "node": zero, "peer_id": "", "api": "", "home": "/x",
            "addresses": [], "follows": [], "offer": null, "engines": [], "isolation": [],
            "federation": { "id": zero, "name": "lab-a", "members": members },
            "peers": 0, "records": 0, "listings": 0, "packages": 0, "jobs": 0, "software": "",
            "uptime_s": 0,
        }))
        .unwrap()
    }

    fn peer(org: &str, connected: bool) -> Peer {
        serde_json::from_value(json!({
            "peer_id": "x", "org": org, "connected": connected, "admitted": connected,
            "address": null, "follows": [], "offer": null, "engines": [],
        }))
        .unwrap()
    }

    #[test]
    fn links_to_two_other_orgs_are_wanted_where_there_are_two() {
        let all = ["lab-a", "lab-b", "lab-c", "lab-d"];
        let b = [peer("lab-a", true), peer("lab-b", true), peer("lab-b", true)];
        let of = |members: &[&str], peers: &[Peer]| links(&status(members), peers).state;
        assert_eq!(of(&all[..1], &[]), State::Ok);
        assert_eq!(of(&all[..2], &b), State::Ok);
        assert_eq!(of(&all, &b), State::Warning);
        assert_eq!(of(&all, &[peer("lab-b", false), peer("lab-a", true)]), State::Problem);
        assert_eq!(of(&all, &[peer("lab-b", true), peer("lab-c", true)]), State::Ok);
    }

    #[test]
    fn a_clock_that_is_five_minutes_off_is_a_problem_either_way() {
        let of = |off_ms| {
            let clock = Some(ClockDifference { off_ms, orgs: 3 });
            clock_of(clock)
        };
        fn clock_of(clock: Option<ClockDifference>) -> Check {
            super::clock(&Status { clock, ..status(&["lab-a"]) })
        }
        assert_eq!(clock_of(None).state, State::Ok);
        assert_eq!(of(1_900).state, State::Ok);
        assert_eq!(of(-300_000).state, State::Warning);
        assert_eq!(of(-300_001).state, State::Problem);
        assert_eq!(of(i64::MIN).state, State::Problem);
        assert!(of(7_200_000).saw.starts_with("2 h 0 min behind"), "{}", of(7_200_000).saw);
        assert!(of(-7_200_000).saw.starts_with("2 h 0 min ahead"), "{}", of(-7_200_000).saw);
    }

    #[test]
    fn a_stale_node_a_lasting_difference_and_a_full_queue_are_said() {
        let mut status = status(&["lab-a", "lab-b"]);
        assert_eq!(fresh(&status), None);
        status.stale = Some(Stale { heard_s: 90_000, refuses: false });
        assert_eq!(fresh(&status).unwrap().state, State::Warning);
        status.stale = Some(Stale { heard_s: 700_000, refuses: true });
        assert_eq!(fresh(&status).unwrap().state, State::Problem);

        let differs = |since_s| Disagreement {
            peer_id: "x".into(),
            org: "lab-b".parse().unwrap(),
            since_s,
            missing_here: 3,
            missing_there: 0,
        };
        status.disagreeing = vec![differs(DIFFERS_LONG_S - 1)];
        assert_eq!(complete(&status).state, State::Ok, "records may be spreading");
        status.disagreeing = vec![differs(DIFFERS_LONG_S); 6];
        let check = complete(&status);
        assert_eq!(check.state, State::Warning);
        assert!(check.saw.contains("lab-b for 1 h 0 min (3 missing here"), "{}", check.saw);
        assert!(check.saw.ends_with("and 2 more"), "{}", check.saw);

        status.queued = vec![Queued { what: "events".into(), count: 9, bound: 10 }];
        assert!(full(&status).is_empty());
        status.queued[0].count = 10;
        assert_eq!(full(&status).len(), 1);
    }

    #[test]
    fn a_private_node_without_a_relay_is_a_problem() {
        let mut status = status(&["lab-a"]);
        let state = |status: &Status| reachability(status).state;
        assert_eq!(state(&status), State::Ok);
        status.reachability.state = Reach::Private;
        assert_eq!(state(&status), State::Problem);
        status.reachability.relays = vec!["/ip4/192.0.2.1/tcp/7481/p2p/x".into()];
        assert_eq!(state(&status), State::Ok);
    }
}
