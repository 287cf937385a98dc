//! Step 5: the requester runs the pipeline on the lender's hardware, and the results are those of onnxruntime.

use std::collections::BTreeMap;
use std::time::Duration;

use guildhall_client::Client;
use guildhall_launch::{Node, NotYet, converge};
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{
    InputRecord, OutputLine, OutputValue, Placement, RunInput, RunReport, RunRequest, RunState,
};
use guildhall_protocol::interface::{Prediction, PredictionValue};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::Reference;

use super::broken::{Broken, Expect as _, ensure};
use super::content::{Content, Picture, share};
use super::lab::{LENDER, Lab, PRODUCER, REQUESTER, status};
use super::narrator::{Narrator, percent, short, time};
use super::receipts;
use super::report::{PublishedSeen, ReceiptSeen, RunSeen};
use super::story::of_producer;

/// How long a run of the demo may take, with fetching and compiling, on a slow and busy machine.
const RUN_MAX: Duration = Duration::from_secs(60);

/// How long two nodes may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(20);

/// How far a confidence may be from onnxruntime's: 32-bit numbers, summed in another order.
const CONFIDENCE_TOLERANCE: f64 = 1e-4;

/// How far a number may be from itself after it was written and read as JSON.
const JSON_TOLERANCE: f64 = 1e-9;

/// Runs the pipeline over the data package and compares every output.
pub(super) async fn run(
    narrator: &Narrator<'_>,
    content: &Content,
    lab: &Lab,
    published: &[PublishedSeen],
) -> Result<(RunSeen, Vec<ReceiptSeen>), Broken> {
    narrator
        .step(&format!("{REQUESTER} runs the pipeline over the pictures, on whatever node fits"));
    let requester = lab.requester.client();
    let lender = status(&lab.lender).await?;
    sees_lender(requester, &lender.peer_id).await?;
    let input = RunInput::Package(of_producer("digits-images")?);
    // On one node, so that there is one receipt to read.
    let request =
        RunRequest { shares_max: Some(1), ..RunRequest::new(of_producer("digits")?, input) };
    // The stages in their order, then what they are fed.
    let needed = ids(published, [Kind::Algorithm, Kind::Model, Kind::Data])?;
    let [prepare, model, pictures] = needed;
    held_by(&lab.lender, LENDER, &needed, false).await?;
    held_by(&lab.requester, REQUESTER, &needed, false).await?;
    let report = run_to_end(requester, &request).await?;
    completed(&report, content.pictures().len())?;
    held_by(&lab.lender, LENDER, &[prepare, model], true).await?;
    // Its records without the labels, so not the package.
    held_by(&lab.lender, LENDER, &[pictures], false).await?;
    let executed_on = report.executed_on.clone().expected("the run names its executor")?;
    let by_lender = executed_on.org.as_str() == LENDER && executed_on.peer_id == lender.peer_id;
    ensure(by_lender, format!("the run is executed by {LENDER}"), || format!("{executed_on:?}"))?;
    for line in &report.log {
        narrator.tell(line.replace(&executed_on.peer_id, &short(&executed_on.peer_id)));
    }
    narrator.tell(format_args!(
        "{LENDER} fetches 2 packages and the records by hash, which only {PRODUCER} had, and scores {} records  {}",
        report.records,
        time(Duration::try_from_secs_f64(report.seconds).unwrap_or_default()),
    ));

    let outputs = requester.run_outputs(report.run_id).await.expected("the outputs come back")?;
    let accuracy = compare(&outputs, content.pictures())?;
    let node_says = format!("{REQUESTER}'s node reports the same accuracy, {accuracy}");
    let same = |reported: f64| (reported - accuracy).abs() <= JSON_TOLERANCE;
    ensure(report.accuracy.is_some_and(same), node_says, || format!("{:?}", report.accuracy))?;
    let reference_accuracy = content.reference_accuracy();
    narrator.tell(format_args!(
        "{0} of {0} predictions equal onnxruntime's; accuracy {1}, reference {2}",
        outputs.len(),
        percent(accuracy),
        percent(reference_accuracy),
    ));
    let receipts = receipts::of(narrator, lab, &report, &[prepare, model]).await?;
    let seen = RunSeen {
        executed_on,
        records: report.records,
        accuracy,
        reference_accuracy,
        seconds: report.seconds,
    };
    Ok((seen, receipts))
}

