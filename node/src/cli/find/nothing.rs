//! Nothing found: which part of the query excludes how much, and what came nearest.

use guildhall_client::{Client, Error};
use guildhall_protocol::api::{Correction, SearchAnswer};
use guildhall_protocol::query::Query;

use super::super::escape;
use super::super::period::date;
use super::super::screen::{PROSE_COLUMNS, cut};
use super::super::show::{explained, instead, yanked};
use super::super::table::Table;
use super::results::{again, corrections, indented};

/// What is known of the one release or package that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hint {
    /// Why it is not found.
    pub(super) lines: Vec<String>,
    /// What can be done.
    pub(super) help: Option<String>,
}

/// Why the reference that was asked for is not found: it was taken back, or there is none of that name. Empty for other
/// queries, and where other parts of the query exclude it.
pub(super) async fn hint(client: &Client, query: &Query) -> Hint {
    // The page asks others whether they hold it.
    let Some(reference) = query.reference.as_ref().filter(|_| !query.local) else {
        return Hint::default();
    };
    match client.show(reference).await {
        Ok(detail) => match yanked(&detail) {
            Some(yanked) => Hint {
                lines: vec![format!(
                    "{} was taken back by its producer on {}: {}",
                    yanked.reference,
                    date(yanked.time_ms),
                    yanked.why
                )],
                help: Some(match instead(&detail) {
                    Some(other) => format!("guild show {other}"),
                    None => format!("guild search {}", detail.listing.release.name),
                }),
            },
            None => Hint::default(),
        },
        Err(error @ Error::Api { .. }) => {
            let failure = explained(client, reference, error).await;
            let lines = std::iter::once(failure.message).chain(failure.causes).collect();
            Hint { lines, help: failure.help.filter(|help| help != "guild search") }
        }
        Err(_) => Hint::default(),
    }
}

/// What to know where nothing was found.
pub(super) fn lines(
    answer: &SearchAnswer,
    query: &Query,
    hint: &Hint,
    columns: Option<usize>,
) -> Vec<String> {
    let words = query.shorthand();
    let prose = Some(columns.unwrap_or(PROSE_COLUMNS));
    let mut lines = vec![match words.is_empty() {
        true => "nothing is listed here".to_owned(),
        false => format!("nothing found for {words}"),
    }];
    lines.extend(hint.lines.iter().flat_map(|line| indented(line, "", prose)));
    lines.extend(corrections(answer));
    if !hint.lines.is_empty() {
        // Beside one release nothing else is near, and without it everything is found.
        return lines;
    }
    lines.extend(excluded(answer));
    if !answer.nearest.is_empty() {
        lines.push("nearest:".to_owned());
    }
    for near in &answer.nearest {
        let found = &near.suggestion;
        let head = format!("{}  {}  {}", found.reference, found.kind, found.summary);
        let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(2));
        lines.push(format!("  {}", cut(&escape(&head), room)));
        lines.extend(near.misses.iter().flat_map(|miss| indented(miss, "    ", prose)));
    }
    lines
}

/// How many there would be without each part.
fn excluded(answer: &SearchAnswer) -> Vec<String> {
    let mut parts: Vec<_> = answer.excluded.iter().filter(|part| part.without > 0).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.without));
    if parts.is_empty() {
        return match answer.excluded.len() {
            0 | 1 => Vec::new(),
            _ => vec!["leaving out one part alone would not help".to_owned()],
        };
    }
    let mut table = Table::plain();
    for part in parts {
        table.row([format!("  without {}", part.criterion), part.without.to_string()]);
    }
    let head = "found if one part is left out:".to_owned();
    std::iter::once(head).chain(table.lines()).collect()
}

/// What can be done.
pub(super) fn help(answer: &SearchAnswer, query: &Query, hint: &Hint) -> String {
    if let Some(help) = &hint.help {
        return help.clone();
    }
    if let Some(corrected) = corrected(&answer.did_you_mean, query) {
        return again(&corrected, None);
    }
    match answer.nearest.first() {
        Some(near) => format!("guild show {}", near.suggestion.reference),
        None if query.local => again(&Query { local: false, ..query.clone() }, None),
        None if query.is_everything() => "guild peers".to_owned(),
        None => match &query.category {
            Some(category) => format!("guild demand --subscribe {category}"),
            None => "guild categories".to_owned(),
        },
    }
}

/// The query with what may have been meant, if anything may.
fn corrected(said: &[Correction], query: &Query) -> Option<Query> {
    let mut corrected = query.clone();
    for (place, Correction { asked, meant }) in said.iter().enumerate() {
        // Of several for one part the first is nearest.
        if said.iter().take(place).any(|before| before.asked == *asked) {
            continue;
        }
        let is_asked = |part: Option<&str>| part.is_some_and(|p| p.eq_ignore_ascii_case(asked));
        if is_asked(query.category.as_ref().map(|category| category.as_str())) {
            corrected.category = meant.parse().ok().or(corrected.category);
        } else if is_asked(query.org.as_ref().map(|org| org.as_str())) {
            corrected.org = meant.parse().ok().or(corrected.org);
        } else if is_asked(query.licence.as_deref()) {
            corrected.licence = Some(meant.clone());
        } else if is_asked(query.engine.as_deref()) {
            corrected.engine = Some(meant.clone());
        } else if let Some(text) = &corrected.text {
            let word = |word: &str| match word.eq_ignore_ascii_case(asked) {
                true => meant.clone(),
                false => word.to_owned(),
            };
            corrected.text = Some(text.split(' ').map(word).collect::<Vec<_>>().join(" "));
        }
    }
    (corrected != *query).then_some(corrected)
}
