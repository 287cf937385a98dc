//! Requests around finding and judging.

use guildhall_protocol::api::{
    CategoryCount, DemandReport, Detail, ListRequest, Notice, Published, Ranking, Reindexed,
    ReviewRequest, ReviewShown, SearchAnswer, Subscriptions, Unlisted, YankRequest, Yanked,
};
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::Query;
use reqwest::Method;

use crate::client::{Client, json};
use crate::error::Error;

impl Client {
    /// `POST /search`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn search(&self, query: &Query) -> Result<SearchAnswer, Error> {
        self.send(Method::POST, "search", query).await
    }

    /// `GET /search?q=`: a query as people type it, see [`Query::read`]. The node reads it; what concerns the answer
    /// alone, as pages and facets, only [`search`](Self::search) asks for.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn search_typed(&self, shorthand: &str) -> Result<SearchAnswer, Error> {
        let request = self.request(Method::GET, "search").query(&[("q", shorthand)]);
        json(self.answer(request).await?).await
    }

    /// `GET /show?ref=`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn show(&self, reference: &Reference) -> Result<Detail, Error> {
        let request = self.request(Method::GET, "show").query(&[("ref", reference)]);
        json(self.answer(request).await?).await
    }

    /// `GET /categories`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn categories(&self) -> Result<Vec<CategoryCount>, Error> {
        self.get("categories").await
    }

    /// `GET /reviews?ref=`: what orgs say of a package, the newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reviews(&self, reference: &Reference) -> Result<Vec<ReviewShown>, Error> {
        let request = self.request(Method::GET, "reviews").query(&[("ref", reference)]);
        json(self.answer(request).await?).await
    }

    /// `POST /reviews`: what the node's org thinks of a package.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn review(&self, request: &ReviewRequest) -> Result<ReviewShown, Error> {
        self.send(Method::POST, "reviews", request).await
    }

    /// `POST /yanks`: takes a version of the node's org back.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn yank(&self, request: &YankRequest) -> Result<Yanked, Error> {
        self.send(Method::POST, "yanks", request).await
    }

    /// `GET /unlisted`: what was published at the node without a listing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn unlisted(&self) -> Result<Vec<Unlisted>, Error> {
        self.get("unlisted").await
    }

    /// `POST /list`: lists one of them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list(&self, request: &ListRequest) -> Result<Published, Error> {
        self.send(Method::POST, "list", request).await
    }

    /// `GET /demand`: what was asked for and led to nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn demand(&self) -> Result<DemandReport, Error> {
        self.get("demand").await
    }

    /// `PUT /demand/subscriptions`: the report afterwards.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn subscribe(&self, subscriptions: &Subscriptions) -> Result<DemandReport, Error> {
        self.send(Method::PUT, "demand/subscriptions", subscriptions).await
    }

    /// `GET /ranking`: how the node's org ranks.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ranking(&self) -> Result<Ranking, Error> {
        self.get("ranking").await
    }

    /// `PUT /ranking`: the whole of it afterwards. A change that names nothing puts everything back to what it was at
    /// first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_ranking(&self, change: &Ranking) -> Result<Ranking, Error> {
        self.send(Method::PUT, "ranking", change).await
    }

    /// `GET /notices`: what concerns content at the node, the newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn notices(&self) -> Result<Vec<Notice>, Error> {
        self.get("notices").await
    }

    /// `POST /store/reindex`: builds the catalogue from the records, and returns when it is in use.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reindex(&self) -> Result<Reindexed, Error> {
        json(self.answer(self.request(Method::POST, "store/reindex")).await?).await
    }
}
