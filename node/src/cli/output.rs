//! Where everything that `guild` says goes: data to stdout, talk to stderr, both escaped.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use super::escape::{escape, escape_json};
use super::failure::Failure;
use super::{Table, exit, screen};

/// For whom a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people, with progress when they watch
    #[default]
    Auto,
    /// For people, without progress
    Human,
    /// One JSON value on one line
    Json,
    /// Only what a script needs next: a reference, an id, a value
    Quiet,
}

/// The only place that writes to the terminal.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    progress: bool,
}

impl Output {
    /// Writes in `format`.
    #[must_use]
    pub(crate) fn new(format: Format) -> Self {
        let watched = io::stdout().is_terminal() && io::stderr().is_terminal();
        Self { format, progress: watched && format == Format::Auto }
    }

    /// Whether JSON is wanted.
    #[must_use]
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether only the essential is wanted.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.format == Format::Quiet
    }

    /// Columns of the terminal; `None` when the text goes elsewhere, and nothing needs to be cut.
    #[must_use]
    pub(crate) fn columns(&self) -> Option<usize> {
        screen::columns()
    }

    /// Data: one JSON value on a line of its own.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(crate) fn json(&self, value: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
        let json = serde_json::to_string(value)
            .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
        write_stdout(&escape_json(&json))
    }

    /// Data: one line.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        write_stdout(&escape(text))
    }

    /// Data: a table.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(crate) fn table(&self, table: &Table) -> Result<(), Failure> {
        table.lines().iter().try_for_each(|line| self.line(line))
    }

    /// Data: lines.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(crate) fn lines(
        &self,
        lines: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<(), Failure> {
        lines.into_iter().try_for_each(|line| self.line(line.as_ref()))
    }

    /// Talk: a line that nobody has to read.
    pub(crate) fn note(&self, text: &str) {
        if !self.is_quiet() {
            self.clear_progress();
            write_stderr(&format!("{}\n", escape(text)));
        }
    }

    /// Talk: something that the person should know.
    pub(crate) fn warning(&self, text: &str) {
        self.note(&format!("warning: {text}"));
    }

    /// Talk: how far it is; the next one takes its place.
    pub(crate) fn progress(&self, text: &str) {
        if self.progress {
            write_stderr(&format!("\r\u{1b}[K{}", escape(text)));
        }
    }

    /// Whether somebody watches how far it is.
    #[must_use]
    pub(crate) fn is_watched(&self) -> bool {
        self.progress
    }

    /// Takes the progress line away.
    pub(crate) fn clear_progress(&self) {
        if self.progress {
            write_stderr("\r\u{1b}[K");
        }
    }

    /// Says why a command failed, and returns the exit code that says it too.
    #[must_use]
    pub(crate) fn failure(&self, failure: &Failure) -> ExitCode {
        self.clear_progress();
        if !failure.message.is_empty() {
            write_stderr(&report(failure));
        }
        failure.code.into()
    }
}

/// A failure as it is shown: `error:`, indented causes, `help:`.
fn report(failure: &Failure) -> String {
    let mut text = format!("error: {}\n", escape(&failure.message));
    for line in failure.causes.iter().flat_map(|cause| cause.lines()) {
        text.push_str(&format!("  {}\n", escape(line)));
    }
    if let Some(help) = &failure.help {
        text.push_str(&format!("help: {}\n", escape(help)));
    }
    text
}

fn write_stdout(line: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(line.as_bytes())
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::unheard(),
        _ => Failure::from_error(exit::FAILED, &error),
    })
}

fn write_stderr(text: &str) {
    // When stderr is gone there is nobody left to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_causes_and_help_and_nothing_a_terminal_acts_on() {
        let failure = Failure::new(exit::FAILED, "no\u{1b}[31m")
            .with_cause("first\nsecond\r")
            .with_help("guild up");
        assert_eq!(
            report(&failure),
            "error: no\\u{1b}[31m\n  first\n  second\\r\nhelp: guild up\n"
        );
    }
}
