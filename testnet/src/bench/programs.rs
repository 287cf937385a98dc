//! Other programs that are measured: found on PATH, run, and ended. None of them is needed; a row without its peer says
//! so.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::network::NetworkError;

/// Longest that one program may run: a hundred times what it should take.
const RUN_MAX: Duration = Duration::from_secs(300);

/// Lines that are read while looking for one.
const LINES_MAX: usize = 1_000;

/// Where a program is.
pub(super) fn find(name: &str) -> Result<PathBuf, String> {
    // Servers often lie where only root looks.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = dirs.map(|dir| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("no {name}: not on PATH"))
}

/// A command that is killed when it is dropped, and says nothing.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    // What this process was told about a node is not for those that it starts.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GUILD_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end. Seconds from its start to its end.
pub(super) async fn timed(mut command: Command) -> Result<f64, String> {
    let since = Instant::now();
    let output = timeout(RUN_MAX, command.stderr(Stdio::piped()).output()).await;
    let took = since.elapsed().as_secs_f64();
    let name = PathBuf::from(command.as_std().get_program());
    let name = name.file_name().unwrap_or_default().display().to_string();
    match output {
        Ok(Ok(output)) if output.status.success() => Ok(took),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{name} failed: {}", said.lines().last().unwrap_or_default()))
        }
        Ok(Err(error)) => Err(format!("{name} does not start: {error}")),
        Err(_) => Err(format!("{name} does not end")),
    }
}

/// Reads lines until `wanted` makes something of one.
pub(super) async fn line_with<T>(
    from: impl AsyncBufRead + Unpin,
    wanted: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let mut lines = from.lines();
    let reading = async {
        for _ in 0..LINES_MAX {
            if let Some(found) = wanted(&lines.next_line().await.ok()??) {
                return Some(found);
            }
        }
        None
    };
    timeout(RUN_MAX, reading).await.ok()?
}

/// Ends a program that would run on.
pub(super) async fn end(mut child: Child) -> Result<(), NetworkError> {
    child.kill().await.map_err(NetworkError::Io)
}

/// A port that nobody listens on now.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Peak and present memory of a process, from the system's books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// The most that was resident at once, bytes.
    pub(super) peak_bytes: u64,
    /// What is resident now, bytes.
    pub(super) now_bytes: u64,
    /// What of it is in no file, bytes.
    pub(super) own_bytes: u64,
}

/// Ticks a second of the system's books about processor time, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that a process has used, its own and the system's for it, seconds. `self` names this one.
pub(super) fn processor_seconds(pid: &str) -> Result<f64, NetworkError> {
    let path = Path::new("/proc").join(pid).join("stat");
    let stat = std::fs::read_to_string(path).map_err(NetworkError::Io)?;
    let unexpected = || NetworkError::Unexpected("processor time cannot be read".to_owned());
    parse_processor_seconds(&stat).ok_or_else(unexpected)
}

fn parse_processor_seconds(stat: &str) -> Option<f64> {
    // The second field is a name in brackets, which may hold anything; user and system time are 14th and 15th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// What a process has in memory.
pub(super) fn memory(pid: u32) -> Result<Memory, NetworkError> {
    let path = Path::new("/proc").join(pid.to_string()).join("status");
    let status = std::fs::read_to_string(path).map_err(NetworkError::Io)?;
    Ok(parse_memory(&status))
}

fn parse_memory(status: &str) -> Memory {
    let bytes_of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or(0).saturating_mul(1024)
    };
    Memory {
        peak_bytes: bytes_of("VmHWM"),
        now_bytes: bytes_of("VmRSS"),
        own_bytes: bytes_of("RssAnon"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let memory = parse_memory(
            "Name:\tguild\nVmHWM:\t  2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t 512 kB\n",
        );
        let expected = Memory { peak_bytes: 2 << 20, now_bytes: 1 << 20, own_bytes: 1 << 19 };
        assert_eq!(memory, expected);
        assert_eq!(parse_memory(""), Memory::default());
    }

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 1 2 3 4 150 50 0 0 20";
        assert!((parse_processor_seconds(stat).unwrap() - 2.0).abs() < f64::EPSILON);
        assert_eq!(parse_processor_seconds("7 (a"), None);
        assert!(processor_seconds("self").unwrap() >= 0.0);
    }

    #[test]
    fn a_program_that_is_nowhere_is_named() {
        assert_eq!(find("no-such-program").unwrap_err(), "no no-such-program: not on PATH");
        assert!(find("sh").is_ok());
    }
}
