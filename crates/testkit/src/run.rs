//! Runs over a few records, to their end.

use data_encoding::BASE64;
use guildhall_launch::{Node, NotYet, converge};
use guildhall_protocol::RunId;
use guildhall_protocol::api::{
    InputRecord, OutputValue, Placement, RunInput, RunReport, RunRequest,
};

use guildhall_protocol::contract::LimitSet;

use crate::lab::PATIENCE;

/// Records of these values, named by their place.
#[must_use]
pub fn records<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> RunInput {
    let record = |(place, value): (usize, V)| {
        InputRecord::new(place.to_string(), BASE64.encode(value.as_ref()))
    };
    RunInput::Records(values.into_iter().enumerate().map(record).collect())
}

/// Limits of a run that waits so long for a slot.
#[must_use]
pub fn waits(queue_ms: u64) -> LimitSet {
    LimitSet { queue_ms: Some(queue_ms), ..LimitSet::default() }
}

/// A request without limits of its own.
#[must_use]
pub fn request(reference: &str, input: RunInput, on: &str) -> RunRequest {
    let on = on.parse::<Placement>().expect("a place");
    RunRequest { on, ..RunRequest::new(reference.parse().expect("a reference"), input) }
}

/// Starts a run, which must be accepted.
pub async fn start(node: &Node, request: &RunRequest) -> RunId {
    let started = node.client().start_run(request).await;
    started.unwrap_or_else(|error| {
        let details = match &error {
            guildhall_client::Error::Api { body, .. } => body.details.join("\n"),
            _ => String::new(),
        };
        panic!("{}: {error}\n{details}\n{}", request.reference, node.log_tail())
    })
}

/// Runs `reference` over records on a node or org, to the end.
pub async fn run<V: AsRef<[u8]>>(
    node: &Node,
    reference: &str,
    values: impl IntoIterator<Item = V>,
    on: &str,
) -> RunReport {
    run_request(node, &request(reference, records(values), on)).await
}

/// Runs a request to the end.
pub async fn run_request(node: &Node, request: &RunRequest) -> RunReport {
    let run = start(node, request).await;
    let ended = tokio::time::timeout(PATIENCE, node.client().wait_run(run, |_| {})).await;
    let ended = ended.unwrap_or_else(|_| panic!("the run did not end\n{}", node.log_tail()));
    ended.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()))
}

/// Waits until `count` records of a run came out; returns the report.
pub async fn until_records(node: &Node, run: RunId, count: u64) -> RunReport {
    let what = format!("{count} records");
    let seen = converge(PATIENCE, &what, async || {
        let report = node.client().run(run).await?;
        if report.records >= count {
            return Ok(report);
        }
        Err(NotYet::saw(format!("{report:?}")))
    });
    seen.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()))
}

/// The bytes of an output.
#[must_use]
pub fn bytes_of(value: &OutputValue) -> Vec<u8> {
    match value {
        OutputValue::Base64(text) => BASE64.decode(text.as_bytes()).expect("base64"),
        OutputValue::Text(text) => text.clone().into_bytes(),
        other => panic!("{other:?} is no bytes"),
    }
}
