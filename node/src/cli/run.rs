//! `run`: start a run, wait for it, show what came out and who signed for it.

use std::path::PathBuf;

use clap::Args;
use guildhall_client::Client;
use guildhall_protocol::Hash;
use guildhall_protocol::api::{Placement, RunInput, RunRequest};
use guildhall_protocol::contract::LimitSet;
use guildhall_protocol::interface::Port;
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::name::Reference;

use super::runs::Destination;
use super::{Context, Failure, exit, input, runs};

/// `guild run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// A pipeline, model or algorithm: org/name, org/name@version or b3:HASH
    #[arg(value_name = "REF", value_parser = super::show::named)]
    pub(crate) reference: Reference,
    /// A file is one record, or many in rows (.csv, .tsv), lines (.jsonl), a list (.json) or an array (.npy); a folder
    /// all its files, `-` stdin, a reference a data package; may be repeated, for each port
    #[arg(long, required = true, value_name = "[PORT=]FILE|DIR|REF")]
    pub(crate) input: Vec<String>,
    /// Take files for this, whatever their names say
    #[arg(long = "as", value_name = "FORM")]
    pub(crate) form: Option<input::As>,
    /// auto, local, an organisation, or a node's peer id; auto may send the input to another organisation that lends its
    /// hardware, local never does
    #[arg(long, default_value = "auto", value_name = "WHERE")]
    pub(crate) on: Placement,
    /// File for the outputs: rows if it is called .csv, else one JSON value a line; `-` is stdout, which then takes
    /// nothing else
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
    /// Longest time for one record, milliseconds; the contract's limit holds if it is smaller
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout_ms: Option<u64>,
    /// Longest time for the whole run, milliseconds
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) total_ms: Option<u64>,
    /// Longest time to wait for a free slot, milliseconds; a minute if it says nothing else
    #[arg(long, value_name = "MS")]
    pub(crate) wait_ms: Option<u64>,
    /// Most records in one scoring call; the contract's limit holds if it is smaller
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) batch: Option<u64>,
    /// Least level of isolation that the executing nodes must have, 0 to 3; `guild peers` shows theirs
    #[arg(long, default_value_t = 0, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=3))]
    pub(crate) isolation: u8,
    /// Most nodes and slots that it may be spread over at once; as many as help if it says nothing else
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) shares: Option<u32>,
    /// The query that led here, as `search` names it: then it does not count as unmet
    #[arg(long, value_name = "ID")]
    pub(crate) query: Option<Hash>,
}

pub(super) async fn run(context: &Context, args: RunArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    let ports = input_ports(&client, &args.reference).await?;
    let (given, form) = (args.input, args.form);
    let inputs = tokio::task::spawn_blocking(move || input::read(&given, form, &ports))
        .await
        .map_err(|error| Failure::from_error(exit::FAILED, &error))??;
    inputs.notes.iter().for_each(|note| output.note(note));
    let mut names = inputs.names();
    let out = Destination::open(args.out.as_deref(), args.force).await?;
    let limits = LimitSet {
        scoring_ms: args.timeout_ms,
        total_ms: args.total_ms,
        batch_max: args.batch,
        queue_ms: args.wait_ms,
        ..LimitSet::default()
    };
    let request = RunRequest {
        reference: args.reference,
        input: inputs.input,
        on: args.on,
        limits,
        isolation: args.isolation,
        shares_max: args.shares,
        query_id: args.query,
    };
    let run = client.start_run(&request).await?;
    let data = match request.input {
        RunInput::Package(reference) => Some(reference),
        RunInput::Records(_) => None,
    };
    output.note(&format!("run {run}; it goes on without this command: guild runs {run}"));
    let report = runs::watch(context, &client, run).await?;
    if let Some(data) = data.filter(|_| report.failure.as_ref().is_some_and(|f| f.record.is_some()))
    {
        names = record_names(&client, &data).await;
    }
    runs::show_ended(context, &client, &report, out, &names).await
}

/// The inputs of what is run. A package that is not listed may be run as well; its inputs are not known here, and then
/// files go to the node as they are.
async fn input_ports(client: &Client, reference: &Reference) -> Result<Vec<Port>, Failure> {
    match client.show(reference).await.map_err(Failure::from) {
        Ok(detail) => Ok(detail.listing.interface.inputs),
        Err(failure)
            if matches!(reference, Reference::Package(_)) && failure.code == exit::NOT_FOUND =>
        {
            Ok(Vec::new())
        }
        Err(failure) => Err(failure),
    }
}

/// The names of a data package's records; none when the node cannot tell, because the failure matters more.
async fn record_names(client: &Client, data: &Reference) -> Vec<String> {
    let manifest = client.show(data).await.ok().and_then(|detail| detail.manifest);
    let names = manifest.iter().flat_map(Manifest::record_files).map(|file| file.name.to_string());
    names.collect()
}
