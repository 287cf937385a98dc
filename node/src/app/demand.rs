//! What is missed: telling the core what is used, keeping its counts over a restart, and telling the keeper of demand in
//! the categories that the org subscribed to.
//!
//! What is kept and told are counts; who asked is known to nobody here.

use std::sync::Arc;
use std::time::Duration;

use guildhall_catalog::demand::{Need, Saved};
use guildhall_core::{Core, Event};
use guildhall_gateway::{Answer, ApiError};
use guildhall_protocol::api::{DemandReport, Notice, Subscriptions};
use guildhall_protocol::body::{Demand, Unmet};
use guildhall_protocol::limits::FOLLOWS_MAX;
use guildhall_protocol::name::{CategoryPrefix, OrgName};
use guildhall_protocol::{Hash, PackageId, cbor};
use guildhall_store::{Batch, Collection, Store};
use tokio::time::MissedTickBehavior;
use tracing::{error, warn};

use super::effects::Context;
use super::write::OwnLog;
use super::{App, lock};
use crate::clock;

/// The kind of notices that tell of demand.
const NOTICE_KIND: &str = "demand";

/// Under this key of the identity collection stand the counts.
const DEMAND_KEY: &[u8] = b"demand";

/// How often changed counts are written: what is lost when the power fails.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Longest document, bytes: four times what the counts have, each with a long category.
const SAVED_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Needs that a notice names; the others are counted.
const NAMED_MAX: usize = 3;

/// Lets a core go on counting from what was kept. Called before it sees the records.
pub(super) fn restore(store: &Store, core: &mut Core) {
    match store.document(Collection::Identity, DEMAND_KEY) {
        Ok(None) => {}
        Ok(Some(bytes)) => match cbor::decode::<Saved>(&bytes, SAVED_MAX_BYTES) {
            Ok(saved) => core.restore_demand(saved),
            Err(error) => warn!(%error, "what was missed is counted anew"),
        },
        Err(error) => warn!(%error, "what was missed is counted anew"),
    }
}

/// Keeps the counts, now and then and at the end; until the node is told to stop.
pub(super) async fn run(app: Arc<App>) {
    let mut ticks = tokio::time::interval(SAVE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = app.core().demand_revision();
    loop {
        let is_over = tokio::select! {
            biased;
            () = app.tasks.token().cancelled() => true,
            _ = ticks.tick() => false,
        };
        let revision = app.core().demand_revision();
        if revision != kept {
            kept = revision;
            app.save_demand().await;
        }
        if is_over {
            return;
        }
    }
}

impl App {
    /// Notes that somebody here used a package, and by which query it was found if that was named.
    pub(super) async fn used(self: &Arc<Self>, query_id: Option<Hash>, package: PackageId) {
        self.drive(Event::Used { query_id, package }, Context::default()).await;
    }

    /// `GET /demand`.
    pub(super) async fn demand(&self) -> Answer<DemandReport> {
        let subscriptions = lock(&self.subscriptions).clone();
        Ok(self.core().demand_report(&subscriptions, clock::now_ms()))
    }

    /// `PUT /demand/subscriptions`: the report afterwards.
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        subscriptions: Subscriptions,
    ) -> Answer<DemandReport> {
        let mut categories = subscriptions.categories;
        categories.sort();
        categories.dedup();
        if categories.len() > FOLLOWS_MAX {
            return Err(ApiError::invalid(
                "bad_subscriptions",
                format!("an org subscribes to at most {FOLLOWS_MAX} categories; `*` means all"),
            ));
        }
        let app = Arc::clone(self);
        let subscribed = self.tasks.finish("subscribe", async move {
            // One change after the other, so that the last one wins on disk and here.
            let _writer = app.writer().await;
            let saved = tokio::task::block_in_place(|| {
                app.home.update_config(|config| config.subscriptions.clone_from(&categories))
            });
            saved.map(|_| *lock(&app.subscriptions) = categories)
        });
        match subscribed.await {
            Some(Ok(())) => self.demand().await,
            Some(Err(error)) => Err(ApiError::internal(error.to_string())),
            None => Err(ApiError::unavailable("stopping", "the node is stopping")),
        }
    }

    /// Writes what was missed here into the node's log. Should that fail, the core says it again.
    pub(super) fn tell_demand(self: &Arc<Self>, demand: Demand) {
        let app = Arc::clone(self);
        // Boxed, because writing a record carries out effects, of which this is one.
        let written: futures::future::BoxFuture<'static, ()> = Box::pin(async move {
            if let Err(error) = app.write(OwnLog::Node, demand).await {
                error!(%error, "what was missed is not told; it is tried again");
            }
        });
        self.tasks.spawn("tell-demand", written);
    }

    /// Another org missed something new.
    pub(super) fn handle_demanded(self: &Arc<Self>, org: &OrgName, news: &[Unmet]) {
        let Some(text) = notice_text(org, news, &lock(&self.subscriptions)) else { return };
        let notice = Notice {
            kind: NOTICE_KIND.to_owned(),
            reference: None,
            text,
            time_ms: clock::now_ms(),
        };
        self.notify(notice);
    }

    async fn save_demand(&self) {
        let saved = self.core().save_demand();
        let mut batch = Batch::new();
        batch.put_document(Collection::Identity, DEMAND_KEY, cbor::encode(&saved));
        if let Err(error) = self.store.commit(batch).await {
            warn!(%error, "the counts of what was missed are not kept");
        }
    }
}

/// What a notice says of demand; `None` when nobody subscribed to any of it.
fn notice_text(org: &OrgName, news: &[Unmet], subscriptions: &[CategoryPrefix]) -> Option<String> {
    let is_wanted = |need: &Need| subscriptions.iter().any(|prefix| need.is_within(prefix));
    let wanted = news.iter().map(|unmet| (Need::of_unmet(unmet), unmet.count));
    let wanted: Vec<(Need, u32)> = wanted.filter(|(need, _)| is_wanted(need)).collect();
    let named = wanted.iter().take(NAMED_MAX);
    let mut named: Vec<String> =
        named.map(|(need, count)| format!("{need}, {count} queries or more")).collect();
    let more = wanted.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    (!named.is_empty())
        .then(|| format!("{org} looks for what it does not find: {}", named.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(category: &str, count: u32) -> Unmet {
        Unmet {
            category: category.parse().unwrap(),
            kind: None,
            input: None,
            output: Some("text".parse().unwrap()),
            count,
        }
    }

    #[test]
    fn a_notice_names_what_lies_in_the_subscriptions_and_counts_the_rest() {
        let org = "lab-b".parse().unwrap();
        let news = ["vision/ocr", "vision/x-runes", "audio/speech", "vision/a", "vision/b"]
            .map(|category| missed(category, 8));
        let to = |categories: &[&str]| {
            let categories: Vec<_> = categories.iter().map(|it| it.parse().unwrap()).collect();
            notice_text(&org, &news, &categories)
        };
        assert_eq!(to(&[]), None);
        assert_eq!(to(&["nlp", "audio/x-birds"]), None);
        assert_eq!(
            to(&["audio"]).unwrap(),
            "lab-b looks for what it does not find: audio/speech (anything -> text), \
             8 queries or more"
        );
        let all = to(&["*"]).unwrap();
        assert!(all.contains("vision/ocr") && all.ends_with("; and 2 more"), "{all}");
        assert!(!all.contains("vision/b"), "{all}");
    }
}
