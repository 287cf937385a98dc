//! `search` and `show`: what there is, and why it stands where it stands.

use clap::Args;
use guildhall_client::package::ByteSize;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{Detail, SearchAnswer, Via};
use guildhall_protocol::body::Claims;
use guildhall_protocol::contract::Contract;
use guildhall_protocol::interface::Port;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::{CategoryPrefix, Reference};
use guildhall_protocol::query::{Query, Suggestion, TypeQuery};
use serde_json::json;

use super::federation::list;
use super::period::duration_text;
use super::table::counted;
use super::{Context, Failure, Table, exit};

/// `guild search`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SearchArgs {
    /// Words of name, summary, keywords and categories
    #[arg(value_name = "TEXT")]
    pub(crate) text: Vec<String>,
    /// algorithm, model, data, notebook or pipeline
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<Kind>,
    /// Category, or the start of one
    #[arg(long, value_name = "CATEGORY")]
    pub(crate) category: Option<CategoryPrefix>,
    /// Type that goes in: image, tensor, text, ... or a media type such as image/png
    #[arg(long, value_name = "TYPE")]
    pub(crate) input: Option<TypeQuery>,
    /// Type that comes out
    #[arg(long, value_name = "TYPE")]
    pub(crate) output: Option<TypeQuery>,
    /// Declared median latency at most this, milliseconds
    #[arg(long, value_name = "MS", value_parser = positive)]
    pub(crate) max_latency: Option<f64>,
    /// Declared accuracy at least this, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) min_accuracy: Option<f64>,
    /// Contract's memory at most this, for example 64MiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// Only the best one
    #[arg(long)]
    pub(crate) one: bool,
    /// Most results [default: 20]
    #[arg(long, value_name = "N", conflicts_with = "one")]
    pub(crate) limit: Option<usize>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("a number above 0 is needed".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("a number from 0 to 1 is needed".to_owned()),
    }
}

impl From<SearchArgs> for Query {
    fn from(args: SearchArgs) -> Self {
        let text = args.text.join(" ");
        // A version or an id means exactly that one; `vision/digits` could as well be a category.
        let exact = text.contains('@') || text.starts_with(PackageId::PREFIX);
        let reference = text.parse::<Reference>().ok().filter(|_| exact);
        Self {
            text: Some(text).filter(|text| !text.trim().is_empty() && reference.is_none()),
            kind: args.kind,
            category: args.category,
            reference,
            input: args.input,
            output: args.output,
            max_latency_ms: args.max_latency,
            min_accuracy: args.min_accuracy,
            max_memory_bytes: args.memory.map(|size| size.0),
            limit: if args.one { 1 } else { args.limit.unwrap_or_default() },
            ..Self::default()
        }
    }
}

pub(super) async fn search(context: &Context, args: SearchArgs) -> Result<(), Failure> {
    let output = &context.output;
    let one = args.one;
    let answer = context.client().await?.search(&args.into()).await?;
    if output.is_json() {
        output.json(&search_json(&answer))?;
    } else if output.is_quiet() {
        answer.results.iter().try_for_each(|result| output.line(&result.reference.to_string()))?;
    } else {
        show_results(context, &answer)?;
    }
    if one && answer.results.is_empty() {
        return Err(Failure::new(exit::NOT_FOUND, "nothing fits").with_help("guild search"));
    }
    Ok(())
}

fn search_json(answer: &SearchAnswer) -> serde_json::Value {
    let results = answer.results.iter().map(|result| {
        json!({
            "ref": result.reference,
            "kind": result.kind,
            "package_id": result.package_id,
            "score": result.score,
            "terms": result.terms,
        })
    });
    json!({
        "query_id": answer.query_id,
        "results": results.collect::<Vec<_>>(),
        "asked": answer.asked,
        "answered": answer.answered,
    })
}

fn show_results(context: &Context, answer: &SearchAnswer) -> Result<(), Failure> {
    let output = &context.output;
    for (result, place) in answer.results.iter().zip(1..) {
        output.line(&format!(
            "{place:2}. {}  {}  score {:.2}{}",
            result.reference,
            result.kind,
            result.score,
            accuracy(&result.claims)
        ))?;
        output.line(&format!("    {}", result.summary))?;
        output.line(&format!("    {}: {}", list(&result.categories), ports(result)))?;
        for term in &result.terms {
            output.line(&format!(
                "      {:+.3}  {}: {}",
                term.contribution(),
                term.name,
                term.why
            ))?;
        }
    }
    answer.notes.iter().for_each(|note| output.note(note));
    output.note(&format!(
        "{} found, {}; query {}",
        counted(answer.results.len(), "package"),
        source(answer),
        answer.query_id
    ));
    Ok(())
}

