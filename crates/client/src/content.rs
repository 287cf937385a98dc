//! Requests around content: what is being moved, what the store keeps, why a package was refused.

use guildhall_protocol::PackageId;
use guildhall_protocol::api::{
    BackupMade, BackupRequest, FetchRequest, Fetched, GcReport, GcRequest, HeldPackage,
    ScrubReport, ScrubRequest, StoreReport, TestLog, Transfer,
};
use reqwest::Method;

use crate::client::{Client, json};
use crate::error::Error;

impl Client {
    /// `POST /fetch` as the request says: some files, because of some query. Returns when they are complete at the node.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn fetch_some(&self, request: &FetchRequest) -> Result<Fetched, Error> {
        self.send(Method::POST, "fetch", request).await
    }

    /// `GET /transfers`: packages that the node is fetching.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn transfers(&self) -> Result<Vec<Transfer>, Error> {
        self.get("transfers").await
    }

    /// `GET /tests`: refused publications, newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tests(&self) -> Result<Vec<TestLog>, Error> {
        self.get("tests").await
    }

    /// `GET /store`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn store(&self) -> Result<StoreReport, Error> {
        self.get("store").await
    }

    /// `GET /store/packages`: packages that the node holds in full, the largest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn held(&self) -> Result<Vec<HeldPackage>, Error> {
        self.get("store/packages").await
    }

    /// `PUT /store/pins/{id}`, or `DELETE` to let go of it.
    ///
    /// # Errors
    /// [`Error`]; a package that is not at the node in full is not found.
    pub async fn set_pin(&self, package: PackageId, pinned: bool) -> Result<HeldPackage, Error> {
        let method = if pinned { Method::PUT } else { Method::DELETE };
        json(self.answer(self.request(method, &format!("store/pins/{package}"))).await?).await
    }

    /// `POST /store/gc`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn collect(&self, request: &GcRequest) -> Result<GcReport, Error> {
        self.send(Method::POST, "store/gc", request).await
    }

    /// `POST /store/scrub`: returns when everything was looked at.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn scrub(&self, request: &ScrubRequest) -> Result<ScrubReport, Error> {
        self.send(Method::POST, "store/scrub", request).await
    }

    /// `POST /store/backup`: returns when the copy is complete.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn backup(&self, request: &BackupRequest) -> Result<BackupMade, Error> {
        self.send(Method::POST, "store/backup", request).await
    }
}
