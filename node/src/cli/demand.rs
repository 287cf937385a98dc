//! `demand`: what was asked for and led to nothing, and the categories that one is told of.

use clap::Args;
use guildhall_client::Client;
use guildhall_protocol::api::{DemandReport, Subscriptions};
use guildhall_protocol::body::Unmet;
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::vocabulary;

use super::category::{self, Given};
use super::federation::list;
use super::period::date;
use super::screen::cut;
use super::table::counted;
use super::{Context, Failure, Table, escape, exit};

/// Columns of a type: others chose its name.
const TYPE_COLUMNS: usize = 28;

/// `guild demand`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemandArgs {
    /// Be told when something in this category is missed; `*` for all; may be repeated
    #[arg(long, value_name = "CATEGORY", value_parser = category::prefix)]
    pub(crate) subscribe: Vec<Given<CategoryPrefix>>,
    /// Be told no more; may be repeated
    #[arg(long, value_name = "CATEGORY", value_parser = category::prefix)]
    pub(crate) unsubscribe: Vec<Given<CategoryPrefix>>,
}

pub(super) async fn demand(context: &Context, args: &DemandArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    let report = match (args.subscribe.as_slice(), args.unsubscribe.as_slice()) {
        ([], []) => client.demand().await?,
        (wanted, unwanted) => {
            category::tell(output, wanted);
            for one in wanted {
                let is_known = vocabulary::is_known_prefix(&one.value);
                category::warn_of(output, one.value.as_str(), is_known);
            }
            change(&client, wanted, unwanted).await?
        }
    };
    if output.is_json() {
        return output.json(&report);
    }
    if output.is_quiet() {
        return report.subscriptions.iter().try_for_each(|one| output.line(one.as_str()));
    }
    output.lines(lines(&report))?;
    talk(&report).iter().for_each(|line| output.note(line));
    Ok(())
}

/// Changes the subscriptions, which are set as a whole.
async fn change(
    client: &Client,
    wanted: &[Given<CategoryPrefix>],
    unwanted: &[Given<CategoryPrefix>],
) -> Result<DemandReport, Failure> {
    let mut categories = client.demand().await?.subscriptions;
    for one in unwanted {
        // As it was written first: an odd subscription can be ended too.
        let written = one.written.as_ref().and_then(|text| text.parse().ok());
        let is_meant = |held: &CategoryPrefix| written.as_ref() == Some(held) || *held == one.value;
        if !categories.iter().any(is_meant) {
            let message = format!("there is no subscription to {}", one.value);
            let held = match categories.as_slice() {
                [] => "subscribed to nothing".to_owned(),
                held => format!("subscribed to: {}", list(held)),
            };
            return Err(Failure::new(exit::NOT_FOUND, message)
                .with_cause(held)
                .with_help("guild demand"));
        }
        categories.retain(|held| !is_meant(held));
    }
    for one in wanted {
        if !categories.contains(&one.value) {
            categories.push(one.value.clone());
        }
    }
    Ok(client.subscribe(&Subscriptions { categories }).await?)
}

/// Tables of what is missed.
fn lines(report: &DemandReport) -> Vec<String> {
    let mut lines = Vec::new();
    if !report.federation.is_empty() {
        let mut table =
            Table::with_head(["MISSED", "KIND", "IN -> OUT", "AT LEAST", "ORGS", "UNTIL", ""]);
        for one in &report.federation {
            let [category, kind, types] = what(&one.unmet);
            let mine = if one.subscribed { "subscribed" } else { "" };
            table.row([
                category,
                kind,
                types,
                times(one.unmet.count),
                one.orgs.to_string(),
                date(one.until_ms),
                mine.to_owned(),
            ]);
        }
        lines.extend(table.lines());
    }
    if !report.here.is_empty() {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(format!("at this node since {}:", date(report.here_since_ms)));
        let mut table = Table::with_head(["MISSED", "KIND", "IN -> OUT", "TIMES"]);
        for unmet in &report.here {
            let [category, kind, types] = what(unmet);
            table.row([category, kind, types, unmet.count.to_string()]);
        }
        lines.extend(table.lines());
    }
    lines
}

/// Category, kind and types of what was missed.
fn what(unmet: &Unmet) -> [String; 3] {
    let side = |side: &Option<guildhall_protocol::query::TypeQuery>| {
        let shown = side.clone().map_or_else(|| "?".to_owned(), String::from);
        cut(&escape(&shown), TYPE_COLUMNS)
    };
    let types = match (&unmet.input, &unmet.output) {
        (None, None) => "-".to_owned(),
        (input, output) => format!("{} -> {}", side(input), side(output)),
    };
    let kind = unmet.kind.map_or_else(|| "any".to_owned(), |kind| kind.to_string());
    [unmet.category.to_string(), kind, types]
}

fn times(count: u32) -> String {
    counted(count, "time")
}

/// What is told below.
fn talk(report: &DemandReport) -> Vec<String> {
    let mut lines = Vec::new();
    if report.here.is_empty() && report.federation.is_empty() {
        lines.push("nothing was missed, or too seldom to be told".to_owned());
    }
    lines.push(match report.subscriptions.as_slice() {
        [] => "subscribed to nothing: guild demand --subscribe CATEGORY".to_owned(),
        subscriptions => format!("subscribed to {}", list(subscriptions)),
    });
    lines.push(format!(
        "fewer than {} of a kind are told to nobody; {} still open",
        report.least,
        counted(report.open, "query").replace("querys", "queries")
    ));
    if report.dropped > 0 {
        let dropped = report.dropped;
        lines.push(format!("{dropped} were not watched, because too many were open"));
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(change: &Value) -> DemandReport {
        let mut report = json!({
            "here": [], "here_since_ms": 1_795_392_000_000_u64, "federation": [],
            "subscriptions": [], "open": 1, "dropped": 0, "least": 3,
        });
        for (key, value) in change.as_object().unwrap() {
            report[key] = value.clone();
        }
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn what_is_missed_stands_by_category_and_type() {
        let report = report(&json!({
            "federation": [{
                "unmet": { "category": "audio/tts", "kind": "model", "input": "image/png",
                           "output": "text", "count": 16 },
                "orgs": 3, "until_ms": 1_795_392_000_000_u64, "subscribed": true,
            }],
            "here": [{ "category": "*", "output": "audio", "count": 1 }],
        }));
        assert_eq!(
            lines(&report),
            [
                "MISSED     KIND   IN -> OUT          AT LEAST  ORGS  UNTIL",
                "audio/tts  model  image/png -> text  16 times  3     2026-11-23  subscribed",
                "",
                "at this node since 2026-11-23:",
                "MISSED  KIND  IN -> OUT   TIMES",
                "*       any   ? -> audio  1",
            ]
        );
    }

    #[test]
    fn nothing_missed_is_said_and_how_to_be_told() {
        assert_eq!(
            talk(&report(&json!({}))),
            [
                "nothing was missed, or too seldom to be told",
                "subscribed to nothing: guild demand --subscribe CATEGORY",
                "fewer than 3 of a kind are told to nobody; 1 query still open",
            ]
        );
        let told =
            talk(&report(&json!({ "subscriptions": ["vision", "*"], "dropped": 2, "open": 0 })));
        assert!(told.contains(&"subscribed to vision, *".to_owned()));
        assert!(told[3].starts_with("2 were not watched"));
    }
}
