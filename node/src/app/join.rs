//! Joining a federation by an invite.
//!
//! One join at a time, in a task that no client can stop. Whatever was done when it is cut off, doing it again with the
//! same invite goes on from there: an acceptance may be said twice, the founding and the sponsor's addresses are on disk
//! before the core is exchanged, and a node that has moved but heard of nobody yet dials its static peers
//! ([`upkeep`](super::upkeep)).

use std::sync::Arc;
use std::time::Duration;

use guildhall_core::Event;
use guildhall_gateway::ApiError;
use guildhall_protocol::PublicKey;
use guildhall_protocol::body::Acceptance;
use guildhall_protocol::record::Record;
use guildhall_protocol::statement::{Founding, Signed};
use guildhall_protocol::wire::{Invite, Request, Response};
use guildhall_store::StoredRecord;
use serde_bytes::ByteBuf;
use tracing::info;

use super::effects::Context;
use super::load::load_records;
use super::write::{OwnLog, Writer};
use super::{App, index, lock, start};
use crate::clock;
use crate::config;

/// Records of our own log that are sent along; the inviting node takes no more.
const RECORDS_MAX: usize = 1_024;

/// Bytes of them: a request less room for its frame.
const RECORDS_MAX_BYTES: usize = 900 * 1024;

/// How long the records of a federation may take to show that this org is in it.
const MEMBERSHIP_MAX: Duration = Duration::from_secs(10);

/// Time between two looks whether they do.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How far this node is with an invite's federation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Outside,
    /// It has moved in, but the records that make its org a member are not here.
    Entered,
    Member,
}

fn internal(error: impl std::fmt::Display) -> ApiError {
    ApiError::internal(error.to_string())
}

impl App {
    /// Uses an invite: writes the acceptance, asks the inviting node, and moves into its federation.
    pub(super) async fn join(self: &Arc<Self>, invite: Invite) -> Result<(), ApiError> {
        let app = Arc::clone(self);
        let joined = self.tasks.finish("join", async move { app.join_alone(&invite).await });
        joined
            .await
            .unwrap_or_else(|| Err(ApiError::unavailable("stopping", "the node is stopping")))
    }

    async fn join_alone(self: &Arc<Self>, invite: &Invite) -> Result<(), ApiError> {
        let Ok(_alone) = self.joining.try_lock() else {
            return Err(ApiError::conflict(
                "joining",
                "this node is joining a federation at this moment",
            )
            .with_help("guild status"));
        };
        let standing = self.standing(invite)?;
        let sponsor = self.overlay.dial(invite.addresses.clone()).await.map_err(|error| {
            ApiError::upstream(
                "not_reached",
                format!("the node of `{}` is not reached: {error}", invite.org),
            )
            .with_help("guild status")
        })?;
        match standing {
            // A member that knows nobody's address any more finds the others again this way.
            Standing::Member => return Ok(()),
            Standing::Entered => self.meet(sponsor, invite).await?,
            Standing::Outside => self.enter(sponsor, invite).await?,
        }
        self.relist().await?;
        self.wait_for_membership(invite).await?;
        info!(federation = %invite.federation, name = invite.name, "joined");
        Ok(())
    }

    /// How far this node is already, or why the invite cannot be used.
    fn standing(&self, invite: &Invite) -> Result<Standing, ApiError> {
        let core = self.core();
        if core.federation().id() == invite.federation {
            let is_member = core.federation().member(&core.identity().root).is_some();
            return Ok(if is_member { Standing::Member } else { Standing::Entered });
        }
        if clock::now_ms() >= invite.expires_ms {
            return Err(ApiError::failed(
                "invite_expired",
                format!("the invite has expired; ask `{}` for a new one", invite.org),
            )
            .with_help("guild invite"));
        }
        let members = core.federation().members().count();
        if members > 1 {
            return Err(ApiError::conflict(
                "in_a_federation",
                format!(
                    "this node is in `{}` with {} other orgs",
                    core.federation().name(),
                    members - 1
                ),
            )
            .with_help("guild init --org NAME --home DIR"));
        }
        Ok(Standing::Outside)
    }

    /// Moves into the invite's federation. Nothing else is published or written meanwhile: what is not on disk when the
    /// records are loaded anew would be missing, and the acceptance must be the last of the log that is sent.
    async fn enter(self: &Arc<Self>, sponsor: PublicKey, invite: &Invite) -> Result<(), ApiError> {
        let _unpublished = self.publishing.lock().await;
        let writer = self.writer().await;
        let request = Request::Join { records: self.accept(&writer, invite).await? };
        let founding = match self.request(sponsor, &request).await {
            Ok(Response::Joined { founding }) if Founding::id(&founding) == invite.federation => {
                founding
            }
            Ok(Response::Joined { .. }) => {
                return Err(ApiError::upstream(
                    "other_federation",
                    "the node answered for another federation",
                ));
            }
            Ok(Response::Refused(refusal)) => {
                return Err(
                    ApiError::failed("not_admitted", refusal.detail).with_help("guild invite")
                );
            }
            Ok(_) => {
                return Err(ApiError::upstream("bad_answer", "the node answered something else"));
            }
            Err(why) => return Err(ApiError::upstream("no_answer", why)),
        };
        let _holds: Founding = founding
            .open()
            .map_err(|error| ApiError::upstream("bad_founding", error.to_string()))?;
        self.save_federation(founding.clone(), invite).await?;
        self.move_into(founding).await?;
        self.trust(sponsor, invite).await?;
        Ok(writer.describe().await?)
    }

