//! What a worker must not be able to do, tried from inside one: it shows that the jail holds on the machine at hand, not
//! only that it was asked for.
//!
//! Refused means that the kernel answered "no such call", "not permitted" or "access denied". Every other answer, an
//! error about the arguments too, means that the call was reached, and counts as a way out. Arguments are such that a
//! call that is reached does no harm: null pointers, no signal, wrong magic numbers.

use std::io;
use std::net::TcpStream;

use rustix::io::Errno;

use super::isolate::shut_in;
use super::raw::{self, Argument};
use crate::isolation::Isolation;
use crate::message::Setup;

/// A forbidden call: what it would be good for, its number, its arguments.
type Attempt = (&'static str, libc::c_long, Vec<Argument>);

/// A key under which nobody shares anything.
const NO_SUCH_KEY: i64 = 0x0067_7569;

/// Shuts the calling process in and tries what nothing inside may do. Returns what the kernel had, how many things were
/// tried, and which of them worked nevertheless. For a test; the process is of no further use.
#[doc(hidden)]
pub fn try_to_break_out() -> io::Result<(Isolation, usize, Vec<&'static str>)> {
    let setup =
        Setup { data_bytes: 1 << 30, cpu_seconds: 10, cpu_moves: false, nice: 0, self_test: true };
    let parent = parent();
    let isolation = shut_in(&setup)?;
    Ok((isolation, attempts(parent).len(), worked(parent)))
}

/// The process that started this one. To be asked before the jail refuses that too.
pub(super) fn parent() -> i32 {
    rustix::process::getppid().map_or(1, |parent| parent.as_raw_nonzero().get())
}

/// What works although it must not, by name.
pub(super) fn worked(parent: i32) -> Vec<&'static str> {
    attempts(parent)
        .into_iter()
        .filter(|(_, number, arguments)| {
            !matches!(
                raw::attempt(*number, arguments),
                Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS)
            )
        })
        .map(|(name, ..)| name)
        .collect()
}

/// Whether nothing can be reached over the network. In an ordinary one, the machine itself can: it refuses or answers.
pub(super) fn network_is_empty() -> bool {
    let unreachable = |error: io::Error| error.kind() == io::ErrorKind::NetworkUnreachable;
    TcpStream::connect(("127.0.0.1", 1)).is_err_and(unreachable)
}

/// Whether there is no file.
pub(super) fn root_is_empty() -> bool {
    std::fs::read_dir("/").is_ok_and(|mut entries| entries.next().is_none())
        && std::fs::read("/etc/passwd").is_err()
        && std::fs::write("/file", b"").is_err()
}

/// Whether not even the root folder can be looked into.
pub(super) fn files_are_refused() -> bool {
    let denied = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    std::fs::read_dir("/").is_err_and(denied)
}

/// Every attempt.
fn attempts(parent: i32) -> Vec<Attempt> {
    [files(), network(), processes(number(parent)), namespaces(), kernel(), memory()].concat()
}

fn number(value: impl Into<i64>) -> Argument {
    Argument::Number(value.into())
}

