//! What a worker must not be able to do, tried from inside one. For a test: it shows that the isolation holds on the
//! machine at hand, not only that it was asked for.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::isolate::shut_in;
use crate::message::{Isolation, Setup};

/// Shuts the calling process in and tries what nothing inside may do. Returns what worked nevertheless, and whether the
/// kernel had everything. For a test; the process is of no further use.
#[doc(hidden)]
pub fn try_to_break_out() -> io::Result<(Isolation, Vec<&'static str>)> {
    let isolation = shut_in(&Setup { data_bytes: 1 << 30, cpu_seconds: 10 })?;
    let attempts: [(&str, bool); 22] = [
        ("read a file", fs::read("/etc/passwd").is_ok()),
        ("read its own memory map", fs::read("/proc/self/maps").is_ok()),
        ("read its parent's environment", fs::read("/proc/1/environ").is_ok()),
        ("list a folder", fs::read_dir("/").is_ok()),
        ("look at a path", fs::metadata("/etc").is_ok()),
        ("create a file", fs::write("/tmp/guildhall-escape", b"x").is_ok()),
        ("create a folder", fs::create_dir("/tmp/guildhall-escape-folder").is_ok()),
        ("remove a file", fs::remove_file("/tmp/guildhall-escape").is_ok()),
        ("rename a file", fs::rename("/tmp/guildhall-escape", "/tmp/guildhall-b").is_ok()),
        ("link a file", fs::hard_link("/etc/passwd", "/tmp/guildhall-link").is_ok()),
        ("make a symbolic link", std::os::unix::fs::symlink("/", "/tmp/guildhall-root").is_ok()),
        ("change its folder", std::env::set_current_dir("/tmp").is_ok()),
        ("execute a program", Command::new("/bin/true").spawn().is_ok()),
        ("listen on TCP", TcpListener::bind(("127.0.0.1", 0)).is_ok()),
        ("connect by TCP", TcpStream::connect(("127.0.0.1", 22)).is_ok()),
        ("open UDP", UdpSocket::bind(("127.0.0.1", 0)).is_ok()),
        ("listen on a Unix socket", UnixListener::bind("/tmp/guildhall-socket").is_ok()),
        ("connect a Unix socket", UnixStream::connect("/run/dbus/system_bus_socket").is_ok()),
        ("make a socket pair", UnixDatagram::pair().is_ok()),
        (
            "make a memory file",
            rustix::fs::memfd_create(c"x", rustix::fs::MemfdFlags::empty()).is_ok(),
        ),
        (
            "change its limits",
            setrlimit(Resource::Core, Rlimit { current: None, maximum: None }).is_ok(),
        ),
        ("signal its group", rustix::process::test_kill_current_process_group().is_ok()),
    ];
    let worked = attempts.into_iter().filter(|(_, worked)| *worked).map(|(what, _)| what).collect();
    Ok((isolation, worked))
}
