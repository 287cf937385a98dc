//! What `guild doctor` finds: for each thing that was looked at how it is, what was seen, and what to do.

use std::fmt;

use serde::Serialize;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    /// It works, and not as well as it could, or not for long.
    Warning,
    /// Something does not work.
    Problem,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What, in one stable word.
    pub(super) check: String,
    pub(super) state: State,
    /// What was seen.
    pub(super) saw: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) help: Option<String>,
}

impl Check {
    pub(super) fn ok(check: &str, saw: impl Into<String>) -> Self {
        Self { check: check.to_owned(), state: State::Ok, saw: saw.into(), help: None }
    }

    pub(super) fn warning(check: &str, saw: impl Into<String>, help: impl Into<String>) -> Self {
        Self { state: State::Warning, help: Some(help.into()), ..Self::ok(check, saw) }
    }

    pub(super) fn problem(check: &str, saw: impl Into<String>, help: impl Into<String>) -> Self {
        Self { state: State::Problem, ..Self::warning(check, saw, help) }
    }

    pub(super) fn is_ok(&self) -> bool {
        self.state == State::Ok
    }
}

/// Everything that was looked at, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    pub(super) checks: Vec<Check>,
}

impl Report {
    pub(super) fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    pub(super) fn add_all(&mut self, checks: impl IntoIterator<Item = Check>) {
        self.checks.extend(checks);
    }

    pub(super) fn problems(&self) -> usize {
        self.count(State::Problem)
    }

    pub(super) fn warnings(&self) -> usize {
        self.count(State::Warning)
    }

    fn count(&self, state: State) -> usize {
        self.checks.iter().filter(|check| check.state == state).count()
    }
}
