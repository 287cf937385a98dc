//! `node offer`: what this node has, what it lends and who uses it; and changing that.

use std::str::FromStr;

use clap::Args;
use guildhall_client::package::ByteSize;
use guildhall_protocol::api::{Lending, Machine, OfferChange, OrgUse, WorkersReport};
use guildhall_protocol::body::{HardwareOffer, OrgQuota};
use guildhall_protocol::contract::{CALL_MAX_RECORDS, Hardware, NodeLimits};
use guildhall_protocol::isolation::level_text;
use guildhall_protocol::name::OrgName;

use crate::cli::federation::list;
use crate::cli::period::duration_text;
use crate::cli::table::{counted, short_peer};
use crate::cli::{Context, Failure, Output, Table};

/// Of the machine's memory, what others get together when nothing else is said: half, so that the node and whoever
/// works at the machine keep the other.
const MEMORY_SHARE: u64 = 2;

/// Seconds of a core-hour, in which quotas are said.
const HOUR_S: f64 = 3600.0;

/// `guild node offer`.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub(crate) struct OfferArgs {
    /// Jobs of others at once [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) slots: Option<u32>,
    /// Processor cores of all their jobs together [default: as many as the slots take]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cores: Option<u32>,
    /// Memory of all their jobs together [default: half of the machine's]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// Most memory of one stage of a job, of your own runs too [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_per_stage: Option<ByteSize>,
    /// Memory of the GPU that a job may use; 0 lends no GPU [default: 0]
    #[arg(long, value_name = "SIZE")]
    pub(crate) gpu_memory: Option<ByteSize>,
    /// Longest time for one record, of your own runs too, as in 500ms, 10s [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = millis)]
    pub(crate) time_per_record: Option<u64>,
    /// Longest time for a whole job, of your own runs too, as in 30m [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = millis)]
    pub(crate) time_per_job: Option<u64>,
    /// Most records in one scoring call, of your own runs too, at most 1024 [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=CALL_MAX_RECORDS))]
    pub(crate) batch: Option<u64>,
    /// Longest time that a run waits for a slot, your own too, as in 30s; 0s lets none wait [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = millis_or_none)]
    pub(crate) wait: Option<u64>,
    /// Longest output for one record, of your own runs too [default: what fits a message, just below 4MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) output: Option<ByteSize>,
    /// Organisations to lend to, with commas between, and to no others [default: every member]
    #[arg(long, value_name = "ORG,..", value_delimiter = ',')]
    pub(crate) to: Vec<OrgName>,
    /// Lend to every member
    #[arg(long, conflicts_with = "to")]
    pub(crate) to_all: bool,
    /// Engines to lend, with commas between; `all` for all that the node has [default: all]
    #[arg(long, value_name = "ENGINE,..", value_delimiter = ',')]
    pub(crate) engines: Vec<String>,
    /// Core-hours that each other organisation may use within a day, or one of them, as in 2.5 or lab-b=8; `none` for
    /// no bound, lab-b=default for what holds for all; may be repeated [default: none]
    #[arg(long, value_name = "[ORG=]HOURS")]
    pub(crate) quota: Vec<Quota>,
    /// Lend nothing from now on
    #[arg(long, conflicts_with_all = [
        "slots", "cores", "memory", "memory_per_stage", "gpu_memory", "time_per_record", "time_per_job", "batch",
        "wait", "output",
        "to", "to_all", "engines", "quota",
    ])]
    pub(crate) none: bool,
}

/// A quota as a person says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    org: Option<OrgName>,
    /// 0 for no bound; `None` for what holds for all.
    core_seconds: Option<u64>,
}

impl FromStr for Quota {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "a quota is a number of core-hours a day, as in 2.5, or one organisation's, as in lab-b=8/day; `none` sets \
             no bound"
                .to_owned()
        };
        let (org, hours) = match text.split_once('=') {
            None => (None, text),
            Some((org, hours)) => {
                (Some(org.trim().parse().map_err(|error| format!("{error}"))?), hours)
            }
        };
        let core_seconds = match hours.trim() {
            "none" => Some(0),
            "default" if org.is_some() => None,
            hours => Some(core_seconds(hours).ok_or_else(wrong)?),
        };
        Ok(Self { org, core_seconds })
    }
}

