//! The catalogue: what a node knows of the federation's content, and which of it answers a query.
//!
//! It is a fold over listings and can be rebuilt from them at any time: the same listings in any order make the same
//! [`Catalog`] ([`entry`] says which listing wins). Answers explain themselves: a score of [`mod@rank`] is the sum of terms,
//! and each term says in words what was compared with what.
//!
//! Left to others: whether a record's signatures hold and its org is a member (`federation`), who may see a listing
//! (the caller passes a predicate to [`Catalog::search_where`]), how many listings one org may have (the store's
//! quota; the catalogue holds what it is given), and asking other nodes (`core`). There is no IO, clock or randomness
//! here, and no task: the catalogue is owned by whoever holds the node's state.
//!
//! A search reads posting lists of words and categories kept in ordered maps, then checks every candidate. That is
//! enough for some hundred thousand listings; for millions, bitmaps and a text engine can take the place of the
//! private `index` module, which is the only one that knows how candidates are found.

mod catalog;
pub mod demand;
pub mod entry;
mod filter;
mod index;
mod nearest;
mod old_words;
pub mod rank;
pub mod text;
pub mod words;

pub use catalog::{Catalog, ResolveError, Shown};
pub use entry::{Entry, Inserted};
pub use filter::matches;
pub use rank::rank;
