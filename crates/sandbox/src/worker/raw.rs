//! System calls that no safe wrapper offers. The only module of ours that may hold `unsafe` for the sake of the jail.
//!
//! Two users: [`super::isolate`] leaves inherited descriptors and namespaces behind, and [`super::escape`] makes calls
//! that must be refused. The second passes numbers, null pointers and constant texts, so that a call which is not
//! refused after all has nothing to write to.
#![allow(unsafe_code, reason = "the reviewed module: each block says why it is sound")]

use std::ffi::CStr;
use std::io;

use rustix::io::Errno;

/// First descriptor that is not stdin, stdout or stderr.
const FIRST_INHERITED: libc::c_uint = 3;

/// Closes every descriptor but stdin, stdout and stderr. To be called before the process opens any.
pub(super) fn close_inherited() -> io::Result<()> {
    // SAFETY: no memory is involved. Nothing of this process owns a descriptor above stderr yet: it is the first thing
    // that a worker does.
    let result = unsafe { libc::syscall(libc::SYS_close_range, FIRST_INHERITED, u32::MAX, 0_u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Leaves the named namespaces (`CLONE_NEW*`) for new ones.
pub(super) fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is involved, and the flags given are namespaces only: neither descriptors nor memory of
    // threads come apart.
    let result = unsafe { libc::unshare(namespaces) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An argument of a call that is expected to be refused.
#[derive(Clone, Copy)]
pub(super) enum Argument {
    /// A number, a descriptor or a flag.
    Number(i64),
    /// A text that lives as long as the program.
    Text(&'static CStr),
}

impl Argument {
    /// A pointer to nothing.
    pub(super) const NULL: Self = Self::Number(0);

    fn value(self) -> libc::c_long {
        match self {
            Self::Number(number) => number,
            Self::Text(text) => text.as_ptr() as libc::c_long,
        }
    }
}

/// Makes a system call that the jail must refuse, and says what the kernel answered.
///
/// A call that makes a process, which it should not, ends the new one at once.
pub(super) fn attempt(number: libc::c_long, arguments: &[Argument]) -> Result<(), Errno> {
    let at = |index: usize| arguments.get(index).map_or(0, |argument| argument.value());
    // SAFETY: pointers among the arguments are null or constant texts that the kernel only reads, so no call can write
    // to this process's memory. No call shares memory with a process that it makes.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    let makes_processes = number == libc::SYS_clone || is_fork(number);
    if result == 0 && makes_processes {
        // SAFETY: ends the child, which shares nothing with this process.
        unsafe { libc::_exit(0) };
    }
    if result >= 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

#[cfg(target_arch = "x86_64")]
const fn is_fork(number: libc::c_long) -> bool {
    number == libc::SYS_fork
}

#[cfg(not(target_arch = "x86_64"))]
const fn is_fork(_number: libc::c_long) -> bool {
    false
}
