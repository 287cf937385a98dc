//! Processes of a node, as the system shows them.

use std::fs;
use std::time::{Duration, Instant};

use guildhall_launch::{Node, NotYet, converge};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::PATIENCE;

/// Time between two looks of [`closely`].
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Ids of the worker processes that a node has at this moment.
#[must_use]
pub fn workers_of(node: &Node) -> Vec<u32> {
    let Some(parent) = node.pid() else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

/// Waits until a worker of a node is at work on somebody's records.
pub async fn at_work(node: &Node) {
    let busy = converge(PATIENCE, "the node is at work", async || {
        match node.client().lending().await?.workers.busy {
            0 => Err(NotYet::saw("no worker at work")),
            _ => Ok(()),
        }
    });
    busy.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
}

/// Waits until a node has no processes but those that wait for their next stage.
pub async fn at_rest(node: &Node) {
    let rest = converge(PATIENCE, "the node is at rest", async || {
        let workers = node.client().lending().await?.workers;
        let there = workers_of(node).len() as u64;
        match workers.busy == 0 && there <= workers.warm + workers.blank {
            true => Ok(()),
            false => Err(NotYet::saw(format!("{there} processes, {workers:?}"))),
        }
    });
    rest.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
}

/// Whether a process is gone, or only waits for its parent to notice that it ended.
#[must_use]
pub fn has_ended(pid: u32) -> bool {
    stat(pid).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

/// A process's state and its parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Stops a node in its tracks, as a machine does that sleeps.
pub fn pause(node: &Node) {
    signal(node, Signal::STOP);
}

/// Looks every two milliseconds until `holds`: for moments that pass too quickly for `converge`, such as the middle of
/// a transfer on loopback.
pub async fn closely(what: &str, mut holds: impl FnMut() -> bool + Send + 'static) {
    let begun = Instant::now();
    let look = tokio::task::spawn_blocking(move || {
        while begun.elapsed() < PATIENCE {
            if holds() {
                return true;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        false
    });
    assert!(look.await.expect("looking does not fail"), "{what}: not seen");
}

/// Lets a paused node go on.
pub fn resume(node: &Node) {
    signal(node, Signal::CONT);
}

fn signal(node: &Node, signal: Signal) {
    let pid = node.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    kill_process(pid.expect("the node runs"), signal).expect("the node is ours");
}
