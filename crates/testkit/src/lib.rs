//! What the end-to-end tests are made of: federations of real nodes in a temporary folder ([`Lab`]), the command line
//! ([`Cli`]), packages written by the test itself ([`Package`]), runs ([`run`]), damage done on purpose
//! ([`damage`]), members that lie ([`hostile`]), and secrets that must not be found afterwards ([`canary`]).
//!
//! Everything here is for tests, so whatever goes wrong is a panic that says what was done and what was seen.

pub mod canary;
mod cli;
pub mod damage;
mod disk;
pub mod hostile;
pub mod http;
mod lab;
mod memory;
mod package;
mod process;
mod run;
pub mod stage;

pub use cli::{Cli, Said};
pub use disk::SmallDisk;
pub use guildhall_client as client;
pub use guildhall_launch::{Error as LaunchError, Node, NotYet, Options, converge};
pub use guildhall_protocol as protocol;
pub use lab::{Lab, PATIENCE, acquainted, bring_in, holds_listings, lend, refused_start};
pub use memory::{cpu_ms, file_bytes, forget_peak, peak_bytes, rss_bytes};
pub use package::{Package, publish, publish_ok};
pub use process::{at_rest, at_work, closely, has_ended, pause, resume, workers_of};
pub use run::{bytes_of, records, request, run, run_request, start, until_records, waits};