/// Core-seconds of `2.5`, `2.5h` or `2.5/day`.
fn core_seconds(text: &str) -> Option<u64> {
    let text = text.trim_end_matches("/day").trim_end_matches('h').trim();
    let hours: f64 = text.parse().ok().filter(|hours: &f64| (0.0..=1e9).contains(hours))?;
    let seconds = (hours * HOUR_S).round();
    // Less than a second of a core is none at all, and that means no bound.
    if hours > 0.0 && seconds < 1.0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 0 and far below 2^53"
    )]
    Some(seconds as u64)
}

/// Milliseconds of `500ms`, `10s`, `5m`, `1h`, and not 0.
fn millis(text: &str) -> Result<u64, String> {
    millis_or_none(text).and_then(|ms| match ms {
        0 => Err("nothing can be done in no time".to_owned()),
        ms => Ok(ms),
    })
}

/// Milliseconds of the same, and of `0s`.
fn millis_or_none(text: &str) -> Result<u64, String> {
    let wrong = || "a time is a number and ms, s, m or h, as in 10s".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let each: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(each).ok_or_else(wrong)
}

impl OfferArgs {
    /// Whether anything is to be changed.
    fn changes(&self) -> bool {
        *self != Self::default()
    }

    /// What is lent with these flags: what they name changes, and the rest stays as it is.
    fn change(&self, lending: &Lending) -> OfferChange {
        if self.none {
            return OfferChange { offer: None };
        }
        let mut offer = lending.offer.clone().unwrap_or_else(|| at_first(&lending.has));
        if let Some(slots) = self.slots {
            offer.slots = slots;
        }
        if let Some(cores) = self.cores {
            offer.cores = cores;
            offer.hardware.cores = cores;
        }
        let limits = &mut offer.limits;
        if let Some(ByteSize(bytes)) = self.memory {
            offer.memory_bytes = bytes;
            // One stage gets no more than all together; whoever wants another number says it.
            limits.memory_bytes = limits.memory_bytes.min(bytes);
        }
        if let Some(ByteSize(bytes)) = self.memory_per_stage {
            limits.memory_bytes = bytes;
        }
        if let Some(ByteSize(bytes)) = self.gpu_memory {
            offer.hardware.gpu_memory_bytes = bytes;
        }
        limits.scoring_ms = self.time_per_record.unwrap_or(limits.scoring_ms);
        limits.total_ms = self.time_per_job.unwrap_or(limits.total_ms);
        limits.batch_max = self.batch.unwrap_or(limits.batch_max);
        limits.queue_ms = self.wait.unwrap_or(limits.queue_ms);
        limits.output_bytes = self.output.map_or(limits.output_bytes, |size| size.0);
        if self.to_all {
            offer.orgs = Vec::new();
        } else if !self.to.is_empty() {
            offer.orgs.clone_from(&self.to);
        }
        match self.engines.as_slice() {
            [] => {}
            [all] if all == "all" => offer.engines = Vec::new(),
            engines => offer.engines = engines.to_vec(),
        }
        for quota in &self.quota {
            set_quota(&mut offer, quota);
        }
        OfferChange { offer: Some(offer) }
    }
}

/// What is lent when a person only says that something is.
fn at_first(has: &Machine) -> HardwareOffer {
    let mut limits = NodeLimits::default();
    let memory_bytes = has.memory_bytes.map_or(0, |bytes| bytes / MEMORY_SHARE);
    if memory_bytes > 0 {
        limits.memory_bytes = limits.memory_bytes.min(memory_bytes);
    }
    let hardware = Hardware::default();
    HardwareOffer { slots: 1, hardware, limits, memory_bytes, ..HardwareOffer::default() }
}

fn set_quota(offer: &mut HardwareOffer, quota: &Quota) {
    let Some(org) = &quota.org else {
        offer.quota_core_seconds_per_day = quota.core_seconds.unwrap_or_default();
        return;
    };
    offer.quotas.retain(|one| one.org != *org);
    if let Some(core_seconds_per_day) = quota.core_seconds {
        offer.quotas.push(OrgQuota { org: org.clone(), core_seconds_per_day });
    }
}

