//! How a worker shuts itself in before it looks at anything foreign.
//!
//! In this order, because each step needs what the next one takes away: the kernel's preference for killing it when
//! memory runs out, namespaces of its own, an empty root, limits, no capabilities, no dumps, no new rights, Landlock,
//! the filter of system calls. It happens while the process has one thread, so that every later thread inherits it.
//!
//! Limits and `no_new_privs` must succeed. The rest depends on the kernel and on how the machine is set up, and the
//! result says which of it holds; with [`Setup::self_test`], each layer has also been tried out before the next one hid
//! it.

use std::collections::BTreeMap;
use std::{fs, io};

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::{escape, namespaces};
use crate::isolation::Isolation;
use crate::message::Setup;

/// Descriptors a worker may hold: stdin, stdout, stderr, the channel twice, a file or two; the rest is air.
const DESCRIPTORS_MAX: u64 = 16;

/// Threads a worker may have, where that can be counted for it alone: two of ours and those of an engine.
const THREADS_MAX: u64 = 64;

/// The kernel's highest preference: when memory runs out, workers go first and the node last.
const OOM_SCORE: &[u8] = b"1000";

/// Highest number of a capability that kernels may ever have; they are 64 bits.
const CAPABILITIES: u32 = 64;

/// Shuts this process in, for good.
pub(super) fn shut_in(setup: &Setup) -> io::Result<Isolation> {
    // Where it cannot be written (no `/proc`), the kernel weighs workers like anything else.
    let _as_it_was = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    bound_stderr()?;
    let mut entered = namespaces::enter();
    if setup.self_test {
        entered.network = entered.network && escape::network_is_empty();
        entered.empty_root = entered.empty_root && escape::root_is_empty();
    }
    limit(setup, entered.counts_threads)?;
    drop_capabilities()?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    let mut landlock = landlock().is_ok_and(|status| status != RulesetStatus::NotEnforced);
    if setup.self_test {
        landlock = landlock && escape::files_are_refused();
    }
    let seccomp = seccomp(entered.empty_root).is_ok();
    Ok(Isolation {
        rlimits: true,
        no_new_privs: true,
        seccomp,
        landlock,
        network: entered.network,
        empty_root: entered.empty_root,
    })
}

/// What the node reads of stderr is the beginning of it, after the worker's death. A pipe takes 64 KiB; what comes after
/// that is lost instead of holding the worker up.
fn bound_stderr() -> io::Result<()> {
    let stderr = io::stderr();
    let flags = fcntl_getfl(&stderr)?;
    Ok(fcntl_setfl(&stderr, flags | OFlags::NONBLOCK)?)
}

fn limit(setup: &Setup, counts_threads: bool) -> io::Result<()> {
    let limits = [
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, DESCRIPTORS_MAX),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        // Not the address space: an engine reserves far more of it than it uses.
        (Resource::Data, setup.data_bytes),
    ];
    for (resource, limit) in limits {
        set_limit(resource, limit)?;
    }
    if setup.cpu_moves {
        let maximum = rustix::process::getrlimit(Resource::Cpu).maximum;
        setrlimit(Resource::Cpu, Rlimit { current: Some(setup.cpu_seconds), maximum })?;
    } else {
        set_limit(Resource::Cpu, setup.cpu_seconds)?;
    }
    if counts_threads {
        set_limit(Resource::Nproc, THREADS_MAX)?;
    }
    if setup.nice > 0 {
        rustix::process::nice(i32::from(setup.nice))?;
    }
    Ok(())
}

/// A limit, or the lower one that is in force already.
fn set_limit(resource: Resource, limit: u64) -> io::Result<()> {
    let maximum = rustix::process::getrlimit(resource).maximum;
    let limit = Some(maximum.map_or(limit, |maximum| maximum.min(limit)));
    Ok(setrlimit(resource, Rlimit { current: limit, maximum: limit })?)
}

/// Gives up every right beyond an ordinary user's, those over its own namespaces too.
fn drop_capabilities() -> io::Result<()> {
    for number in 0..CAPABILITIES {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // The first that this kernel does not know is the last. Where the right to shrink the set is missing, nothing
        // could be gained from it: `no_new_privs` follows.
        if rustix::thread::remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Denies every access to files and TCP ports that the kernel knows to deny, and signals to other processes. Files that
/// are already open stay readable.
fn landlock() -> Result<RulesetStatus, RulesetError> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    Ok(rules.create()?.restrict_self()?.ruleset)
}

/// System calls that workers make with any arguments: memory, threads' own affairs, clocks, and descriptors at hand.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Every kind of namespace that `clone` can make.
const NAMESPACES: libc::c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// Lets the listed system calls through and answers every other one with "not implemented", which libraries take as an
/// old kernel and get along with.
fn seccomp(has_no_paths: bool) -> Result<(), seccompiler::Error> {
    let when = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let own = u64::try_from(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or_default();
    // Threads of this process, in its own namespaces.
    let thread = libc::CLONE_THREAD as u64;
    let kinds = thread | NAMESPACES as u64;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Threads, but no processes. `clone3` hides its flags in memory, so it is missing, and libc falls back.
    rules.insert(libc::SYS_clone, vec![when(0, SeccompCmpOp::MaskedEq(kinds), thread)?]);
    // Signals to itself: how `abort` ends.
    rules.insert(libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Eq, own)?]);
    rules.insert(libc::SYS_prctl, vec![when(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?]);
    rules.insert(
        libc::SYS_fcntl,
        [libc::F_GETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC]
            .into_iter()
            .map(|command| when(1, SeccompCmpOp::Eq, command as u64))
            .collect::<Result<_, _>>()?,
    );
    if has_no_paths {
        // How libc asks for the length of an open file. The filter cannot see that the path is empty, so the call is on
        // the list only where no path leads anywhere.
        let of_descriptor = libc::AT_EMPTY_PATH as u64;
        rules.insert(libc::SYS_newfstatat, vec![when(3, SeccompCmpOp::Eq, of_descriptor)?]);
    }
    // Addresses only of the connected peer: `sendto` with an address is how datagrams leave.
    rules.insert(libc::SYS_sendto, vec![when(4, SeccompCmpOp::Eq, 0)?]);
    let program: BpfProgram = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()?;
    seccompiler::apply_filter(&program)
}
