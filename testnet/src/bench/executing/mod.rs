//! P9 to P13, P15, P16: what executing costs, beside the network, wasmtime, native code, onnxruntime and MLServer.
//!
//! ```text
//! warm         P9: empty jobs on another node and on the own one
//! starting     P10, P11: the sandbox; kernels/, native: fixed work for it
//! inference    P12: graphs; models/: which ones
//! serving      P13: requests a second
//! batch        P15: one run over several nodes, each with a part of a processor
//! overrun      P16: stages that do not end
//!
//! lab          nodes that lend to each other, and what they execute
//! capped       a part of a processor
//! load         HTTP on connections that stay open
//! ping         the overlay's ping
//! python       peers in Python; peers/: what they run
//! ```

mod batch;
mod capped;
mod inference;
mod lab;
mod load;
mod models;
mod native;
mod overrun;
mod ping;
mod python;
mod serving;
mod starting;
mod warm;

use std::fmt::Display;

use super::Bench;
use super::figures::Row;
use crate::network::NetworkError;

/// The ids of this section's rows, in the order in which they are measured.
pub(super) const IDS: [&str; 7] = ["P9", "P10", "P11", "P12", "P13", "P15", "P16"];

/// Why a measurement ends.
type Failed = NetworkError;

fn failed(error: impl Display) -> Failed {
    NetworkError::Unexpected(error.to_string())
}

/// Measures the rows of one id.
pub(super) async fn run(bench: &Bench, id: &str) -> Result<Vec<Row>, Failed> {
    match id {
        "P9" => warm::run(bench).await,
        "P10" => starting::starts(bench).await,
        "P11" => starting::kernels(bench).await,
        "P12" => inference::run(bench).await,
        "P13" => serving::run(bench).await,
        "P15" => batch::run(bench).await,
        "P16" => overrun::run(bench).await,
        _ => Ok(Vec::new()),
    }
}

/// What peers in Python are called by their versions.
pub(super) async fn peers(bench: &Bench) -> Vec<String> {
    python::versions(&bench.settings.python).await
}
