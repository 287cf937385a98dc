//! `--keep`: the nodes stay, and the person gets something to do with them.

use std::path::Path;

use super::content::IMAGES;
use super::find::{CATEGORY, WORDS};
use super::lab::PRODUCER;
use super::report::Report;
use crate::cli::{Context, Failure, Table, exit};

/// Prints where the nodes are and five commands that can be run as they stand. JSON and quiet formats have no place for
/// it: the report has the addresses.
pub(super) fn invite_to_try(context: &Context, report: &Report, dir: &Path) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() || output.is_quiet() {
        return Ok(());
    }
    let program =
        std::env::current_exe().map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    let mut table = Table::plain();
    for node in &report.nodes {
        table.row([node.org.to_string(), node.api.clone(), node.home.clone()]);
    }
    output.line("")?;
    output.line("The nodes keep running:")?;
    output.table(&table)?;
    output.line("")?;
    output.line("Five commands to try, in another terminal:")?;
    for command in commands(&program, report, dir) {
        output.line(&format!("  {command}"))?;
    }
    output.line("")?;
    output.line("Ctrl-C stops the nodes and removes their homes.")
}

fn commands(program: &Path, report: &Report, dir: &Path) -> Vec<String> {
    let guild = quote(&program.display().to_string());
    let at = |place: usize| report.nodes.get(place).map_or("", |node| node.api.as_str());
    let (lender, requester) = (at(1), at(2));
    let picture =
        quote(&dir.join("content").join(IMAGES).join("images/0007.pgm").display().to_string());
    let out = quote(&dir.join("digits-mlp").display().to_string());
    vec![
        format!("{guild} --node {requester} search {} --category {CATEGORY}", quote(WORDS)),
        format!("{guild} --node {requester} show {PRODUCER}/digits"),
        format!("{guild} --node {requester} run {PRODUCER}/digits --input {picture}"),
        format!("{guild} --node {requester} get {PRODUCER}/digits-mlp -o {out}"),
        format!("{guild} --node {lender} peers"),
    ]
}

/// A word as a shell takes it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_shell_takes_quoted_words_as_they_are() {
        assert_eq!(quote("/tmp/guild-demo-x/a.pgm"), "/tmp/guild-demo-x/a.pgm");
        assert_eq!(quote("handwritten digits"), "'handwritten digits'");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
    }
}
