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
use guildhall_protocol::name::Category;
use guildhall_protocol::query::Query;
use guildhall_protocol::vocabulary;

use self::results::again;
use super::{Context, Failure, category, exit};

pub(crate) use args::SearchArgs;
pub(super) use results::{figure, indented};

/// Results that `--one` asks for: the best, and the one that it is compared with.
const ONE_AND_SECOND: usize = 2;

pub(super) async fn search(context: &Context, args: SearchArgs) -> Result<(), Failure> {
    let query = args.query()?;
    for word in args.unread() {
        context.output.note(&format!(
            "`{word}` begins with no key that is known, so it is read as words; guild search --help has the keys"
        ));
    }
    let client = context.client().await?;
    if let Some(pipeline) = &args.answer.pipeline {
        return gaps::search(context, &client, &query, pipeline, args.answer.explain).await;
    }
    if args.answer.one {
        return one(context, &client, query).await;
    }
    let (answer, query) = ask(context, &client, query).await?;
    show(context, &client, &answer, &query, args.answer.explain).await
}

/// Asks. Where nothing is found in a category that the vocabulary lacks, and its name means one that is there, that one
/// is asked for: `task:ocr`. The query is the one that was answered.
async fn ask(
    context: &Context,
    client: &Client,
    query: Query,
) -> Result<(SearchAnswer, Query), Failure> {
    let answer = client.search(&query).await.map_err(|error| broken_off(error, &query))?;
    let Some(meant) = meant(&query, &answer) else { return Ok((answer, query)) };
    if let Some(asked) = &query.category {
        context.output.note(&category::read_as(asked.as_str(), &meant));
    }
    let query = Query { category: Some(meant.into()), ..query };
    Ok((client.search(&query).await?, query))
}

/// The category that a query means by another word, when nothing has that word as its category.
fn meant(query: &Query, answer: &SearchAnswer) -> Option<Category> {
    let asked = query.category.as_ref()?;
    let is_used = answer.total > 0 || !answer.results.is_empty() || query.page.is_some();
    let is_known = is_used || vocabulary::is_known_prefix(asked);
    let meant = (!is_known).then(|| vocabulary::meant(asked.as_str())).flatten();
    meant.and_then(vocabulary::Entry::category)
}

/// A search whose answer does not come, or whose page is gone, can be repeated.
fn broken_off(error: guildhall_client::Error, query: &Query) -> Failure {
    let is_gone = error.code() == Some("page_gone");
    let is_other = error.code() == Some("other_query");
    let is_broken = matches!(error, guildhall_client::Error::Broken(_));
    let failure = Failure::from(error);
    match query.page {
        Some(_) if is_gone && query.is_everything() => {
            failure.with_help("guild search WORDS   # begins again")
        }
        Some(_) if is_other => {
            let page = Query { limit: query.limit, ..Query::default() };
            failure.with_help(again(&page, query.page))
        }
        Some(_) if is_gone => {
            failure.with_help(again(&Query { page: None, ..query.clone() }, None))
        }
        _ if is_broken && failure.help.is_none() => {
            failure.with_help("guild status   # then the same again")
        }
        _ => failure,
    }
}

/// Prints an answer.
async fn show(
    context: &Context,
    client: &Client,
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
        let hint = nothing::hint(client, query).await;
        output.lines(nothing::lines(answer, query, &hint, columns))?;
        answer.notes.iter().for_each(|note| output.note(note));
        note_whence(context, answer);
        output.note(&format!("next: {}", nothing::help(answer, query, &hint)));
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
    let two = Query { limit: ONE_AND_SECOND, ..query.clone() };
    let (mut answer, asked) = ask(context, client, two).await?;
    let query = Query { limit: query.limit, ..asked };
    if answer.results.is_empty() {
        if output.is_json() {
            output.json(&answer)?;
        }
        let hint = nothing::hint(client, &query).await;
        return Err(nothing_fits(&answer, &query, &hint));
    }
    if output.is_json() || output.is_quiet() {
        answer.results.truncate(1);
        return show(context, client, &answer, &query, false).await;
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
fn nothing_fits(answer: &SearchAnswer, query: &Query, hint: &nothing::Hint) -> Failure {
    let mut lines = nothing::lines(answer, query, hint, None).into_iter();
    let mut failure = Failure::new(exit::NOT_FOUND, lines.next().unwrap_or_default());
    failure.causes.extend(lines);
    failure.with_help(nothing::help(answer, query, hint))
}
