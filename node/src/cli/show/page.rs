//! A release as a page: what it takes and yields, under which limits, what is declared and said of it, who holds it,
//! how it is used.

use std::collections::BTreeMap;

use guildhall_client::package::ByteSize;
use guildhall_protocol::PackageId;
use guildhall_protocol::api::{Detail, ReviewShown, Yanked};
use guildhall_protocol::body::Listing;
use guildhall_protocol::contract::{Contract, Determinism, Hardware};
use guildhall_protocol::interface::Port;
use guildhall_protocol::manifest::Kind;

use super::super::federation::list;
use super::super::find::figure;
use super::super::period::{date, duration_text};
use super::super::screen::PROSE_COLUMNS;
use super::super::table::{Table, counted};
use super::super::{escape, find};
use super::snippets::{Snippet, quoted};

/// Columns of the names on the left.
const NAMES_COLUMNS: usize = 11;

/// Reviews that are shown; `guild reviews` has all.
const REVIEWS_SHOWN: usize = 5;

/// The page of a release.
///
/// `names` are those of packages that it uses, as far as they are known, with what else is to be said of them.
pub(super) fn lines(
    detail: &Detail,
    names: &BTreeMap<PackageId, String>,
    snippets: &[Snippet],
    columns: Option<usize>,
) -> Vec<String> {
    let columns = columns.unwrap_or(PROSE_COLUMNS);
    let mut page = Page { lines: Vec::new(), columns };
    let listing = &detail.listing;
    page.lines.push(format!("{}  {}", detail.reference, listing.kind));
    page.prose(&listing.summary, "");
    if let Some(older) = &detail.looks_like {
        page.prose(
            &format!("warning: looks like {older}, which is older and of another producer"),
            "",
        );
    }
    if let Some(yanked) = yanked(detail) {
        page.prose(&format!("warning: taken back by its producer: {}", yanked.why), "");
        if let Some(other) = instead(detail) {
            page.prose(&format!("use instead: guild show {other}"), "");
        }
    }
    page.lines.push(String::new());
    interface(&mut page, listing);
    about(&mut page, detail);
    claims(&mut page, detail);
    made_of(&mut page, detail, names);
    page.lines.push(String::new());
    where_it_is(&mut page, detail);
    reviews(&mut page, detail);
    files(&mut page, detail);
    for snippet in snippets {
        page.lines.push(String::new());
        page.lines.push(format!("{}:", snippet.title));
        page.lines.extend(snippet.lines.iter().map(|line| format!("    {line}")));
    }
    page.lines
}

/// Whether, and why, the very version of the page was taken back.
pub(in crate::cli) fn yanked(detail: &Detail) -> Option<&Yanked> {
    detail.yanked.iter().find(|yanked| yanked.reference == detail.reference)
}

/// The version that is shown when none is named: the highest release, else the highest prerelease.
pub(in crate::cli) fn instead(detail: &Detail) -> Option<String> {
    let releases = detail.versions.iter().find(|version| version.pre.is_empty());
    let version = releases.or_else(|| detail.versions.first())?;
    Some(format!("{}/{}@{version}", detail.org, detail.listing.release.name))
}

/// A page while it is made.
struct Page {
    lines: Vec<String>,
    columns: usize,
}

impl Page {
    /// A name on the left with what stands behind it; nothing when that is empty.
    fn field(&mut self, name: &str, value: &str) {
        let blank = " ".repeat(NAMES_COLUMNS);
        let room = self.columns.saturating_sub(NAMES_COLUMNS);
        let lines = super::super::screen::wrapped(&escape(value), room.max(NAMES_COLUMNS));
        for (place, line) in lines.iter().enumerate() {
            let name = if place == 0 { format!("{name:NAMES_COLUMNS$}") } else { blank.clone() };
            self.lines.push(format!("{name}{line}"));
        }
    }

