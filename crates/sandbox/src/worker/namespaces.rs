//! A worker's own namespaces: a network with nothing in it, and a file tree with nothing in it.
//!
//! An ordinary user may make them inside a user namespace of its own, where the system lets users have one; root may
//! without. Identities are not mapped into it, so inside the worker nobody is anybody. Where none of this is allowed, the
//! worker goes on without and says so.

use std::io;

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};

use super::raw;

/// Least kernel that counts a user's processes by user namespace. Before it, a limit on a worker's threads would count
/// everything that the node's user runs.
const COUNTS_THREADS_SINCE: (u32, u32) = (5, 14);

/// Where the empty tree is put before it becomes the root: a folder that exists wherever a node runs.
const MOUNT_POINT: &str = "/proc";

/// What was possible.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entered {
    pub(super) network: bool,
    pub(super) empty_root: bool,
    /// Whether a limit on processes counts this worker's threads and nothing else.
    pub(super) counts_threads: bool,
}

/// Enters what this system allows. The process must have one thread.
pub(super) fn enter() -> Entered {
    let network = libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let all = network | libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
    for own_user in [libc::CLONE_NEWUSER, 0] {
        for (wanted, has_mounts) in [(all, true), (network, false)] {
            if raw::unshare(own_user | wanted).is_ok() {
                return Entered {
                    network: true,
                    empty_root: has_mounts && empty_root().is_ok(),
                    counts_threads: own_user != 0 && counts_threads(),
                };
            }
        }
    }
    Entered::default()
}

/// Makes an empty folder that cannot be written the root, and forgets the old one.
fn empty_root() -> io::Result<()> {
    // Nothing of this may reach the namespace that it was copied from.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("none", MOUNT_POINT, "tmpfs", flags, None)?;
    rustix::process::chdir(MOUNT_POINT)?;
    // Both at the same place: the old root lies over the new one until it is taken off.
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH)?,
        // The first root of a system that runs from memory cannot be exchanged, only hidden.
        Err(_) => rustix::process::chroot(".")?,
    }
    Ok(rustix::process::chdir("/")?)
}

fn counts_threads() -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= COUNTS_THREADS_SINCE,
        _ => false,
    }
}
