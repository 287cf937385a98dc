//! The Rust client of a node's HTTP API. The command line, the test network and the tests use it, and so can you.
//!
//! ```no_run
//! # async fn example() -> Result<(), guildhall_client::Error> {
//! use guildhall_client::Client;
//! use guildhall_protocol::query::Query;
//!
//! let node = Client::new("http://127.0.0.1:7480")?;
//! let found = node.search(&Query { text: Some("digits".into()), ..Query::default() }).await?;
//! for result in found.results {
//!     println!("{} {}", result.reference, result.summary);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] has one method for each route and returns the types of [`guildhall_protocol::api`]. [`package`] reads a
//! folder with a `guild.toml` into what publishing takes.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod client;
mod content;
mod error;
mod find;
pub mod package;
mod shell;
mod transfer;

pub use client::Client;
pub use error::Error;
pub use shell::shell_quote;