    fn prose(&mut self, text: &str, indent: &str) {
        self.lines.extend(find::indented(text, indent, Some(self.columns)));
    }
}

fn interface(page: &mut Page, listing: &Listing) {
    for (side, ports) in
        [("takes", &listing.interface.inputs), ("yields", &listing.interface.outputs)]
    {
        for (place, port) in ports.iter().enumerate() {
            page.field(if place == 0 { side } else { "" }, &port_text(port));
        }
    }
    page.field("engines", &list(&listing.engines));
    if let Some(contract) = &listing.contract {
        page.field("limits", &contract_text(contract));
        page.field("needs", &hardware_text(&contract.hardware));
        page.field("run again", determinism(contract.determinism));
    }
}

fn port_text(port: &Port) -> String {
    let optional = if port.optional { " (may be left out)" } else { "" };
    format!("{}: {}{optional}", port.name, port.port_type.written())
}

fn contract_text(contract: &Contract) -> String {
    let total = contract.total_ms.map(|ms| format!(", {} a job", duration_text(ms)));
    let queue = contract.queue_ms.map(|ms| format!(", {} of waiting", duration_text(ms)));
    format!(
        "{} a record on {}, memory {}, output {}{}{}",
        duration_text(contract.scoring_ms),
        contract.measured_on,
        ByteSize(contract.memory_bytes),
        ByteSize(contract.output_bytes),
        total.unwrap_or_default(),
        queue.unwrap_or_default()
    )
}

fn hardware_text(hardware: &Hardware) -> String {
    let cores = (hardware.cores > 0).then(|| counted(hardware.cores, "core"));
    let gpu = (hardware.gpu_memory_bytes > 0)
        .then(|| format!("a GPU with {}", ByteSize(hardware.gpu_memory_bytes)));
    cores.into_iter().chain(gpu).collect::<Vec<_>>().join(", ")
}

const fn determinism(determinism: Determinism) -> &'static str {
    match determinism {
        Determinism::Bitwise => "the same bytes on every machine",
        Determinism::Numeric => "the same but for rounding",
        Determinism::None => "may differ",
    }
}

fn about(page: &mut Page, detail: &Detail) {
    let listing = &detail.listing;
    let mut categories = list(&listing.categories);
    if let Some(standing) = &detail.standing {
        categories.push_str(&format!(
            "; place {} of {} in {}",
            standing.place, standing.of, standing.category
        ));
    }
    page.field("category", &categories);
    page.field("keywords", &list(&listing.keywords));
    page.field("licence", &listing.licence);
    let files = detail.manifest.as_ref().map(|manifest| manifest.files.len());
    let files = files.map(|files| format!(" in {}", counted(files, "file"))).unwrap_or_default();
    page.field("size", &format!("{}{files}", ByteSize(listing.len_bytes)));
    if detail.manifest.as_ref().is_some_and(|manifest| manifest.sensitive) {
        page.field("sensitive", "about people, or otherwise not for everybody");
    }
}

/// What the producer says that it reaches. Nobody has measured it.
fn claims(page: &mut Page, detail: &Detail) {
    let claims = &detail.listing.claims;
    for claim in &claims.accuracy {
        let figure = figure(claim.value);
        page.field("declared", &format!("{} {figure} on {}", claim.metric, claim.dataset));
    }
    for claim in &claims.latency {
        page.field("declared", &format!("{} ms on {}", figure(claim.p50_ms), claim.hardware));
    }
    let suggested = &detail.listing.suggested;
    page.field("suggested", &hardware_text(&suggested.hardware));
    if suggested.memory_bytes > 0 {
        page.field("suggested", &format!("{} of memory", ByteSize(suggested.memory_bytes)));
    }
    page.field("suggested", &list(&suggested.data));
}

