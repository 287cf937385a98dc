//! `search`: what there is, and why it stands where it stands.
//!
//! Each part makes lines of an answer and does nothing else: [`results`] the table and what is told below it, [`best`]
//! the one best choice, [`nothing`] what to know where there is none, [`gaps`] what a pipeline lacks.

mod args;
mod best;
mod gaps;
mod nothing;
mod results;
#[cfg(test)]
mod tests;

use guildhall_client::Client;
use guildhall_protocol::api::SearchAnswer;
use guildhall_protocol::query::Query;

use super::{Context, Failure, exit};

pub(crate) use args::SearchArgs;
pub(super) use results::{figure, indented};

/// Results that `--one` asks for: the best, and the one that it is compared with.
const ONE_AND_SECOND: usize = 2;

pub(super) async fn search(context: &Context, args: SearchArgs) -> Result<(), Failure> {
    let query = args.query()?;
    let client = context.client().await?;
    if let Some(pipeline) = &args.answer.pipeline {
        return gaps::search(context, &client, &query, pipeline, args.answer.explain).await;
    }
    if args.answer.one {
        return one(context, &client, query).await;
    }
    let answer = ask(&client, &query).await?;
    show(context, &answer, &query, args.answer.explain)
}

async fn ask(client: &Client, query: &Query) -> Result<SearchAnswer, Failure> {
    Ok(client.search(query).await?)
}

/// Prints an answer.
fn show(
    context: &Context,
    answer: &SearchAnswer,
    query: &Query,
    explain: bool,
) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() {
        return output.json(answer);
    }
    if output.is_quiet() {
        return answer
            .results
            .iter()
            .try_for_each(|result| output.line(&result.reference.to_string()));
    }
    let columns = output.columns();
    if answer.results.is_empty() && query.page.is_none() {
        output.lines(nothing::lines(answer, query, columns))?;
        answer.notes.iter().for_each(|note| output.note(note));
        note_whence(context, answer);
        output.note(&format!("next: {}", nothing::help(answer, query)));
        return Ok(());
    }
    output.lines(results::table(answer, query, explain, columns))?;
    output.lines(results::facets(&answer.facets, columns))?;
    results::talk(answer, query, columns).iter().for_each(|line| output.note(line));
    Ok(())
}

/// Prints the best result and why it is.
async fn one(context: &Context, client: &Client, query: Query) -> Result<(), Failure> {
    let output = &context.output;
    let mut answer = ask(client, &Query { limit: ONE_AND_SECOND, ..query.clone() }).await?;
    if answer.results.is_empty() {
        if output.is_json() {
            output.json(&answer)?;
        }
        return Err(nothing_fits(&answer, &query));
    }
    if output.is_json() || output.is_quiet() {
        answer.results.truncate(1);
        return show(context, &answer, &query, false);
    }
    let columns = output.columns();
    output.lines(best::lines(&answer, &query, columns))?;
    results::corrections(&answer).iter().for_each(|line| output.note(line));
    answer.notes.iter().for_each(|note| output.note(note));
    note_whence(context, &answer);
    Ok(())
}

/// Tells whom was asked, in lines that fit.
fn note_whence(context: &Context, answer: &SearchAnswer) {
    let output = &context.output;
    let lines = results::indented(&results::whence(answer), "", output.columns());
    lines.iter().for_each(|line| output.note(line));
}

/// A script that wants one has to know that there is none.
fn nothing_fits(answer: &SearchAnswer, query: &Query) -> Failure {
    let mut lines = nothing::lines(answer, query, None).into_iter();
    let mut failure = Failure::new(exit::NOT_FOUND, lines.next().unwrap_or_default());
    failure.causes.extend(lines);
    failure.with_help(nothing::help(answer, query))
}
