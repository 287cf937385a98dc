//! Keeping copies of others' packages: one look at a time, at who holds a package now, and what follows from that for
//! this node. The decision itself is [`guildhall_sync::replicate`]'s.
//!
//! A holder counts when its node shows now that it has the package: it is asked for the hashes of a part of a file, and
//! for a part of that, which no other question has told. What the DHT says only names whom to ask.
//! Copies of what is not for the whole federation, and of data declared sensitive, are never made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guildhall_catalog::Entry;
use guildhall_core::package_key;
use guildhall_overlay::peer_id_string;
use guildhall_protocol::api::KeptFor;
use guildhall_protocol::body::Visibility;
use guildhall_protocol::limits::MANIFEST_MAX_BYTES;
use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::{Hash, PackageId, PublicKey};
use guildhall_sync::replicate::{Decision, View, decide};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::fetch::Purpose;
use super::patterns::Patterns;
use super::{App, lock};

/// Time between two looks, at most: a copy that is lost unseen is missed so soon.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);

/// Before a new listing is looked at first: its package is just being published and announced. Spread over as long
/// again, so that not all nodes look at once.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Between looks at a package with too few copies; each lets one more org in.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// After a holder has gone: a restart is no loss.
const GRACE: Duration = Duration::from_secs(15);

/// How often it is looked for what is due. With four packages each time, ten thousand take three quarters of an hour.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the catalogue is gone through for packages that are new or gone.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// Packages that are looked after. Those beyond are left to others.
const PACKAGES_MAX: usize = 100_000;

/// How long a node may take to show that it holds a package.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The same while a person waits.
const SHOW_MAX: Duration = Duration::from_millis(1_500);

/// Packages that are looked at at once, so that a slow answer does not hold up all others.
const LOOKS_AT_ONCE: usize = 4;

/// Orgs that may be wanted to hold one package, whatever its listing says: more than enough, and less than all.
const TARGET_MAX: u8 = 16;

/// The part of the room for copies that those of one org may take, so that none fills it alone.
const ORG_SHARE: u64 = 4;

/// Nodes that are asked in one look: enough for a target of ten when half of them are gone.
const ASKED_MAX: usize = 24;

/// When to look at which package.
#[derive(Debug, Default)]
pub(super) struct Schedule(Mutex<BTreeMap<PackageId, Look>>);

#[derive(Clone, Debug)]
struct Look {
    due: Instant,
    tries: u32,
    /// Nodes that held it at the last look.
    holders: BTreeSet<PublicKey>,
}

impl Schedule {
    /// A peer is gone: what it held is looked at soon.
    pub(super) fn handle_gone(&self, peer: &PublicKey) {
        let soon = Instant::now() + GRACE;
        for look in lock(&self.0).values_mut().filter(|look| look.holders.contains(peer)) {
            look.due = look.due.min(soon);
        }
    }

    /// Takes in what is to be looked after now.
    fn refresh(&self, packages: &BTreeSet<PackageId>, me: &PublicKey) {
        let now = Instant::now();
        let mut looks = lock(&self.0);
        looks.retain(|package, _| packages.contains(package));
        for package in packages {
            let new = || Look {
                due: now + FIRST_LOOK + spread(*package, me, FIRST_LOOK),
                tries: 0,
                holders: BTreeSet::new(),
            };
            looks.entry(*package).or_insert_with(new);
        }
    }

    /// Packages whose look is due, with how often each had too few copies.
    fn next(&self, most: usize) -> Vec<(PackageId, u32)> {
        let now = Instant::now();
        let looks = lock(&self.0);
        let due = looks.iter().filter(|(_, look)| look.due <= now);
        let mut due: Vec<_> = due.map(|(package, look)| (look.due, *package, look.tries)).collect();
        // The longest due first, so that none is passed over for ever.
        due.sort_unstable_by_key(|(since, package, _)| (*since, *package));
        due.into_iter().take(most).map(|(_, package, tries)| (package, tries)).collect()
    }

    fn looked(&self, package: PackageId, me: &PublicKey, holders: BTreeSet<PublicKey>, few: bool) {
        let pause = if few { LOOK_AGAIN } else { LOOK_EVERY };
        if let Some(look) = lock(&self.0).get_mut(&package) {
            look.due = Instant::now() + pause / 2 + spread(package, me, pause / 2);
            look.tries = if few { look.tries.saturating_add(1) } else { 0 };
            look.holders = holders;
        }
    }
}

/// A part of `most`, another one for each package and node.
fn spread(package: PackageId, me: &PublicKey, most: Duration) -> Duration {
    let hash = Hash::of(&[package.0.as_bytes().as_slice(), me.as_bytes()].concat());
    let part = f64::from(hash.as_bytes().first().copied().unwrap_or_default()) / 256.0;
    most.mul_f64(part)
}

