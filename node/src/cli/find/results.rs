//! An answer as people read it: results in a table, how many there are of what, whom was asked, and where it goes on.

use std::path::Path;

use guildhall_client::shell_quote;
use guildhall_protocol::api::{AskOutcome, AskedNode, Facet, SearchAnswer, Via};
use guildhall_protocol::body::{AccuracyClaim, Claims};
use guildhall_protocol::fit::{fit, interface_fit};
use guildhall_protocol::interface::{Interface, Port};
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::{Gap, PageMark, Query, ReviewSummary, Suggestion, Term};

use super::super::escape;
use super::super::federation::{list, uptime};
use super::super::screen::{cut, padded, width, wrapped};
use super::super::table::{Table, counted, short_peer};

/// Characters of a facet's name with what stands behind it.
const FACET_COLUMNS: usize = 10;

/// Columns of a reference in a table; a longer one stands below its row too, so that it can be copied.
const REF_COLUMNS: usize = 48;

/// Columns of a metric's name: producers choose them.
const METRIC_COLUMNS: usize = 20;

/// Where the fit stands among the columns; only a query for a gap has it.
const FIT_PLACE: usize = 4;

/// What stands for a fit that needs a conversion.
const ADAPTER: &str = "adapter";

/// Silent nodes that are named; of more only the number is told.
const SILENT_SHOWN: usize = 4;

/// The results as a table, with the reasons below each if they are wanted.
pub(super) fn table(
    answer: &SearchAnswer,
    query: &Query,
    explain: bool,
    columns: Option<usize>,
) -> Vec<String> {
    let results = &answer.results;
    if results.is_empty() {
        return Vec::new();
    }
    let is_gap = !query.fits.is_empty();
    let mut table = Table::plain();
    let head = ["#", "REF", "KIND", "SCORE", "FIT", "DECLARED", "RATED", "SUMMARY"];
    let shown = |(place, cell): (usize, String)| (is_gap || place != FIT_PLACE).then_some(cell);
    let row = |cells: [String; 8]| cells.into_iter().enumerate().filter_map(shown).collect();
    table.cells(row(head.map(str::to_owned)));
    let before = query.page.map_or(0, |page| page.offset);
    for (result, place) in results.iter().zip(before.saturating_add(1)..) {
        let fit = if fits_directly(&query.fits, &result.interface) { "as it is" } else { ADAPTER };
        table.cells(row([
            place.to_string(),
            cut(&result.reference.to_string(), REF_COLUMNS),
            result.kind.to_string(),
            format!("{:.2}", result.score),
            fit.to_owned(),
            declared(&result.claims, query.metric.as_deref()),
            rated(&result.reviews),
            result.summary.clone(),
        ]));
    }
    let mut rows = table.rows_within(columns).into_iter();
    let mut lines: Vec<String> = rows.next().unwrap_or_default();
    for (row, result) in rows.zip(results) {
        lines.extend(row);
        let reference = result.reference.to_string();
        if width(&reference) > REF_COLUMNS {
            lines.push(format!("    {reference}"));
        }
        if let Some(older) = &result.looks_like {
            lines.push(format!("    looks like {older}, which is older and of another producer"));
        }
        for data in &result.data {
            let line = format!("    with {}: {}", data.reference, data.why);
            lines.push(columns.map_or_else(|| line.clone(), |columns| cut(&line, columns)));
        }
        if explain {
            lines.extend(terms(&result.terms, columns));
        }
    }
    lines
}

/// Whether values flow through a gap as they are, without an adapter.
fn fits_directly(gap: &Gap, interface: &Interface) -> bool {
    let into = gap.input.as_ref().is_none_or(|given| {
        let given = Port {
            name: "input".to_owned(),
            port_type: given.clone(),
            optional: false,
            location: None,
        };
        let fit = interface_fit(&[given], &interface.inputs);
        fit.is_direct() && fit.feeds.iter().any(|feed| feed.fit.is_direct())
    });
    let out = gap.output.as_ref().is_none_or(|wanted| {
        interface.outputs.iter().any(|port| fit(&port.port_type, wanted).is_direct())
    });
    into && out
}

/// Every term with what it adds to the score.
pub(super) fn terms(terms: &[Term], columns: Option<usize>) -> Vec<String> {
    let mut table = Table::plain();
    for term in terms {
        table.row([
            format!("    {:.3} of {:.3}", term.contribution(), term.weight),
            term.name.clone(),
            term.why.clone(),
        ]);
    }
    table.rows_wrapped(columns).into_iter().flatten().collect()
}

