//! `--one`: the best choice, and why it is.

use guildhall_client::package::ByteSize;
use guildhall_protocol::api::SearchAnswer;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::query::{Query, Suggestion, Term};

use super::super::screen::PROSE_COLUMNS;
use super::super::table::counted;
use super::results::{again, figure, indented, ports, terms};

/// The best of an answer, as people read it. The second of the answer is only compared with.
pub(super) fn lines(answer: &SearchAnswer, query: &Query, columns: Option<usize>) -> Vec<String> {
    let Some((best, others)) = answer.results.split_first() else { return Vec::new() };
    let prose = Some(columns.unwrap_or(PROSE_COLUMNS));
    let mut lines = vec![format!("{}  {}  score {:.2}", best.reference, best.kind, best.score)];
    lines.extend(indented(&best.summary, "  ", prose));
    lines.extend(facts(best).iter().flat_map(|fact| indented(fact, "  ", prose)));
    let of = answer.total.max(answer.results.len() as u64);
    lines.push(match of {
        1 => "why (there is no other):".to_owned(),
        of => format!("why it is the best of {of} versions that answer:"),
    });
    lines.extend(terms(&best.terms, columns));
    if let Some(second) = others.first() {
        lines.extend(indented(&margin(best, second), "", prose));
        lines.push(format!("all of them: {}", again(query, None)));
    }
    lines.push(format!("next: {}", next(best)));
    lines
}

/// What it takes, declares and is said of it.
fn facts(best: &Suggestion) -> Vec<String> {
    let mut facts = vec![ports(best)];
    let accuracy = best.claims.accuracy.iter();
    facts.extend(accuracy.map(|claim| {
        format!("declares {} {} on {}", claim.metric, figure(claim.value), claim.dataset)
    }));
    let latency = best.claims.latency.iter();
    facts.extend(
        latency.map(|claim| format!("declares {} ms on {}", figure(claim.p50_ms), claim.hardware)),
    );
    let reviews = match best.reviews.orgs {
        0 => "no reviews".to_owned(),
        orgs => {
            format!("{:.1} of 5 stars from {}", best.reviews.stars, counted(orgs, "organisation"))
        }
    };
    let held = match best.holders {
        0 => "held by its producer alone".to_owned(),
        others => format!("held by its producer and {}", counted(others, "other")),
    };
    facts.push(format!("{}, {}; {reviews}; {held}", best.licence, ByteSize(best.len_bytes)));
    if let Some(older) = &best.looks_like {
        facts.push(format!("looks like {older}, which is older and of another producer"));
    }
    facts
}

/// Where the best one and the second part most.
fn margin(best: &Suggestion, second: &Suggestion) -> String {
    let of = |terms: &[Term], name: &str| {
        terms.iter().find(|term| term.name == name).map_or(0.0, Term::contribution)
    };
    let leads =
        best.terms.iter().map(|term| (term.contribution() - of(&second.terms, &term.name), term));
    let lead = leads.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(lead, _)| *lead > 0.0);
    let mut text = format!("second: {} with {:.2}", second.reference, second.score);
    if let Some((lead, term)) = lead {
        let why = second.terms.iter().find(|other| other.name == term.name);
        let why = why.map(|other| format!(": {}", other.why)).unwrap_or_default();
        text.push_str(&format!("; it loses most by {} ({:+.3}{why})", term.name, -lead));
    }
    text
}

/// What one does with it.
fn next(best: &Suggestion) -> String {
    let reference = &best.reference;
    match best.kind {
        Kind::Algorithm | Kind::Model | Kind::Pipeline => {
            format!("guild show {reference}, or guild run {reference} --input FILE")
        }
        Kind::Notebook => format!("guild show {reference} --notebook"),
        Kind::Data => format!("guild show {reference}, or guild get {reference}"),
    }
}
