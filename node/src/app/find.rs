//! What the node answers to questions around finding and judging. What the core cannot do yet is refused here, in one
//! place for each.

use std::sync::Arc;

use guildhall_gateway::{Answer, ApiError};
use guildhall_protocol::api::{
    CategoryCount, Ranking, Reindexed, ReviewRequest, ReviewShown, SearchAnswer, YankRequest,
    Yanked,
};
use guildhall_protocol::query::Query;

use super::App;

/// The code of what is not built.
const NOT_YET: &str = "not_yet";

impl App {
    /// `POST /search` and `GET /search?q=`.
    pub(super) async fn search(self: &Arc<Self>, query: Query) -> Answer<SearchAnswer> {
        query.check().map_err(|error| ApiError::invalid("bad_query", error.to_string()))?;
        let (query_id, found) = self.ask(query).await?;
        Ok(SearchAnswer {
            query_id,
            total: found.results.len() as u64,
            results: found.results,
            via: found.via,
            asked: found.asked,
            answered: found.answered,
            holders: found.holders,
            notes: found.notes,
            next: None,
            nodes: Vec::new(),
            age_s: None,
            facets: Vec::new(),
            did_you_mean: Vec::new(),
            nearest: Vec::new(),
            excluded: Vec::new(),
        })
    }

    /// `GET /categories`: those in use, since there is no vocabulary that others could be missing from.
    pub(super) fn categories(&self) -> Vec<CategoryCount> {
        let counts = self.core().catalog().category_counts();
        let count = |(category, listings): (_, usize)| CategoryCount {
            category,
            listings: listings as u64,
            known: true,
            description: String::new(),
        };
        counts.into_iter().map(count).collect()
    }

    /// `POST /reviews`.
    pub(super) async fn review(&self, _request: ReviewRequest) -> Answer<ReviewShown> {
        not_yet("review")
    }

    /// `POST /yanks`.
    pub(super) async fn yank(&self, _request: YankRequest) -> Answer<Yanked> {
        not_yet("yank")
    }

    /// `GET /ranking`.
    pub(super) async fn ranking(&self) -> Answer<Ranking> {
        not_yet("say how it ranks")
    }

    /// `PUT /ranking`.
    pub(super) async fn set_ranking(&self, _change: Ranking) -> Answer<Ranking> {
        not_yet("rank in another way")
    }

    /// `POST /store/reindex`.
    pub(super) async fn reindex(&self) -> Answer<Reindexed> {
        not_yet("build its catalogue anew while it is up")
    }
}

fn not_yet<T>(what: &str) -> Answer<T> {
    Err(ApiError::unavailable(NOT_YET, format!("this node cannot {what} yet")))
}
