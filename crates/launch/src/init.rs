//! Making the home of a node: `guild init`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use guildhall_protocol::name::OrgName;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::error::Error;

/// How long `guild init` may take: it makes four keys and syncs ten small files.
const INIT_MAX: Duration = Duration::from_secs(30);

/// How much of what `guild init` says is read, bytes.
const SAID_MAX_BYTES: u64 = 16 * 1024;

/// What `guild init` is told.
#[derive(Clone, Debug)]
pub struct Init {
    /// The `guild` program.
    pub program: PathBuf,
    /// The new org's name.
    pub org: OrgName,
    /// The new node's home.
    pub home: PathBuf,
    /// Where the org's root key goes.
    pub root_out: PathBuf,
}

/// Makes a new org with one node.
///
/// # Errors
/// [`Error::Program`], and [`Error::Init`] with what the program said.
pub async fn init(options: &Init) -> Result<(), Error> {
    let Init { program, org, home, root_out } = options;
    let mut command = guild(program);
    command.arg("init").arg("--org").arg(org.to_string());
    command.arg("--home").arg(home).arg("--root-out").arg(root_out);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child =
        command.spawn().map_err(|source| Error::Program { program: program.clone(), source })?;
    let mut said = Vec::new();
    let ended = timeout(INIT_MAX, async {
        if let Some(stderr) = child.stderr.take() {
            stderr.take(SAID_MAX_BYTES).read_to_end(&mut said).await?;
        }
        child.wait().await
    });
    let failed = |why: String| Error::Init { home: home.clone(), why };
    match ended.await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => {
            Err(failed(format!("{status}: {}", String::from_utf8_lossy(&said).trim())))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("it did not end within {} s", INIT_MAX.as_secs()))),
    }
}

/// What is passed on although it starts with `GUILD_`: what the nodes log.
const LOG_SETTING: &str = "GUILD_LOG";

/// A command of `program` that is killed when it is dropped and sees no setting of another node.
pub(crate) fn guild(program: &Path) -> Command {
    let mut command = Command::new(program);
    // `GUILD_HOME` and its like would send the command to somebody else's node.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GUILD_") && name != LOG_SETTING {
            command.env_remove(name);
        }
    }
    command.kill_on_drop(true);
    command
}
