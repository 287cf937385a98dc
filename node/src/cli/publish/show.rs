//! What is shown before anything is sent: the proposal, and the plan of a dry run.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_client::package::{ByteSize, Draft, Folder, Proposal, Proposed};
use guildhall_protocol::Hash;
use guildhall_protocol::api::{Check, ListingDraft, Status};
use guildhall_protocol::body::Visibility;
use guildhall_protocol::facts::Facts;
use guildhall_protocol::name::{FileName, OrgName};
use serde_json::{Value, json};

use super::super::federation::list;
use super::super::table::{clipped, counted};
use super::super::{Output, Table};
use super::look::facts_text;

/// Most files of a plan that are shown to people; JSON has them all.
const FILES_SHOWN: usize = 50;

/// Names of files that stand for all of them beside a proposal.
const NAMES_SHOWN: usize = 4;

/// Longest value of a proposal on one line, characters.
const VALUE_SHOWN: usize = 100;

/// Copies that a node arranges for when nobody says how many.
const REPLICAS_DEFAULT: u8 = 3;

/// Every value with where it comes from.
pub(in crate::cli) fn proposal(output: &Output, folder: &Folder, proposal: &Proposal) {
    fn row<T>(
        table: &mut Table,
        name: &str,
        said: Option<&Proposed<T>>,
        text: impl Fn(&T) -> String,
    ) {
        if let Some(said) = said {
            let value = clipped(&text(&said.value), VALUE_SHOWN);
            table.row([name.to_owned(), value, said.from.to_string()]);
        }
    }
    let mut table = Table::plain();
    row(&mut table, "kind", proposal.kind.as_ref(), ToString::to_string);
    row(&mut table, "name", proposal.name.as_ref(), ToString::to_string);
    row(&mut table, "version", proposal.version.as_ref(), ToString::to_string);
    row(&mut table, "categories", proposal.categories.as_ref(), |all| list(all));
    row(&mut table, "summary", proposal.summary.as_ref(), Clone::clone);
    row(&mut table, "keywords", proposal.keywords.as_ref(), |all| list(all));
    row(&mut table, "licence", proposal.licence.as_ref(), Clone::clone);
    if let Some(interface) = &proposal.interface {
        let (from, both) = (interface.from.to_string(), &interface.value);
        for (side, ports) in [("in", &both.inputs), ("out", &both.outputs)] {
            for port in ports {
                let shown = format!("{}: {}", port.name, port.port_type);
                table.row([side.to_owned(), shown, from.clone()]);
            }
        }
    }
    row(&mut table, "code", proposal.code.as_ref(), |code| {
        format!("{} {}", code.engine(), code.file())
    });
    row(&mut table, "limits", proposal.contract.as_ref(), |contract| {
        format!(
            "{} ms a record, memory {}, output {}, {} at once",
            contract.scoring_ms,
            ByteSize(contract.memory_bytes),
            ByteSize(contract.output_bytes),
            contract.batch_max
        )
    });
    row(&mut table, "records", proposal.records.as_ref(), |records| {
        let labels = records.labels.as_ref().map(|labels| format!(", labels in {labels}"));
        format!("files of {}{}", records.folder, labels.unwrap_or_default())
    });
    for claim in proposal.accuracy.iter().flat_map(|claims| &claims.value) {
        let shown = format!("{} {} on {}", claim.metric, claim.value, claim.dataset);
        table.row(["claims".to_owned(), shown, String::new()]);
    }
    table.row(["files".to_owned(), files(folder), "hidden and ignored ones stay out".to_owned()]);
    table.lines().iter().for_each(|line| output.note(&format!("  {line}")));
    proposal.warnings.iter().for_each(|warning| output.warning(warning));
}

/// How many, how long, and the first names.
fn files(folder: &Folder) -> String {
    let files = folder.files();
    let bytes = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.entry.len_bytes));
    let names: Vec<_> = files.iter().take(NAMES_SHOWN).map(|file| &file.entry.name).collect();
    let more = if files.len() > NAMES_SHOWN { ", ..." } else { "" };
    let counted = counted(files.len(), "file");
    clipped(&format!("{counted}, {}: {}{more}", ByteSize(bytes), list(&names)), VALUE_SHOWN)
}

