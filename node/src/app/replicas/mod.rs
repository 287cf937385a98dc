//! Keeping copies of others' packages: one look at a time, at who holds a package now, and what follows from that for
//! this node. The decision itself is [`guildhall_sync::replicate`]'s.
//!
//! A holder counts when its node shows now that it has the package: it is asked for the hashes of a part of a file, and
//! for a part of that, which no other question has told. What the DHT says only names whom to ask.
//! Copies of what is not for the whole federation, and of data declared sensitive, are never made.

mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guildhall_core::package_key;
use guildhall_protocol::api::KeptFor;
use guildhall_protocol::limits::MANIFEST_MAX_BYTES;
use guildhall_protocol::manifest::{FileEntry, Manifest};
use guildhall_protocol::name::OrgName;
use guildhall_protocol::{PackageId, PublicKey};
use guildhall_sync::replicate::{Decision, View, decide};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

pub(super) use self::schedule::Schedule;
use self::schedule::{Due, Known};
use super::fetch::Purpose;
use super::patterns::Patterns;
use super::{App, lock};
use crate::clock;

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

/// How long one look may take, until a copy is begun.
const LOOK_MAX: Duration = Duration::from_secs(20);

/// Copies that are made at once, each of another producer's package.
const COPIES_AT_ONCE: usize = 4;

/// Packages that are looked at at once, so that a slow answer does not hold up all others.
const LOOKS_AT_ONCE: usize = 4;

/// Orgs that may be wanted to hold one package, whatever its listing says: more than enough, and less than all.
const TARGET_MAX: u8 = 16;

/// The part of the room for copies that those of one org may take, so that none fills it alone.
const ORG_SHARE: u64 = 4;

/// Nodes that are asked in one look: enough for a target of ten when half of them are gone.
const ASKED_MAX: usize = 24;

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
        let looks = due.into_iter().map(|due| app.look_at(due));
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

/// How long a copy of so many bytes may take before others have their turn: its parts are kept.
fn copy_max(len_bytes: u64) -> Duration {
    Duration::from_secs(60 * 60 + (len_bytes >> 20))
}

/// Copies being made, with their producers' orgs.
pub(super) type Copies = Mutex<BTreeMap<PackageId, PublicKey>>;

/// A copy being made.
struct Copying {
    app: Arc<App>,
    package: PackageId,
}

impl Copying {
    /// `None` when as many are being made as may, or one of the same producer's packages.
    fn begin(app: &Arc<App>, package: PackageId, producer: PublicKey) -> Option<Self> {
        let mut copies = lock(&app.copies);
        if copies.len() >= COPIES_AT_ONCE || copies.values().any(|other| *other == producer) {
            return None;
        }
        copies.insert(package, producer);
        Some(Self { app: Arc::clone(app), package })
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        lock(&self.app.copies).remove(&self.package);
    }
}

impl App {
    fn refresh_replicas(&self) {
        let core = self.core();
        let me = core.identity().node.public();
        let follows = &core.settings().follows;
        let mut packages = BTreeSet::new();
        for brief in core.catalog().briefs() {
            let wanted = brief.is_for_all() && brief.yanked().is_none() && brief.is_within(follows);
            if wanted && packages.len() < PACKAGES_MAX {
                packages.insert(brief.package());
            }
        }
        drop(core);
        self.replicas.refresh(&packages, &me);
    }

    /// Looks at one package, and does what follows.
    async fn look_at(self: &Arc<Self>, due: Due) {
        let package = due.package;
        let me = self.core().identity().node.public();
        let looked = tokio::time::timeout(LOOK_MAX, self.try_look(due)).await;
        let looked = looked.ok().flatten();
        if let Some((holders, _)) = &looked {
            self.count_holders(package, holders);
        }
        let (holders, few) = looked.unwrap_or_else(|| (BTreeSet::new(), true));
        self.replicas.looked(package, &me, holders, few);
    }

    /// Lets listings of a package stand as high as orgs besides their producers hold it.
    fn count_holders(&self, package: PackageId, holders: &BTreeSet<PublicKey>) {
        let mut core = self.core();
        let producers: BTreeSet<PublicKey> =
            core.catalog().of_package(package).filter_map(|brief| brief.root()).collect();
        let nodes = core.nodes().filter(|(node, _)| holders.contains(node));
        let orgs: BTreeSet<PublicKey> =
            nodes.map(|(_, view)| view.root).filter(|root| !producers.contains(root)).collect();
        core.set_holders(package, u16::try_from(orgs.len()).unwrap_or(u16::MAX));
    }

    /// Nodes that hold a package, and whether its copies are too few. `None` when that is not known.
    async fn try_look(self: &Arc<Self>, due: Due) -> Option<(BTreeSet<PublicKey>, bool)> {
        let Due { package, tries, known } = due;
        let known = match known {
            Known::Nothing => self.find_out(package).await?,
            known => known,
        };
        // As if there were enough of it.
        let enough = Some((BTreeSet::new(), false));
        let Known::Content { len_bytes, files } = known else { return enough };
        let Some(wanted) = self.wanted(package, len_bytes) else { return enough };
        let nodes = self.proven_holders(package, &files, ANSWER_MAX).await;
        let held = self.held(package);
        let me = self.core().identity().root;
        let mut holders: BTreeSet<PublicKey> = {
            let core = self.core();
            nodes.iter().filter_map(|node| Some(core.authority(node)?.root)).collect()
        };
        if held.is_some() {
            holders.insert(me);
        }
        let view = View {
            package,
            target: wanted.target,
            me,
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
            Decision::Fetch => self.begin_copy(package, wanted, &nodes),
            Decision::Drop => match self.drop_package(package, KeptFor::Replica).await {
                Ok(_) => info!(%package, "a copy is let go; others hold enough"),
                Err(error) => warn!(%error, %package, "a copy is not let go"),
            },
        }
        Some((nodes, few))
    }