fn source(answer: &SearchAnswer) -> String {
    let asked = format!("asked {}, {} answered", counted(answer.asked, "node"), answer.answered);
    match answer.via {
        Via::Local => "from this node's catalogue".to_owned(),
        Via::Dht => format!("{asked}; {} in the DHT", counted(answer.holders, "holder")),
        Via::Members => asked,
    }
}

fn accuracy(claims: &Claims) -> String {
    let best = claims.accuracy.first();
    best.map(|claim| format!("  {} {:.3}", claim.metric, claim.value)).unwrap_or_default()
}

fn ports(result: &Suggestion) -> String {
    let types = |side: &[Port]| match side {
        [] => "-".to_owned(),
        side => list(&side.iter().map(|port| &port.port_type).collect::<Vec<_>>()),
    };
    format!("{} -> {}", types(&result.interface.inputs), types(&result.interface.outputs))
}

/// `guild show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// org/name, org/name@version or b3:HASH
    #[arg(value_name = "REF")]
    pub(crate) reference: Reference,
}

pub(super) async fn show(context: &Context, args: &ShowArgs) -> Result<(), Failure> {
    let output = &context.output;
    let detail = context.client().await?.show(&args.reference).await?;
    if output.is_json() {
        output.json(&detail)
    } else if output.is_quiet() {
        output.line(&detail.package_id.to_string())
    } else {
        output.table(&detail_table(&detail))
    }
}

fn detail_table(detail: &Detail) -> Table {
    let listing = &detail.listing;
    let mut table = Table::plain();
    table.field("ref", detail.reference.to_string());
    table.field("kind", listing.kind.to_string());
    table.field("summary", listing.summary.clone());
    table.field("categories", list(&listing.categories));
    table.field("keywords", list(&listing.keywords));
    table.field("licence", listing.licence.clone());
    for (side, ports) in [("in", &listing.interface.inputs), ("out", &listing.interface.outputs)] {
        for port in ports {
            table.field(side, format!("{}: {}", port.name, port.port_type));
        }
    }
    table.field("engines", list(&listing.engines));
    table.field("limits", listing.contract.as_ref().map(contract_text).unwrap_or_default());
    for claim in &listing.claims.accuracy {
        table.field("claims", format!("{} {} on {}", claim.metric, claim.value, claim.dataset));
    }
    for claim in &listing.claims.latency {
        table.field("claims", format!("{} ms on {}", claim.p50_ms, claim.hardware));
    }
    table.field("suggested data", list(&listing.suggested.data));
    table.field("uses", list(&listing.uses));
    if let Some(manifest) = &detail.manifest {
        for stage in &manifest.stages {
            let shown = stage.reference.as_ref().map(|reference| format!(" ({reference})"));
            let package = stage.package;
            table.field("stage", format!("{}: {package}{}", stage.name, shown.unwrap_or_default()));
        }
        table.field("files", manifest.files.len().to_string());
    }
    table.field("size", ByteSize(listing.len_bytes).to_string());
    table.field("package", detail.package_id.to_string());
    table.field("listing", detail.listing_id.to_string());
    table.field("here", if detail.held { "yes" } else { "no" });
    table.field("held by", list(&detail.holders));
    table.field("replicas", format!("{}/{}", detail.holders.len(), listing.replicas));
    table.field("versions", list(&detail.versions));
    table
}

fn contract_text(contract: &Contract) -> String {
    format!(
        "{} a record on {}, memory {}, output {}",
        duration_text(contract.scoring_ms),
        contract.measured_on,
        ByteSize(contract.memory_bytes),
        ByteSize(contract.output_bytes)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn query(line: &str) -> Query {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Search(args) => args.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_facets_and_words_become_text() {
        let query = query(
            "guild search small digits --kind model --category vision --input image/png \
             --output prediction --max-latency 5 --min-accuracy 0.9 --memory 64MiB --one",
        );
        let json = serde_json::to_value(&query).unwrap();
        let expected = json!({
            "text": "small digits", "kind": "model", "category": "vision", "input": "image/png",
            "output": "prediction", "max_latency_ms": 5.0, "min_accuracy": 0.9,
            "max_memory_bytes": 64 << 20, "limit": 1,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_reference_is_not_free_text() {
        let exact = query("guild search lab-a/digits@1.0.0");
        assert_eq!(exact.text, None);
        assert_eq!(exact.reference.unwrap().to_string(), "lab-a/digits@1.0.0");
        assert_eq!(query("guild search vision/digits").text.as_deref(), Some("vision/digits"));
        assert_eq!(query("guild search"), Query::default());
    }
}