/// Paths, and what can be done with them.
fn files() -> Vec<Attempt> {
    let here = number(libc::AT_FDCWD);
    let etc = Argument::Text(c"/etc/passwd");
    let new = Argument::Text(c"/tmp/guildhall-escape");
    let open = |name, path| (name, libc::SYS_openat, vec![here, Argument::Text(path)]);
    let mut attempts = vec![
        open("read /etc/passwd", c"/etc/passwd"),
        open("read its own memory map", c"/proc/self/maps"),
        open("write its own memory", c"/proc/self/mem"),
        open("read the first process's environment", c"/proc/1/environ"),
        open("look into /sys", c"/sys"),
        open("read the kernel's log", c"/dev/kmsg"),
        open("read the machine's memory", c"/dev/mem"),
        open("look into the current folder", c"."),
        (
            "create a file",
            libc::SYS_openat,
            vec![here, new, number(libc::O_CREAT | libc::O_WRONLY), number(0o600)],
        ),
        ("open with rules", libc::SYS_openat2, vec![here, etc]),
        ("look at a path", libc::SYS_newfstatat, vec![here, etc]),
        ("look at a path anew", libc::SYS_statx, vec![here, etc]),
        ("test a path", libc::SYS_faccessat, vec![here, etc]),
        ("read a link", libc::SYS_readlinkat, vec![here, Argument::Text(c"/proc/self/exe")]),
        ("create a folder", libc::SYS_mkdirat, vec![here, Argument::NULL]),
        ("create a device", libc::SYS_mknodat, vec![here, Argument::NULL]),
        ("remove a file", libc::SYS_unlinkat, vec![here, new]),
        ("rename a file", libc::SYS_renameat2, vec![here, Argument::NULL, here]),
        ("link a file", libc::SYS_linkat, vec![here, Argument::NULL, here]),
        ("make a symbolic link", libc::SYS_symlinkat, vec![Argument::NULL, here]),
        ("change a file's rights", libc::SYS_fchmodat, vec![here, Argument::NULL]),
        ("change its folder", libc::SYS_chdir, vec![Argument::Text(c"/")]),
        ("list a folder", libc::SYS_getdents64, vec![number(0), Argument::NULL]),
        ("take a file's handle", libc::SYS_name_to_handle_at, vec![here, etc]),
        ("open by handle", libc::SYS_open_by_handle_at, vec![here, Argument::NULL]),
        ("watch files", libc::SYS_inotify_init1, vec![]),
        ("watch all files", libc::SYS_fanotify_init, vec![]),
        ("control a device", libc::SYS_ioctl, vec![number(0), number(0)]),
    ];
    #[cfg(target_arch = "x86_64")]
    attempts.push(("open by the old call", libc::SYS_open, vec![etc]));
    attempts
}

/// Sockets.
fn network() -> Vec<Attempt> {
    let stream = number(libc::SOCK_STREAM);
    let socket = |name, family| (name, libc::SYS_socket, vec![number(family), stream]);
    vec![
        socket("make a TCP socket", libc::AF_INET),
        socket("make an IPv6 socket", libc::AF_INET6),
        socket("make a Unix socket", libc::AF_UNIX),
        socket("make a netlink socket", libc::AF_NETLINK),
        socket("make a packet socket", libc::AF_PACKET),
        socket("make a host socket", libc::AF_VSOCK),
        socket("make a cipher socket", libc::AF_ALG),
        ("make a socket pair", libc::SYS_socketpair, vec![number(libc::AF_UNIX), stream]),
        ("connect", libc::SYS_connect, vec![number(0)]),
        ("bind", libc::SYS_bind, vec![number(0)]),
        ("listen", libc::SYS_listen, vec![number(0)]),
        ("accept", libc::SYS_accept4, vec![number(0)]),
        ("set a socket's options", libc::SYS_setsockopt, vec![number(0)]),
    ]
}

/// Other processes, and new ones.
fn processes(parent: Argument) -> Vec<Attempt> {
    let signal = number(libc::SIGCHLD);
    let mut attempts = vec![
        ("execute a program", libc::SYS_execve, vec![Argument::NULL]),
        ("execute a descriptor", libc::SYS_execveat, vec![number(0), Argument::NULL]),
        ("make a process", libc::SYS_clone, vec![signal]),
        (
            "make a process and wait",
            libc::SYS_clone,
            vec![number(libc::CLONE_VFORK | libc::SIGCHLD)],
        ),
        ("make a process anew", libc::SYS_clone3, vec![Argument::NULL]),
        (
            "trace its parent",
            libc::SYS_ptrace,
            vec![number(i64::from(libc::PTRACE_ATTACH)), parent],
        ),
        ("read its parent's memory", libc::SYS_process_vm_readv, vec![parent]),
        ("write its parent's memory", libc::SYS_process_vm_writev, vec![parent]),
        ("signal its parent", libc::SYS_kill, vec![parent, number(0)]),
        ("signal everybody", libc::SYS_kill, vec![number(-1), number(0)]),
        ("signal its parent's thread", libc::SYS_tgkill, vec![parent, parent, number(0)]),
        ("hold its parent", libc::SYS_pidfd_open, vec![parent]),
        ("take its parent's files", libc::SYS_pidfd_getfd, vec![number(0)]),
        ("change its parent's limits", libc::SYS_prlimit64, vec![parent, number(0)]),
        ("change its own limits", libc::SYS_prlimit64, vec![number(0), number(0)]),
        ("move its parent", libc::SYS_sched_setaffinity, vec![parent]),
        ("change its priority", libc::SYS_setpriority, vec![number(0), number(0), number(-20)]),
        ("be dumpable", libc::SYS_prctl, vec![number(libc::PR_SET_DUMPABLE), number(1)]),
    ];
    #[cfg(target_arch = "x86_64")]
    attempts.push(("fork", libc::SYS_fork, vec![]));
    attempts
}