/// The figures that the producer declares: the best by the metric that is asked for, or by any, which is the one that
/// counts; and the shortest latency.
pub(super) fn declared(claims: &Claims, metric: Option<&str>) -> String {
    let is_asked = |claim: &&AccuracyClaim| {
        metric.is_none_or(|metric| claim.metric.eq_ignore_ascii_case(metric))
    };
    let better = |best: &'_ AccuracyClaim, claim: &'_ AccuracyClaim| claim.value > best.value;
    let is_share = |claim: &&AccuracyClaim| (0.0..=1.0).contains(&claim.value);
    let mut accuracy: Option<&AccuracyClaim> = None;
    for claim in claims.accuracy.iter().filter(is_asked).filter(is_share) {
        if accuracy.is_none_or(|best| better(best, claim)) {
            accuracy = Some(claim);
        }
    }
    // What is no share is not compared; the first of them is better than nothing.
    let accuracy = accuracy.or_else(|| claims.accuracy.iter().find(is_asked));
    let accuracy = accuracy.map(|claim| {
        format!("{} {}", cut(&escape(&claim.metric), METRIC_COLUMNS), figure(claim.value))
    });
    let latency = claims.latency.iter().map(|claim| claim.p50_ms).min_by(f64::total_cmp);
    let latency = latency.map(|ms| format!("{} ms", figure(ms)));
    let both: Vec<String> = accuracy.into_iter().chain(latency).collect();
    if both.is_empty() { "-".to_owned() } else { both.join(", ") }
}

/// A number with three digits behind the point at most.
pub(in crate::cli) fn figure(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reviews in a cell.
fn rated(reviews: &ReviewSummary) -> String {
    match reviews.orgs {
        0 => "-".to_owned(),
        orgs => format!("{:.1} ({orgs})", reviews.stars),
    }
}

/// How many answers have which value.
pub(super) fn facets(facets: &[Facet], columns: Option<usize>) -> Vec<String> {
    let mut lines = Vec::new();
    for facet in facets.iter().filter(|facet| !facet.values.is_empty()) {
        // A value and its count stay on one line.
        let values = facet.values.iter();
        let values: Vec<String> =
            values.map(|value| format!("{} {}", value.value, value.count)).collect();
        let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(FACET_COLUMNS));
        for (place, line) in joined(&values, "  ", room).into_iter().enumerate() {
            let name = if place == 0 { escape(&facet.name) } else { "".into() };
            lines.push(format!("{}{line}", padded(&name, FACET_COLUMNS)));
        }
    }
    lines
}

/// Items in lines, none of which is broken inside.
fn joined(items: &[String], between: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items.iter().map(|item| cut(&escape(item), columns)) {
        match lines.last_mut() {
            Some(line) if width(line) + between.len() + width(&item) <= columns => {
                line.push_str(between);
                line.push_str(&item);
            }
            _ => lines.push(item),
        }
    }
    lines
}

/// What is told about an answer: what may have been meant, whom was asked, how fresh it is, where it goes on.
pub(super) fn talk(answer: &SearchAnswer, query: &Query, columns: Option<usize>) -> Vec<String> {
    let mut lines = corrections(answer);
    lines.extend(as_words(answer, query));
    lines.extend(answer.notes.iter().cloned());
    if !query.fits.is_empty()
        && answer.results.iter().any(|one| !fits_directly(&query.fits, &one.interface))
    {
        lines.push(format!(
            "`{ADAPTER}`: values would have to be converted, which no node does yet"
        ));
    }
    let whence = format!("{}; {}", how_many(answer, query), whence(answer));
    lines.extend(indented(&whence, "", columns));
    if let Some(next) = answer.next {
        lines.push(format!("next page: {}", again(query, Some(next))));
    }
    lines
}

/// What may have been meant.
pub(super) fn corrections(answer: &SearchAnswer) -> Vec<String> {
    let said = answer.did_you_mean.iter();
    said.map(|one| format!("did you mean `{}` instead of `{}`?", one.meant, one.asked)).collect()
}

/// Words that name something that was found, and were read as words.
fn as_words(answer: &SearchAnswer, query: &Query) -> Vec<String> {
    let text = query.text.as_deref().unwrap_or_default();
    let named = |reference: &Reference| match reference {
        Reference::Named { org, name, .. } => Some((org.to_string(), format!("{org}/{name}"))),
        Reference::Package(_) => None,
    };
    let found: Vec<(String, String)> =
        answer.results.iter().filter_map(|result| named(&result.reference)).collect();
    let mut lines = Vec::new();
    for word in text.split_whitespace() {
        if found.iter().any(|(_, name)| name == word) {
            lines.push(format!("`{word}` is read as words; `ref:{word}` finds that one alone"));
        } else if word == text && found.iter().any(|(org, _)| org == word) {
            lines.push(format!("`{word}` is read as a word; `org:{word}` finds what {word} lists"));
        }
    }
    lines
}

