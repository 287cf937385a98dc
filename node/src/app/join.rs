//! Joining a federation by an invite.

use std::sync::Arc;
use std::time::Duration;

use guildhall_core::Event;
use guildhall_gateway::ApiError;
use guildhall_protocol::statement::Founding;
use guildhall_protocol::wire::{Invite, Request, Response};
use guildhall_protocol::PublicKey;
use guildhall_store::StoredRecord;
use serde_bytes::ByteBuf;
use tracing::info;

use super::effects::Context;
use super::{App, start};
use crate::clock;

/// Records of our own log that are sent along; the inviting node takes no more.
const RECORDS_MAX: usize = 1_024;

/// Bytes of them: a request less room for its frame.
const RECORDS_MAX_BYTES: usize = 900 * 1024;

/// How long the records of a federation may take to show that this org is in it.
const MEMBERSHIP_MAX: Duration = Duration::from_secs(10);

/// Time between two looks whether they do.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl App {
    /// Uses an invite: writes the acceptance, asks the inviting node, and moves into its federation.
    pub(super) async fn join(self: &Arc<Self>, invite: &Invite) -> Result<(), ApiError> {
        let is_new = self.may_join(invite)?;
        let sponsor = self.overlay.dial(invite.addresses.clone()).await.map_err(|error| {
            ApiError::upstream("not_reached", format!("the node of `{}` is not reached: {error}", invite.org))
                .with_help("guild status")
        })?;
        if !is_new {
            // A member that knows nobody's address any more finds the others again this way.
            return Ok(());
        }
        let acceptance = self.core().acceptance(invite);
        self.write(|core| core.write_as_node(&acceptance, clock::now_ms()))
            .await
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let request = Request::Join { records: self.own_log()? };
        let founding = match self.request(sponsor, &request).await {
            Ok(Response::Joined { founding }) if Founding::id(&founding) == invite.federation => founding,
            Ok(Response::Joined { .. }) => {
                return Err(ApiError::upstream("other_federation", "the node answered for another federation"));
            }
            Ok(Response::Refused(refusal)) => {
                return Err(ApiError::failed("not_admitted", refusal.detail)
                    .with_help("guild invite"));
            }
            Ok(_) => return Err(ApiError::upstream("bad_answer", "the node answered something else")),
            Err(why) => return Err(ApiError::upstream("no_answer", why)),
        };
        let opened: Founding = founding
            .open()
            .map_err(|error| ApiError::upstream("bad_founding", error.to_string()))?;
        self.home.save_founding(&founding).map_err(|error| ApiError::internal(error.to_string()))?;
        self.move_into(founding).await?;
        self.meet(sponsor, opened, invite).await?;
        self.wait_for_membership(invite).await?;
        info!(federation = %invite.federation, name = invite.name, "joined");
        Ok(())
    }

    /// Whether there is anything to do: not when the node is in this federation already.
    fn may_join(&self, invite: &Invite) -> Result<bool, ApiError> {
        if clock::now_ms() >= invite.expires_ms {
            return Err(ApiError::failed("invite_expired", format!("the invite has expired; ask `{}` for a new one", invite.org))
                .with_help("guild invite"));
        }
        let core = self.core();
        if core.federation().id() == invite.federation {
            return Ok(false);
        }
        let members = core.federation().members().count();
        if members > 1 {
            return Err(ApiError::conflict(
                "in_a_federation",
                format!("this node is in `{}` with {} other orgs", core.federation().name(), members - 1),
            )
            .with_help("guild init --org NAME --home DIR"));
        }
        Ok(true)
    }

    fn own_log(&self) -> Result<Vec<ByteBuf>, ApiError> {
        let me = self.core().identity().node.public();
        let log = self.store.records_of(&me, 0, RECORDS_MAX, RECORDS_MAX_BYTES);
        let log = log.map_err(|error| ApiError::internal(error.to_string()))?;
        if log.len() as u64 != self.core().logs().len_of(&me) {
            return Err(ApiError::conflict("log_too_long", "this node's log is too long to join with")
                .with_help("guild init --org NAME --home DIR"));
        }
        Ok(log.into_iter().map(|stored: StoredRecord| ByteBuf::from(stored.bytes)).collect())
    }

    /// Folds what is stored anew under another federation's founding.
    async fn move_into(
        self: &Arc<Self>,
        founding: guildhall_protocol::statement::Signed,
    ) -> Result<(), ApiError> {
        let internal = |error: start::StartError| ApiError::internal(error.to_string());
        let config = self.home.config().map_err(|error| ApiError::internal(error.to_string()))?;
        let (identity, addresses, isolation) = {
            let core = self.core();
            (core.identity().clone(), core.addresses().to_vec(), core.settings().isolation.clone())
        };
        let mut core = start::new_core(&self.home, &config, identity, founding, isolation).map_err(internal)?;
        core.set_addresses(addresses);
        let effects = start::load_records(&self.store, &mut core).map_err(internal)?;
        let federation = core.federation().id();
        *self.core() = core;
        self.overlay.set_federation(federation).await;
        self.perform(effects, Context::default()).await;
        for package in self.load_packages() {
            self.drive(Event::PackageHeld(package), Context::default()).await;
        }
        Ok(())
    }

    /// Takes part: trusts the sponsor, says who this node is, lists again what it has listed.
    async fn meet(
        self: &Arc<Self>,
        sponsor: PublicKey,
        founding: Founding,
        invite: &Invite,
    ) -> Result<(), ApiError> {
        let internal = |error: super::WriteError| ApiError::internal(error.to_string());
        let effects = self.core().sponsor(sponsor, founding.root, invite.org.clone());
        self.perform(effects, Context::default()).await;
        self.describe().await.map_err(internal)?;
        for listing in self.own_listings() {
            self.write(|core| core.write_as_producer(&listing, clock::now_ms())).await.map_err(internal)?;
        }
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

    /// This org's listings as they have to read in the federation it is in now.
    fn own_listings(&self) -> Vec<guildhall_protocol::body::Listing> {
        use guildhall_protocol::body::Listing;
        let (producer, federation) = {
            let core = self.core();
            (core.identity().producer.public(), core.federation().id())
        };
        let mut listings = std::collections::BTreeMap::new();
        let mut from_seq = 0;
        while let Ok(page) = self.store.records_of(&producer, from_seq, RECORDS_MAX, RECORDS_MAX_BYTES) {
            let Some(last) = page.last() else { break };
            from_seq = last.seq + 1;
            for stored in page {
                let record = guildhall_protocol::record::Record::open(&stored.bytes).ok();
                if let Some(Ok(listing)) = record.and_then(|record| record.body_as::<Listing>()) {
                    let key = (listing.release.name.clone(), listing.release.version.clone());
                    listings.insert(key, Listing { federation, ..listing });
                }
            }
        }
        listings.into_values().collect()
    }
}