    /// Learns of a package what has to be known to look at it.
    async fn find_out(self: &Arc<Self>, package: PackageId) -> Option<Known> {
        let manifest = match self.manifest(package) {
            Ok(Some(manifest)) => manifest,
            _ => {
                let bytes = self.fetch_bytes(package, &[], MANIFEST_MAX_BYTES as u64).await;
                let bytes = bytes.inspect_err(|error| debug!(%error, %package, "not looked at"));
                // It is not kept: that comes with the copy.
                Manifest::open(package, &bytes.ok()?).ok()?
            }
        };
        let known = Known::of(&manifest, &clock::random());
        self.replicas.learned(package, &known);
        Some(known)
    }

    /// What the listings of a package want that say its true length; anybody may list what is somebody else's.
    fn wanted(&self, package: PackageId, len_bytes: u64) -> Option<Wanted> {
        let core = self.core();
        let briefs = core.catalog().of_package(package);
        let brief = briefs
            .filter(|brief| brief.is_for_all() && brief.len_bytes() == len_bytes)
            .max_by_key(|brief| brief.replicas())?;
        let me = core.identity();
        let in_reach = core.nodes().filter(|(node, view)| {
            **node != me.node.public()
                && core.is_connected(node)
                && brief.is_within(&view.body.follows)
        });
        let mut candidates: BTreeSet<PublicKey> = in_reach.map(|(_, view)| view.root).collect();
        candidates.insert(me.root);
        let target = brief.replicas().min(TARGET_MAX);
        Some(Wanted { producer: brief.root()?, target, len_bytes, candidates })
    }

    /// Other nodes that show now that they hold a package, by one of these files; without any, that they know it.
    async fn proven_holders(
        self: &Arc<Self>,
        package: PackageId,
        files: &[FileEntry],
        patience: Duration,
    ) -> BTreeSet<PublicKey> {
        let (key, me, producers) = {
            let core = self.core();
            let roots: BTreeSet<PublicKey> =
                core.catalog().of_package(package).filter_map(|brief| brief.root()).collect();
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
                self.shows_that_it_holds(node, package, files).await
            };
            tokio::time::timeout(patience, shown).await.unwrap_or(false).then_some(node)
        });
        futures::future::join_all(answers).await.into_iter().flatten().collect()
    }

    /// Makes a copy beside the looks: a slow one holds up no other.
    fn begin_copy(
        self: &Arc<Self>,
        package: PackageId,
        wanted: Wanted,
        holders: &BTreeSet<PublicKey>,
    ) {
        let Some(turn) = Copying::begin(self, package, wanted.producer) else { return };
        let app = Arc::clone(self);
        let hints: Vec<PublicKey> = holders.iter().copied().collect();
        self.tasks.spawn("copy", async move {
            let _turn = turn;
            let copying = app.make_copy(package, &wanted, &hints);
            tokio::select! {
                biased;
                () = app.tasks.token().cancelled() => {}
                made = tokio::time::timeout(copy_max(wanted.len_bytes), copying) => {
                    if made.is_err() {
                        debug!(%package, "a copy takes too long; it goes on later");
                    }
                }
            }
        });
    }

    async fn make_copy(self: &Arc<Self>, package: PackageId, wanted: &Wanted, hints: &[PublicKey]) {
        let max_bytes = self.content.replicas_max.0;
        let (all_bytes, of_org_bytes) = self.replica_bytes(&wanted.producer);
        let fits = |taken: u64, max: u64| taken.saturating_add(wanted.len_bytes) <= max;
        if !fits(all_bytes, max_bytes) || !fits(of_org_bytes, max_bytes / ORG_SHARE) {
            return debug!(%package, all_bytes, of_org_bytes, max_bytes, "no room for a copy");
        }
        let fetched =
            self.fetch_package(package, hints, Purpose::Replica, &Patterns::default()).await;
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
            if entries.any(|brief| brief.root() == Some(*producer)) {
                of_org = of_org.saturating_add(len_bytes);
            }
        }
        (all, of_org)
    }

    /// Orgs whose nodes answer now and say that they hold a package, this one among them if it does.
    pub(super) async fn holding_orgs(self: &Arc<Self>, package: PackageId) -> Vec<OrgName> {
        let manifest = self.manifest(package).ok().flatten();
        let files = manifest.map(|manifest| manifest.files).unwrap_or_default();
        let nodes = self.proven_holders(package, &files, SHOW_MAX).await;
        let core = self.core();
        let own = core.holds(&package).then(|| core.identity().org.clone());
        let others = nodes.iter().filter_map(|node| core.authority(node)).map(|a| a.org.clone());
        let orgs: BTreeSet<OrgName> = own.into_iter().chain(others).collect();
        orgs.into_iter().collect()
    }
}
