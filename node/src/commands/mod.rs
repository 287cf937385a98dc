//! The commands that work on this machine rather than through a running node's API.

mod demo;
mod doctor;
mod init;
mod renew;
mod restore;
mod up;

use std::process::ExitCode;

use crate::cli::{Context, Failure, exit};

pub(crate) use demo::demo;
pub(crate) use doctor::doctor;
pub(crate) use init::init;
pub(crate) use renew::renew;
pub(crate) use restore::restore;
pub(crate) use up::{stop_signal, up};

/// `guild worker`: executes foreign code for a node. Nothing else of this program runs in such a process.
pub(crate) fn worker() -> ExitCode {
    guildhall_sandbox::worker_main()
}

/// A failure of something that knows how the person can go on.
fn failed(error: &dyn std::error::Error, help: Option<String>) -> Failure {
    Failure::from_error(exit::FAILED, error).with_help_if(help)
}

/// The home that the command is about.
fn home(context: &Context) -> crate::home::Home {
    crate::home::Home::new(context.home())
}
