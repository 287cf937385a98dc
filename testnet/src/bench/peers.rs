//! Other programs that move files: each sends and receives over loopback, and is timed at the receiver.
//!
//! Docs: `docs/benchmarks.md` says how to install them. What they do is not the same: `sendme` encrypts, checks and
//! writes the files out; `aria2` and `rsync` neither encrypt nor check against a known hash.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, BufReader};
use tokio::process::Command;

use super::figures::Samples;
use super::fixture::warm;
use super::programs;

/// How long a server may take until it listens.
const LISTENING_MAX: Duration = Duration::from_secs(5);

/// Connections of aria2: what it takes to use all processors.
const ARIA2_CONNECTIONS: u32 = 4;

/// What is asked for its version, and how. Each is found on PATH or left out of its row.
const PEERS: [(&str, &str); 5] = [
    ("b3sum", "--version"),
    ("sendme", "--version"),
    ("rsync", "--version"),
    ("aria2c", "--version"),
    ("nginx", "-v"),
];

/// The first line of what each peer says of its version; those that are not there are left out.
pub(super) async fn versions() -> Vec<String> {
    let mut versions = Vec::new();
    for (name, argument) in PEERS {
        let Ok(program) = programs::find(name) else { continue };
        let mut command = programs::command(program);
        command.arg(argument).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What does not run is named again in its row.
        let Ok(output) = command.output().await else { continue };
        // nginx says it to stderr.
        let said = [output.stdout, output.stderr].concat();
        let first = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned();
        versions.push(first.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    versions
}

/// `sendme send` in one process, `sendme receive` in another, found by addresses alone. Seconds of the whole receiving
/// process, which also writes the files out.
pub(super) async fn sendme(
    source: &Path,
    len_bytes: u64,
    folder: &Path,
    runs: usize,
) -> Result<Samples, String> {
    let program = programs::find("sendme")?;
    let made = fs::create_dir_all(folder);
    made.map_err(text)?;
    let mut sender = programs::command(&program);
    sender
        .current_dir(folder)
        .arg("send")
        .args(["--relay", "disabled", "--no-progress"])
        .arg(source);
    sender.stdout(Stdio::piped());
    let mut sender = sender.spawn().map_err(text)?;
    let said = sender.stdout.take().ok_or("sendme says nothing")?;
    let ticket = ticket(said).await.ok_or("sendme gives no ticket")?;
    let mut seconds = Samples::default();
    for run in 0..runs {
        let target = folder.join(format!("received-{run}"));
        fs::create_dir_all(&target).map_err(text)?;
        let mut receiver = programs::command(&program);
        receiver
            .current_dir(&target)
            .arg("receive")
            .args(["--relay", "disabled", "--no-progress"])
            .arg(&ticket);
        warm(folder, len_bytes).map_err(text)?;
        seconds.push(programs::timed(receiver).await?);
        fs::remove_dir_all(&target).map_err(text)?;
    }
    programs::end(sender).await.map_err(text)?;
    fs::remove_dir_all(folder).map_err(text)?;
    Ok(seconds)
}

/// The ticket is in the command that the sender proposes for the receiver.
async fn ticket(said: impl AsyncRead + Unpin) -> Option<String> {
    programs::line_with(BufReader::new(said), |line| {
        let ticket = line.split_once("sendme receive ")?.1;
        ticket.split_whitespace().next().map(str::to_owned)
    })
    .await
}

/// A local copy with `rsync -a`: two processes and a pair of sockets.
pub(super) async fn rsync(
    source: &Path,
    len_bytes: u64,
    folder: &Path,
    runs: usize,
) -> Result<Samples, String> {
    let program = programs::find("rsync")?;
    let mut seconds = Samples::default();
    for _ in 0..runs {
        let mut command = programs::command(&program);
        command.args(["-a", "--whole-file"]).arg(source).arg(folder);
        warm(folder.parent().unwrap_or(folder), len_bytes).map_err(text)?;
        seconds.push(programs::timed(command).await?);
        fs::remove_dir_all(folder).map_err(text)?;
    }
    Ok(seconds)
}

/// `aria2c` with several connections from `nginx`, plain HTTP.
pub(super) async fn aria2(file: &Path, folder: &Path, runs: usize) -> Result<Samples, String> {
    let (server, client) = (programs::find("nginx")?, programs::find("aria2c")?);
    fs::create_dir_all(folder).map_err(text)?;
    let port = programs::free_port().map_err(text)?;
    let root = file.parent().ok_or("a file lies in a folder")?;
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, nginx_configuration(folder, root, port)).map_err(text)?;
    let mut serving = programs::command(&server);
    serving
        .arg("-p")
        .arg(folder)
        .arg("-e")
        .arg(folder.join("error.log"))
        .arg("-c")
        .arg(&configuration);
    let serving = serving.spawn().map_err(text)?;
    wait_until_listening(port).await?;
    let name = file.file_name().unwrap_or_default().display();
    let url = format!("http://127.0.0.1:{port}/{name}");
    let mut seconds = Samples::default();
    for _ in 0..runs {
        let command = aria2_command(&client, folder, &url);
        warm(folder, file.metadata().map_err(text)?.len()).map_err(text)?;
        seconds.push(programs::timed(command).await?);
        fs::remove_file(folder.join(OUT)).map_err(text)?;
    }
    programs::end(serving).await.map_err(text)?;
    fs::remove_dir_all(folder).map_err(text)?;
    Ok(seconds)
}

/// What aria2 writes.
const OUT: &str = "aria2.out";

fn aria2_command(client: &Path, folder: &Path, url: &str) -> Command {
    let mut command = programs::command(client);
    let connections = ARIA2_CONNECTIONS.to_string();
    command.args(["--no-conf", "--quiet", "--file-allocation=none", "--out", OUT]);
    command.args(["--split", &connections, "--max-connection-per-server", &connections]);
    command.arg("--dir").arg(folder).arg(url);
    command
}

/// One process in the foreground, so that it ends when it is killed.
fn nginx_configuration(folder: &Path, root: &Path, port: u16) -> String {
    let (folder, root) = (folder.display(), root.display());
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n  access_log off;\n  sendfile on;\n  client_body_temp_path {folder}/body;\n\
         \x20 server {{\n    listen 127.0.0.1:{port};\n    root {root};\n  }}\n}}\n"
    )
}

async fn wait_until_listening(port: u16) -> Result<(), String> {
    let trying = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LISTENING_MAX, trying)
        .await
        .map_err(|_| "nginx does not listen".to_owned())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
