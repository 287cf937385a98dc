//! `guild` as a person or a script calls it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs commands against the node of one home.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    home: Option<PathBuf>,
}

/// What a command said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
}

impl Cli {
    /// Commands for the node in `home`; without one, whatever the arguments say.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, home: Option<&Path>) -> Self {
        Self { program: program.into(), home: home.map(Path::to_owned) }
    }

    /// Runs a command to its end. Nothing of this process's `GUILD_` settings reaches it.
    pub async fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Said {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"GUILD_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).stdin(Stdio::null());
        if let Some(home) = &self.home {
            command.arg("--home").arg(home);
        }
        let ended = tokio::task::spawn_blocking(move || command.output()).await;
        let output = ended.expect("the thread ends").expect("the program runs");
        let said = Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
        said
    }

    /// Runs a command that must succeed, and returns its stdout without the last line break.
    pub async fn ok<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let said = self.run(arguments).await;
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        said.stdout.trim_end().to_owned()
    }

    /// Runs a command with `--format json`, which must succeed and print exactly one JSON value.
    pub async fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Value {
        let said = self.run_json(arguments).await;
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        said.json()
    }

    /// Runs a command with `--format json`.
    pub async fn run_json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Said {
        let given = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        self.run(given.chain(["--format".into(), "json".into()])).await
    }

    /// Runs a command that must fail with this exit code, a cause and a help line. Returns everything it said.
    pub async fn fails<S: AsRef<OsStr>>(
        &self,
        code: u8,
        arguments: impl IntoIterator<Item = S>,
    ) -> String {
        let said = self.fails_plainly(code, arguments).await;
        assert!(said.contains("help: "), "no help: {said}");
        said
    }

    /// The same where no command would help.
    pub async fn fails_plainly<S: AsRef<OsStr>>(
        &self,
        code: u8,
        arguments: impl IntoIterator<Item = S>,
    ) -> String {
        let said = self.run(arguments).await;
        assert_eq!(said.code, i32::from(code), "{}{}", said.stdout, said.stderr);
        assert!(said.stderr.contains("error: "), "no cause: {}", said.stderr);
        said.stderr
    }
}

impl Said {
    /// The one JSON value on stdout.
    #[must_use]
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "not one line: {}", self.stdout);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}
