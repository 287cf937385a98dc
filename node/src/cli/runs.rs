//! `runs`, and the end of every `run`: outputs, report, receipts.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use guildhall_client::Client;
use guildhall_protocol::RunId;
use guildhall_protocol::api::{OutputLine, RunReport, RunState, TestLog};
use serde_json::json;

use super::outfile::{self, OutFile};
use super::receipt::{
    failure, jobs_table, limits_table, outputs_table, receipt_table, report_table, state,
    value_text,
};
use super::table::{counted, short_peer};
use super::{Context, Failure, Table, exit};

/// Outputs that people are shown; all of them are in the file, in JSON, and in quiet output.
const OUTPUTS_SHOWN: usize = 10;

/// Length of the bar that shows how far a run is.
const BAR_CHARS: u64 = 24;

/// Hex digits of a run's id in a table: among the runs that a node remembers, no two begin with the same ones.
const ID_DIGITS: usize = 12;

/// Fewest hex digits that stand for a run.
const PREFIX_MIN_DIGITS: usize = 4;

/// The beginning of a run's id, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunPrefix(String);

/// The text is no beginning of a run's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run is named by 4 to 64 hex digits, as `guild runs` shows them")]
pub(crate) struct RunPrefixError;

impl FromStr for RunPrefix {
    type Err = RunPrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = PREFIX_MIN_DIGITS..=64;
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match is_hex && digits.contains(&text.len()) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(RunPrefixError),
        }
    }
}

impl RunPrefix {
    /// The one of `runs` that begins like this.
    fn find(&self, runs: impl IntoIterator<Item = RunId>) -> Result<RunId, Failure> {
        let fits = |run: &RunId| run.to_string().starts_with(&self.0);
        let mut found = runs.into_iter().filter(fits);
        let failed = |what: &str| {
            let message = format!("{what} begins with {}", self.0);
            Err(Failure::new(exit::NOT_FOUND, message).with_help("guild runs"))
        };
        match (found.next(), found.next()) {
            (Some(run), None) => Ok(run),
            (Some(_), Some(_)) => failed("more than one run"),
            (None, _) => failed("no run"),
        }
    }
}

/// `guild runs`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RunsArgs {
    /// What to do with one run
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
    /// One run, with its outputs and receipts; the beginning of its id is enough
    #[arg(value_name = "ID")]
    pub(crate) run: Option<RunPrefix>,
    /// File for the outputs: rows if it is called .csv, else one JSON value a line; `-` is stdout, which then takes
    /// nothing else
    #[arg(short = 'o', long = "out", value_name = "FILE", requires = "run")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
}

/// What can be done with a run.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Action {
    /// End a run that is under way; what came out is kept, and it can be resumed
    Cancel {
        /// The beginning of its id is enough
        #[arg(value_name = "ID")]
        run: RunPrefix,
    },
    /// Go on with a run that was cancelled, interrupted or failed, behind what came out
    Resume {
        /// The beginning of its id is enough
        #[arg(value_name = "ID")]
        run: RunPrefix,
        /// File for all its outputs, one JSON value a line; `-` is stdout, which then takes nothing else
        #[arg(short = 'o', long = "out", value_name = "FILE")]
        out: Option<PathBuf>,
        /// Replace the file if it exists
        #[arg(long, requires = "out")]
        force: bool,
    },
}

async fn act(context: &Context, client: &Client, action: &Action) -> Result<(), Failure> {
    let (Action::Cancel { run } | Action::Resume { run, .. }) = action;
    let run = match run.0.parse() {
        Ok(run) => run,
        Err(_) => run.find(client.runs().await?.iter().map(|report| report.run_id))?,
    };
    match action {
        Action::Cancel { .. } => {
            client.cancel_run(run).await?;
            let report = client.wait_run(run, |_| {}).await?;
            if context.output.is_json() {
                return context.output.json(&report);
            }
            let of = report.total.map(|total| format!(" of {total}")).unwrap_or_default();
            context.output.note(&format!("cancelled after {}{of} records", report.records));
            context.output.note(&format!("guild runs resume {run} goes on from there"));
            Ok(())
        }
        Action::Resume { out, force, .. } => {
            let out = Destination::open(out.as_deref(), *force).await?;
            client.resume_run(run).await?;
            let report = watch(context, client, run).await?;
            show_ended(context, client, &report, out, &[]).await
        }
    }
}

