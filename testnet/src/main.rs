//! A federation of real nodes on this machine: to look at, and to measure.
//!
//! `testnet up` starts as many nodes as asked for, joined into one federation, and leaves them running until Ctrl-C.
//! `testnet bench` measures whole processes and prints a table. Both use the `guild` program beside this one.

mod bench;
mod network;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::network::{Network, NetworkError};

/// Federations of real nodes on this machine.
#[derive(Debug, Parser)]
struct Cli {
    /// The guild program [default: the one beside this program]
    #[arg(long, global = true)]
    program: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start nodes, print where they are, and leave them running until Ctrl-C
    Up {
        /// How many
        #[arg(long, default_value_t = 3)]
        nodes: usize,
    },
    /// Measure, and print a row for each figure
    Bench {
        /// Only the row with this id
        #[arg(long)]
        only: Option<String>,
        /// For whom to print
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
        /// Nodes of the spreading row
        #[arg(long, default_value_t = 10)]
        nodes: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this program's way to say why it ends")]
            {
                eprintln!("error: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), NetworkError> {
    let program = match cli.program {
        Some(program) => program,
        None => network::program_beside_this_one()?,
    };
    match cli.command {
        Command::Up { nodes } => {
            let network = Network::start(&program, nodes).await?;
            for node in network.nodes() {
                say(&format!("{}  {}", node.ready().api, node.ready().peer_id));
            }
            // Without a handler for it, Ctrl-C would leave the nodes behind; then they are stopped at once.
            let _interrupted = tokio::signal::ctrl_c().await;
            network.stop().await;
            Ok(())
        }
        Command::Bench { only, format, nodes } => {
            let rows = bench::run(&program, only.as_deref(), nodes).await?;
            for row in rows {
                match format {
                    Format::Json => say(&serde_json::to_string(&row).unwrap_or_default()),
                    Format::Human => say(&row.to_string()),
                }
            }
            Ok(())
        }
    }
}

#[expect(clippy::print_stdout, reason = "the one place where this program prints its data")]
fn say(line: &str) {
    println!("{line}");
}