/// How much is shown, and how many versions answer: of one name only one version is shown.
fn how_many(answer: &SearchAnswer, query: &Query) -> String {
    let here = answer.results.len() as u64;
    let before = query.page.map_or(0, |page| u64::from(page.offset));
    let versions = counted(answer.total, "version");
    match (here, before) {
        (0, 0) => "nothing found".to_owned(),
        (0, _) => "nothing on this page".to_owned(),
        (_, 0) if here >= answer.total => format!("{here} found"),
        (_, 0) => format!("{} shown, {versions} answer", counted(here, "name")),
        _ => format!("names {} to {} shown, {versions} answer", before + 1, before + here),
    }
}

/// Whom was asked, who was silent, and how old the answer may be.
pub(super) fn whence(answer: &SearchAnswer) -> String {
    let mut parts = Vec::new();
    match answer.via {
        Via::Local => parts.push("this node's catalogue alone".to_owned()),
        Via::Dht | Via::Members => {
            let holders = match answer.via {
                Via::Dht => format!(" of {}", counted(answer.holders, "holder")),
                _ => String::new(),
            };
            let nodes = counted(answer.asked, "node");
            parts.push(format!("asked {nodes}{holders}, {} answered", answer.answered));
        }
    }
    let silent: Vec<&AskedNode> = answer.nodes.iter().filter(|node| is_silent(node)).collect();
    if !silent.is_empty() {
        let named = silent.iter().take(SILENT_SHOWN).map(|node| {
            format!("{} {} ({})", node.org, short_peer(&node.peer_id), outcome(node.outcome))
        });
        let more = silent.len().saturating_sub(SILENT_SHOWN);
        let more = (more > 0).then(|| format!("{more} more"));
        let named: Vec<String> = named.chain(more).collect();
        parts.push(format!("silent: {}", named.join(", ")));
        parts.push(match answer.answered {
            0 => "so this is what this node knows itself".to_owned(),
            _ => "what the silent know may be newer".to_owned(),
        });
    }
    let refused: u64 = answer.nodes.iter().map(|node| node.refused).sum();
    if refused > 0 {
        parts.push(format!("left out: {} that did not verify", counted(refused, "listing")));
    }
    match answer.age_s {
        // What a silent node knows may be of any age.
        _ if !silent.is_empty() => {}
        Some(age_s) => parts.push(format!("nothing older than {}", uptime(age_s))),
        // Whoever has just answered was heard.
        None if answer.answered > 0 => {}
        None => parts.push("no other node was heard yet".to_owned()),
    }
    parts.join("; ")
}

fn is_silent(node: &AskedNode) -> bool {
    !matches!(node.outcome, AskOutcome::Answered | AskOutcome::Remembered)
}

const fn outcome(outcome: AskOutcome) -> &'static str {
    match outcome {
        AskOutcome::Late => "late",
        AskOutcome::Unreachable => "unreachable",
        AskOutcome::Refused => "refused",
        _ => "no answer",
    }
}

/// The command that asks the same, or for a further page of it.
pub(super) fn again(query: &Query, page: Option<PageMark>) -> String {
    let mut command = "guild search".to_owned();
    let words = query.shorthand();
    if !words.is_empty() {
        // In front of a hyphen a blank keeps it from being an option, and means nothing.
        let words = if words.starts_with('-') { format!(" {words}") } else { words };
        command.push_str(&format!(" {}", shell_quote(Path::new(&words))));
    }
    if query.limit > 0 {
        command.push_str(&format!(" --limit {}", query.limit));
    }
    for (is_set, flag) in
        [(query.facets, "--facets"), (query.local, "--local"), (query.share_text, "--share-text")]
    {
        if is_set {
            command.push_str(&format!(" {flag}"));
        }
    }
    if let Some(page) = page {
        command.push_str(&format!(" --page {page}"));
    }
    command
}

/// Types that go in and come out.
pub(super) fn ports(result: &Suggestion) -> String {
    let types = |side: &[Port]| match side {
        [] => "-".to_owned(),
        side => list(&side.iter().map(|port| &port.port_type).collect::<Vec<_>>()),
    };
    format!("{} -> {}", types(&result.interface.inputs), types(&result.interface.outputs))
}

/// Text in lines behind an indent.
pub(in crate::cli) fn indented(text: &str, indent: &str, columns: Option<usize>) -> Vec<String> {
    let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(indent.len()));
    wrapped(&escape(text), room).into_iter().map(|line| format!("{indent}{line}")).collect()
}
