//! Nothing found: which part of the query excludes how much, and what came nearest.

use guildhall_protocol::api::SearchAnswer;
use guildhall_protocol::query::Query;

use super::super::escape;
use super::super::screen::{PROSE_COLUMNS, cut};
use super::super::table::Table;
use super::results::{again, corrections, indented};

/// What to know where nothing was found.
pub(super) fn lines(answer: &SearchAnswer, query: &Query, columns: Option<usize>) -> Vec<String> {
    let words = query.shorthand();
    let mut lines = vec![match words.is_empty() {
        true => "nothing is listed here".to_owned(),
        false => format!("nothing found for {words}"),
    }];
    lines.extend(corrections(answer));
    lines.extend(excluded(answer));
    if !answer.nearest.is_empty() {
        lines.push("nearest:".to_owned());
    }
    let prose = Some(columns.unwrap_or(PROSE_COLUMNS));
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
pub(super) fn help(answer: &SearchAnswer, query: &Query) -> String {
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
