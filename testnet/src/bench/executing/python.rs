//! Peers in Python: a process that runs one of our scripts with what the given Python has installed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::bench::programs;

/// Says what is installed.
const VERSIONS: &str = include_str!("peers/versions.py");

/// Scores a graph with onnxruntime.
const GRAPH: &str = include_str!("peers/graph.py");

/// How long an answer may take: a hundred times what it should.
const ANSWER_MAX: Duration = Duration::from_secs(300);

/// A script that runs to its end.
pub(super) fn script(python: &Path, text: &str) -> Command {
    let mut command = programs::command(python);
    // Nothing beside this program is to be taken for a package of theirs.
    command.arg("-I").arg("-c").arg(text);
    command
}

/// What is installed, one text for each package; none where there is no such Python.
pub(super) async fn versions(python: &Path) -> Vec<String> {
    let said = said(python).await;
    said.into_iter().filter(|line| !line.starts_with("library ")).collect()
}

/// The library that comes with onnxruntime in that Python.
pub(super) async fn onnxruntime(python: &Path) -> Option<PathBuf> {
    let said = said(python).await;
    said.iter().find_map(|line| line.strip_prefix("library ")).map(PathBuf::from)
}

async fn said(python: &Path) -> Vec<String> {
    let mut command = script(python, VERSIONS);
    // A row whose peer does not run says so itself.
    let Ok(output) = command.stdout(Stdio::piped()).output().await else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// onnxruntime with one graph and one thread; ended when it is dropped.
pub(super) struct OnnxRuntime {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl OnnxRuntime {
    /// Loads a graph; `record` is a file with one of its records.
    pub(super) async fn start(
        python: &Path,
        graph: &Path,
        record: &Path,
        (dtype, dims): (&str, &[u64]),
    ) -> Result<Self, String> {
        let mut command = script(python, GRAPH);
        command.arg(graph).arg(record).arg(dtype).args(dims.iter().map(u64::to_string));
        command.env("OMP_NUM_THREADS", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let missing = || format!("no onnxruntime in {}", python.display());
        let mut child = command.spawn().map_err(|_| missing())?;
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).ok_or_else(missing)?;
        let mut peer = Self { _child: child, stdin, lines: BufReader::new(stdout).lines() };
        peer.line().await.map_err(|_| missing())?;
        Ok(peer)
    }

    /// Scores so many copies of the record at once; seconds.
    pub(super) async fn score(&mut self, records: usize) -> Result<f64, String> {
        self.ask(&format!("score {records}\n")).await
    }

    /// What comes out for the record.
    pub(super) async fn output(&mut self, file: &Path) -> Result<Vec<f32>, String> {
        self.ask(&format!("output {}\n", file.display())).await?;
        let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect())
    }

    async fn ask(&mut self, line: &str) -> Result<f64, String> {
        let failed = |error: std::io::Error| format!("onnxruntime in Python ended: {error}");
        self.stdin.write_all(line.as_bytes()).await.map_err(failed)?;
        let answer = self.line().await?;
        answer.trim().parse().map_err(|_| format!("onnxruntime in Python says {answer}"))
    }

    async fn line(&mut self) -> Result<String, String> {
        let ended = || "onnxruntime in Python ended".to_owned();
        let line = timeout(ANSWER_MAX, self.lines.next_line()).await;
        line.map_err(|_| "onnxruntime in Python does not answer".to_owned())?
            .map_err(|_| ended())?
            .ok_or_else(ended)
    }
}
