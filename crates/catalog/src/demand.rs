//! What people look for and do not get: [`Watch`] counts it at one node, [`Aggregate`] adds up what the orgs report.
//!
//! A query is *unmet* when it found nothing, or when nothing came of it (a package fetched, run, or put into a pipeline)
//! within an hour of its id. What is counted of it is its [`Need`]: category, kind, and the families of the types on its
//! two sides. Neither text nor who asked gets into a count, and what is saved or published is counts alone. The same
//! query again within the hour counts once, so that one impatient person is no demand.
//!
//! Once a day, needs that were missed [`LEAST`] times or more are published, rounded down to a power of two. Fewer are
//! withheld until there are enough of them; what is withheld for a week is left out for good, though it stays in the
//! node's own report. A category that somebody made up can be words too, so the caller says as what each is told: itself
//! or one that it lies in. A need that names neither category nor kind nor type is nothing that anybody could make, and
//! is never published.
//!
//! Invariants: every query that is taken in is open, met, counted, or dropped, and never two of these. All that grows
//! has a bound, named beside it. There is no clock here: time is an argument, and one that was set back loses queries
//! rather than counting them twice. Whose record counts is decided by others (`federation`, `core`).

mod aggregate;
mod need;
mod tally;
mod watch;

pub use aggregate::{Aggregate, Missed, REPORTED_MS, Source};
pub use need::Need;
pub use tally::{KINDS_MAX, PERIOD_MS, Period, Report, Saved, WITHHELD_MS};
pub use watch::{OPEN_MAX, OPEN_MS, Watch};

/// Fewest queries of one kind that are published: what fewer asked for could be one person's secret.
pub const LEAST: u32 = 3;
