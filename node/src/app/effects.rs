//! Carrying out what the core decided.

use std::sync::Arc;

use futures::future::BoxFuture;
use guildhall_core::{CallId, Effect, Event, GossipId, ReplyId, Verdict};
use guildhall_overlay::{self as overlay, GossipToken, PublishOutcome, Reply};
use guildhall_protocol::body::Confirmation;
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::{Request, Response, decode_message};
use guildhall_protocol::{Hash, PublicKey, cbor};
use tracing::{debug, error, warn};

use super::allowance::Asker;
use super::answers::{self, listing_records, page_of};
use super::write::OwnLog;
use super::{App, lock};

/// What the effects of one event answer to. Every request and gossip message is answered by the event it causes.
#[derive(Default)]
pub(super) struct Context {
    reply: Option<Reply>,
    /// Who asked.
    asker: Option<Asker>,
    gossip: Option<GossipToken>,
}

impl Context {
    pub(super) fn of_request(reply: Reply, asker: Asker) -> (ReplyId, Self) {
        (ReplyId(0), Self { reply: Some(reply), asker: Some(asker), gossip: None })
    }

    pub(super) fn of_gossip(token: GossipToken) -> (GossipId, Self) {
        (GossipId(0), Self { reply: None, asker: None, gossip: Some(token) })
    }

    fn answer(&mut self, response: &Response) {
        if let Some(reply) = self.reply.take() {
            answers::send(reply, response);
        }
    }
}

impl App {
    pub(super) async fn perform(self: &Arc<Self>, effects: Vec<Effect>, mut context: Context) {
        for effect in effects {
            self.perform_one(effect, &mut context).await;
        }
    }

    async fn perform_one(self: &Arc<Self>, effect: Effect, context: &mut Context) {
        match effect {
            Effect::Call { call, peer, request } => self.call(call, peer, request),
            Effect::Respond { response, .. } => context.answer(&response),
            Effect::HoldOffer { peer, root, offer, not_now, .. } => {
                if let Some(reply) = context.reply.take() {
                    self.hold_offer(reply, (peer, root), offer, not_now.refusal);
                }
            }
            Effect::RespondRecords { author, from_seq, follows, .. } => {
                if let Some(reply) = context.reply.take() {
                    self.answer_from_store(reply, context.asker, move |store| {
                        page_of(store, author, from_seq, &follows)
                    });
                }
            }
            Effect::RespondListings { listings, .. } => {
                if let Some(reply) = context.reply.take() {
                    self.answer_from_store(reply, context.asker, move |store| {
                        listing_records(store, &listings)
                    });
                }
            }
            Effect::Verdict { verdict, .. } => {
                if let Some(token) = context.gossip.take() {
                    self.overlay.verdict(token, to_overlay(verdict)).await;
                }
            }
            Effect::Store(records) => self.keeper.push(records).await,
            Effect::Publish(record) => match self.overlay.publish(record.bytes().to_vec()).await {
                Ok(PublishOutcome::NoPeers) => debug!("no peer listens; records spread on connect"),
                Ok(_) => {}
                Err(error) => warn!(%error, "a record was not gossiped; peers will pull it"),
            },
            Effect::Tell(demand) => self.tell_demand(demand),
            Effect::Demanded { org, news } => self.handle_demanded(&org, &news),
            Effect::ProveFork(found) => self.prove_fork(found),
            Effect::Quarantined(forked) => self.handle_quarantined(&forked),
            Effect::Confirm(confirmation) => self.confirm(confirmation),
            Effect::Admit { peer, org } => {
                self.overlay.admit(peer, org).await;
                self.admitted.send_replace(());
            }
            Effect::Expel { peer } => self.overlay.expel(peer).await,
            Effect::ForgetOrg { org } => self.overlay.forget_org(org).await,
            Effect::SetKnown { peer, addresses } => self.overlay.set_known(peer, addresses).await,
            Effect::Dial { peer, addresses } => self.dial(peer, addresses),
            Effect::Withdraw(key) => self.overlay.stop_providing(key).await,
            Effect::Provide(key) => {
                if let Err(error) = self.overlay.provide(key).await {
                    warn!(%error, "the DHT does not hear of something that is here");
                }
            }
            Effect::FindHolders { ask, keys } => self.find_holders(ask, keys),
            Effect::Answer { ask, found } => {
                if let Some(waiting) = lock(&self.asks).remove(&ask) {
                    // Who asked may have gone away.
                    let _gone = waiting.send(Ok(*found));
                }
            }
            Effect::NoPage { ask, why } => {
                if let Some(waiting) = lock(&self.asks).remove(&ask) {
                    let _gone = waiting.send(Err(why));
                }
            }
            Effect::Yanked { reference, yank, time_ms } => {
                self.handle_yanked(reference, &yank, time_ms);
            }
            Effect::Note(text) => warn!("{text}"),
        }
    }