/// Rights and namespaces.
fn namespaces() -> Vec<Attempt> {
    vec![
        ("mount", libc::SYS_mount, vec![Argument::NULL]),
        ("unmount", libc::SYS_umount2, vec![Argument::NULL]),
        ("exchange the root", libc::SYS_pivot_root, vec![Argument::NULL]),
        ("change the root", libc::SYS_chroot, vec![Argument::NULL]),
        ("open a file system", libc::SYS_fsopen, vec![Argument::NULL]),
        ("open a tree", libc::SYS_open_tree, vec![Argument::NULL]),
        ("become root", libc::SYS_setuid, vec![number(0)]),
        ("become the root group", libc::SYS_setgid, vec![number(0)]),
        ("take capabilities", libc::SYS_capset, vec![Argument::NULL]),
        ("make a user namespace", libc::SYS_unshare, vec![number(libc::CLONE_NEWUSER)]),
        ("enter a namespace", libc::SYS_setns, vec![number(0)]),
        ("name the host", libc::SYS_sethostname, vec![Argument::NULL]),
    ]
}

/// Parts of the kernel that have often been broken, and the machine as a whole.
fn kernel() -> Vec<Attempt> {
    vec![
        ("load a kernel program", libc::SYS_bpf, vec![]),
        ("filter its calls anew", libc::SYS_seccomp, vec![number(1), number(0)]),
        ("measure events", libc::SYS_perf_event_open, vec![Argument::NULL]),
        ("make a ring of calls", libc::SYS_io_uring_setup, vec![number(1), Argument::NULL]),
        ("add a key", libc::SYS_add_key, vec![Argument::NULL]),
        ("read the keyring", libc::SYS_keyctl, vec![]),
        ("load a kernel", libc::SYS_kexec_load, vec![]),
        ("load a module", libc::SYS_init_module, vec![]),
        ("load a module's file", libc::SYS_finit_module, vec![number(-1)]),
        ("remove a module", libc::SYS_delete_module, vec![Argument::NULL]),
        ("restart the machine", libc::SYS_reboot, vec![]),
        ("swap", libc::SYS_swapon, vec![Argument::NULL]),
        ("set quotas", libc::SYS_quotactl, vec![number(-1)]),
        ("set the clock", libc::SYS_clock_settime, vec![number(0), Argument::NULL]),
        ("read the kernel's messages", libc::SYS_syslog, vec![number(10)]),
        ("keep accounts", libc::SYS_acct, vec![Argument::Text(c"/nowhere")]),
        ("change its personality", libc::SYS_personality, vec![number(0xffff_ffff_i64)]),
    ]
}

/// Memory that outlives it, or that others can see.
fn memory() -> Vec<Attempt> {
    vec![
        ("make a file in memory", libc::SYS_memfd_create, vec![Argument::Text(c"x")]),
        ("make secret memory", libc::SYS_memfd_secret, vec![number(0)]),
        ("handle its own faults", libc::SYS_userfaultfd, vec![]),
        ("share memory", libc::SYS_shmget, vec![number(NO_SUCH_KEY), number(4096), number(0)]),
        ("share messages", libc::SYS_msgget, vec![number(NO_SUCH_KEY), number(0)]),
        ("share semaphores", libc::SYS_semget, vec![number(NO_SUCH_KEY), number(1), number(0)]),
        ("open a message queue", libc::SYS_mq_open, vec![Argument::Text(c"x")]),
        ("lock memory", libc::SYS_mlockall, vec![number(1)]),
        ("advise its parent's memory", libc::SYS_process_madvise, vec![number(-1)]),
    ]
}
