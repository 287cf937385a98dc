//! Notices: what a person at this node should hear of, newest first.
//!
//! They are kept on disk as one document, and bounded for each kind, so that news of one kind never push out those of
//! another. The same news again takes the place of the older one. Whoever learns of something calls
//! [`App::notify`]; nothing here says what is worth a notice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use guildhall_gateway::Answer;
use guildhall_protocol::api::Notice;
use guildhall_protocol::limits::OPINION_MAX_BYTES;
use guildhall_store::{Batch, Collection, Store};
use tracing::{error, warn};

use super::{App, lock};

/// Notices of one kind that are kept; the oldest goes.
const PER_KIND_MAX: usize = 100;

/// Kinds that are told apart. No more are made; what else might be on the disk is left out.
const KINDS_MAX: usize = 16;

/// Longest text, bytes: the longest reason of a yank, and what is said around it. A longer one is cut, and shows it.
const TEXT_MAX_BYTES: usize = OPINION_MAX_BYTES + 1_024;

/// Under this key of the identity collection stand the notices.
const NOTICES_KEY: &[u8] = b"notices";

/// The list, and the way to the disk.
#[derive(Debug, Default)]
pub(super) struct Notices {
    list: Mutex<Vec<Notice>>,
    /// Whether somebody is about to write the list; what is added meanwhile goes with it.
    unsaved: AtomicBool,
    /// Held while the list is written, so that the newest is what stays.
    saving: tokio::sync::Mutex<()>,
}

impl Notices {
    /// What was kept. A document that cannot be read is given up: notices repeat what other records say.
    pub(super) fn load(store: &Store) -> Self {
        let kept = match store.document(Collection::Identity, NOTICES_KEY) {
            Ok(kept) => kept,
            Err(error) => {
                warn!(%error, "earlier notices are lost");
                None
            }
        };
        let list = kept.and_then(|json| serde_json::from_slice::<Vec<Notice>>(&json).ok());
        let mut list = list.unwrap_or_default();
        list.truncate(PER_KIND_MAX * KINDS_MAX);
        Self { list: Mutex::new(list), ..Self::default() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.list).len()
    }
}

impl App {
    /// `GET /notices`.
    pub(super) async fn notices(&self) -> Answer<Vec<Notice>> {
        Ok(lock(&self.notices.list).clone())
    }

    /// Tells a person of something, now and after a restart. Nobody waits for the disk: whoever is about to write takes
    /// along what came meanwhile, so that a flood of news makes no flood of writes.
    pub(super) fn notify(self: &Arc<Self>, mut notice: Notice) {
        if notice.text.len() > TEXT_MAX_BYTES {
            notice.text.truncate(notice.text.floor_char_boundary(TEXT_MAX_BYTES));
            notice.text.push('…');
        }
        add(&mut lock(&self.notices.list), notice);
        if !self.notices.unsaved.swap(true, Ordering::AcqRel) {
            let app = Arc::clone(self);
            self.tasks.spawn("notices", async move { app.save_notices().await });
        }
    }

    /// Puts the notices on the disk.
    async fn save_notices(&self) {
        let _alone = self.notices.saving.lock().await;
        self.notices.unsaved.store(false, Ordering::Release);
        let json = serde_json::to_vec(&*lock(&self.notices.list));
        let json = match json {
            Ok(json) => json,
            Err(error) => return error!(%error, "notices are not kept"),
        };
        let mut batch = Batch::new();
        batch.put_document(Collection::Identity, NOTICES_KEY, json);
        if let Err(error) = self.store.commit(batch).await {
            error!(%error, "notices are not kept; they are told until the next start");
        }
    }
}

/// Puts a notice in front.
fn add(list: &mut Vec<Notice>, notice: Notice) {
    let is_same = |other: &Notice| {
        (&other.kind, &other.reference, &other.text)
            == (&notice.kind, &notice.reference, &notice.text)
    };
    list.retain(|other| !is_same(other));
    let of_kind = list.iter().enumerate().filter(|(_, other)| other.kind == notice.kind);
    if let Some((oldest, _)) = of_kind.skip(PER_KIND_MAX - 1).last() {
        list.remove(oldest);
    }
    list.insert(0, notice);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(kind: &str, text: String, time_ms: u64) -> Notice {
        Notice { kind: kind.to_owned(), reference: None, text, time_ms }
    }

    #[test]
    fn the_newest_is_in_front_and_the_same_again_takes_the_place_of_the_older() {
        let mut list = Vec::new();
        for (time_ms, text) in (0..).zip(["first", "second", "first"]) {
            add(&mut list, notice("demand", text.to_owned(), time_ms));
        }
        let texts: Vec<_> = list.iter().map(|it| (it.text.as_str(), it.time_ms)).collect();
        assert_eq!(texts, [("first", 2), ("second", 1)]);
    }

    #[test]
    fn a_flood_of_one_kind_does_not_push_out_another() {
        let mut list = Vec::new();
        add(&mut list, notice("yanked", "lab-a/digits@1.0.0".to_owned(), 0));
        for time_ms in 1..1_000 {
            add(&mut list, notice("demand", format!("number {time_ms}"), time_ms));
        }
        assert_eq!(list.len(), PER_KIND_MAX + 1);
        assert_eq!(list.first().map(|it| it.time_ms), Some(999));
        assert_eq!(list.last().map(|it| it.kind.as_str()), Some("yanked"));
        let kept: Vec<u64> = list.iter().map(|it| it.time_ms).take(PER_KIND_MAX).collect();
        assert!(kept.iter().rev().copied().eq(900..1_000), "the oldest went: {kept:?}");
    }
}
