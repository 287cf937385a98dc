//! `guildhall-sim`: a federation of any size in one process and in virtual time.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use guildhall_sim::run::{Plan, Report, run};
use guildhall_sim::scenario::{self, Scenario};

mod growth;

/// Simulate a federation: the code of its nodes under a network and a clock that follow from a seed
#[derive(Debug, Parser)]
#[command(name = "guildhall-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
    /// How to print
    #[arg(long, value_enum, default_value = "text", global = true)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How delivery and cost grow with the number of nodes: a table, a fit, and a plot
    Growth {
        /// Numbers of nodes
        #[arg(long, value_delimiter = ',', default_value = "30,100,300,1000")]
        sizes: Vec<usize>,
        /// Where the plot goes, as SVG
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// The partitions with names, for `--scenario`
    Scenarios,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Nodes
    #[arg(long, default_value_t = 100, global = true, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    nodes: u32,
    /// Organisations [default: a tenth of the nodes, at least 5]
    #[arg(long, global = true)]
    orgs: Option<usize>,
    /// Records that are written
    #[arg(long, default_value_t = 100, global = true)]
    records: usize,
    /// Nodes that stop every minute while records are written, percent
    #[arg(long, default_value_t = 5.0, global = true)]
    churn: f64,
    /// Gossip messages that get lost, percent
    #[arg(long, default_value_t = 1, global = true, value_parser = clap::value_parser!(u64).range(0..=100))]
    loss: u64,
    /// Least and most latency of a packet, milliseconds
    #[arg(long, default_value = "10-100", value_name = "LEAST-MOST", value_parser = latency, global = true)]
    latency: (u64, u64),
    /// The same seed gives the same run
    #[arg(long, default_value_t = 1, global = true)]
    seed: u64,
    /// Runs with as many seeds, from `--seed` on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), global = true)]
    seeds: u64,
    /// Run a partition with a name instead, or `all`
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn latency(text: &str) -> Result<(u64, u64), String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let parse = |part: &str| part.parse::<u64>().map_err(|error| format!("{part:?}: {error}"));
    let (least, most) = (parse(least)?, parse(most)?);
    if least > most || most > 60_000 {
        return Err("two numbers of milliseconds, the smaller one first, up to 60000".to_owned());
    }
    Ok((least, most))
}

impl RunArgs {
    fn plan(&self, seed: u64) -> Plan {
        let nodes = self.nodes as usize;
        Plan {
            nodes,
            orgs: self.orgs.unwrap_or_else(|| (nodes / 10).max(5)).clamp(1, nodes),
            records: self.records,
            churn_percent: self.churn.clamp(0.0, 100.0),
            loss_percent: self.loss,
            latency_ms: self.latency,
            seed,
        }
    }

    fn all_seeds(&self) -> impl Iterator<Item = u64> {
        self.seed..self.seed.saturating_add(self.seeds)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match (&cli.command, &cli.run.scenario) {
        (Some(Command::Growth { sizes, svg }), _) => {
            growth::grow(&cli.run, sizes, svg.as_deref(), cli.format)
        }
        (Some(Command::Scenarios), _) => list(),
        (None, Some(name)) => scenarios(&cli.run, name, cli.format),
        (None, None) => runs(&cli.run, cli.format),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody may be listening.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

fn list() -> io::Result<bool> {
    for one in &scenario::ALL {
        writeln!(io::stdout(), "{:<10} {}", one.name, one.about)?;
    }
    Ok(true)
}

fn runs(args: &RunArgs, format: Format) -> io::Result<bool> {
    for seed in args.all_seeds() {
        let report = run(&args.plan(seed));
        match format {
            Format::Json => writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?,
            Format::Text => show(&report)?,
        }
    }
    Ok(true)
}

fn show(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Report { nodes, orgs, records, seed, .. } = report;
    writeln!(out, "nodes       {nodes} of {orgs} organisations, {records} records, seed {seed}")?;
    writeln!(out, "links       {} the median, {} at most", report.links_p50, report.links_max)?;
    writeln!(
        out,
        "delivery    p50 {} ms, p99 {} ms, at most {} ms; {:.2} % delivered",
        report.delivery_p50_ms,
        report.delivery_p99_ms,
        report.delivery_max_ms,
        report.delivered * 100.0
    )?;
    writeln!(out, "duplicates  {:.2} for each message", report.duplicates_per_message)?;
    writeln!(out, "recall      {:.2} %", report.recall * 100.0)?;
    match report.recovered_after_ms {
        Some(ms) => writeln!(out, "recovered   {ms} ms after two halves met again")?,
        None => writeln!(out, "recovered   not within five minutes")?,
    }
    writeln!(
        out,
        "at rest     {:.1} MB and {:.0} requests a node and day",
        report.rest_bytes_per_node_day / 1e6,
        report.rest_requests_per_node_day
    )?;
    writeln!(out, "a record    {:.0} bytes a node", report.bytes_per_node_record)?;
    writeln!(out, "trace       {}", report.trace)
}

fn scenarios(args: &RunArgs, name: &str, format: Format) -> io::Result<bool> {
    let chosen: Vec<&Scenario> = match (name, scenario::named(name)) {
        ("all", _) => scenario::ALL.iter().collect(),
        (_, Some(one)) => vec![one],
        (_, None) => {
            let names: Vec<&str> = scenario::ALL.iter().map(|one| one.name).collect();
            let message = format!("no scenario is called {name}; there are {}", names.join(", "));
            return Err(io::Error::other(message));
        }
    };
    let mut all_hold = true;
    for one in chosen {
        let (mut worst_ms, mut failed) = (0, 0);
        for seed in args.all_seeds() {
            match one.run(seed) {
                Ok(outcome) => worst_ms = worst_ms.max(outcome.agreed_after_ms),
                Err(why) => {
                    failed += 1;
                    let again = format!("guildhall-sim --scenario {} --seed {seed}", one.name);
                    writeln!(io::stderr(), "{}: {why}\n  again: {again}", one.name)?;
                }
            }
        }
        all_hold &= failed == 0;
        let seeds = args.seeds;
        match format {
            Format::Json => {
                let line = serde_json::json!({
                    "scenario": one.name, "seeds": seeds, "failed": failed, "agreed_after_ms": worst_ms,
                });
                writeln!(io::stdout(), "{line}")?;
            }
            Format::Text => writeln!(
                io::stdout(),
                "{:<10} {seeds} seeds, {failed} failed; all agree after {worst_ms} ms at most",
                one.name
            )?,
        }
    }
    Ok(all_hold)
}
