//! The task that drives the node: overlay events, answers and time go into the core, effects come out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use guildhall_core::Event;
use guildhall_overlay::{self as overlay, Events, Reply};
use guildhall_protocol::wire::{Reason, Refusal, Request, Response, decode_message};
use guildhall_protocol::{PublicKey, cbor};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info};

use super::App;
use super::effects::Context;
use super::freshness::Missed;
use crate::clock;

/// Time between two ticks of the core, which counts in them.
const TICK: Duration = Duration::from_secs(1);

/// Answers to this node that are handled before what a peer wants gets a turn: while a thousand pages are pulled,
/// others still want theirs, and gossip its verdict within seconds.
const IN_A_ROW_MAX: u32 = 8;

/// Runs until the node is told to stop or the overlay ends.
pub(super) async fn run(app: Arc<App>, mut events: Events, mut inbox: mpsc::Receiver<Event>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed = Missed::from(clock::steady_ms());
    let mut in_a_row = 0;
    loop {
        tokio::select! {
            biased;
            () = app.tasks.token().cancelled() => return,
            // Peers come last: however much they send, time passes, and what was asked is answered.
            _ = ticks.tick() => {
                app.drive(Event::Tick, Context::default()).await;
                app.tell_stale();
                let tick_ms = u64::try_from(TICK.as_millis()).unwrap_or(u64::MAX);
                if let Some(ms) = missed.tick(clock::steady_ms(), tick_ms) {
                    app.drive(Event::Missed { ms }, Context::default()).await;
                }
            }
            event = inbox.recv(), if in_a_row < IN_A_ROW_MAX => match event {
                Some(event) => {
                    in_a_row += 1;
                    app.drive(event, Context::default()).await;
                }
                None => return,
            },
            event = events.next() => match event {
                Some(event) => {
                    in_a_row = 0;
                    app.handle_overlay(event).await;
                }
                None => return,
            },
            // No peer waits for the turn that it would have.
            () = std::future::ready(()), if in_a_row == IN_A_ROW_MAX => in_a_row = 0,
        }
    }
}

impl App {
    /// Lets the core decide about an event, and carries out what it decided.
    pub(super) async fn drive(self: &Arc<Self>, event: Event, context: Context) {
        let effects = self.core().handle(clock::now_ms(), event);
        self.perform(effects, context).await;
    }

    /// Hands an event to the driving task; for tasks that were started by it.
    pub(super) async fn post(&self, event: Event) {
        if self.events.send(event).await.is_err() {
            debug!("an event came after the node stopped");
        }
    }

    /// Answers a request, unless whoever asks has asked for too much lately.
    async fn answer(self: &Arc<Self>, peer: PublicKey, reply: Reply, request: Request) {
        let root = self.core().authority(&peer).map(|authority| authority.root);
        let asker = root.unwrap_or(peer);
        let begun = Instant::now();
        let is_hello = matches!(request, Request::Hello(_));
        if !is_hello && let Err(refusal) = self.allowances.check(&asker, begun) {
            debug!(peer = overlay::peer_id_string(&peer), "asks for too much");
            let _gone = reply.send(cbor::encode(&Response::Refused(refusal)));
            return;
        }
        let (reply, context) = Context::of_request(reply, asker);
        self.drive(Event::Request { peer, reply, request }, context).await;
        if !is_hello {
            self.allowances.charge(asker, begun.elapsed(), Instant::now());
        }
    }

    async fn handle_overlay(self: &Arc<Self>, event: overlay::Event) {
        match event {
            overlay::Event::Listening { address } => {
                info!(address, "listening");
                let addresses = self.overlay.addresses().await;
                self.core().set_addresses(addresses);
                // Not here: whoever writes at this moment may wait for what this task delivers.
                let app = Arc::clone(self);
                self.tasks.spawn("describe", async move {
                    if let Err(error) = app.describe().await {
                        tracing::error!(%error, "the node's new address is not announced");
                    }
                });
            }
            overlay::Event::Connected { peer, address, inbound } => {
                info!(peer = overlay::peer_id_string(&peer), address, inbound, "connected");
                self.drive(Event::Connected { peer }, Context::default()).await;
            }
            overlay::Event::Disconnected { peer } => {
                info!(peer = overlay::peer_id_string(&peer), "disconnected");
                self.replicas.handle_gone(&peer);
                self.drive(Event::Disconnected { peer }, Context::default()).await;
            }
            overlay::Event::Gossip { from, token, bytes } => {
                let (message, context) = Context::of_gossip(token);
                self.drive(Event::Gossip { from, message, bytes }, context).await;
            }
            overlay::Event::Request { peer, bytes, reply, .. } => {
                match decode_message::<Request>(&bytes) {
                    Ok(request) => self.answer(peer, reply, request).await,
                    Err(error) => {
                        debug!(%error, peer = overlay::peer_id_string(&peer), "bad request");
                        let refusal = Refusal::new(Reason::Invalid, error.to_string());
                        // The peer may be gone; then nobody misses the answer.
                        let _gone = reply.send(cbor::encode(&Response::Refused(refusal)));
                    }
                }
            }
            overlay::Event::Stream { peer, kind, stream } => self.take_stream(peer, kind, stream),
            _ => {}
        }
    }
}
