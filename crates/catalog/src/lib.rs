//! The catalogue: what a node knows of the federation's content, and which of it answers a query.
//!
//! It is a fold over listings and can be rebuilt from them at any time: the same listings in any order make the same
//! [`Catalog`] ([`entry`] says which listing wins). Answers explain themselves: a score of [`mod@rank`] is the sum of terms,
//! and each term says in words what was compared with what.
//!
//! Left to others: whether a record's signatures hold and its org is a member (`federation`), who may see a listing
//! (the caller inserts only what its org may see), and asking other nodes (`core`). There is no IO, clock or randomness
//! here, and no task: the catalogue is owned by whoever holds the node's state.
//!
//! A search works on sets of numbered rows: [`Row`](row)s keep what is filtered and ranked by, bitmaps say which rows
//! have which value, a [`TextIndex`](text::TextIndex) finds words. The listings themselves are read for the results
//! that are shown, from memory or from the [`Shelf`] that the caller gave.

mod alike;
mod catalog;
mod companions;
mod correct;
mod criteria;
pub mod demand;
pub mod entry;
mod facets;
mod filter;
mod judge;
mod listings;
mod misses;
mod names;
mod nearest;
mod opinions;
mod range;
pub mod rank;
mod resolve;
mod row;
mod search;
mod sets;
mod slot;
mod snapshot;
pub mod text;
pub mod words;

pub use catalog::{Catalog, PER_ORG_MAX};
pub use criteria::Place;
pub use entry::{Entry, Inserted};
pub use facets::FACET_VALUES_MAX;
pub use filter::matches;
pub use listings::{RESIDENT_MAX, Shelf};
pub use opinions::{COUNTED_MAX, REVIEWED_MAX, Reviewed, YANKS_MAX, Yanked};
pub use resolve::{Brief, ResolveError, Shown};
pub use search::{Answer, Asked, Page};
pub use slot::{AUTHORS_MAX, PACKAGES_MAX};
pub use snapshot::RestoreError;