/// Waits for the end of a run, and shows how far it is.
pub(super) async fn watch(
    context: &Context,
    client: &Client,
    run: RunId,
) -> Result<RunReport, Failure> {
    let output = &context.output;
    let mut told = 0;
    let report = client
        .wait_run(run, |report| {
            for line in report.log.iter().skip(told) {
                output.note(line);
            }
            told = told.max(report.log.len());
            output.progress(&progress(report));
        })
        .await?;
    output.clear_progress();
    Ok(report)
}

/// How far a run is, on one line: a bar, records, rate, and how long it will still take.
fn progress(report: &RunReport) -> String {
    let mut parts = Vec::new();
    if let Some(total) = report.total.filter(|total| *total > 1) {
        let done = report.records.min(total).saturating_mul(BAR_CHARS) / total;
        let bar: String = (0..BAR_CHARS).map(|at| if at < done { '=' } else { ' ' }).collect();
        parts.push(format!("[{bar}] {} of {total} records", report.records));
    } else {
        parts.push(counted(report.records, "record"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = report.records as f64 / report.seconds;
    if report.records > 0 && rate.is_finite() {
        parts.push(format!("{rate:.0}/s"));
    }
    if report.failed > 0 {
        parts.push(format!("{} failed", report.failed));
    }
    match report.left_seconds {
        Some(left) => parts.push(format!("{} left", span(left))),
        None => parts.push(span(report.seconds)),
    }
    if report.executors.len() > 1 {
        parts.push(counted(report.executors.len(), "node"));
    }
    parts.join(", ")
}

/// A time for people who wait.
fn span(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 100.0 => format!("{seconds:.0} s"),
        seconds if seconds < 6_000.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3_600.0),
    }
}

pub(super) async fn runs(context: &Context, args: &RunsArgs) -> Result<(), Failure> {
    let client = context.client().await?;
    if let Some(action) = &args.action {
        return act(context, &client, action).await;
    }
    let Some(prefix) = &args.run else {
        return show_all(context, &client.runs().await?, &client.tests().await?);
    };
    let tests = client.tests().await?;
    if let Some(test) = tests.iter().find(|test| test.package_id.0.to_hex().starts_with(&prefix.0))
    {
        return show_test(context, test);
    }
    let run = match prefix.0.parse() {
        Ok(run) => run,
        Err(_) => prefix.find(client.runs().await?.iter().map(|report| report.run_id))?,
    };
    let report = client.run(run).await?;
    if report.state != RunState::Running {
        let out = Destination::open(args.out.as_deref(), args.force).await?;
        return show_ended(context, &client, &report, out, &[]).await;
    }
    let output = &context.output;
    if output.is_json() {
        return output.json(&report);
    }
    report.log.iter().for_each(|line| output.note(line));
    output.table(&report_table(&report))
}

fn show_all(context: &Context, reports: &[RunReport], tests: &[TestLog]) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() {
        return output.json(reports);
    }
    if output.is_quiet() {
        return reports.iter().try_for_each(|report| output.line(&report.run_id.to_string()));
    }
    if reports.is_empty() && tests.is_empty() {
        output.note("nothing was run yet; guild run REF --input FILE");
        return Ok(());
    }
    if !reports.is_empty() {
        output.table(&runs_table(reports))?;
    }
    if !tests.is_empty() {
        output.note("publications that were refused; guild runs ID says why:");
        output.table(&tests_table(tests))?;
    }
    Ok(())
}

/// Refused publications in a few words each.
fn tests_table(tests: &[TestLog]) -> Table {
    let mut table = Table::with_head(["TEST", "FAILED", "REF"]);
    for test in tests {
        let hex = test.package_id.0.to_hex();
        let failed = test.checks.iter().filter(|check| !check.passed).count();
        table.row([
            hex.get(..ID_DIGITS).unwrap_or(&hex).to_owned(),
            format!("{failed} of {}", counted(test.checks.len(), "check")),
            test.reference.to_string(),
        ]);
    }
    table
}

