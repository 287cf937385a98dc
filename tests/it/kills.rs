//! T39: a node is killed at moments that nobody chose, while it publishes, fetches, makes room, repairs and copies
//! itself. Each time its store opens, nothing is damaged, everything acknowledged is there, and what was cut off
//! succeeds when it is repeated.
//!
//! `GUILDHALL_KILLS=200 cargo test -p guildhall --test it t39` is the full run; without it there are a few kills of
//! each kind.

use std::fs;
use std::future::Future;
use std::time::Duration;

use guildhall_testkit::protocol::api::{BackupRequest, GcRequest, ScrubRequest};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::protocol::{Hash, PackageId};
use guildhall_testkit::{
    Lab, Node, Package, acquainted, client, damage, holds_listings, publish, publish_ok,
};

use crate::lab;

/// Kills when nobody says how many: one of each kind.
const KILLS: u64 = 6;

/// A piece, bytes.
const PIECE: usize = 4 << 20;

/// What is under way when the kill comes, and within which time from its beginning it comes: a little longer than the
/// whole takes on two idle cores.
const ACTS: [(Act, u64); 6] = [
    (Act::Publish, 400),
    (Act::FetchSmall, 300),
    (Act::FetchLarge, 500),
    (Act::MakeRoom, 40),
    (Act::Repair, 250),
    (Act::Backup, 120),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Publish,
    FetchSmall,
    FetchLarge,
    MakeRoom,
    Repair,
    Backup,
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The node that is killed, and what it promised.
struct Victim<'a> {
    lab: &'a Lab,
    holder: &'a Node,
    node: Node,
    /// Every publication that was acknowledged.
    published: Vec<(Reference, PackageId)>,
    publications: u64,
    /// A file of the large package.
    large: Hash,
    /// Acts that did not come to their end.
    cut_off: u64,
}

const EVERYTHING: GcRequest = GcRequest { dry_run: false, unused_s: Some(0) };
const REPAIR: ScrubRequest = ScrubRequest { repair: true, bytes_per_s: None };

fn named(text: &str) -> Reference {
    text.parse().expect("a reference")
}

/// A number that follows from the round, and looks like chance.
fn chance(round: u64, below: u64) -> u64 {
    let bytes = *Hash::of(&round.to_be_bytes()).as_bytes();
    let (first, _) = bytes.split_first_chunk::<8>().expect("a hash has 32 bytes");
    u64::from_be_bytes(*first) % below
}

