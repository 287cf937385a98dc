//! What memory a node's process has, as the system counts it.

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

/// A field of the process's status, which gives it in KiB.
fn field(node: &Node, name: &str) -> u64 {
    let pid = node.pid().expect("the node runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the node runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
    let kib = line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
    kib.expect("a number") * 1024
}