/// The first published package of each kind.
fn ids<const N: usize>(
    published: &[PublishedSeen],
    kinds: [Kind; N],
) -> Result<[PackageId; N], Broken> {
    let find = |kind: Kind| published.iter().find(|seen| seen.kind == kind);
    let ids: Vec<_> = kinds.into_iter().filter_map(find).map(|seen| seen.package_id).collect();
    <[PackageId; N]>::try_from(ids).map_err(|ids| {
        Broken::new(format!("published packages of the kinds {kinds:?}"), format!("{ids:?}"))
    })
}

/// Checks that a node holds all of the packages, or none.
async fn held_by(node: &Node, org: &str, packages: &[PackageId], all: bool) -> Result<(), Broken> {
    let held = node.client().packages().await.expected(format!("{org} lists its packages"))?;
    let fits = packages.iter().all(|package| held.contains(package) == all);
    let expected = format!("{org} holds {} of {packages:?}", if all { "all" } else { "none" });
    ensure(fits, expected, || format!("it holds {held:?}"))
}

/// Waits until the requester has a connection to the lender and knows that it lends.
pub(super) async fn sees_lender(requester: &Client, peer_id: &str) -> Result<(), Broken> {
    let what = format!("{REQUESTER} is connected to {LENDER}, which lends hardware");
    let look = async || -> Result<(), NotYet> {
        let peers = requester.peers().await?;
        let Some(peer) = peers.into_iter().find(|peer| peer.peer_id == peer_id) else {
            return Err(NotYet::saw("no such node"));
        };
        if peer.connected && peer.admitted && peer.offer.is_some() {
            return Ok(());
        }
        Err(NotYet::saw(format!(
            "connected: {}, admitted: {}, lends: {}",
            peer.connected,
            peer.admitted,
            peer.offer.is_some()
        )))
    };
    converge(CONNECT_MAX, &what, look).await.expected(&what)
}

/// Starts a run and waits until it has ended, well or not.
pub(super) async fn run_to_end(
    requester: &Client,
    request: &RunRequest,
) -> Result<RunReport, Broken> {
    let what = format!("a run of {} ends within {} s", request.reference, RUN_MAX.as_secs());
    let run = requester.start_run(request).await.expected(&what)?;
    let mut last = String::new();
    let ended = requester.wait_run(run, |report| last = report.log.join("; "));
    match tokio::time::timeout(RUN_MAX, ended).await {
        Ok(ended) => ended.expected(&what),
        Err(_) => Err(Broken::new(what, format!("it goes on: {last}"))),
    }
}

/// Runs the pipeline over one picture on the lender, and checks the prediction.
pub(super) async fn run_one(lab: &Lab, content: &Content) -> Result<RunReport, Broken> {
    let requester = lab.requester.client();
    let (record, picture) = content.good_record().expected("there is a picture to run")?;
    let request = on_lender(of_producer("digits")?, record)?;
    let report = run_to_end(requester, &request).await?;
    completed(&report, 1)?;
    let outputs = requester.run_outputs(report.run_id).await.expected("the output comes back")?;
    compare(&outputs, std::slice::from_ref(picture))?;
    Ok(report)
}

/// A run of one record on the lender.
pub(super) fn on_lender(reference: Reference, record: InputRecord) -> Result<RunRequest, Broken> {
    let org = LENDER.parse().expected("the lender has a good name")?;
    let input = RunInput::Records(vec![record]);
    Ok(RunRequest { on: Placement::Org(org), ..RunRequest::new(reference, input) })
}

