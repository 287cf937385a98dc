//! Telling the demo as it happens: numbered steps and indented lines.
//!
//! For people it is the data of this command, so it goes to stdout. With `--format json` only the report goes there; the
//! story is told on stderr if somebody watches it.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::story::STEPS;
use crate::cli::{Output, Table};

/// What lines within a step start with.
const INDENT: &str = "      ";

/// Characters of a peer id that are shown: its end, as all of them start alike.
const PEER_ID_CHARS: usize = 8;

/// Where the story goes.
#[derive(Clone, Copy, Debug)]
enum Listener {
    Stdout,
    Stderr,
    Nobody,
}

/// Tells the story.
#[derive(Debug)]
pub(super) struct Narrator<'a> {
    output: &'a Output,
    listener: Listener,
    step: Cell<usize>,
}

impl<'a> Narrator<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        let listener = if output.is_quiet() {
            Listener::Nobody
        } else if !output.is_json() {
            Listener::Stdout
        } else if io::stderr().is_terminal() {
            Listener::Stderr
        } else {
            Listener::Nobody
        };
        Self { output, listener, step: Cell::new(0) }
    }

    /// A line of its own.
    pub(super) fn say(&self, text: &str) {
        match self.listener {
            // When nobody reads it any more, the demo still ends as it should.
            Listener::Stdout => drop(self.output.line(text)),
            Listener::Stderr => self.output.note(text),
            Listener::Nobody => {}
        }
    }

    /// An empty line.
    pub(super) fn gap(&self) {
        self.say("");
    }

    /// The next step.
    pub(super) fn step(&self, title: &str) {
        let number = self.step.get() + 1;
        self.step.set(number);
        self.gap();
        self.say(&format!("[{number}/{}] {title}", STEPS.len()));
    }

    /// Something that happened in the step.
    pub(super) fn tell(&self, text: impl Display) {
        self.say(&format!("{INDENT}{text}"));
    }

    /// Several things that are easier to compare in columns.
    pub(super) fn table(&self, table: &Table) {
        for line in table.lines() {
            self.tell(line);
        }
    }
}

/// A time as people read it.
pub(super) fn time(took: Duration) -> String {
    match took.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{} ms", took.as_millis()),
        seconds => format!("{seconds:.1} s"),
    }
}

/// A share of 1 as people read it.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// The end of a peer id or another long name.
pub(super) fn short(name: &str) -> String {
    let skip = name.chars().count().saturating_sub(PEER_ID_CHARS);
    format!("..{}", name.chars().skip(skip).collect::<String>())
}