/// Why a publication was refused.
fn show_test(context: &Context, test: &TestLog) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() {
        return output.json(test);
    }
    if output.is_quiet() {
        return output.line(&test.package_id.to_string());
    }
    output.line(&format!("{} was not listed", test.reference))?;
    for check in &test.checks {
        let passed = if check.passed { "ok" } else { "FAILED" };
        output.line(&format!("  {passed:6}  {}: {}", check.name, check.detail))?;
        if let Some(fix) = check.fix.as_ref().filter(|_| !check.passed) {
            output.line(&format!("          fix: {fix}"))?;
        }
    }
    Ok(())
}

/// Runs in a few words each; all of it is in the JSON.
fn runs_table(reports: &[RunReport]) -> Table {
    let mut table = Table::with_head(["RUN", "STATE", "RECORDS", "TIME", "ON", "REF"]);
    for report in reports {
        let id = report.run_id.to_string();
        let on = report.executed_on.as_ref();
        table.row([
            id.get(..ID_DIGITS).unwrap_or(&id).to_owned(),
            state(report.state).to_owned(),
            report.records.to_string(),
            match report.seconds {
                seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
                seconds => format!("{seconds:.1} s"),
            },
            on.map(|node| format!("{} {}", node.org, short_peer(&node.peer_id)))
                .unwrap_or_default(),
            report.reference.to_string(),
        ]);
    }
    table
}

/// Where the outputs go besides the screen.
#[derive(Default)]
pub(super) struct Destination {
    out: Option<OutFile>,
    path: Option<PathBuf>,
}

impl Destination {
    /// Opens what `-o` names, if it was given.
    pub(super) async fn open(path: Option<&Path>, force: bool) -> Result<Self, Failure> {
        let Some(path) = path.map(Path::to_owned) else { return Ok(Self::default()) };
        let named = path.clone();
        // On a thread of its own, because a pipe may keep it waiting for its reader.
        let opened = tokio::task::spawn_blocking(move || OutFile::open(&named, force)).await;
        let out = opened.map_err(|error| Failure::from_error(exit::FAILED, &error))??;
        Ok(Self { out: Some(out), path: Some(path) })
    }

    /// Whether stdout takes the outputs, and so nothing else.
    fn is_stdout(&self) -> bool {
        self.path.as_deref().is_some_and(outfile::is_stdout)
    }
}

/// Shows a run that is over, with the `names` of its records as far as they are known; one that failed ends as a failure, after all that is known of it.
pub(super) async fn show_ended(
    context: &Context,
    client: &Client,
    report: &RunReport,
    out: Destination,
    names: &[String],
) -> Result<(), Failure> {
    let output = &context.output;
    let alone = out.is_stdout();
    let shown = if output.is_json() || output.is_quiet() { usize::MAX } else { OUTPUTS_SHOWN };
    let shown = if alone { 0 } else { shown };
    let (outputs, all) = read_outputs(client, report.run_id, out.out, shown)
        .await
        .map_err(|failure| elsewhere(failure, report.run_id))?;
    if alone {
        output.note(&format!("{} of run {}", counted(all, "output"), report.run_id));
    } else if output.is_json() {
        output.json(&run_json(report, &outputs))?;
    } else if output.is_quiet() {
        outputs.iter().try_for_each(|line| output.line(&value_text(&line.value)))?;
    } else {
        if !outputs.is_empty() {
            output.table(&outputs_table(&outputs))?;
            if let Some(more) = all.checked_sub(outputs.len()).filter(|more| *more > 0) {
                output.line(&format!("and {more} more"))?;
            }
            output.line("")?;
        }
        show_receipts(context, report)?;
        if let Some(path) = out.path {
            output.note(&format!("{} in {}", counted(all, "output"), path.display()));
        }
    }
    failure(report, names).map_or(Ok(()), Err)
}

