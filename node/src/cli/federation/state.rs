//! What `guild status` says of how a node is: how complete and how fresh, who disagrees, what waits, what was dropped.

use guildhall_protocol::api::{Completeness, Reach, Reachability, Stale, Status};

use super::uptime;
use crate::cli::Table;
use crate::cli::table::{counted, short_peer};

/// Peers that disagree of which each gets a line; a federation that falls apart is seen by then.
const DISAGREEING_SHOWN: usize = 8;

/// Two comparisons. What differed in one only is on its way, and nobody needs to know.
const DIFFERS_SHOWN_S: u64 = 30;

/// What is followed, and how much of it is listed.
pub(super) fn follows(status: &Status) -> String {
    let of = &status.completeness.follows;
    if of.is_empty() {
        return super::list(&status.follows);
    }
    let each = of.iter().map(|one| {
        let name = match one.category.as_str() {
            "*" => "everything",
            name => name,
        };
        format!("{name} ({})", counted(one.listings, "listing"))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Records that are here, of those that are known of.
pub(super) fn records(status: &Status) -> String {
    let Completeness { records_held, records_known, .. } = &status.completeness;
    match records_known.saturating_sub(*records_held) {
        0 => status.records.to_string(),
        missing => {
            format!("{records_held} of {records_known}; {missing} are at peers and not here yet")
        }
    }
}

/// Records that are here with their bodies.
pub(super) fn bodies(complete: &Completeness) -> String {
    match (complete.bodies_held, complete.bodies_missing) {
        (held, 0) => held.to_string(),
        (held, missing) => format!("{held}; {missing} more may be followed and are asked for"),
    }
}

/// For how long nothing was heard, and what follows.
pub(super) fn stale(stale: Stale) -> String {
    let since = uptime(stale.heard_s);
    match stale.refuses {
        false => format!("no other organisation was heard for {since}; guild doctor"),
        true => format!(
            "no other organisation was heard for {since}: only this one's code is run; guild doctor"
        ),
    }
}

/// Whether others reach the node, if anybody found out.
pub(super) fn reached(reachability: &Reachability) -> String {
    match (reachability.state, reachability.relays.as_slice()) {
        (Reach::Unknown, _) => String::new(),
        (Reach::Public, _) => format!("at {}", reachability.confirmed.join(", ")),
        (Reach::Private, []) => "by nobody, and through no relay; guild doctor".to_owned(),
        (Reach::Private, relays) => format!("through {}", relays.join(", ")),
    }
}

/// Who disagrees, what waits and what was dropped; nothing where there is nothing.
pub(super) fn lines(status: &Status, columns: Option<usize>) -> Vec<String> {
    let mut lines = Vec::new();
    let disagreeing: Vec<_> =
        status.disagreeing.iter().filter(|one| one.since_s >= DIFFERS_SHOWN_S).collect();
    if !disagreeing.is_empty() {
        let mut table = Table::with_head(["DISAGREES", "NODE", "FOR", "RECORDS"]);
        for one in disagreeing.iter().take(DISAGREEING_SHOWN) {
            let missing = match (one.missing_here, one.missing_there) {
                (here, 0) => format!("{here} missing here"),
                (0, there) => format!("{there} missing there"),
                (here, there) => format!("{here} missing here, {there} missing there"),
            };
            let since = uptime(one.since_s);
            table.row([one.org.to_string(), short_peer(&one.peer_id), since, missing]);
        }
        lines.extend(below(&table, columns));
        let left = disagreeing.len().saturating_sub(DISAGREEING_SHOWN);
        if left > 0 {
            lines.push(format!("{} in GET /api/v1/status", counted(left, "more node")));
        }
    }
    if !status.queued.is_empty() {
        let mut table = Table::with_head(["WAITING", "AT MOST", "WHAT"]);
        for one in &status.queued {
            table.row([one.count.to_string(), one.bound.to_string(), one.what.clone()]);
        }
        lines.extend(below(&table, columns));
    }
    if !status.dropped.is_empty() {
        let mut table = Table::with_head(["DROPPED", "WHAT", "WHY"]);
        for one in &status.dropped {
            table.row([one.count.to_string(), one.what.clone(), one.why.clone()]);
        }
        lines.extend(below(&table, columns));
    }
    lines
}

/// A table with an empty line before it.
fn below(table: &Table, columns: Option<usize>) -> Vec<String> {
    let rows = table.rows_wrapped(columns).into_iter().flatten();
    std::iter::once(String::new()).chain(rows).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> Status {
        let zero = "0".repeat(64);
        serde_json::from_value(json!({
            "org": "lab-a", "root": zero, "node": zero, "peer_id": "", "api": "", "home": "/x",
            "addresses": [], "follows": ["*"], "offer": null, "engines": [], "isolation": [],
            "federation": { "id": zero, "name": "lab-a", "members": ["lab-a"] },
            "peers": 0, "records": 31, "listings": 0, "packages": 0, "jobs": 0, "software": "",
            "uptime_s": 0,
        }))
        .unwrap()
    }

    #[test]
    fn a_status_of_an_earlier_version_reads_as_before() {
        let old = Status { completeness: Completeness::default(), ..status() };
        assert_eq!((records(&old).as_str(), follows(&old).as_str()), ("31", "*"));
        assert!(lines(&old, Some(80)).is_empty());
    }

    #[test]
    fn what_is_missing_who_disagrees_what_waits_and_what_was_dropped_fits_a_terminal() {
        let mut status = status();
        status.completeness = serde_json::from_value(json!({
            "records_held": 31, "records_known": 40, "bodies_held": 20, "bodies_missing": 2,
            "follows": [{ "category": "*", "listings": 5 }],
        }))
        .unwrap();
        let peer_id = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let one = json!({ "peer_id": peer_id, "org": "a-university-hospital", "since_s": 7200,
            "missing_here": 9, "missing_there": 1 });
        status.disagreeing = serde_json::from_value(json!(vec![one; 10])).unwrap();
        status.queued =
            serde_json::from_value(json!([{ "what": "events", "count": 3, "bound": 1024 }]))
                .unwrap();
        status.dropped = serde_json::from_value(json!([
            { "what": "records\u{1b}[2J", "why": "they are malformed", "count": 7 }
        ]))
        .unwrap();
        assert_eq!(records(&status), "31 of 40; 9 are at peers and not here yet");
        assert_eq!(bodies(&status.completeness), "20; 2 more may be followed and are asked for");
        assert_eq!(follows(&status), "everything (5 listings)");
        let lines = lines(&status, Some(80));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        assert!(lines[2].contains("2 h 0 min  9 missing here, 1 missing"), "{lines:#?}");
        let text = lines.join("\n");
        assert!(text.contains("2 more nodes in GET /api/v1/status"), "{text}");
        assert!(text.contains("3        1024     events"), "{text}");
        assert!(text.contains("records\\u{1b}[2J  they are malformed"), "{text}");
    }
}
