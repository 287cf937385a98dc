//! `--for PIPELINE`: the gaps of a pipeline, and what would fill each.
//!
//! A gap is where a stage is marked as missing, or where what one stage yields does not go into the next as it is. One
//! value passes from stage to stage, so each side of a gap is one port: the output, and the first input that is needed.

use std::path::Path;

use guildhall_client::Client;
use guildhall_client::package::Sketch;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{AskOutcome, Correction, Facet, SearchAnswer};
use guildhall_protocol::fit::interface_fit;
use guildhall_protocol::interface::{Interface, Port, PortType};
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::{Gap, Query, Suggestion};
use serde_json::json;

use super::super::show::yanked;
use super::super::{Context, Failure, exit};
use super::ask;

/// What a stage can be.
const STAGE_KINDS: [Kind; 2] = [Kind::Algorithm, Kind::Model];

/// Near misses of a merged answer: as many as one answer names.
const NEAREST_SHOWN: usize = 3;

/// What to write where no side of a gap has a type.
const UNTYPED: &str = "write [[interface.inputs]] or [[interface.outputs]] into guild.toml, each with name and type; then \
                       it can be looked for";

/// A pipeline whose stages were looked up.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Ends of the whole, as far as they are written down.
    pub(super) interface: Interface,
    /// Name and ports of each stage; without ports it is looked for.
    pub(super) stages: Vec<(String, Option<Interface>)>,
}

/// A place where something is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Between what, in words.
    pub(super) place: String,
    /// The types on its two sides.
    pub(super) gap: Gap,
    /// Why there is one.
    pub(super) why: String,
}

/// Searches for what fills each gap of the pipeline that `given` names. `query` narrows further.
pub(super) async fn search(
    context: &Context,
    client: &Client,
    query: &Query,
    given: &str,
    explain: bool,
) -> Result<(), Failure> {
    let output = &context.output;
    if let Some(kind) = query.kind.filter(|kind| !STAGE_KINDS.contains(kind)) {
        let message = format!("a stage is an algorithm or a model, and never {kind}");
        return Err(Failure::new(exit::USAGE, message).with_help("guild search --for PIPELINE"));
    }
    let known = look_up(context, client, given).await?;
    let missing = missing(&known);
    if missing.is_empty() && !output.is_json() {
        output.note("every stage fits the next one as it is; nothing is missing");
        return Ok(());
    }
    let mut found = Vec::new();
    for place in missing {
        let head = format!("{}: {}", place.place, place.why);
        if place.gap.is_empty() {
            if output.is_json() {
                found.push(
                    json!({ "place": place.place, "why": place.why, "fits": null, "answer": null }),
                );
            } else if !output.is_quiet() {
                output.line(&head)?;
                output.note(UNTYPED);
            }
            continue;
        }
        let query = Query { fits: place.gap.clone(), ..query.clone() };
        let (answer, query) = stages(context, client, query).await?;
        if output.is_json() {
            found.push(json!({
                "place": place.place,
                "why": place.why,
                "fits": place.gap.to_string(),
                "answer": answer,
            }));
        } else {
            if !output.is_quiet() {
                output.line(&head)?;
            }
            super::show(context, client, &answer, &query, explain).await?;
        }
    }
    if output.is_json() { output.json(&found) } else { Ok(()) }
}

/// Asks for what can be a stage: for each kind, if none was asked for.
async fn stages(
    context: &Context,
    client: &Client,
    query: Query,
) -> Result<(SearchAnswer, Query), Failure> {
    if query.kind.is_some() {
        return ask(context, client, query).await;
    }
    let limit = query.results();
    let [algorithm, model] = STAGE_KINDS.map(|kind| Query { kind: Some(kind), ..query.clone() });
    let (algorithms, answered) = ask(context, client, algorithm).await?;
    let (models, _) = ask(context, client, model).await?;
    Ok((merged(algorithms, models, limit), Query { kind: None, ..answered }))
}

/// Two answers as one: the best of both. It has no further page, since neither answer has it.
pub(super) fn merged(one: SearchAnswer, other: SearchAnswer, limit: usize) -> SearchAnswer {
    let is_cut = one.next.is_some() || other.next.is_some();
    let mut all = SearchAnswer { total: one.total.saturating_add(other.total), next: None, ..one };
    let leads = |results: &[Suggestion]| results.first().map_or(-1.0, |result| result.score);
    if leads(&other.results) > leads(&all.results) {
        // What is fetched next is likelier one of these.
        all.query_id = other.query_id;
    }
    all.results.extend(other.results);
    all.results.sort_by(|a, b| b.score.total_cmp(&a.score));
    if is_cut || all.results.len() > limit {
        all.results.truncate(limit);
        all.notes
            .push("there are more: a greater --limit shows them, or narrow by criteria".to_owned());
    }
    for node in other.nodes {
        if !all.nodes.iter().any(|known| known.peer_id == node.peer_id) {
            let answered = matches!(node.outcome, AskOutcome::Answered | AskOutcome::Remembered);
            all.asked = all.asked.saturating_add(1);
            all.answered = all.answered.saturating_add(u64::from(answered));
            all.nodes.push(node);
        }
    }
    all.age_s = all.age_s.max(other.age_s);
    all.stale = all.stale.or(other.stale);
    for facet in other.facets {
        match all.facets.iter_mut().find(|known| known.name == facet.name) {
            Some(known) => add_counts(known, facet),
            None => all.facets.push(facet),
        }
    }
    let new = |said: &Correction| !all.did_you_mean.contains(said);
    let corrections: Vec<_> = other.did_you_mean.into_iter().filter(new).collect();
    all.did_you_mean.extend(corrections);
    all.nearest.extend(other.nearest);
    all.nearest.truncate(NEAREST_SHOWN);
    for part in other.excluded {
        match all.excluded.iter_mut().find(|known| known.criterion == part.criterion) {
            Some(known) => known.without = known.without.saturating_add(part.without),
            None => all.excluded.push(part),
        }
    }
    // Nobody asked for the kinds.
    all.excluded.retain(|part| !part.criterion.starts_with("kind:"));
    let notes: Vec<_> = other.notes.into_iter().filter(|note| !all.notes.contains(note)).collect();
    all.notes.extend(notes);
    all
}

