//! `guild`: a Guildhall node, its command line and its demo.

mod app;
mod cli;
mod clock;
mod commands;
mod config;
mod engines;
mod home;
mod tasks;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
