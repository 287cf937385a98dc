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
        /// Only the rows with this id, or those about `finding` or `executing`; may be repeated
        #[arg(long)]
        only: Vec<String>,
        /// For whom to print
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
        #[command(flatten)]
        settings: bench::Settings,
    },
    /// One side of the limit that a fetch is compared with; the benchmark starts it
    #[command(hide = true)]
    Raw {
        #[command(subcommand)]
        side: bench::Side,
    },
    /// A process with nothing but a catalogue; the benchmark starts it
    #[command(hide = true)]
    Alone(bench::Alone),
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
    if let Command::Raw { side } = &cli.command {
        return side.run(say).map_err(NetworkError::Io);
    }
    if let Command::Alone(alone) = &cli.command {
        return alone.run(say);
    }
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
        Command::Bench { only, format, settings } => {
            let bench = bench::Bench { program, settings };
            if format == Format::Human {
                say(&bench::machine());
                say(&bench::peers(&bench).await);
                bench::HEAD.iter().for_each(|line| say(line));
            }
            bench
                .run(&only, |row| match format {
                    Format::Json => say(&serde_json::to_string(&row).unwrap_or_default()),
                    Format::Human => say(&row.to_string()),
                })
                .await?;
            if format == Format::Human {
                say(&bench::machine());
            }
            Ok(())
        }
        // Have no use for the program and were taken before.
        Command::Raw { .. } | Command::Alone(_) => Ok(()),
    }
}

#[expect(clippy::print_stdout, reason = "the one place where this program prints its data")]
fn say(line: &str) {
    println!("{line}");
}
