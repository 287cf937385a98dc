//! `show`: everything a node knows about one release.

use clap::Args;
use guildhall_client::package::ByteSize;
use guildhall_protocol::api::Detail;
use guildhall_protocol::contract::Contract;
use guildhall_protocol::name::Reference;

use super::federation::list;
use super::period::duration_text;
use super::{Context, Failure, Table};

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
