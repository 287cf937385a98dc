//! Pipelines: do the stages fit, where can they run, and did a run deliver what was signed.
//!
//! - [`mod@check`]: stages against each other and against the source of the records; the interface of the whole.
//! - [`plan`](mod@plan): what a job needs of a node: packages, engines, memory, hardware.
//! - [`place`](mod@place): which nodes to try, best first, and in words why the others cannot.
//! - [`batch`]: a run's records split into parts, and the parts spread over several executors.
//! - [`share`]: one executor's share of a run: parts there and back, and a receipt that matches them.
//! - [`sessions`]: which shares a requester keeps open for single requests, and whose end makes room for others.
//! - [`lease`]: the executor's side of a promise: slots, whose turn it is, quotas, expiry, who may open a job.
//!
//! Everything here decides and does nothing else: no IO, clock, randomness or task. Times are arguments, of
//! any clock that the caller uses throughout; their names say the unit. Searching adapters is not here yet. Left to
//! others: fetching manifests (`sync`), who is a member (`federation`), executing (`sandbox`).

pub mod batch;
pub mod check;
pub mod lease;
pub mod place;
pub mod plan;
pub mod sessions;
pub mod share;

pub use check::{
    Feed, PipelineError, StageInfo, check, check_input, expand, fed_port, feeds, source_port,
    tighter,
};
pub use place::{Candidate, PlaceError, Placed, place};
pub use plan::{Plan, plan};
