//! How a worker shuts itself in before it looks at anything foreign: limits, no new rights, Landlock, seccomp.
//!
//! It happens while the process has one thread, so that every later thread inherits it. Limits and `no_new_privs` must
//! succeed; Landlock and seccomp depend on the kernel, and the result says which of them hold.

use std::collections::BTreeMap;
use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::message::{Isolation, Setup};

/// Descriptors a worker may hold: stdin, stdout, stderr, the channel twice, one file; the rest is air.
const DESCRIPTORS_MAX: u64 = 16;

/// Shuts this process in, for good.
pub(super) fn shut_in(setup: &Setup) -> io::Result<Isolation> {
    for (resource, limit) in [
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, DESCRIPTORS_MAX),
        // Not the address space: an engine reserves far more of it than it uses.
        (Resource::Data, setup.data_bytes),
        (Resource::Cpu, setup.cpu_seconds),
    ] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    let landlock = landlock().is_ok_and(|status| status != RulesetStatus::NotEnforced);
    let seccomp = seccomp().is_ok();
    Ok(Isolation { rlimits: true, no_new_privs: true, seccomp, landlock })
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

/// Lets the listed system calls through and answers every other one with "not implemented", which libraries take as an
/// old kernel and get along with.
fn seccomp() -> Result<(), seccompiler::Error> {
    let when = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let own = u64::try_from(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or_default();
    let thread = libc::CLONE_THREAD as u64;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Threads, but no processes. `clone3` hides its flags in memory, so it is missing, and libc falls back.
    rules.insert(libc::SYS_clone, vec![when(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
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
