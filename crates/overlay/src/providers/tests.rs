use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SMALL: Caps = Caps { per_provider: 6, per_org: 8, per_key: 3, total: 12, own: 2 };

fn node(n: u32) -> PublicKey {
    let mut bytes = [1; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn org(n: u32) -> PublicKey {
    let mut bytes = [2; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn key(n: u32) -> Key {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&n.to_be_bytes());
    key
}

/// The store of node 0.
fn empty(caps: Caps) -> Store {
    let policy = Policy::of_listeners(&["127.0.0.1:1".parse().unwrap()]);
    Store::new(to_peer_id(&node(0)), policy, caps)
}

/// A store that admits nodes 1 to 30, each of its own org.
fn open(caps: Caps) -> Store {
    let mut store = empty(caps);
    (1..=30).for_each(|n| store.admit(node(n), org(n)));
    store
}

fn record(k: u32, provider: u32, expires: Option<Instant>) -> ProviderRecord {
    ProviderRecord {
        key: RecordKey::new(&key(k)),
        provider: to_peer_id(&node(provider)),
        expires,
        addresses: vec!["/ip4/127.0.0.1/tcp/9".parse().unwrap()],
    }
}

fn found(store: &Store, k: u32, now: Instant) -> BTreeSet<PublicKey> {
    let records = store.providers_at(&key(k), now);
    records.into_iter().filter_map(|record| to_public_key(&record.provider)).collect()
}

fn nodes<const N: usize>(numbers: [u32; N]) -> BTreeSet<PublicKey> {
    numbers.into_iter().map(node).collect()
}

fn seconds(n: u32) -> Duration {
    Duration::from_secs(n.into())
}

impl Store {
    fn has(&self, k: u32, provider: u32) -> bool {
        self.keys.get(&key(k)).is_some_and(|here| here.iter().any(|h| h.provider == node(provider)))
    }

    fn check_invariants(&self) {
        self.shares.check_invariants();
        let mut total = 0;
        for (key, here) in &self.keys {
            assert!(!here.is_empty() && here.len() <= self.caps.per_key);
            let in_order = |w: &[Held]| (w[0].org, w[0].provider) < (w[1].org, w[1].provider);
            assert!(here.windows(2).all(in_order));
            for held in here {
                assert_eq!(self.shares.org(&held.provider), Some(held.org), "{key:?}");
                assert!(self.shares.addresses(&held.provider).len() <= ADDRESSES_MAX);
                assert!(self.shares.of_provider(&held.provider) <= self.caps.per_provider);
                assert!(self.shares.of_org(&held.org) <= self.caps.per_org);
            }
            total += here.len();
        }
        assert_eq!(total, self.shares.total());
        assert!(total <= self.caps.total && self.own.len() <= self.caps.own);
    }
}

#[test]
fn a_hundred_thousand_junk_keys_of_one_org_cost_nobody_else_a_record() {
    let mut store = empty(Caps::default());
    let now = Instant::now();
    for n in 1..=100 {
        store.admit(node(n), org(if n <= 45 { 1 } else { n }));
    }
    let honest = |k: u32| 1_000_000 + k;
    for k in 0..100 {
        store.insert(record(honest(k), 50, None), now).unwrap();
    }
    for k in 0..100_000 {
        store.insert(record(k, 1 + k % 45, None), now + Duration::from_millis(k.into())).unwrap();
    }
    assert_eq!(store.shares.of_org(&org(1)), Caps::default().per_org);
    assert_eq!(store.losses.of(Loss::OrgFull), 100_000 - Caps::default().per_org as u64);
    let now = now + seconds(200);
    for k in 0..100 {
        assert_eq!(found(&store, honest(k), now), nodes([50]), "from before the flood");
    }
    for n in 46..=100 {
        for k in 0..40 {
            store.insert(record(honest(k), n, None), now).unwrap();
            assert!(store.has(honest(k), n), "{n} at {k}");
        }
    }
    store.check_invariants();
}

#[test]
fn in_a_full_store_whoever_holds_most_gives_way_and_nobody_below_an_equal_share() {
    let caps = Caps { total: 1_000, per_org: 900, ..Caps::default() };
    let mut store = open(caps);
    let now = Instant::now();
    for k in 0..2_000 {
        store.insert(record(k, 1, None), now + Duration::from_millis(k.into())).unwrap();
    }
    for n in 2..=20 {
        for k in 0..50 {
            store.insert(record(10_000 + 100 * n + k, n, None), now + seconds(10)).unwrap();
        }
    }
    for n in 2..=20 {
        assert_eq!(store.shares.of_org(&org(n)), 50, "a twentieth of the store");
    }
    assert_eq!(store.shares.of_org(&org(1)), 50);
    assert_eq!(store.losses.of(Loss::GaveWay), 850);
    store.check_invariants();
}

#[test]
fn beyond_its_share_a_provider_loses_its_own_oldest_and_leaves_its_siblings_alone() {
    let mut store = empty(SMALL);
    (1..=3).for_each(|n| store.admit(node(n), org(1)));
    let now = Instant::now();
    store.insert(record(0, 2, None), now).unwrap();
    for k in 1..=7 {
        store.insert(record(k, 1, None), now + seconds(k)).unwrap();
    }
    assert_eq!(found(&store, 1, now), nodes([]));
    assert_eq!(found(&store, 7, now), nodes([1]));
    assert_eq!(store.losses.of(Loss::ProviderFull), 1);
    for k in 0..3 {
        store.insert(record(10 + k, 3, None), now + seconds(10)).unwrap();
    }
    assert_eq!(store.losses.of(Loss::OrgFull), 2);
    assert_eq!((found(&store, 2, now), found(&store, 3, now)), (nodes([]), nodes([])));
    assert_eq!(found(&store, 0, now), nodes([2]), "it held least in its org");
}

#[test]
fn at_a_crowded_key_the_org_with_most_holders_gives_way() {
    let mut store = empty(SMALL);
    for (n, of) in [(1, 1), (2, 1), (3, 1), (4, 4), (5, 5), (6, 6)] {
        store.admit(node(n), org(of));
    }
    let now = Instant::now();
    for n in [2, 1, 3] {
        store.insert(record(9, n, None), now + seconds(10 - n)).unwrap();
    }
    store.insert(record(9, 4, None), now).unwrap();
    assert_eq!(found(&store, 9, now), nodes([1, 2, 4]), "3 would have expired first in its org");
    store.insert(record(9, 5, None), now + seconds(1)).unwrap();
    assert_eq!(found(&store, 9, now), nodes([1, 4, 5]));
    store.insert(record(9, 3, None), now + seconds(20)).unwrap();
    assert_eq!(found(&store, 9, now), nodes([3, 4, 5]), "its org has its share already");
    store.insert(record(9, 6, None), now + seconds(2)).unwrap();
    assert_eq!(found(&store, 9, now), nodes([3, 5, 6]), "one of each: 4 would expire first");
    assert_eq!(store.losses.of(Loss::Crowded), 4);
}

#[test]
fn five_thousand_holders_of_a_category_share_the_answers_and_several_answers_name_most_of_them() {
    let mut store = empty(Caps::default());
    let now = Instant::now();
    // Half of them are one org's.
    for n in 1..=5_000 {
        store.admit(node(n), org(if n % 2 == 0 { 0 } else { n % 500 }));
        // Three of sixteen shards, as nodes choose theirs.
        for shard in [n, n + 5, n + 10] {
            store
                .insert(record(shard % 16, n, None), now + Duration::from_millis(n.into()))
                .unwrap();
        }
    }
    store.check_invariants();
    let mut all = BTreeSet::new();
    for _ in 0..20 {
        for shard in 0..16 {
            let named = store.providers_at(&key(shard), now);
            assert_eq!(named.len(), ANSWER_MAX);
            let providers = named.iter().filter_map(|record| to_public_key(&record.provider));
            let of_one_org = providers.clone().filter(|p| store.shares.org(p) == Some(org(0)));
            assert!(of_one_org.count() <= 1, "the others have a place before its second one");
            all.extend(providers);
        }
    }
    assert!(all.len() > 1_500, "{} of 5000 after twenty lookups of every shard", all.len());
}

#[test]
fn own_keys_stay_whatever_others_do_and_are_named_first() {
    let mut store = open(SMALL);
    let now = Instant::now();
    store.add_provider(record(9, 0, None)).unwrap();
    for provider in 1..=30 {
        for k in 0..30 {
            let _ = store.insert(record(k, provider, None), now);
        }
    }
    assert_eq!(store.providers_at(&key(9), now)[0].provider, store.local);
    store.purge(now + 2 * TTL);
    assert_eq!(found(&store, 9, now), nodes([0]));
    store.add_provider(record(8, 0, None)).unwrap();
    assert!(store.add_provider(record(7, 0, None)).is_err(), "own keys have a bound too");
    assert!(store.add_provider(record(8, 0, None)).is_ok(), "again is no more");
    store.remove_provider(&RecordKey::new(&key(9)), &to_peer_id(&node(0)));
    assert_eq!(found(&store, 9, now), nodes([]));
}

#[test]
fn no_record_outlives_the_ttl_whatever_it_claims() {
    let mut store = open(SMALL);
    let now = Instant::now();
    store.insert(record(1, 1, Some(now + 10 * TTL)), now).unwrap();
    assert_eq!(found(&store, 1, now + TTL - seconds(1)), nodes([1]));
    assert_eq!(found(&store, 1, now + TTL), nodes([]));
    store.purge(now + TTL);
    assert_eq!(store.shares.total(), 0);
    assert_eq!(store.insert(record(1, 1, Some(now)), now), Err(Loss::Unfit), "already expired");
}

#[test]
fn what_is_no_provider_record_of_ours_is_refused_and_counted() {
    let mut store = open(SMALL);
    let now = Instant::now();
    let mut odd = record(1, 1, None);
    odd.key = RecordKey::new(b"a key of another length");
    assert_eq!(store.insert(odd, now), Err(Loss::Unfit));
    let mut nowhere = record(1, 1, None);
    nowhere.addresses = vec!["/ip4/0.0.0.0/tcp/9".parse().unwrap()];
    assert_eq!(store.insert(nowhere, now), Err(Loss::Unfit));
    assert_eq!(store.insert(record(1, 99, None), now), Err(Loss::Stranger));
    assert!(store.put(Record::new(key(1).to_vec(), vec![1])).is_err());
    assert_eq!(store.shares.total(), 0);
    let counts: Vec<u64> = store.dropped().iter().map(|row| row.count).collect();
    assert_eq!(counts, [1, 2]);
}

#[test]
fn a_removed_org_leaves_nothing_and_can_add_nothing_also_where_its_nodes_are_away() {
    let mut store = empty(SMALL);
    let now = Instant::now();
    for (n, of) in [(1, 1), (2, 1), (3, 3)] {
        store.admit(node(n), org(of));
        store.insert(record(1, n, None), now).unwrap();
    }
    store.dismiss(&node(2));
    assert_eq!(found(&store, 1, now), nodes([1, 2, 3]), "who is away for a while is still named");
    assert_eq!(store.insert(record(2, 2, None), now), Err(Loss::Stranger));
    store.forget_org(&org(1));
    assert_eq!(found(&store, 1, now), nodes([3]));
    assert_eq!(store.insert(record(2, 1, None), now), Err(Loss::Stranger));
    store.check_invariants();
}

#[test]
fn a_node_that_changes_its_org_takes_no_share_of_the_one_it_left() {
    let mut store = open(SMALL);
    let now = Instant::now();
    store.insert(record(1, 1, None), now).unwrap();
    store.admit(node(1), org(2));
    assert_eq!((store.shares.of_org(&org(1)), store.shares.total()), (0, 0));
    store.insert(record(1, 1, None), now).unwrap();
    assert_eq!(store.shares.of_org(&org(2)), 1);
    store.check_invariants();
}

/// What can be done to a store of six nodes in three orgs.
#[derive(Clone, Debug)]
enum Step {
    Announce { key: u32, provider: u32, seconds: u32 },
    Remove { key: u32, provider: u32 },
    Admit { provider: u32, org: u32 },
    Dismiss(u32),
    Forget(u32),
    ForgetOrg(u32),
    Purge,
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let (k, p, o) = (0_u32..8, 1_u32..7, 0_u32..3);
    prop_oneof![
        12 => (k.clone(), p.clone(), 1_u32..60)
            .prop_map(|(key, provider, seconds)| Step::Announce { key, provider, seconds }),
        2 => (k, p.clone()).prop_map(|(key, provider)| Step::Remove { key, provider }),
        3 => (p.clone(), o.clone()).prop_map(|(provider, org)| Step::Admit { provider, org }),
        1 => p.clone().prop_map(Step::Dismiss),
        1 => p.prop_map(Step::Forget),
        1 => o.prop_map(Step::ForgetOrg),
        1 => Just(Step::Purge),
        2 => (1_u32..30).prop_map(Step::Pass),
    ]
}

/// What the store may hold at most: everything that was announced by somebody admitted and was neither taken back nor
/// forgotten since. The store may have evicted some of it, and nothing else may be in it.
#[derive(Default)]
struct Model {
    orgs: BTreeMap<u32, u32>,
    records: BTreeMap<(u32, u32), (u32, Instant)>,
}

impl Model {
    /// What the store has of an org.
    fn of_org(&self, store: &Store, of: u32) -> usize {
        let kept = self.records.iter().filter(|(_, (org, _))| *org == of);
        kept.filter(|((k, provider), _)| store.has(*k, *provider)).count()
    }
}

proptest! {
    #[test]
    fn whatever_happens_caps_shares_and_lifetimes_hold(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        let (mut store, mut model) = (empty(SMALL), Model::default());
        let mut now = Instant::now();
        for step in steps {
            match step {
                Step::Announce { key: k, provider, seconds: life } => {
                    let expires = now + seconds(life);
                    let taken = store.insert(record(k, provider, Some(expires)), now);
                    match model.orgs.get(&provider) {
                        None => prop_assert_eq!(taken, Err(Loss::Stranger)),
                        Some(of) => {
                            // There are three orgs and room for four records of each: nobody is refused.
                            prop_assert_eq!(taken, Ok(()));
                            prop_assert!(store.has(k, provider));
                            model.records.insert((k, provider), (*of, expires));
                        }
                    }
                }
                Step::Remove { key: k, provider } => {
                    store.remove_provider(&RecordKey::new(&key(k)), &to_peer_id(&node(provider)));
                    model.records.remove(&(k, provider));
                }
                Step::Admit { provider, org: of } => {
                    store.admit(node(provider), org(of));
                    model.orgs.insert(provider, of);
                    model.records.retain(|(_, p), (o, _)| *p != provider || *o == of);
                }
                Step::Dismiss(provider) => {
                    store.dismiss(&node(provider));
                    model.orgs.remove(&provider);
                }
                Step::Forget(provider) => {
                    store.forget(&node(provider));
                    model.orgs.remove(&provider);
                    model.records.retain(|(_, p), _| *p != provider);
                }
                Step::ForgetOrg(of) => {
                    store.forget_org(&org(of));
                    model.orgs.retain(|_, o| *o != of);
                    model.records.retain(|_, (o, _)| *o != of);
                }
                Step::Purge => store.purge(now),
                Step::Pass(n) => now += seconds(n),
            }
            store.check_invariants();
            for k in 0..8 {
                for provider in found(&store, k, now) {
                    let known = (1..7).find(|p| node(*p) == provider).and_then(|p| model.records.get(&(k, p)));
                    prop_assert!(known.is_some_and(|(_, expires)| *expires > now), "{k} {provider:?}");
                }
            }
        }
    }

    /// With distinct keys and a store that is full, an org never falls below an equal share by what others do.
    #[test]
    fn no_org_is_pushed_below_its_equal_share(
        steps in prop::collection::vec((0_u32..3, 0_u32..40), 1..300)
    ) {
        let caps = Caps { per_provider: 100, per_org: 100, per_key: 100, ..SMALL };
        let (mut store, mut model) = (empty(caps), Model::default());
        let start = Instant::now();
        (0..3).for_each(|of| store.admit(node(of + 1), org(of)));
        for (at, (of, k)) in (0_u32..).zip(steps) {
            let before: Vec<usize> = (0..3).map(|of| model.of_org(&store, of)).collect();
            let expires = start + seconds(1_000 + at);
            prop_assert_eq!(store.insert(record(k, of + 1, Some(expires)), start), Ok(()));
            model.records.insert((k, of + 1), (of, expires));
            for other in (0..3).filter(|other| *other != of) {
                let (before, after) = (before[other as usize], model.of_org(&store, other));
                prop_assert!(after >= before || before > caps.total / 3, "{other}: {before} {after}");
            }
            store.check_invariants();
        }
    }
}
