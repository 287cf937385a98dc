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

use std::path::Path;
use std::pin::pin;

use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::stop_signal;
use crate::cli::{Context, DemoArgs, Failure, exit};
use broken::{Broken, Expect as _};
use content::Content;
use lab::Lab;
use narrator::Narrator;
use report::Report;

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
        told = tell(&narrator, dir.path(), &mut lab) => told.map_err(Some),
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
            stop(&narrator, lab).await;
            remove(dir).and(said)
        }
        Err(None) => {
            stop(&narrator, lab).await;
            remove(dir)
                .and(Err(Failure::new(exit::INTERRUPTED, "interrupted; every node is stopped")))
        }
        Err(Some(broken)) => {
            stop(&narrator, lab).await;
            Err(broken.into_failure(&dir.keep()))
        }
    }
}

/// Prepares the ground and goes through the steps.
async fn tell(
    narrator: &Narrator<'_>,
    dir: &Path,
    lab: &mut Option<Lab>,
) -> Result<Report, Broken> {
    let place = dir.join("content");
    let content = tokio::task::spawn_blocking(move || Content::unpack(&place)).await;
    let content = content.expected("the demo's content can be unpacked")?;
    let content = content.expected("the demo's content can be unpacked")?;
    story::tell(narrator, dir, &content, lab).await
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

/// Stops the nodes, as far as there are any.
async fn stop(narrator: &Narrator<'_>, lab: Option<Lab>) {
    if let Some(lab) = lab {
        lab.stop(narrator).await;
    }
}

/// Removes the folder with the homes.
fn remove(dir: TempDir) -> Result<(), Failure> {
    let path = dir.path().to_owned();
    dir.close().map_err(|error| {
        Failure::from_error(exit::FAILED, &error)
            .with_cause(format!("while removing {}", path.display()))
            .with_help(format!("rm -r {}", path.display()))
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