fn made_of(page: &mut Page, detail: &Detail, names: &BTreeMap<PackageId, String>) {
    let stages = detail.manifest.as_ref().map_or(&[][..], |manifest| &manifest.stages);
    for stage in stages {
        let package = stage.package;
        let written = || stage.reference.as_ref().map_or(package.to_string(), ToString::to_string);
        let shown = names.get(&package).cloned().unwrap_or_else(written);
        page.field("stage", &format!("{}: {shown}", stage.name));
    }
    let is_stage = |package: &&PackageId| stages.iter().any(|stage| stage.package == **package);
    let others = detail.listing.uses.iter().filter(|used| !is_stage(used));
    let named = |used: &PackageId| names.get(used).cloned().unwrap_or_else(|| used.to_string());
    page.field("uses", &list(&others.map(named).collect::<Vec<_>>()));
}

fn where_it_is(page: &mut Page, detail: &Detail) {
    page.field("versions", &list(&detail.versions));
    for yanked in &detail.yanked {
        let when = date(yanked.time_ms);
        page.field("taken back", &format!("{} on {when}: {}", yanked.reference, yanked.why));
    }
    let here = if detail.held { "also here" } else { "not here" };
    let (known, wanted) = (detail.holders.len(), detail.listing.replicas);
    let holders = match known {
        0 => "nobody who answers".to_owned(),
        _ => list(&detail.holders),
    };
    page.field("held by", &format!("{holders}; {known} of {wanted} copies, {here}"));
    page.field("listed", &format!("{} by {}", date(detail.time_ms), detail.org));
    page.field("package", &detail.package_id.to_string());
    page.field("record", &detail.listing_id.to_string());
}

fn reviews(page: &mut Page, detail: &Detail) {
    let rating = &detail.rating;
    let head = match rating.orgs {
        0 if yanked(detail).is_some() => "none".to_owned(),
        0 => format!("none yet: guild review {} --stars N", detail.reference),
        orgs => format!("{:.1} of 5 stars from {}", rating.stars, counted(orgs, "organisation")),
    };
    page.field("reviews", &head);
    for review in detail.reviews.iter().take(REVIEWS_SHOWN) {
        page.field("", &review_text(review));
    }
    if detail.reviews.len() > REVIEWS_SHOWN {
        page.field(
            "",
            &format!("all {}: guild reviews {}", detail.reviews.len(), detail.reference),
        );
    }
}

/// A review on one line.
pub(in crate::cli) fn review_text(review: &ReviewShown) -> String {
    let own = if review.own { " (its producer; does not count)" } else { "" };
    let text = if review.text.is_empty() { String::new() } else { format!(": {}", review.text) };
    format!("{} of 5 by {}{own} on {}{text}", review.stars, review.org, date(review.time_ms))
}

/// What of its files is for reading.
fn files(page: &mut Page, detail: &Detail) {
    let (listing, reference) = (&detail.listing, &detail.reference);
    // What was taken back is fetched no more.
    if yanked(detail).is_some() && !detail.held {
        return;
    }
    if listing.kind == Kind::Notebook {
        page.field("notebook", &format!("guild show {reference} --notebook"));
    }
    if let Some(name) = &listing.documentation {
        page.field("readme", &format!("{name}: guild show {reference} --readme"));
    }
    for name in &listing.examples {
        let word = quoted(name.as_str());
        let line = match name.as_str().ends_with(".ipynb") {
            true => format!("{name}: guild show {reference} --notebook {word}"),
            false if yanked(detail).is_some() => name.to_string(),
            false => format!("{name}: guild get {reference} --include {word}"),
        };
        page.field("example", &line);
    }
}

/// Reviews in a table.
pub(in crate::cli) fn reviews_table(reviews: &[ReviewShown]) -> Table {
    let mut table = Table::with_head(["STARS", "ORG", "DATE", "TEXT"]);
    for review in reviews {
        let own = if review.own { " (producer)" } else { "" };
        table.row([
            review.stars.to_string(),
            format!("{}{own}", review.org),
            date(review.time_ms),
            review.text.clone(),
        ]);
    }
    table
}
