//! The start: records that were stored come back, and with them the catalogue, if a snapshot of it was kept.
//!
//! Every record is shown once to [`Core::load_member`], which puts it into its log. Then [`Core::load`] evaluates those
//! that [`Core::is_restored`] does not name, now that it is known who is a member. [`Core::finish_load`] ends the start.

use std::collections::BTreeMap;

use guildhall_catalog::Catalog;
use guildhall_federation::Change;
use guildhall_protocol::body::{Listing, RecordBody as _};
use guildhall_protocol::record::Record;
use guildhall_protocol::{PublicKey, RecordId};

use crate::event::Effect;
use crate::keys::with_ancestors;
use crate::node::Core;

/// Listings that a restored catalogue has, by author: positions in the log, in order, and the start of the record's id.
pub(crate) type Restored = BTreeMap<PublicKey, Vec<(u64, u64)>>;

impl Core {
    /// Takes a catalogue that was restored, or an empty one. Called before any record is loaded.
    pub fn set_catalog(&mut self, mut catalog: Catalog) {
        catalog.set_ranking(self.catalog.ranking().clone());
        catalog.set_home(self.me.root);
        let mut restored = Restored::new();
        for (author, seq, id) in catalog.places() {
            restored.entry(*author).or_default().push((seq, start_of(&id)));
        }
        restored.values_mut().for_each(|places| places.sort_unstable());
        self.restored = restored;
        self.catalog = catalog;
    }

    /// First pass of the start: takes a stored record into its log and lets it count for membership only. Called once
    /// for every record, in order of each log.
    pub fn load_member(&mut self, record: &Record) {
        self.logs.offer(record);
        self.roots.insert(record.header().author, record.delegation().root);
        // Who is a member is looked up in the second pass; a change means nothing yet.
        let _change: Change = self.federation.handle_record(record);
    }

    /// Whether the restored catalogue has what this record lists, so that it need not be loaded.
    #[must_use]
    pub fn is_restored(&self, record: &Record) -> bool {
        let header = record.header();
        header.record_type == Listing::TYPE
            && self.is_restored_at(&header.author, header.seq, &record.id())
    }

    /// The same by the record's place and id alone.
    #[must_use]
    pub fn is_restored_at(&self, author: &PublicKey, seq: u64, id: &RecordId) -> bool {
        let places = self.restored.get(author);
        places.is_some_and(|places| places.binary_search(&(seq, start_of(id))).is_ok())
    }

    /// In place of [`load_member`](Self::load_member), for a record that is restored, without opening it. Says whether it
    /// is done; else the record has to be opened.
    pub fn restore_record(&mut self, author: &PublicKey, seq: u64, id: &RecordId) -> bool {
        self.roots.contains_key(author) && self.logs.restore(author, seq, *id)
    }

    /// Second pass of the start: evaluates a stored record. Called once for every record that is not
    /// [restored](Self::is_restored), in order of each log, after [`load_member`](Self::load_member) saw them all. The
    /// effects say what to provide.
    #[must_use]
    pub fn load(&mut self, record: &Record) -> Vec<Effect> {
        let mut out = Vec::new();
        // Nothing changes where the first pass saw it.
        self.logs.offer(record);
        self.evaluate(record, &mut out);
        // It was told when it came.
        out.retain(|effect| !matches!(effect, Effect::Demanded { .. } | Effect::Quarantined(_)));
        out
    }

    /// Ends the start: a restored catalogue forgets what is in no log here and whose org is no member. The effects say
    /// what to provide.
    #[must_use]
    pub fn finish_load(&mut self) -> Vec<Effect> {
        let mut out = Vec::new();
        // The first pass did not tell who came in: who goes from now on is measured against this.
        self.members = self.federation.members().map(|(root, _)| *root).collect();
        if std::mem::take(&mut self.restored).is_empty() {
            return out;
        }
        let gone = self.catalog.retain(|author, seq, id| self.logs.id_at(author, seq) == Some(*id));
        if gone > 0 {
            out.push(Effect::Note(format!("{gone} listings were in no log here any more")));
        }
        let is_gone = |root: &&PublicKey| self.federation.member(root).is_none();
        let left: Vec<PublicKey> =
            self.catalog.orgs().map(|(root, _)| root).filter(is_gone).copied().collect();
        for root in left {
            self.catalog.remove_org(&root);
        }
        self.find_strangers();
        self.rename_orgs();
        for category in self.catalog.categories_within(&self.settings.follows, &self.me.root) {
            for category in with_ancestors(&category) {
                self.provide_category(&category, &mut out);
            }
        }
        out
    }
}

fn start_of(id: &RecordId) -> u64 {
    id.0.as_bytes().iter().take(8).fold(0, |start, byte| start << 8 | u64::from(*byte))
}
