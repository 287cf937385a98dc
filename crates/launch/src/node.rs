//! One node process: started, asked, killed, stopped, started again.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use guildhall_client::Client;
use guildhall_protocol::name::{CategoryPrefix, OrgName};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::error::Error;
use crate::init::{Init, guild, init};
use crate::log;

/// The file in a node's home that takes what it says on stderr.
pub const LOG_FILE: &str = "node.log";

/// How long a node may take to become ready: it opens its store and two ports. Debug builds on a busy machine need some
/// seconds.
const READY_MAX: Duration = Duration::from_secs(30);

/// How long a node may take to stop: its own stages of shutdown add up to less.
const STOP_MAX: Duration = Duration::from_secs(15);

/// Longest line that says a node is ready, bytes: a hundred addresses.
const READY_LINE_MAX_BYTES: u64 = 64 * 1024;

/// How a node is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `guild` program.
    pub program: PathBuf,
    /// A home that [`init`] made.
    pub home: PathBuf,
    /// Categories that it follows; none leaves what its configuration says.
    pub follows: Vec<CategoryPrefix>,
    /// Environment variables, besides those of this process.
    pub env: Vec<(OsString, OsString)>,
}

impl Options {
    /// The node of `home`, as its configuration says.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, home: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), home: home.into(), follows: Vec::new(), env: Vec::new() }
    }

    /// Follows these categories.
    #[must_use]
    pub fn follow(mut self, categories: impl IntoIterator<Item = CategoryPrefix>) -> Self {
        self.follows.extend(categories);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn log(&self) -> PathBuf {
        self.home.join(LOG_FILE)
    }
}

/// What a node says when it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ready {
    /// Base URL of its API.
    pub api: String,
    /// Its key, as the overlay writes it.
    pub peer_id: String,
    /// Where its overlay listens.
    pub addresses: Vec<String>,
}

/// A node process. Killed with its workers when it is dropped; its home is free for another one then.
#[derive(Debug)]
pub struct Node {
    options: Options,
    child: Child,
    /// Kept open, because a node that writes to a closed pipe fails.
    _stdout: ChildStdout,
    ready: Ready,
    client: Client,
}

impl Node {
    /// Makes a home for a new org, with the root key beside it, and starts its node.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create(org: &OrgName, options: Options) -> Result<Self, Error> {
        let mut root_out = options.home.clone().into_os_string();
        root_out.push(".root.key");
        let made = Init {
            program: options.program.clone(),
            org: org.clone(),
            home: options.home.clone(),
            root_out: root_out.into(),
        };
        init(&made).await?;
        Self::start(options).await
    }

    /// Starts the node of a home on ports that the system picks, and waits until it is ready.
    ///
    /// # Errors
    /// [`Error`]; with the last lines of the node's log when there are any.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let mut child = spawn(&options)?;
        let ended = || Error::Process { what: "read", source: io::ErrorKind::BrokenPipe.into() };
        let mut stdout = child.stdout.take().ok_or_else(ended)?;
        let ready = match timeout(READY_MAX, read_ready(&options, &mut child, &mut stdout)).await {
            Ok(ready) => ready,
            Err(_) => Err(Error::NotReady {
                home: options.home.clone(),
                waited: READY_MAX,
                log: log::tail(&options.log()),
            }),
        };
        let started = ready.and_then(|ready| Ok((Client::new(&ready.api)?, ready)));
        match started {
            Ok((client, ready)) => Ok(Self { options, child, _stdout: stdout, ready, client }),
            Err(error) => {
                kill_group(&child);
                Err(error)
            }
        }
    }

    /// What it said when it was ready.
    #[must_use]
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// A client of its API.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Its home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.options.home
    }

    /// The file with its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.options.log()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        log::tail(&self.options.log())
    }

    /// Its process id; `None` once it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether its process runs.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn is_running(&mut self) -> Result<bool, Error> {
        let status = self.child.try_wait();
        status
            .map(|status| status.is_none())
            .map_err(|source| Error::Process { what: "looked at", source })
    }

    /// Kills it with SIGKILL, as a crash would: nothing is flushed, nobody is told, its workers are left to notice.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.signal(Signal::KILL)?;
        self.reap().await
    }

    /// Asks it to stop with SIGTERM and waits; when it does not stop in time, kills it with its workers. `true` when it
    /// stopped by itself and without an error.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub async fn stop(&mut self) -> Result<bool, Error> {
        self.signal(Signal::TERM)?;
        match timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status.success()),
            Ok(Err(source)) => Err(Error::Process { what: "waited for", source }),
            Err(_) => {
                kill_group(&self.child);
                self.reap().await?;
                Ok(false)
            }
        }
    }

    /// Starts it again in the same home, on other ports. Stops it first if it still runs.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        if self.is_running()? {
            self.stop().await?;
        }
        *self = Self::start(self.options.clone()).await?;
        Ok(())
    }

    /// Signals the process, if it has not ended.
    fn signal(&self, signal: Signal) -> Result<(), Error> {
        match pid(&self.child) {
            Some(pid) => kill_process(pid, signal)
                .map_err(|errno| Error::Process { what: "signalled", source: errno.into() }),
            None => Ok(()),
        }
    }

    async fn reap(&mut self) -> Result<(), Error> {
        let ended = self.child.wait().await;
        ended.map(|_| ()).map_err(|source| Error::Process { what: "waited for", source })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        kill_group(&self.child);
        if let Some(pid) = pid(&self.child) {
            // Until it has ended it holds its home. Who reaps it is left to the runtime, as for every child.
            let _ended = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        }
    }
}

fn spawn(options: &Options) -> Result<Child, Error> {
    let path = options.log();
    let open = |path: &Path| -> io::Result<File> {
        OpenOptions::new().append(true).create(true).open(path)
    };
    let log = open(&path).map_err(|source| Error::Log { path, source })?;
    let mut command = guild(&options.program);
    command.arg("up").arg("--home").arg(&options.home).args(["--format", "json"]);
    command.args(["--api", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    for category in &options.follows {
        command.arg("--follow").arg(category.as_str());
    }
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
    command.spawn().map_err(|source| Error::Program { program: options.program.clone(), source })
}

/// Waits for the one line on stdout.
async fn read_ready(
    options: &Options,
    child: &mut Child,
    stdout: &mut ChildStdout,
) -> Result<Ready, Error> {
    let mut line = Vec::new();
    let mut bounded = BufReader::new(stdout.take(READY_LINE_MAX_BYTES));
    let read = bounded.read_until(b'\n', &mut line).await;
    read.map_err(|source| Error::Process { what: "read", source })?;
    let home = options.home.clone();
    if line.is_empty() {
        let status = child.wait().await;
        let status = status.map_err(|source| Error::Process { what: "waited for", source })?;
        return Err(Error::Ended { home, status, log: log::tail(&options.log()) });
    }
    serde_json::from_slice(&line).map_err(|error| Error::BadReady {
        home,
        why: error.to_string(),
        log: log::tail(&options.log()),
    })
}

fn pid(child: &Child) -> Option<Pid> {
    let raw = child.id().and_then(|id| i32::try_from(id).ok())?;
    Pid::from_raw(raw)
}

/// Kills a node with everything that it started. Nothing happens when it has ended and was waited for: its workers end
/// with it, and its number may be another process's by now.
fn kill_group(child: &Child) {
    if let Some(pid) = pid(child) {
        // It fails only when the group is gone, which is what was wanted.
        let _gone = kill_process_group(pid, Signal::KILL);
    }
}
