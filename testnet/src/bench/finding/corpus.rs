//! Generated listings as a node has them: in records of the logs of their orgs, in a real store.
//!
//! Records have the form, the delegation and the length of real ones. Their signatures are not made (all have the same
//! bytes): a node does not check those of records that it has kept, so that no figure here depends on them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use guildhall_catalog::{Entry, Shelf};
use guildhall_protocol::body::{Listing, RecordBody as _};
use guildhall_protocol::key::{SecretKey, Signature};
use guildhall_protocol::name::OrgName;
use guildhall_protocol::record::{Content, Header, Record};
use guildhall_protocol::statement::{Delegation, Role, Signed};
use guildhall_protocol::{Hash, PublicKey, RecordId, cbor};
use guildhall_samples::{Generated, Generator};
use guildhall_store::{Batch, Store};
use serde::Serialize;

use super::plain::Plain;
use super::{Failed, failed};

/// Seed of the listings; queries of another generator with it fit them.
pub(super) const SEED: u64 = 1;

/// Names of orgs by root key, beside the store: in a node the federation knows them.
const ORGS: &str = "orgs.json";

/// When the delegations were made, milliseconds since 1970: before any listing that is looked at, which nobody checks.
const ISSUED_MS: u64 = 1_690_000_000_000;

/// A listing for us and for the peers.
pub(super) struct Made {
    pub(super) entry: Entry,
    pub(super) plain: Plain,
}

/// Makes listings and keeps their records.
pub(super) struct Corpus {
    generator: Generator,
    store: Store,
    orgs: BTreeMap<OrgName, Org>,
    count: u32,
}

/// The keys of an org, and its delegation as it stands in every record.
struct Org {
    root: PublicKey,
    author: PublicKey,
    delegation: Vec<u8>,
    last: RecordId,
}

impl Org {
    fn new(name: &OrgName) -> Self {
        let key = |what: &str| {
            SecretKey::from_seed(Hash::of(format!("{what} of {name}").as_bytes()).as_bytes())
        };
        let (root, author) = (key("root"), key("author"));
        let delegation = Delegation {
            root: root.public(),
            key: author.public(),
            role: Role::Producer,
            issued_ms: ISSUED_MS,
            expires_ms: ISSUED_MS + 1,
        };
        let delegation = cbor::encode(&Signed::new(&delegation, &root));
        let last = RecordId(Hash::of(name.as_str().as_bytes()));
        Self { root: root.public(), author: author.public(), delegation, last }
    }
}

/// A record on its way to the disk; the fields of the protocol's own.
#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(with = "serde_bytes")]
    header: &'a [u8],
    signature: Signature,
    #[serde(with = "serde_bytes")]
    delegation: &'a [u8],
    body: Content,
}

impl Corpus {
    /// None yet, with a store in `folder`.
    pub(super) fn new(folder: &Path) -> Result<Self, Failed> {
        let store = open_store(folder)?;
        Ok(Self { generator: Generator::new(SEED), store, orgs: BTreeMap::new(), count: 0 })
    }

    /// Where the records are.
    pub(super) fn shelf(&self) -> Arc<dyn Shelf> {
        Arc::new(Records(self.store.clone()))
    }

    /// How many there are.
    pub(super) const fn len(&self) -> u32 {
        self.count
    }

    /// Makes `count` more; their records are on disk afterwards.
    pub(super) fn more(&mut self, count: u32) -> Result<Vec<Made>, Failed> {
        let mut batch = Batch::new();
        let mut made = Vec::new();
        for _ in 0..count {
            let generated = self.generator.next().ok_or_else(|| failed("no more listings"))?;
            made.push(self.take(generated, &mut batch));
        }
        self.store.commit_blocking(batch).map_err(failed)?;
        Ok(made)
    }

    fn take(&mut self, generated: Generated, batch: &mut Batch) -> Made {
        let Generated { org: name, seq, time_ms, listing, .. } = generated;
        let org = self.orgs.entry(name.clone()).or_insert_with(|| Org::new(&name));
        let body = cbor::encode(&listing);
        let header = cbor::encode(&Header {
            author: org.author,
            root: org.root,
            seq,
            prev: Some(org.last),
            record_type: Listing::TYPE.to_owned(),
            version: Listing::VERSION,
            time_ms,
            body: Hash::of(&body),
        });
        org.last = RecordId(Hash::of(&header));
        let plain = Plain::new(self.count, &listing, time_ms, body.clone());
        let record = cbor::encode(&Envelope {
            header: &header,
            signature: Signature::from_bytes([0; 64]),
            delegation: &org.delegation,
            body: Content::Public(body),
        });
        batch.put_record(org.author, seq, org.last, record);
        self.count += 1;
        let entry = Entry {
            org: name,
            root: org.root,
            listing: Arc::new(listing),
            listing_id: org.last,
            seq,
            author: org.author,
            time_ms,
        };
        Made { entry, plain }
    }

    /// Closes the store, so that another process can open it, and leaves the orgs' names beside it.
    pub(super) async fn close(&self, folder: &Path) -> Result<(), Failed> {
        let orgs: Vec<(&PublicKey, &OrgName)> =
            self.orgs.iter().map(|(name, org)| (&org.root, name)).collect();
        let text = serde_json::to_vec(&orgs).map_err(failed)?;
        fs::write(folder.join(ORGS), text).map_err(failed)?;
        self.store.close().await.map_err(failed)
    }

    /// Opens it again.
    pub(super) fn open_again(&mut self, folder: &Path) -> Result<(), Failed> {
        self.store = open_store(folder)?;
        Ok(())
    }
}

/// The store in a folder.
pub(super) fn open_store(folder: &Path) -> Result<Store, Failed> {
    Store::open(&folder.join("store")).map_err(failed)
}

/// The orgs' names by root key, as [`Corpus::close`] left them.
pub(super) fn read_orgs(folder: &Path) -> Result<BTreeMap<PublicKey, OrgName>, Failed> {
    let text = fs::read(folder.join(ORGS)).map_err(failed)?;
    let orgs: Vec<(PublicKey, OrgName)> = serde_json::from_slice(&text).map_err(failed)?;
    Ok(orgs.into_iter().collect())
}

/// Listings in the store's records, read as a node reads them.
#[derive(Debug)]
pub(super) struct Records(pub(super) Store);

impl Shelf for Records {
    fn listing(&self, author: &PublicKey, seq: u64) -> Option<Listing> {
        let stored = self.0.record(author, seq).ok()??;
        Record::open_kept(&stored.bytes).ok()?.body_as::<Listing>()?.ok()
    }
}