pub(in crate::cli) async fn offer(context: &Context, args: OfferArgs) -> Result<(), Failure> {
    let output = &context.output;
    let client = context.client().await?;
    let before = client.lending().await?;
    if !args.changes() {
        return show(output, &before);
    }
    client.set_offer(&args.change(&before)).await?;
    let after = client.lending().await?;
    if output.is_json() {
        return output.json(&after);
    }
    if output.is_quiet() {
        return Ok(());
    }
    for line in changes(&before, &after) {
        output.line(&line)?;
    }
    if after.draining && after.offer.is_some() {
        output.note("this node drains, so nobody gets anything yet; guild node drain --stop");
    }
    Ok(())
}

/// What is otherwise than before, a line each.
fn changes(before: &Lending, after: &Lending) -> Vec<String> {
    let (was, is) = (terms(before.offer.as_ref()), terms(after.offer.as_ref()));
    if was == is {
        return vec!["nothing changed".to_owned()];
    }
    let of = |terms: &[(&'static str, String)], name: &str| {
        let found = terms.iter().find(|(one, _)| *one == name);
        found.map(|(_, value)| value.clone())
    };
    let longer = if is.len() > 1 { &is } else { &was };
    let mut lines = Vec::new();
    for (name, _) in longer {
        let line = match (of(&was, name), of(&is, name)) {
            (Some(was), Some(is)) if was == is => continue,
            (Some(was), Some(is)) => format!("{name}: {was} -> {is}"),
            (None, Some(is)) => format!("{name}: {is}"),
            (_, None) => continue,
        };
        lines.push(line);
    }
    lines
}

/// An offer in words.
fn terms(offer: Option<&HardwareOffer>) -> Vec<(&'static str, String)> {
    let Some(offer) = offer.filter(|offer| offer.slots > 0) else {
        return vec![("lends", "nothing".to_owned())];
    };
    let limits = offer.limits;
    let cores = match offer.cores {
        0 => String::new(),
        cores => format!(", {} together", counted(cores, "core")),
    };
    let memory = match offer.memory_bytes {
        0 => String::new(),
        bytes => format!(", {} of memory together", ByteSize(bytes)),
    };
    let gpu = match offer.hardware.gpu_memory_bytes {
        0 => String::new(),
        bytes => format!(", {} of GPU memory each", ByteSize(bytes)),
    };
    let engines = match offer.engines.as_slice() {
        [] => "all".to_owned(),
        engines => list(engines),
    };
    let orgs = match offer.orgs.as_slice() {
        [] => "every member".to_owned(),
        orgs => list(orgs),
    };
    let quotas: Vec<String> = [quota_text(offer.quota_core_seconds_per_day)]
        .into_iter()
        .chain(
            offer
                .quotas
                .iter()
                .map(|one| format!("{} {}", one.org, quota_text(one.core_seconds_per_day))),
        )
        .collect();
    vec![
        ("lends", format!("{}{cores}{memory}{gpu}", counted(offer.slots, "slot"))),
        ("to", orgs),
        ("engines lent", engines),
        ("a job", format!("at most {}", duration_text(limits.total_ms))),
        ("a call", format!("at most {}", counted(limits.batch_max, "record"))),
        (
            "waiting",
            match limits.queue_ms {
                0 => "none: who finds no free slot is refused".to_owned(),
                ms => format!("at most {} for a slot", duration_text(ms)),
            },
        ),
        ("a stage", format!("at most {} of memory", ByteSize(limits.memory_bytes))),
        (
            "a record",
            format!(
                "at most {}, {} of output",
                duration_text(limits.scoring_ms),
                ByteSize(limits.output_bytes)
            ),
        ),
        ("quota", quotas.join(", ")),
    ]
}

fn quota_text(core_seconds: u64) -> String {
    match core_seconds {
        0 => "no bound".to_owned(),
        seconds => format!("{} core-hours a day", hours(seconds)),
    }
}

/// Core-hours with as many digits as say something.
fn hours(core_seconds: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let hours = core_seconds as f64 / HOUR_S;
    let text = format!("{hours:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn show(output: &Output, lending: &Lending) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(lending);
    }
    if output.is_quiet() {
        return Ok(());
    }
    output.lines(lending_lines(lending))?;
    if lending.offer.is_none() {
        output.note("guild node offer --slots 2 lends some of it");
    }
    Ok(())
}

/// How many processes do what, and with how much memory.
fn workers_text(workers: &WorkersReport) -> String {
    let WorkersReport { busy, warm, blank, memory_bytes, busy_bytes, warm_bytes, .. } = *workers;
    let taken = ByteSize((busy_bytes.saturating_add(warm_bytes) >> 20) << 20);
    let all = ByteSize((memory_bytes >> 20) << 20);
    format!("{busy} at work, {warm} warm, {blank} ready; {taken} of {all}")
}

/// Everything about lending, for people.
fn lending_lines(lending: &Lending) -> Vec<String> {
    let has = &lending.has;
    let mut table = Table::plain();
    let memory = has.memory_bytes.map_or_else(String::new, |bytes| {
        let gib = ByteSize((bytes >> 20) << 20);
        format!(", {gib} of memory")
    });
    let gpus = match has.gpus.as_slice() {
        [] => ", no GPU that is known".to_owned(),
        gpus => format!(", {}", list(gpus)),
    };
    table.field("has", format!("{}{memory}{gpus}", counted(has.cores, "core")));
    table.field("engines", list(&has.engines));
    let level = level_text(has.isolation_level);
    table.field("isolation", format!("{level}: {}", list(&has.isolation)));
    for (name, value) in terms(lending.offer.as_ref()) {
        table.field(name, value);
    }
    if lending.draining {
        table.field("draining", "finishes what it has and takes no more".to_owned());
    }
    let is_open = |open: bool| lending.jobs.iter().filter(|job| job.is_open == open).count();
    let waiting: u64 = lending.orgs.iter().map(|org| org.waiting).sum();
    let others = match (is_open(true), is_open(false)) {
        (open, 0) => counted(open, "job"),
        (open, promised) => format!("{}, {promised} promised", counted(open, "job")),
    };
    table.field("in use", format!("{others} of others, {waiting} waiting"));
    table.field("own", counted(lending.own_jobs, "job"));
    table.field("workers", workers_text(&lending.workers));
    let mut lines = table.lines();
    if !lending.jobs.is_empty() {
        let mut jobs = Table::with_head(["ORG", "NODE", "RUN", "CORES", "MEMORY", "STATE"]);
        for job in &lending.jobs {
            jobs.row([
                job.org.to_string(),
                short_peer(&job.peer_id),
                job.run.to_string().chars().take(8).collect(),
                job.cores.to_string(),
                ByteSize(job.memory_bytes).to_string(),
                if job.is_open { "runs" } else { "promised" }.to_owned(),
            ]);
        }
        lines.push(String::new());
        lines.extend(jobs.lines());
    }
    if !lending.orgs.is_empty() {
        lines.push(String::new());
        lines.extend(org_table(&lending.orgs).lines());
    }
    lines
}

fn org_table(orgs: &[OrgUse]) -> Table {
    let mut table = Table::with_head(["ORG", "SLOTS", "WAITING", "USED WITHIN A DAY", "QUOTA"]);
    for org in orgs {
        table.row([
            org.org.to_string(),
            org.slots.to_string(),
            org.waiting.to_string(),
            format!("{} core-hours", hours(org.used_core_seconds)),
            quota_text(org.quota_core_seconds_per_day.unwrap_or_default()),
        ]);
    }
    table
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: OfferArgs,
    }

    fn args(line: &str) -> OfferArgs {
        Line::try_parse_from(["offer"].into_iter().chain(line.split_whitespace())).unwrap().args
    }

    fn nothing_lent() -> Lending {
        let has = Machine { cores: 8, memory_bytes: Some(16 << 30), ..Machine::default() };
        Lending {
            has,
            offer: None,
            draining: false,
            jobs: Vec::new(),
            own_jobs: 0,
            orgs: Vec::new(),
            workers: WorkersReport::default(),
        }
    }

    fn lent(lines: &[&str]) -> HardwareOffer {
        let mut lending = nothing_lent();
        for line in lines {
            lending.offer = args(line).change(&lending).offer;
        }
        lending.offer.unwrap()
    }

    #[test]
    fn slots_alone_lend_something_sensible() {
        let offer = lent(&["--slots 2"]);
        assert_eq!((offer.slots, offer.cores, offer.memory_bytes), (2, 0, 8 << 30));
        assert_eq!((offer.limits, offer.orgs.len()), (NodeLimits::default(), 0));
        assert_eq!(offer.check(), Ok(()));
        assert!(!args("").changes());
    }

    #[test]
    fn what_is_not_named_stays_and_what_is_named_changes() {
        let first = "--slots 2 --cores 4 --memory 512MiB --time-per-record 10s --time-per-job 2h \
                     --batch 16 --wait 0s --output 1MiB --to lab-a,lab-b --engines wasm --quota 2 --quota lab-b=8/day";
        let offer = lent(&[first]);
        assert_eq!((offer.cores, offer.memory_bytes), (4, 512 << 20));
        assert_eq!(
            offer.limits,
            NodeLimits {
                scoring_ms: 10_000,
                total_ms: 7_200_000,
                memory_bytes: 512 << 20,
                output_bytes: 1 << 20,
                batch_max: 16,
                queue_ms: 0,
            }
        );
        assert_eq!(offer.check(), Ok(()));
        assert_eq!(offer.quota_core_seconds_per_day, 7200);
        assert_eq!(offer.quotas[0].core_seconds_per_day, 28_800);
        let more = lent(&[first, "--slots 3 --to-all --engines all --quota lab-b=default"]);
        let expected = HardwareOffer {
            slots: 3,
            orgs: Vec::new(),
            engines: Vec::new(),
            quotas: Vec::new(),
            ..offer
        };
        assert_eq!(more, expected);
        let free = lent(&[first, "--quota none --quota lab-b=none"]);
        assert_eq!(free.quota(&"lab-b".parse().unwrap()), None);
        assert_eq!(args("--none").change(&nothing_lent()).offer, None);
    }

    #[test]
    fn times_and_quotas_that_mean_nothing_are_refused() {
        for wrong in ["", "10", "0s", "s", "1.5s", "10d", "99999999999999999999s"] {
            assert!(millis(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "x", "-1", "lab-b=", "Lab=1", "default", "1e99", "0.0001", "nan"] {
            assert!(wrong.parse::<Quota>().is_err(), "{wrong}");
        }
        assert_eq!("0".parse(), Ok(Quota { org: None, core_seconds: Some(0) }));
        assert_eq!("0.5h/day".parse(), Ok(Quota { org: None, core_seconds: Some(1800) }));
    }

    #[test]
    fn a_change_says_what_was_before() {
        let before = nothing_lent();
        let after = Lending { offer: args("--slots 2").change(&before).offer, ..before.clone() };
        let said = changes(&before, &after);
        assert_eq!(said[0], "lends: nothing -> 2 slots, 8 GiB of memory together");
        let next = Lending { offer: args("--quota lab-b=8").change(&after).offer, ..after.clone() };
        assert_eq!(
            changes(&after, &next),
            ["quota: no bound -> no bound, lab-b 8 core-hours a day"]
        );
        assert_eq!(changes(&next, &next), ["nothing changed"]);
        assert_eq!(
            changes(&after, &before),
            ["lends: 2 slots, 8 GiB of memory together -> nothing"]
        );
    }

    #[test]
    fn what_is_lent_and_used_fits_a_terminal() {
        let mut lending = nothing_lent();
        lending.offer = args("--slots 2 --cores 2 --quota 2").change(&lending).offer;
        lending.draining = true;
        lending.orgs.push(OrgUse {
            org: "a-university-hospital".parse().unwrap(),
            slots: 1,
            waiting: 3,
            used_core_seconds: 1234,
            quota_core_seconds_per_day: Some(7200),
        });
        let lines = lending_lines(&lending);
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("8 cores, 16 GiB of memory")), "{lines:#?}");
        assert!(lines.last().unwrap().contains("0.343 core-hours"), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("draining")));
    }
}