fn add_counts(known: &mut Facet, other: Facet) {
    for value in other.values {
        match known.values.iter_mut().find(|one| one.value == value.value) {
            Some(one) => one.count = one.count.saturating_add(value.count),
            None => known.values.push(value),
        }
    }
    known.values.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
}

/// The pipeline in a folder or a file, else the one of that reference.
async fn look_up(context: &Context, client: &Client, given: &str) -> Result<Known, Failure> {
    let path = Path::new(given);
    if path.exists() {
        let sketch = Sketch::read(path, &client.status().await?.org)?;
        let mut known = Known { interface: sketch.interface, stages: Vec::new() };
        for stage in sketch.stages {
            let interface = match &stage.package {
                Some(reference) => interface_of(context, client, &stage.name, reference).await?,
                None => None,
            };
            known.stages.push((stage.name, interface));
        }
        return Ok(known);
    }
    let reference: Reference = given.parse().map_err(|_| {
        let message = format!("`{given}` is neither a folder here nor the reference of a pipeline");
        Failure::new(exit::USAGE, message)
            .with_cause("a folder holds a guild.toml with [[stages]]; package = \"?\" is a gap")
            .with_help("guild search --for FOLDER")
    })?;
    let detail = client.show(&reference).await?;
    let manifest = match detail.manifest {
        Some(manifest) => manifest,
        None => client.manifest(detail.package_id).await?,
    };
    if manifest.stages.is_empty() {
        let message = format!("{} is no pipeline: its kind is {}", detail.reference, manifest.kind);
        return Err(Failure::new(exit::USAGE, message).with_help("guild search --fits IN..OUT"));
    }
    let mut known = Known { interface: manifest.interface, stages: Vec::new() };
    for stage in manifest.stages {
        let reference = Reference::Package(stage.package);
        let interface = match interface_of(context, client, &stage.name, &reference).await {
            Err(failure) if failure.code == exit::NOT_FOUND => {
                Some(manifest_interface(client, stage.package).await?)
            }
            found => found?,
        };
        known.stages.push((stage.name, interface));
    }
    Ok(known)
}

/// The ports of a stage; `None` for one that was taken back, for which something else is needed.
async fn interface_of(
    context: &Context,
    client: &Client,
    stage: &str,
    reference: &Reference,
) -> Result<Option<Interface>, Failure> {
    let detail = client.show(reference).await.map_err(|error| {
        let mut failure = Failure::from(error);
        let message = format!("stage `{stage}` cannot be looked up: {reference}");
        failure.causes.insert(0, std::mem::replace(&mut failure.message, message));
        failure
    })?;
    if let Some(yanked) = yanked(&detail) {
        let said = format!("stage `{stage}`, {}, was taken back: {}", yanked.reference, yanked.why);
        context.output.warning(&said);
        return Ok(None);
    }
    Ok(Some(detail.listing.interface))
}

/// What is not listed may still be held by somebody.
async fn manifest_interface(client: &Client, package: PackageId) -> Result<Interface, Failure> {
    Ok(client.manifest(package).await?.interface)
}

/// Every place of a pipeline where something is missing, in its order.
pub(super) fn missing(known: &Known) -> Vec<Missing> {
    let mut found = Vec::new();
    let mut before: (String, &[Port]) = ("what goes in".to_owned(), &known.interface.inputs);
    let mut wanted: Vec<&str> = Vec::new();
    let end = Interface { inputs: known.interface.outputs.clone(), outputs: Vec::new() };
    let stages =
        known.stages.iter().map(|(name, ports)| (format!("`{name}`"), name, ports.as_ref()));
    let end_name = String::new();
    let ends = std::iter::once(("what comes out".to_owned(), &end_name, Some(&end)));
    for (shown, name, ports) in stages.chain(ends) {
        let Some(ports) = ports else {
            wanted.push(name);
            continue;
        };
        let place = format!("between {} and {shown}", before.0);
        let gap = Gap { input: one(before.1), output: needed(&ports.inputs) };
        if !wanted.is_empty() {
            let names = wanted.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            let why = match names.as_slice() {
                [one] => format!("{one} is looked for"),
                several => format!("one that does the work of {}", several.join(" and ")),
            };
            let why = match gap.is_empty() {
                true => format!("{why}, but nothing says what goes in or comes out"),
                false => why,
            };
            found.push(Missing { place, gap, why });
        } else if !before.1.is_empty() && !ports.inputs.is_empty() {
            let fit = interface_fit(before.1, &ports.inputs);
            if !fit.is_direct() {
                let why = fit.feeds.iter().filter(|feed| !feed.optional && !feed.fit.is_direct());
                let why: Vec<String> =
                    why.map(|feed| format!("`{}` {}", feed.input, feed.fit)).collect();
                found.push(Missing { place, gap, why: why.join("; ") });
            }
        }
        wanted.clear();
        before = (shown, &ports.outputs);
    }
    found
}

/// The type of what comes out.
fn one(outputs: &[Port]) -> Option<PortType> {
    outputs.first().map(|port| port.port_type.clone())
}

/// The type of what has to go in.
fn needed(inputs: &[Port]) -> Option<PortType> {
    let needed = inputs.iter().find(|port| !port.optional).or_else(|| inputs.first());
    needed.map(|port| port.port_type.clone())
}