/// Runs until the node is told to stop.
pub(super) async fn run(app: Arc<App>) {
    app.trim_copies().await;
    if app.content.replicas_max.0 == 0 {
        return;
    }
    let mut ticks = tokio::time::interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refreshed: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = app.tasks.token().cancelled() => return,
            _ = ticks.tick() => {}
        }
        if refreshed.is_none_or(|at| at.elapsed() > REFRESH_EVERY) {
            app.refresh_replicas();
            refreshed = Some(Instant::now());
        }
        let due = app.replicas.next(LOOKS_AT_ONCE);
        let looks = due.into_iter().map(|(package, tries)| app.look_at(package, tries));
        tokio::select! {
            biased;
            () = app.tasks.token().cancelled() => return,
            _ = futures::future::join_all(looks) => {}
        }
    }
}

/// A listing as far as copies are concerned.
struct Wanted {
    producer: PublicKey,
    target: u8,
    len_bytes: u64,
    candidates: BTreeSet<PublicKey>,
}

/// Whether every member may see it.
fn is_for_all(entry: &Entry) -> bool {
    matches!(entry.listing.visibility, Visibility::Federation | Visibility::Public)
}

impl App {
    fn refresh_replicas(&self) {
        let core = self.core();
        let me = core.identity().node.public();
        let follows = &core.settings().follows;
        let mut packages = BTreeSet::new();
        for shown in core.catalog().entries() {
            let entry = shown.entry;
            let followed = entry
                .listing
                .categories
                .iter()
                .any(|category| follows.iter().any(|follow| category.is_within(follow)));
            if followed && is_for_all(entry) && packages.len() < PACKAGES_MAX {
                packages.insert(entry.listing.release.package);
            }
        }
        drop(core);
        self.replicas.refresh(&packages, &me);
    }

    async fn look_at(self: &Arc<Self>, package: PackageId, tries: u32) {
        let Some(wanted) = self.wanted(package) else { return };
        let me = {
            let core = self.core();
            (core.identity().node.public(), core.identity().root)
        };
        let held = self.held(package);
        let Some(manifest) = self.manifest_for_copy(package, &wanted).await else {
            return self.replicas.looked(package, &me.0, BTreeSet::new(), true);
        };
        let nodes = self.proven_holders(package, Some(&manifest), ANSWER_MAX).await;
        let mut holders: BTreeSet<PublicKey> = {
            let core = self.core();
            nodes.iter().filter_map(|node| Some(core.authority(node)?.root)).collect()
        };
        if held.is_some() {
            holders.insert(me.1);
        }
        let view = View {
            package,
            target: wanted.target,
            me: me.1,
            producer: wanted.producer,
            is_replica_here: held.is_some_and(|held| held.reason == KeptFor::Replica),
            holders: &holders,
            candidates: &wanted.candidates,
            tries,
        };
        let few = holders.len() < usize::from(wanted.target);
        debug!(%package, holders = holders.len(), target = wanted.target, "looked at");
        match decide(&view) {
            Decision::Leave => {}
            Decision::Fetch => self.make_copy(package, &wanted, &nodes).await,
            Decision::Drop => match self.drop_package(package, KeptFor::Replica).await {
                Ok(_) => info!(%package, "a copy is let go; others hold enough"),
                Err(error) => warn!(%error, %package, "a copy is not let go"),
            },
        }
        self.replicas.looked(package, &me.0, nodes, few);
    }

    fn wanted(&self, package: PackageId) -> Option<Wanted> {
        let core = self.core();
        let entry = core.catalog().of_package(package).map(|shown| shown.entry);
        let entry = entry.filter(|entry| is_for_all(entry)).max_by_key(|e| e.listing.replicas)?;
        let me = core.identity();
        let follows = |node: &guildhall_core::NodeView| {
            let categories = &entry.listing.categories;
            categories.iter().any(|c| node.body.follows.iter().any(|follow| c.is_within(follow)))
        };
        let in_reach = core.nodes().filter(|(node, view)| {
            **node != me.node.public() && core.is_connected(node) && follows(view)
        });
        let mut candidates: BTreeSet<PublicKey> = in_reach.map(|(_, view)| view.root).collect();
        candidates.insert(me.root);
        let target = entry.listing.replicas.min(TARGET_MAX);
        let len_bytes = entry.listing.len_bytes;
        Some(Wanted { producer: entry.root, target, len_bytes, candidates })
    }

    /// A package's manifest, if a copy of the package is to be had at all. It is not kept: that comes with the copy.
    async fn manifest_for_copy(
        self: &Arc<Self>,
        package: PackageId,
        wanted: &Wanted,
    ) -> Option<Manifest> {
        let manifest = match self.manifest(package) {
            Ok(Some(manifest)) => manifest,
            _ => {
                let bytes = self.fetch_bytes(package, &[], MANIFEST_MAX_BYTES as u64).await;
                let bytes = bytes.inspect_err(|error| debug!(%error, %package, "not looked at"));
                Manifest::open(package, &bytes.ok()?).ok()?
            }
        };
        // What the listing says decides whether there is room, so it has to be true.
        let is_wanted = !manifest.sensitive && manifest.len_bytes() == wanted.len_bytes;
        is_wanted.then_some(manifest)
    }