impl Victim<'_> {
    fn client(&self) -> client::Client {
        self.node.client().clone()
    }

    /// What has to be here before the act begins.
    async fn prepare(&mut self, act: Act) {
        match act {
            Act::Publish => self.publications += 1,
            Act::FetchSmall | Act::FetchLarge | Act::Backup => {}
            Act::MakeRoom => self.fetch("lab-a/small").await,
            Act::Repair => {
                self.fetch("lab-a/large").await;
                damage::flip_blob(self.node.home(), &self.large);
            }
        }
    }

    async fn fetch(&self, reference: &str) {
        let fetched = self.client().fetch(&named(reference)).await;
        fetched.unwrap_or_else(|error| panic!("{error}\n{}", self.node.log_tail()));
    }

    /// The act itself, once.
    fn act(&self, act: Act) -> impl Future<Output = Outcome> + use<> {
        let client = self.client();
        let number = self.publications;
        let name = format!("package-{number}");
        let folder = self.lab.path(&name);
        if act == Act::Publish && !folder.exists() {
            let package = Package::data(&name).files(3, 90_000, 1_000 + number);
            package.file("note.txt", name.clone()).file("same.txt", "same").write(&folder);
        }
        async move {
            match act {
                Act::Publish => drop(publish(&client, &folder).await?),
                Act::FetchSmall => drop(client.fetch(&named("lab-a/small")).await?),
                Act::FetchLarge => drop(client.fetch(&named("lab-a/large")).await?),
                Act::MakeRoom => drop(client.collect(&EVERYTHING).await?),
                Act::Repair => drop(client.scrub(&REPAIR).await?),
                Act::Backup => drop(client.backup(&BackupRequest::default()).await?),
            }
            Ok(())
        }
    }

    /// Kills the node in the middle of the act, starts it again, and looks.
    async fn round(&mut self, act: Act, wait_ms: u64) {
        self.prepare(act).await;
        let acting = self.act(act);
        let node = &mut self.node;
        let killing = async {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            node.kill().await.expect("it is killed");
        };
        let (acted, ()) = tokio::join!(acting, killing);
        self.node.restart().await.unwrap_or_else(|error| panic!("{act:?}: {error}"));
        match acted {
            Ok(()) => self.note(act).await,
            Err(_) => self.cut_off += 1,
        }
        if act != Act::Repair {
            self.is_undamaged(act).await;
        }
        self.keeps_its_word(act).await;
        acquainted(&[self.holder, &self.node]).await;
        let again = self.act(act).await;
        again.unwrap_or_else(|error| panic!("{act:?} again: {error}\n{}", self.node.log_tail()));
        self.note(act).await;
        self.is_undamaged(act).await;
        self.keeps_its_word(act).await;
        self.backups_are_whole();
        // What was fetched is to be fetched again.
        if matches!(act, Act::FetchSmall | Act::FetchLarge | Act::Repair) {
            self.node.restart().await.unwrap_or_else(|error| panic!("{error}"));
            self.client().collect(&EVERYTHING).await.expect("room is made");
            acquainted(&[self.holder, &self.node]).await;
        }
    }

    /// Remembers what was acknowledged.
    async fn note(&mut self, act: Act) {
        if act == Act::Publish {
            let reference = named(&format!("lab-b/package-{}@1.0.0", self.publications));
            if self.published.iter().any(|(known, _)| *known == reference) {
                return;
            }
            let shown = self.client().show(&reference).await;
            let shown = shown.unwrap_or_else(|error| panic!("it was acknowledged: {error}"));
            self.published.push((reference, shown.package_id));
        }
    }

    async fn keeps_its_word(&self, act: Act) {
        let held = self.client().packages().await.expect("it answers");
        for (reference, package) in &self.published {
            assert!(held.contains(package), "{act:?}: {reference} is gone");
            let got = self.client().fetch(reference).await;
            let got = got.unwrap_or_else(|error| panic!("{act:?}: {reference}: {error}"));
            assert_eq!((got.fetched_files, got.fetched_bytes), (0, 0), "{act:?}: {reference}");
        }
    }

    /// Strays are what a kill may leave; damage is not.
    async fn is_undamaged(&self, act: Act) {
        let report = self.client().scrub(&ScrubRequest::default()).await.expect("it answers");
        let is_stray = |problem: &&String| problem.ends_with("`guild store gc` removes them");
        let damaged = report.problems.iter().filter(|problem| !is_stray(problem));
        let damaged: Vec<_> = damaged.collect();
        assert!(damaged.is_empty(), "{act:?}: {damaged:?}\n{}", self.node.log_tail());
    }

    /// A folder that has the name of a backup is one.
    fn backups_are_whole(&self) {
        for backup in fs::read_dir(self.node.home().join("backups")).into_iter().flatten() {
            let path = backup.expect("it is listed").path();
            if path.extension().is_none() {
                for part in ["config.toml", "federation", "store/catalogue.redb"] {
                    assert!(path.join(part).is_file(), "{} lacks {part}", path.display());
                }
                fs::remove_dir_all(path).expect("it is ours");
            }
        }
    }
}

/// ```text
///   lab-a ◀──get── lab-b (publishes, fetches, makes room, repairs, copies itself; killed each time)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t39_a_node_killed_at_any_moment_keeps_its_word_and_goes_on() {
    let kills = std::env::var("GUILDHALL_KILLS").ok().map(|text| text.parse());
    let kills = kills.transpose().expect("GUILDHALL_KILLS is a number").unwrap_or(KILLS);
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let small = Package::data("small").files(200, 3_000, 51).file("big.bin", vec![1; 300_000]);
    publish_ok(&a, &lab.write(&small)).await;
    let large = publish_ok(&a, &lab.write(&Package::data("large").files(1, 9 * PIECE, 52))).await;
    holds_listings(&[&b], 2).await;
    let manifest = a.client().manifest(large.package_id).await.expect("it is here");
    let large = manifest.files[0].hash;
    let mut victim = Victim {
        lab: &lab,
        holder: &a,
        node: b,
        published: Vec::new(),
        publications: 0,
        large,
        cut_off: 0,
    };
    for round in 0..kills {
        let at = usize::try_from(round).unwrap_or(0) % ACTS.len();
        let (act, within_ms) = ACTS[at];
        victim.round(act, chance(round, within_ms)).await;
    }
    assert!(victim.cut_off >= kills / 4, "{} of {kills} kills came in time", victim.cut_off);
    assert!(kills < 6 || !victim.published.is_empty());
}
