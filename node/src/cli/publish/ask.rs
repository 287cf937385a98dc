//! Questions on a terminal, with the proposal as the answer that return stands for.

use std::io::{self, IsTerminal as _, Write as _};

use guildhall_client::package::Proposal;

use super::super::{Failure, escape, exit};
use super::look::blocking;

/// Whether somebody is there to answer.
pub(in crate::cli) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for whatever is neither written nor given.
pub(super) async fn complete(proposal: Proposal) -> Result<Proposal, Failure> {
    blocking(move || {
        let mut proposal = proposal;
        for question in proposal.questions() {
            loop {
                let default = proposal.default_answer(question);
                let shown = default.map(|text| format!(" [{text}]")).unwrap_or_default();
                let answer = ask(&format!("{}{shown}: ", question.text()))?;
                match proposal.answer(question, &answer) {
                    Ok(()) => break,
                    Err(why) => say(&format!("{why}\n")),
                }
            }
        }
        Ok(proposal)
    })
    .await?
}

/// Whether to go on; return means yes.
pub(super) async fn confirm(question: &str) -> Result<bool, Failure> {
    let question = format!("{question} [Y/n] ");
    let answer = blocking(move || ask(&question)).await??;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes"))
}

fn ask(question: &str) -> Result<String, Failure> {
    say(question);
    let mut line = String::new();
    match io::stdin().read_line(&mut line) {
        Ok(0) => Err(Failure::new(exit::USAGE, "the answers ended before the questions")
            .with_help("guild publish DIR --yes")),
        Ok(_) => Ok(line),
        Err(error) => Err(Failure::from_error(exit::FAILED, &error)),
    }
}

fn say(text: &str) {
    let (text, end) = match text.strip_suffix('\n') {
        Some(text) => (text, "\n"),
        None => (text, ""),
    };
    // When stderr is gone nobody answers either, and reading says so.
    let _ = io::stderr().write_all(format!("{}{end}", escape(text)).as_bytes());
}
