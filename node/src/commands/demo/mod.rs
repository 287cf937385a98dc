//! `guild demo`: three orgs on this machine do the whole job with real content, each on a node of its own.
//!
//! The nodes are real processes, started with this very program; what they share goes over loopback. Everything that is
//! told and reported is read back from their HTTP APIs, and each step says what it expects: the first thing that does
//! not hold ends the demo with what was expected, what was found, and where the logs are.
//!
//! [`story`] is the order of the steps, one module each; [`lab`] owns the nodes, [`content`] the packages.

mod broken;
mod content;
mod execute;
mod find;
mod keep;
mod lab;
mod narrator;
mod overrun;
mod publish;
mod receipts;
mod report;
mod restart;
mod spread;
mod start;
mod story;

use std::io;
use std::pin::pin;
use std::time::Duration;

use guildhall_launch::{NotYet, converge};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::stop_signal;
use crate::cli::{Context, DemoArgs, Failure, exit};
use broken::Broken;
use lab::Lab;
use narrator::Narrator;
use report::Report;

/// How long removing the homes may take: some thousand files, on a disk that is still writing them.
const REMOVE_MAX: Duration = Duration::from_secs(20);

/// Runs the demo. An error is the one that the person is shown; the process is then to end with its code.
pub(crate) async fn demo(context: &Context, args: DemoArgs) -> Result<(), Failure> {
    let narrator = Narrator::new(&context.output);
    let dir = tempfile::Builder::new()
        .prefix("guild-demo-")
        .tempdir()
        .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    let hangup = signal(SignalKind::hangup());
    let hangup = hangup.map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    let mut stopped = pin!(asked_to_end(hangup));
    let mut lab = None;
    let told = tokio::select! {
        biased;
        () = &mut stopped => Err(None),
        told = story::tell(&narrator, dir.path(), &mut lab) => told.map_err(Some),
    };
    match told {
        Ok(report) => {
            let mut said = conclude(context, &narrator, &report);
            if args.keep && said.is_ok() {
                said = keep::invite_to_try(context, &report, dir.path());
                if said.is_ok() {
                    stopped.await;
                }
            }
            stop(lab).await.iter().for_each(|complaint| narrator.say(complaint));
            remove(dir).await.and(said)
        }
        Err(None) => {
            stop(lab).await.iter().for_each(|complaint| narrator.say(complaint));
            remove(dir).await?;
            Err(Failure::new(exit::INTERRUPTED, "interrupted; every node is stopped"))
        }
        Err(Some(broken)) => {
            let complaints = stop(lab).await;
            let broken = complaints.into_iter().fold(broken, Broken::and_found);
            Err(broken.into_failure(&dir.keep()))
        }
    }
}

/// The report, and that it is over.
fn conclude(context: &Context, narrator: &Narrator<'_>, report: &Report) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(report);
    }
    narrator.gap();
    narrator.say("All of it held, as the nodes' own APIs tell it.");
    Ok(())
}

/// Stops the nodes, as far as there are any, and returns what did not go in good order.
async fn stop(lab: Option<Lab>) -> Vec<String> {
    match lab {
        Some(lab) => lab.stop().await,
        None => Vec::new(),
    }
}

/// Removes the folder with the homes. A process that was killed a moment ago may still write a last file.
async fn remove(dir: TempDir) -> Result<(), Failure> {
    let path = dir.keep();
    let look = async || match tokio::fs::remove_dir_all(&path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(NotYet::from(error)),
        _ => Ok(()),
    };
    let what = format!("{} is removed", path.display());
    converge(REMOVE_MAX, &what, look).await.map_err(|error| {
        Failure::from_error(exit::FAILED, &error).with_help(format!("rm -r {}", path.display()))
    })
}

/// Ends when a person or a system asks the program to. The nodes are not in the terminal's process group, so the demo
/// has to hear for them that the terminal is closed.
async fn asked_to_end(mut hangup: Signal) {
    tokio::select! {
        () = stop_signal() => {}
        _ = hangup.recv() => {}
    }
}
