//! `node drain`: finishing what others have here, and taking no more.

use std::time::Duration;

use clap::Args;
use guildhall_protocol::api::Lending;

use crate::cli::table::counted;
use crate::cli::{Context, Failure};

/// How often it is looked whether jobs are left: they take seconds at least.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// `guild node drain`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DrainArgs {
    /// Take jobs again
    #[arg(long, conflicts_with = "wait")]
    pub(crate) stop: bool,
    /// Wait until no job of others is left
    #[arg(long)]
    pub(crate) wait: bool,
}

pub(in crate::cli) async fn drain(context: &Context, args: DrainArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    let mut lending = client.drain(!args.stop).await?;
    let mut told = None;
    while args.wait && !lending.jobs.is_empty() {
        let left = left(&lending);
        if output.is_watched() {
            output.progress(&left);
        } else if told.as_ref() != Some(&left) {
            output.note(&left);
            told = Some(left);
        }
        tokio::time::sleep(LOOK_EVERY).await;
        lending = client.lending().await?;
        if !lending.draining {
            return Err(Failure::new(
                crate::cli::exit::FAILED,
                "somebody let this node take jobs again meanwhile",
            )
            .with_help("guild node drain --wait"));
        }
    }
    if output.is_json() {
        return output.json(&lending);
    }
    if output.is_quiet() {
        return Ok(());
    }
    output.line(&outcome(&lending))?;
    if lending.draining {
        output.note("it stays so over restarts; guild node drain --stop takes jobs again");
    }
    Ok(())
}

fn left(lending: &Lending) -> String {
    format!("{} of others left", counted(lending.jobs.len(), "job"))
}

fn outcome(lending: &Lending) -> String {
    match (lending.draining, lending.jobs.is_empty()) {
        (false, _) if lending.offer.is_none() => "does not drain; lends nothing".to_owned(),
        (false, _) => "takes jobs again".to_owned(),
        (true, true) => "drained: takes no more, and no job of others is left".to_owned(),
        (true, false) => format!("drains: takes no more; {}", left(lending)),
    }
}