/// The federation's orgs in order of name; a node has them in order of key.
fn members(status: &Status) -> Vec<OrgName> {
    let mut members = status.federation.members.clone();
    members.sort();
    members
}

/// Who will see it, in words.
pub(super) fn audience(listing: &ListingDraft, status: &Status) -> String {
    let members = list(&members(status));
    let federation = &status.federation.name;
    match &listing.visibility {
        Visibility::Org => format!("only {}", status.org),
        Visibility::Public => format!("everybody; for now the members of {federation}: {members}"),
        _ => format!("the members of {federation}: {members}"),
    }
}

/// What would be sent, what it is, and who would see it.
pub(super) struct Plan<'a> {
    pub(super) draft: &'a Draft,
    pub(super) known: &'a BTreeSet<Hash>,
    pub(super) facts: &'a BTreeMap<FileName, Facts>,
    pub(super) status: &'a Status,
}

impl Plan<'_> {
    /// Bytes that the node does not have; the same content is sent once.
    fn to_send_bytes(&self) -> u64 {
        let mut seen = self.known.clone();
        let new = self.draft.files().iter().filter(|file| seen.insert(file.entry.hash));
        new.fold(0, |sum, file| sum.saturating_add(file.entry.len_bytes))
    }

    fn is(&self, name: &FileName) -> String {
        self.facts.get(name).map(facts_text).unwrap_or_default()
    }

    /// For people.
    pub(super) fn show(&self, output: &Output) {
        let files = self.draft.files();
        let mut table = Table::with_head(["FILE", "SIZE", "AT NODE", "TYPE", "WHAT"]);
        for file in files.iter().take(FILES_SHOWN) {
            let entry = &file.entry;
            let here = if self.known.contains(&entry.hash) { "yes" } else { "no" };
            let size = ByteSize(entry.len_bytes).to_string();
            let (name, media) = (entry.name.to_string(), entry.media_type.clone());
            table.row([name, size, here.to_owned(), media, self.is(&entry.name)]);
        }
        table.lines().iter().for_each(|line| output.note(line));
        if let Some(more) = files.len().checked_sub(FILES_SHOWN).filter(|more| *more > 0) {
            output.note(&format!("and {}", counted(more, "more file")));
        }
        let listing = self.draft.listing();
        let mut table = Table::plain();
        let all = ByteSize(self.draft.manifest().len_bytes());
        let send = ByteSize(self.to_send_bytes());
        table.field("to send", format!("{send} of {all}"));
        table.field("seen by", audience(listing, self.status));
        let replicas = listing.replicas.unwrap_or(REPLICAS_DEFAULT);
        table.field("copies wanted", replicas.to_string());
        table.lines().iter().for_each(|line| output.note(line));
    }

    /// For scripts.
    pub(super) fn json(&self) -> Value {
        let file = |file: &guildhall_client::package::DraftFile| {
            let entry = &file.entry;
            json!({
                "name": entry.name,
                "len_bytes": entry.len_bytes,
                "media_type": entry.media_type,
                "hash": entry.hash,
                "known": self.known.contains(&entry.hash),
                "facts": self.facts.get(&entry.name),
            })
        };
        let listing = self.draft.listing();
        json!({
            "files": self.draft.files().iter().map(file).collect::<Vec<_>>(),
            "send_bytes": self.to_send_bytes(),
            "visibility": listing.visibility,
            "members": members(self.status),
            "replicas": listing.replicas.unwrap_or(REPLICAS_DEFAULT),
        })
    }
}

/// A check as lines for people: the verdict, then where, then what would put it right.
pub(in crate::cli) fn check_lines(check: &Check) -> Vec<String> {
    let verdict = if check.passed { "ok" } else { "FAILED" };
    let detail = if check.detail.is_empty() { "" } else { ": " };
    let mut lines = vec![format!("  {verdict:6}  {}{detail}{}", check.name, check.detail)];
    if let (Some(file), false) = (&check.file, check.passed) {
        let at = check.offset.map(|offset| format!(", byte {offset}")).unwrap_or_default();
        lines.push(format!("          in {file}{at}"));
    }
    if let (Some(fix), false) = (&check.fix, check.passed) {
        lines.push(format!("          fix: {fix}"));
    }
    lines
}
