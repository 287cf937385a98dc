//! `--for PIPELINE`: the gaps of a pipeline, and what would fill each.
//!
//! A gap is where a stage is marked as missing, or where what one stage yields does not go into the next as it is. One
//! value passes from stage to stage, so each side of a gap is one port: the output, and the first input that is needed.

use std::path::Path;

use guildhall_client::Client;
use guildhall_client::package::Sketch;
use guildhall_protocol::PackageId;
use guildhall_protocol::fit::interface_fit;
use guildhall_protocol::interface::{Interface, Port, PortType};
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::{Gap, Query};
use serde_json::json;

use super::super::{Context, Failure, exit};
use super::{ask, nothing, results};

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
    let known = look_up(client, given).await?;
    let missing = missing(&known);
    if missing.is_empty() && !output.is_json() {
        output.note("every stage fits the next one as it is; nothing is missing");
        return Ok(());
    }
    let mut found = Vec::new();
    for place in missing {
        let query = Query { fits: place.gap.clone(), ..query.clone() };
        let answer = ask(client, &query).await?;
        if output.is_json() {
            found.push(json!({
                "place": place.place,
                "why": place.why,
                "fits": place.gap.to_string(),
                "answer": answer,
            }));
        } else if output.is_quiet() {
            super::show(context, &answer, &query, explain)?;
        } else {
            output.line(&format!("{}: {}", place.place, place.why))?;
            let columns = output.columns();
            if answer.results.is_empty() {
                output.lines(nothing::lines(&answer, &query, columns))?;
            } else {
                output.lines(results::table(&answer, &query, explain, columns))?;
            }
            results::talk(&answer, &query, output.columns())
                .iter()
                .for_each(|line| output.note(line));
        }
    }
    if output.is_json() { output.json(&found) } else { Ok(()) }
}

/// The pipeline in a folder or a file, else the one of that reference.
async fn look_up(client: &Client, given: &str) -> Result<Known, Failure> {
    let path = Path::new(given);
    if path.exists() {
        let sketch = Sketch::read(path, &client.status().await?.org)?;
        let mut known = Known { interface: sketch.interface, stages: Vec::new() };
        for stage in sketch.stages {
            let interface = match &stage.package {
                Some(reference) => Some(interface_of(client, &stage.name, reference).await?),
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
        let interface = match interface_of(client, &stage.name, &reference).await {
            Err(failure) if failure.code == exit::NOT_FOUND => {
                manifest_interface(client, stage.package).await?
            }
            found => found?,
        };
        known.stages.push((stage.name, Some(interface)));
    }
    Ok(known)
}

async fn interface_of(
    client: &Client,
    stage: &str,
    reference: &Reference,
) -> Result<Interface, Failure> {
    let detail = client.show(reference).await.map_err(|error| {
        let mut failure = Failure::from(error);
        let message = format!("stage `{stage}` cannot be looked up: {reference}");
        failure.causes.insert(0, std::mem::replace(&mut failure.message, message));
        failure
    })?;
    Ok(detail.listing.interface)
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
            found.extend(Some(Missing { place, gap, why }).filter(|one| !one.gap.is_empty()));
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
