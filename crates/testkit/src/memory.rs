//! What memory and processor time a node's process has, as the system counts it.

use std::fs;

use guildhall_launch::Node;

/// Bytes of a node's process that are in memory now.
#[must_use]
pub fn rss_bytes(node: &Node) -> u64 {
    field(node, "VmRSS:")
}

/// Of those, bytes that are pages of files, above all of the program itself: they come in as its parts are first used.
#[must_use]
pub fn file_bytes(node: &Node) -> u64 {
    field(node, "RssFile:")
}

/// The most bytes that it had in memory since it started, or since [`forget_peak`].
#[must_use]
pub fn peak_bytes(node: &Node) -> u64 {
    field(node, "VmHWM:")
}

/// Has the peak count from now on.
pub fn forget_peak(node: &Node) {
    let pid = node.pid().expect("the node runs");
    // 5 resets the peak, see proc_pid_clear_refs(5).
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the node is ours");
}

/// Processor time of a node's process and of its workers that ended, milliseconds.
#[must_use]
pub fn cpu_ms(node: &Node) -> u64 {
    let pid = node.pid().expect("the node runs");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the node runs");
    // The program's name stands in parentheses and may hold anything; `utime` is the 12th field behind it.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let times = fields.split_whitespace().skip(11).take(4);
    let ticks: u64 = times.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // USER_HZ is 100 on every architecture that this runs on.
    ticks * 10
}

/// A field of the process's status, which gives it in KiB.
fn field(node: &Node, name: &str) -> u64 {
    let pid = node.pid().expect("the node runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the node runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
    let kib = line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
    kib.expect("a number") * 1024
}