    /// Accepts the invite and returns the log that says so. An acceptance that is its newest record already, from a
    /// join that was cut off, is not written again.
    async fn accept(
        self: &Arc<Self>,
        writer: &Writer<'_>,
        invite: &Invite,
    ) -> Result<Vec<ByteBuf>, ApiError> {
        let log = self.own_log()?;
        let newest = log.last().and_then(|bytes| Record::open(bytes).ok());
        let accepted = newest.and_then(|record| record.body_as::<Acceptance>());
        if let Some(Ok(accepted)) = accepted
            && accepted.federation == invite.federation
            && accepted.admission == invite.admission
        {
            return Ok(log);
        }
        let acceptance = self.core().acceptance(invite);
        writer.write(OwnLog::Node, &acceptance).await?;
        self.own_log()
    }

    fn own_log(&self) -> Result<Vec<ByteBuf>, ApiError> {
        let me = self.core().identity().node.public();
        let log = self.store.records_of(&me, 0, RECORDS_MAX, RECORDS_MAX_BYTES);
        let log = log.map_err(internal)?;
        if log.len() as u64 != self.core().logs().len_of(&me) {
            return Err(ApiError::conflict(
                "log_too_long",
                "this node's log is too long to join with, or damaged",
            )
            .with_help("guild init --org NAME --home DIR"));
        }
        Ok(log.into_iter().map(|stored: StoredRecord| ByteBuf::from(stored.bytes)).collect())
    }

    /// Keeps what the next start needs: where somebody of the federation is, then which one it is.
    async fn save_federation(
        self: &Arc<Self>,
        founding: Signed,
        invite: &Invite,
    ) -> Result<(), ApiError> {
        let (home, addresses) = (self.home.clone(), invite.addresses.clone());
        config::add_peers(&mut lock(&self.static_peers), &addresses);
        let saved = tokio::task::spawn_blocking(move || {
            home.update_config(|config| config.add_peers(&addresses))?;
            home.save_founding(&founding)
        });
        saved.await.map_err(internal)?.map_err(internal)
    }

    /// Folds what is stored anew under another federation's founding.
    async fn move_into(self: &Arc<Self>, founding: Signed) -> Result<(), ApiError> {
        let config = self.home.config().map_err(internal)?;
        let (identity, addresses, can) = {
            let core = self.core();
            let settings = core.settings();
            let can = (settings.engines.clone(), settings.isolation.clone());
            (core.identity().clone(), core.addresses().to_vec(), can)
        };
        let mut core =
            start::new_core(&self.home, &config, identity, founding, can).map_err(internal)?;
        core.set_addresses(addresses);
        // What is on its way to the disk is on it when this returns.
        self.keep(&[]).await.map_err(internal)?;
        let (store, before) = (self.store.clone(), self.index());
        let loaded = tokio::task::spawn_blocking(move || {
            let (catalog, index) = index::anew(&before, &store);
            core.set_catalog(catalog);
            let effects = load_records(&store, &mut core)?;
            Ok::<_, guildhall_store::ReadError>((core, index, effects))
        });
        let (mut core, index, effects) = loaded.await.map_err(internal)?.map_err(internal)?;
        let federation = core.federation().id();
        {
            let mut before = self.core();
            core.succeed(&before);
            *before = core;
        }
        tokio::task::block_in_place(|| self.use_index(index));
        self.overlay.set_federation(federation).await;
        self.perform(effects, Context::default()).await;
        for package in self.load_packages() {
            self.drive(Event::PackageHeld(package), Context::default()).await;
        }
        self.introduce_peers().await;
        Ok(())
    }

    /// Tells a new core who is connected.
    async fn introduce_peers(self: &Arc<Self>) {
        let connected = self.overlay.peers().await;
        for info in &connected {
            self.drive(Event::Connected { peer: info.peer }, Context::default()).await;
        }
        // The news that one of them had gone may have come before it was introduced.
        let still = self.overlay.peers().await;
        for gone in
            connected.iter().filter(|info| still.iter().all(|other| other.peer != info.peer))
        {
            self.drive(Event::Disconnected { peer: gone.peer }, Context::default()).await;
        }
    }

    /// Takes part once more, after a join that was cut off behind the move.
    async fn meet(self: &Arc<Self>, sponsor: PublicKey, invite: &Invite) -> Result<(), ApiError> {
        self.trust(sponsor, invite).await?;
        Ok(self.describe().await?)
    }

    /// Trusts the sponsor until its membership is known.
    async fn trust(self: &Arc<Self>, sponsor: PublicKey, invite: &Invite) -> Result<(), ApiError> {
        let founding: Founding = self.core().federation().founding().open().map_err(internal)?;
        let effects = self.core().sponsor(sponsor, founding.root, invite.org.clone());
        self.perform(effects, Context::default()).await;
        Ok(())
    }

    /// Waits until the records have come that make this org a member in its own eyes.
    async fn wait_for_membership(&self, invite: &Invite) -> Result<(), ApiError> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let arrived = tokio::time::timeout(MEMBERSHIP_MAX, async {
            loop {
                looks.tick().await;
                let core = self.core();
                if core.federation().member(&core.identity().root).is_some() {
                    return;
                }
            }
        });
        arrived.await.map_err(|_| {
            ApiError::unavailable(
                "records_pending",
                format!("`{}` let this org in, but its records have not come yet", invite.org),
            )
            .with_help("guild status")
        })
    }
}