/// Outputs that cannot be written are not lost: the node has them.
fn elsewhere(failure: Failure, run: RunId) -> Failure {
    match failure.code {
        exit::REFUSED => failure.with_help(format!("guild runs {run} -o OTHER-FILE")),
        _ => failure,
    }
}

fn show_receipts(context: &Context, report: &RunReport) -> Result<(), Failure> {
    let output = &context.output;
    output.table(&report_table(report))?;
    for receipt in &report.receipts {
        output.line("")?;
        output.line("receipt")?;
        output.table(&receipt_table(receipt))?;
        output.table(&jobs_table(&receipt.jobs))?;
        output.table(&limits_table(&receipt.jobs))?;
    }
    if report.receipts_left_out > 0 {
        output.line("")?;
        output.line(&format!("and {} more", counted(report.receipts_left_out, "receipt")))?;
    }
    Ok(())
}

fn run_json(report: &RunReport, outputs: &[OutputLine]) -> serde_json::Value {
    let mut value = json!({
        "run_id": report.run_id,
        "executed_on": report.executed_on,
        "outputs": outputs,
        "receipts": report.receipts,
    });
    if let Some(accuracy) = report.accuracy {
        value["accuracy"] = json!(accuracy);
    }
    if let Some(failure) = &report.failure {
        value["failure"] = json!(failure);
    }
    value
}

/// Reads the outputs once: all of them into `file`, at most `keep` into memory. Returns those, and how many there were.
async fn read_outputs(
    client: &Client,
    run: RunId,
    mut file: Option<OutFile>,
    keep: usize,
) -> Result<(Vec<OutputLine>, usize), Failure> {
    let (mut kept, mut all) = (Vec::new(), 0_usize);
    let mut written = Ok(());
    client
        .each_output(run, |line| {
            all += 1;
            if let (Some(file), Ok(())) = (&mut file, &written) {
                written = file.line(&line);
            }
            if kept.len() < keep {
                kept.push(line);
            }
        })
        .await?;
    written?;
    file.map_or(Ok(()), OutFile::finish)?;
    Ok((kept, all))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use guildhall_protocol::Hash;
    use guildhall_protocol::api::ExecutedOn;

    use super::*;

    #[test]
    fn a_run_is_found_by_the_beginning_of_its_id_if_it_is_the_only_one() {
        let run = |digits: &str| RunId(format!("{digits:0<64}").parse::<Hash>().unwrap());
        let runs = [run("abcd1"), run("abcd2"), run("ef")];
        let find = |text: &str| text.parse::<RunPrefix>().unwrap().find(runs);
        assert_eq!(find("abcd2").unwrap(), runs[1]);
        assert_eq!(find("EF00").unwrap(), runs[2]);
        assert_eq!(find("abcd").unwrap_err().message, "more than one run begins with abcd");
        assert_eq!(find("1234").unwrap_err().code, exit::NOT_FOUND);
        for bad in ["", "abc", "abcx", "ab cd", &"a".repeat(65)] {
            assert_eq!(bad.parse::<RunPrefix>(), Err(RunPrefixError), "{bad}");
        }
    }

    #[test]
    fn runs_fit_a_terminal() {
        let report = RunReport {
            run_id: RunId(Hash::of(b"run")),
            reference: "lab-a/digits-classification@1.0.0".parse().unwrap(),
            state: RunState::Completed,
            executors: Vec::new(),
            executors_left_out: 0,
            failed: 0,
            total: None,
            left_seconds: None,
            executed_on: Some(ExecutedOn {
                org: "lab-b".parse().unwrap(),
                peer_id: "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".into(),
            }),
            records: 12_345,
            seconds: 1234.5,
            accuracy: None,
            failure: None,
            receipts: Vec::new(),
            receipts_left_out: 0,
            unsigned: 0,
            log: Vec::new(),
        };
        let lines = runs_table(&[report]).lines();
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
        assert!(lines[1].contains("lab-b ..4kx6nXTN"), "{lines:#?}");
        let id = lines[1].split(' ').next().unwrap();
        assert!(id.len() == 12 && id.parse::<RunPrefix>().is_ok());
    }
}