fn completed(report: &RunReport, records: usize) -> Result<(), Broken> {
    let all = usize::try_from(report.records) == Ok(records);
    ensure(
        report.state == RunState::Completed && all,
        format!("a run of {} completes with {records} records", report.reference),
        || {
            let why = report.failure.as_ref().map(|it| format!("{}: {}", it.cause, it.message));
            let (state, got, log) = (report.state, report.records, report.log.join("\n"));
            format!("{state:?} with {got}, {}\n{log}", why.unwrap_or_default())
        },
    )
}

/// Compares every output with what onnxruntime said, picture by picture, and returns the accuracy.
fn compare(outputs: &[OutputLine], pictures: &[Picture]) -> Result<f64, Broken> {
    let mut by_name: BTreeMap<&str, &OutputLine> = BTreeMap::new();
    for line in outputs {
        let before = by_name.insert(&line.name, line);
        ensure(before.is_none(), "one output for each picture", || {
            format!("two of {}", line.name)
        })?;
    }
    ensure(outputs.len() == pictures.len(), format!("{} outputs", pictures.len()), || {
        outputs.len().to_string()
    })?;
    let mut right = 0;
    for picture in pictures {
        let line = by_name.get(picture.name.as_str()).copied();
        let line = line.expected(format!("an output for {}", picture.name))?;
        let (class, confidence) = best(line)?;
        let same = class == picture.class
            && confidence.is_some_and(|it| (it - picture.confidence).abs() <= CONFIDENCE_TOLERANCE);
        let expected = format!("{}: {} ({})", picture.name, picture.class, picture.confidence);
        ensure(same, expected, || format!("{class} ({confidence:?})"))?;
        right += usize::from(class == picture.label);
    }
    Ok(share(right, pictures.len()))
}

/// The class of the most confident prediction.
fn best(line: &OutputLine) -> Result<(&str, Option<f64>), Broken> {
    let expected = || format!("{}: predictions of classes", line.name);
    let OutputValue::Predictions(predictions) = &line.value else {
        return Err(Broken::new(expected(), format!("{:?}", line.value)));
    };
    let surer = |a: &&Prediction, b: &&Prediction| {
        let confidence = |it: &&Prediction| it.confidence.unwrap_or_default();
        confidence(a).total_cmp(&confidence(b))
    };
    match predictions.iter().max_by(surer) {
        Some(Prediction { value: PredictionValue::Class(class), confidence, .. }) => {
            Ok((class, *confidence))
        }
        _ => Err(Broken::new(expected(), format!("{predictions:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(name: &str, label: &str, class: &str) -> Picture {
        Picture { name: name.into(), label: label.into(), class: class.into(), confidence: 0.9 }
    }

    fn output(name: &str, class: &str, confidence: f64) -> OutputLine {
        let prediction = Prediction {
            input: 0,
            value: PredictionValue::Class(class.into()),
            location: None,
            confidence: Some(confidence),
        };
        OutputLine {
            index: 0,
            name: name.into(),
            value: OutputValue::Predictions(vec![prediction]),
        }
    }

    #[test]
    fn outputs_must_be_those_of_the_reference_and_accuracy_is_against_the_labels() {
        let pictures = [picture("a", "1", "1"), picture("b", "2", "3")];
        let good = [output("b", "3", 0.9), output("a", "1", 0.900_01)];
        assert_eq!(compare(&good, &pictures).ok(), Some(0.5));
        for (bad, why) in [
            (vec![good[0].clone()], "one is missing"),
            (vec![good[0].clone(), output("c", "1", 0.9)], "another one"),
            (vec![good[0].clone(), good[0].clone()], "one twice"),
            (vec![good[0].clone(), output("a", "7", 0.9)], "another class"),
            (vec![good[0].clone(), output("a", "1", 0.8)], "another confidence"),
        ] {
            assert!(compare(&bad, &pictures).is_err(), "{why}");
        }
    }
}
