//! `runs`, and the end of every `run`: outputs, report, receipts.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use guildhall_client::Client;
use guildhall_protocol::RunId;
use guildhall_protocol::api::{OutputLine, RunReport, RunState};
use serde_json::json;

use super::receipt::{
    executor, failure, jobs_table, limits_table, outputs_table, receipt_table, report_table, state,
    value_text,
};
use super::table::counted;
use super::{Context, Failure, Table, exit};

/// Outputs that people are shown; all of them are in the file, in JSON, and in quiet output.
const OUTPUTS_SHOWN: usize = 10;

/// `guild runs`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunsArgs {
    /// One run, with its outputs and receipts
    #[arg(value_name = "ID")]
    pub(crate) run: Option<RunId>,
    /// File for the outputs, one JSON value a line
    #[arg(short = 'o', long = "out", value_name = "FILE", requires = "run")]
    pub(crate) out: Option<PathBuf>,
}

pub(super) async fn runs(context: &Context, args: &RunsArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let Some(run) = args.run else { return show_all(context, &client.runs().await?) };
    let report = client.run(run).await?;
    if report.state != RunState::Running {
        return show_ended(context, &client, &report, args.out.as_deref()).await;
    }
    let output = &context.output;
    if output.is_json() {
        return output.json(&report);
    }
    report.log.iter().for_each(|line| output.note(line));
    output.table(&report_table(&report))
}

fn show_all(context: &Context, reports: &[RunReport]) -> Result<(), Failure> {
    let output = &context.output;
    if output.is_json() {
        return output.json(reports);
    }
    if output.is_quiet() {
        return reports.iter().try_for_each(|report| output.line(&report.run_id.to_string()));
    }
    if reports.is_empty() {
        output.note("nothing was run yet; guild run REF --input FILE");
        return Ok(());
    }
    let mut table = Table::with_head(["RUN", "STATE", "REF", "RECORDS", "TIME", "ON"]);
    for report in reports {
        table.row([
            report.run_id.to_string(),
            state(report.state).to_owned(),
            report.reference.to_string(),
            report.records.to_string(),
            format!("{:.1} s", report.seconds),
            report.executed_on.as_ref().map(executor).unwrap_or_default(),
        ]);
    }
    output.table(&table)
}

/// Shows a run that is over; one that failed ends as a failure, after all that is known of it.
pub(super) async fn show_ended(
    context: &Context,
    client: &Client,
    report: &RunReport,
    out: Option<&Path>,
) -> Result<(), Failure> {
    let output = &context.output;
    let shown = if output.is_json() || output.is_quiet() { usize::MAX } else { OUTPUTS_SHOWN };
    let (outputs, all) = read_outputs(client, report.run_id, out, shown).await?;
    if output.is_json() {
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
        if let Some(out) = out {
            output.note(&format!("{} in {}", counted(all, "output"), out.display()));
        }
    }
    failure(report).map_or(Ok(()), Err)
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

/// Reads the outputs once: all of them into `out`, at most `keep` into memory. Returns those, and how many there were.
async fn read_outputs(
    client: &Client,
    run: RunId,
    out: Option<&Path>,
    keep: usize,
) -> Result<(Vec<OutputLine>, usize), Failure> {
    let mut file = out.map(OutFile::create).transpose()?;
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

/// The file of `-o`: it appears when it is complete, or not at all.
struct OutFile {
    path: PathBuf,
    temporary: std::io::BufWriter<tempfile::NamedTempFile>,
}

impl OutFile {
    fn create(path: &Path) -> Result<Self, Failure> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let temporary = super::get::temporary_in(folder.unwrap_or(Path::new(".")))
            .map_err(|error| cannot_write(path, &error))?;
        Ok(Self { path: path.to_owned(), temporary: std::io::BufWriter::new(temporary) })
    }

    fn line(&mut self, line: &OutputLine) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.temporary, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.temporary.write_all(b"\n"))
            .map_err(|error| cannot_write(&self.path, &error))
    }

    fn finish(self) -> Result<(), Failure> {
        let failed = |error: &std::io::Error| cannot_write(&self.path, error);
        let temporary = self.temporary.into_inner().map_err(|error| failed(error.error()))?;
        temporary.persist(&self.path).map(|_| ()).map_err(|error| failed(&error.error))
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(exit::FAILED, format!("cannot write {}", path.display()))
        .with_cause(error.to_string())
}
