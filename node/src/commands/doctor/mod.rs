//! `guild doctor`: what is wrong with a node and its machine, and how to put it right.
//!
//! It asks the node if it is up, and looks for itself at what can be seen without it: keys, ports, the disk, what workers
//! are shut in with, engines. It changes nothing. Whatever hangs is given up in time, and said to.

mod check;
mod here;
mod node;
mod ports;

use std::time::Duration;

use guildhall_client::{Client, shell_quote};
use guildhall_protocol::api::{Peer, Status, StoreReport};

use self::check::{Check, Report};
use crate::cli::{Context, Failure, Table, exit};
use crate::home::Home;

/// How long everything may take: what looks for itself takes a second or two, and a person waits for it.
const DOCTOR_MAX: Duration = Duration::from_secs(20);

/// How long the node may take to answer one question.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Looks at everything, prints it, and fails when something is a problem.
pub(crate) async fn doctor(context: &Context) -> Result<(), Failure> {
    let mut report = Report::default();
    let looked = tokio::time::timeout(DOCTOR_MAX, look(context, &mut report));
    if looked.await.is_err() {
        let limit = format!("not everything was looked at within {} s", DOCTOR_MAX.as_secs());
        report.add(Check::warning(
            "doctor",
            limit,
            "look at the load of this machine, then guild doctor",
        ));
    }
    let problems = report.problems();
    show(context, &report)?;
    if problems == 0 {
        return Ok(());
    }
    let what = if problems == 1 { "problem" } else { "problems" };
    Err(Failure::new(exit::FAILED, format!("{problems} {what}; each says how to put it right")))
}

async fn look(context: &Context, report: &mut Report) {
    // Only the home that was meant: another node's is nobody's business here.
    let is_elsewhere = context.globals.node.is_some() && context.globals.home.is_none();
    let home = (!is_elsewhere).then(|| Home::new(context.home()));
    let answers = ask(context, home.as_ref(), report).await;
    let status = answers.as_ref().map(|answers| &answers.status);
    if let Some(home) = &home {
        here::membership(home, report);
    }
    match &answers {
        Some(answers) => node::look(answers, report),
        None => report.add_all(home.is_some().then(here::clock_alone)),
    }
    if let Some(home) = &home {
        report.add_all(ports::look(home, status).await);
        report.add_all(here::disk(home));
    }
    if let Some(store) = answers.as_ref().and_then(|answers| answers.store.as_ref()) {
        report.add(node::store(store));
    }
    if home.is_some() {
        report.add(here::isolation().await);
    }
    match (status, &home) {
        (Some(status), _) => report.add(node::engines(status)),
        (None, Some(home)) => {
            let library = home.config().ok().and_then(|config| config.onnxruntime);
            report.add(here::engines(library).await);
        }
        (None, None) => {}
    }
}

/// What a node that is up says.
struct Answers {
    status: Status,
    peers: Vec<Peer>,
    store: Option<StoreReport>,
}

/// Asks the node, if it is up; and says whether it is.
async fn ask(context: &Context, home: Option<&Home>, report: &mut Report) -> Option<Answers> {
    let asked = async {
        let client = context.client().await?;
        Ok::<(Status, Client), Failure>((client.status().await?, client))
    };
    let failure = match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(Ok((status, client))) => {
            report.add(Check::ok("node", node::who(&status)));
            let peers = within(client.peers()).await.unwrap_or_default();
            let store = within(client.store()).await;
            return Some(Answers { status, peers, store });
        }
        Ok(Err(failure)) => context.in_place(failure),
        Err(_) => Failure::new(
            exit::UNREACHABLE,
            format!("the node does not answer within {} s", ANSWER_MAX.as_secs()),
        ),
    };
    report.add_all(here::not_up(home, failure));
    None
}

async fn within<T>(asked: impl Future<Output = Result<T, guildhall_client::Error>>) -> Option<T> {
    tokio::time::timeout(ANSWER_MAX, asked).await.ok()?.ok()
}

fn show(context: &Context, report: &Report) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() {
        return output.json(report);
    }
    let shown = report.checks.iter().filter(|check| !output.is_quiet() || !check.is_ok());
    let mut table = Table::plain();
    for check in shown {
        table.row([check.state.to_string(), check.check.clone(), check.saw.clone()]);
        if let Some(help) = &check.help {
            table.row([String::new(), String::new(), format!("help: {help}")]);
        }
    }
    output.lines(table.rows_wrapped(output.columns()).into_iter().flatten())?;
    if report.problems() == 0 && report.warnings() == 0 {
        output.note("nothing is wrong that can be seen from here");
    }
    Ok(())
}

/// A command line at the home that is meant.
fn at_home(command: &str, home: &Home) -> String {
    format!("{command} --home {}", shell_quote(home.path()))
}