    /// Other nodes that show now that they hold a package; without its manifest, that they know it.
    async fn proven_holders(
        self: &Arc<Self>,
        package: PackageId,
        manifest: Option<&Manifest>,
        patience: Duration,
    ) -> BTreeSet<PublicKey> {
        let (key, me, producers) = {
            let core = self.core();
            let roots: BTreeSet<PublicKey> =
                core.catalog().of_package(package).map(|shown| shown.entry.root).collect();
            let producers = core.nodes().filter(|(_, view)| roots.contains(&view.root));
            let producers: Vec<PublicKey> = producers.map(|(node, _)| *node).collect();
            let key = package_key(core.federation().id(), package);
            (key, core.identity().node.public(), producers)
        };
        let named: BTreeSet<PublicKey> =
            self.providers(&[key]).await.into_iter().chain(producers).collect();
        let asked = named.into_iter().filter(|node| *node != me).take(ASKED_MAX);
        let answers = asked.map(|node| async move {
            let shown = async {
                self.reach(node).await;
                self.shows_that_it_holds(node, package, manifest).await
            };
            tokio::time::timeout(patience, shown).await.unwrap_or(false).then_some(node)
        });
        futures::future::join_all(answers).await.into_iter().flatten().collect()
    }

    /// Connects to a node that is known and not connected.
    async fn reach(&self, node: PublicKey) {
        let addresses = {
            let core = self.core();
            if core.is_connected(&node) {
                return;
            }
            let view = core.nodes().find(|(key, _)| **key == node);
            view.map(|(_, view)| view.body.addresses.clone()).unwrap_or_default()
        };
        if addresses.is_empty() {
            return;
        }
        if let Err(error) = self.overlay.dial(addresses).await {
            debug!(%error, peer = peer_id_string(&node), "a holder is not reached");
        }
    }

    async fn make_copy(
        self: &Arc<Self>,
        package: PackageId,
        wanted: &Wanted,
        holders: &BTreeSet<PublicKey>,
    ) {
        let hints: Vec<PublicKey> = holders.iter().copied().collect();
        let max_bytes = self.content.replicas_max.0;
        let (all_bytes, of_org_bytes) = self.replica_bytes(&wanted.producer);
        let fits = |taken: u64, max: u64| taken.saturating_add(wanted.len_bytes) <= max;
        if !fits(all_bytes, max_bytes) || !fits(of_org_bytes, max_bytes / ORG_SHARE) {
            return debug!(%package, all_bytes, of_org_bytes, max_bytes, "no room for a copy");
        }
        let fetched =
            self.fetch_package(package, &hints, Purpose::Replica, &Patterns::default()).await;
        match fetched {
            Ok(fetched) => info!(%package, bytes = fetched.bytes, "a copy is kept here"),
            Err(error) => debug!(%error, %package, "no copy yet"),
        }
    }

    /// Lets copies go that are more than the keeper allows now, the largest first.
    async fn trim_copies(self: &Arc<Self>) {
        let held = tokio::task::block_in_place(|| self.held_packages()).unwrap_or_default();
        let mut copies: Vec<_> =
            held.into_iter().filter(|held| held.reason == KeptFor::Replica).collect();
        copies.sort_by_key(|copy| copy.bytes);
        let mut taken: u64 = copies.iter().map(|copy| copy.bytes).fold(0, u64::saturating_add);
        while taken > self.content.replicas_max.0
            || (self.content.replicas_max.0 == 0 && !copies.is_empty())
        {
            let Some(copy) = copies.pop() else { return };
            taken = taken.saturating_sub(copy.bytes);
            match self.drop_package(copy.package_id, KeptFor::Replica).await {
                Ok(_) => info!(package = %copy.package_id, "a copy is let go; less room is given"),
                Err(error) => warn!(%error, "a copy is not let go"),
            }
        }
    }

    /// What copies take now, bytes: all of them, and those of one producer's packages.
    fn replica_bytes(&self, producer: &PublicKey) -> (u64, u64) {
        let (mut all, mut of_org) = (0_u64, 0_u64);
        for package in self.store.packages().unwrap_or_default() {
            if self.held(package).is_none_or(|held| held.reason != KeptFor::Replica) {
                continue;
            }
            let manifest = self.manifest(package).ok().flatten();
            let len_bytes = manifest.map_or(0, |manifest| manifest.len_bytes());
            all = all.saturating_add(len_bytes);
            let core = self.core();
            let mut entries = core.catalog().of_package(package);
            if entries.any(|shown| shown.entry.root == *producer) {
                of_org = of_org.saturating_add(len_bytes);
            }
        }
        (all, of_org)
    }

    /// Orgs whose nodes answer now and say that they hold a package, this one among them if it does.
    pub(super) async fn holding_orgs(self: &Arc<Self>, package: PackageId) -> Vec<OrgName> {
        let manifest = self.manifest(package).ok().flatten();
        let nodes = self.proven_holders(package, manifest.as_ref(), SHOW_MAX).await;
        let core = self.core();
        let own = core.holds(&package).then(|| core.identity().org.clone());
        let others = nodes.iter().filter_map(|node| core.authority(node)).map(|a| a.org.clone());
        let orgs: BTreeSet<OrgName> = own.into_iter().chain(others).collect();
        orgs.into_iter().collect()
    }
}