    /// Lets an org in by writing that its acceptance is confirmed.
    fn confirm(self: &Arc<Self>, confirmation: Confirmation) {
        let app = Arc::clone(self);
        // Boxed, because writing a record carries out effects, of which this is one.
        let written: BoxFuture<'static, ()> = Box::pin(async move {
            if let Err(error) = app.write(OwnLog::Node, confirmation).await {
                error!(%error, "an org that may come in is not confirmed; it has to ask again");
            }
        });
        self.tasks.spawn("confirm", written);
    }

    /// Puts records on disk, behind those that are on their way there.
    pub(super) async fn keep(&self, records: &[Record]) -> Result<(), guildhall_store::WriteError> {
        self.keeper.keep(records.to_vec()).await
    }

    fn call(self: &Arc<Self>, call: CallId, peer: PublicKey, request: Request) {
        let app = Arc::clone(self);
        self.tasks.spawn("call", async move {
            let result = app.request(peer, &request).await;
            app.post(Event::Response { call, result }).await;
        });
    }

    /// Sends a request and waits for its response.
    pub(super) async fn request(
        &self,
        peer: PublicKey,
        request: &Request,
    ) -> Result<Response, String> {
        // Hellos have turns of their own: strangers that do not answer them must not hold up the members.
        let turns = if matches!(request, Request::Hello(_)) { &self.hellos } else { &self.calls };
        let Ok(_turn) = turns.acquire().await else {
            return Err("the node is stopping".to_owned());
        };
        let bytes = self.overlay.request(peer, cbor::encode(request)).await;
        let bytes = bytes.map_err(|error| error.to_string())?;
        decode_message(&bytes).map_err(|error| error.to_string())
    }

    fn dial(self: &Arc<Self>, peer: PublicKey, addresses: Vec<String>) {
        let app = Arc::clone(self);
        self.tasks.spawn("dial", async move {
            let Ok(_turn) = app.calls.acquire().await else { return };
            if let Err(error) = app.overlay.dial(addresses).await {
                debug!(%error, peer = overlay::peer_id_string(&peer), "not reached");
            }
        });
    }

    fn find_holders(self: &Arc<Self>, ask: Hash, keys: Vec<Hash>) {
        let app = Arc::clone(self);
        self.tasks.spawn("find-holders", async move {
            let peers = app.providers(&keys).await;
            app.post(Event::Holders { ask, peers }).await;
        });
    }

    /// Everybody who says in the DHT that they have one of these keys.
    pub(super) async fn providers(&self, keys: &[Hash]) -> Vec<PublicKey> {
        let lookups = keys.iter().map(|key| self.overlay.find_providers(*key));
        let mut peers = Vec::new();
        for result in futures::future::join_all(lookups).await {
            match result {
                Ok(found) => peers.extend(found),
                Err(error) => debug!(%error, "a lookup in the DHT failed"),
            }
        }
        peers.sort_unstable();
        peers.dedup();
        peers
    }
}

const fn to_overlay(verdict: Verdict) -> overlay::Verdict {
    match verdict {
        Verdict::Accept => overlay::Verdict::Accept,
        Verdict::Reject => overlay::Verdict::Reject,
        Verdict::Ignore => overlay::Verdict::Ignore,
    }
}
