//! `node rank`: what counts how much when this organisation searches, and whom it trusts.

use std::collections::BTreeMap;

use clap::Args;
use guildhall_protocol::api::Ranking;
use guildhall_protocol::name::OrgName;

use super::find::figure;
use super::{Context, Failure, Table};

/// `guild node rank`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RankArgs {
    /// Let a term weigh so much, 0 to 100: text=2; may be repeated
    #[arg(long, value_name = "TERM=W", value_parser = weight)]
    pub(crate) set: Vec<(String, f64)>,
    /// Trust an organisation so far, 0 to 1: lab-b=0.2; may be repeated; 0.5 where nothing is said
    #[arg(long, value_name = "ORG=0..1", value_parser = trust)]
    pub(crate) trust: Vec<(OrgName, f64)>,
    /// Put everything back to what it was at first
    #[arg(long, conflicts_with_all = ["set", "trust"])]
    pub(crate) reset: bool,
}

fn weight(text: &str) -> Result<(String, f64), String> {
    let wrong = || "a term and its weight from 0 to 100 are needed, as in text=2".to_owned();
    let (term, weight) = text.split_once('=').ok_or_else(wrong)?;
    let weight = number(weight, 100.0).ok_or_else(wrong)?;
    if term.trim().is_empty() { Err(wrong()) } else { Ok((term.trim().to_owned(), weight)) }
}

fn trust(text: &str) -> Result<(OrgName, f64), String> {
    let wrong =
        || "an organisation and a number from 0 to 1 are needed, as in lab-b=0.2".to_owned();
    let (org, trust) = text.split_once('=').ok_or_else(wrong)?;
    let org = org.parse().map_err(|error| format!("{error}"))?;
    Ok((org, number(trust, 1.0).ok_or_else(wrong)?))
}

/// A number from 0 to `most`.
fn number(text: &str, most: f64) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| (0.0..=most).contains(number))
}

impl RankArgs {
    /// The change that is wanted; `None` to look only.
    fn change(&self) -> Option<Ranking> {
        let change = Ranking {
            weights: self.set.iter().cloned().collect(),
            trust: self.trust.iter().cloned().collect(),
        };
        (self.reset || change != Ranking::default()).then_some(change)
    }
}

pub(super) async fn rank(context: &Context, args: &RankArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    let ranking = match args.change() {
        Some(change) => client.set_ranking(&change).await?,
        None => client.ranking().await?,
    };
    if output.is_json() {
        return output.json(&ranking);
    }
    if output.is_quiet() {
        return Ok(());
    }
    output.lines(lines(&ranking))?;
    if ranking.weights.values().all(|weight| *weight == 0.0) {
        output.warning("every weight is 0, so every score is; guild node rank --reset");
    }
    if !args.trust.is_empty()
        && let Ok(status) = client.status().await
    {
        let members = &status.federation.members;
        for (org, _) in args.trust.iter().filter(|(org, _)| !members.contains(org)) {
            output.warning(&format!("{org} is no member of {}", status.federation.name));
        }
    }
    output.note("a term's share is its weight of the sum of all that apply; docs/ranking.md");
    Ok(())
}

fn lines(ranking: &Ranking) -> Vec<String> {
    let mut table = Table::with_head(["TERM", "WEIGHT", "SHARE"]);
    let sum: f64 = ranking.weights.values().sum();
    for (term, weight) in by_weight(&ranking.weights) {
        let share = if sum > 0.0 { weight / sum * 100.0 } else { 0.0 };
        table.row([term.clone(), figure(weight), format!("{share:.0}%")]);
    }
    let mut lines = table.lines();
    if !ranking.trust.is_empty() {
        lines.push(String::new());
        let mut table = Table::with_head(["ORG", "TRUST"]);
        for (org, trust) in &ranking.trust {
            table.row([org.to_string(), figure(*trust)]);
        }
        lines.extend(table.lines());
    }
    lines
}

/// Terms, the heaviest first.
fn by_weight(weights: &BTreeMap<String, f64>) -> Vec<(&String, f64)> {
    let mut terms: Vec<_> = weights.iter().map(|(term, weight)| (term, *weight)).collect();
    terms.sort_by(|a, b| b.1.total_cmp(&a.1));
    terms
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::node::NodeCommand;
    use crate::cli::{Cli, Command};

    fn args(line: &str) -> Result<RankArgs, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Node(NodeCommand::Rank(args)) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_change_names_what_it_changes_and_none_looks_only() {
        let change = args("guild node rank --set text=2 --set fit=0.5 --trust lab-b=0").unwrap();
        let change = change.change().unwrap();
        assert_eq!(change.weights["fit"], 0.5);
        assert_eq!(change.trust[&"lab-b".parse().unwrap()], 0.0);
        assert_eq!(args("guild node rank").unwrap().change(), None);
        let reset = args("guild node rank --reset").unwrap().change();
        assert_eq!(reset, Some(Ranking::default()));
    }

    #[test]
    fn what_is_no_weight_is_a_usage_error() {
        for flags in [
            "--set text",
            "--set text=",
            "--set =1",
            "--set text=-1",
            "--set text=101",
            "--set text=NaN",
            "--trust lab-b=1.5",
            "--trust Lab=1",
            "--trust lab-b",
            "--reset --set text=1",
        ] {
            assert!(args(&format!("guild node rank {flags}")).unwrap_err().use_stderr(), "{flags}");
        }
    }

    #[test]
    fn the_heaviest_terms_stand_first_with_their_share() {
        let ranking = Ranking {
            weights: [("fit".to_owned(), 1.0), ("text".to_owned(), 3.0)].into(),
            trust: [("lab-b".parse().unwrap(), 0.25)].into(),
        };
        assert_eq!(
            lines(&ranking),
            [
                "TERM  WEIGHT  SHARE",
                "text  3       75%",
                "fit   1       25%",
                "",
                "ORG    TRUST",
                "lab-b  0.25",
            ]
        );
    }
}
