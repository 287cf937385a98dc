//! Keys with two writers: the proof is written where both sides are seen, and people hear of it.

use std::sync::Arc;

use futures::future::BoxFuture;
use guildhall_protocol::api::Notice;
use guildhall_protocol::body::Forked;
use guildhall_protocol::record::Record;
use guildhall_sync::Contradiction;
use tracing::{error, warn};

use super::App;
use super::write::OwnLog;
use crate::clock;

/// What a notice of this is called.
const NOTICE_KIND: &str = "fork";

impl App {
    /// Writes the proof that a key has two writers.
    pub(super) fn prove_fork(self: &Arc<Self>, found: Contradiction) {
        let app = Arc::clone(self);
        // Boxed, because writing a record carries out effects, of which this is one.
        let written: BoxFuture<'static, ()> = Box::pin(async move {
            let Some(ours) = app.side_here(&found).await else {
                warn!(
                    seq = found.seq,
                    "a fork is not proven: the record that is here cannot be read"
                );
                return;
            };
            let proof = app.core().fork_proof(&ours, &found.theirs);
            if let Some(proof) = proof
                && let Err(error) = app.write(OwnLog::Node, proof).await
            {
                error!(%error, "a fork is not proven to others");
            }
        });
        self.tasks.spawn("prove-fork", written);
    }

    /// The record that stands where another one contradicts it.
    async fn side_here(&self, found: &Contradiction) -> Option<Record> {
        if let Some(ours) = &found.ours {
            return Some(ours.as_ref().clone());
        }
        // It may still be on its way to the disk.
        self.keep(&[]).await.ok()?;
        let (store, author, seq) = (self.store.clone(), found.theirs.header().author, found.seq);
        let read =
            tokio::task::spawn_blocking(move || store.records_of(&author, seq, 1, usize::MAX));
        let rows = read.await.ok()?.ok()?;
        let row = rows.into_iter().next().filter(|row| row.seq == seq)?;
        Record::open(&row.bytes).ok()
    }

    /// Tells the people here that a key counts no more, and what to do if it is their own.
    pub(super) fn handle_quarantined(self: &Arc<Self>, forked: &Forked) {
        let (org, is_own) = {
            let core = self.core();
            let org = core.federation().member(&forked.root).map(|member| member.org.to_string());
            (
                org.unwrap_or_else(|| "an org that is no member".to_owned()),
                core.identity().root == forked.root,
            )
        };
        let key = forked.author;
        let text = match is_own {
            true => format!(
                "The key {key} of this org was used by two writers, from record {} on. Nothing that it listed counts any \
                 more. Make sure that no copy of its home runs elsewhere, then give the node new keys: guild node renew --new-keys",
                forked.seq
            ),
            false => format!(
                "The key {key} of {org} was used by two writers, from record {} on. What it listed is not shown until \
                 {org} lists it under another key.",
                forked.seq
            ),
        };
        self.notify(Notice {
            kind: NOTICE_KIND.to_owned(),
            reference: None,
            text,
            time_ms: clock::now_ms(),
        });
    }
}
