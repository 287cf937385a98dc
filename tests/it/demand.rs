//! What is looked for in vain: counted where it was asked, told to those who subscribed, and nobody is named.

use guildhall_catalog::demand::Watch;
use guildhall_store::{Batch, Collection, Store};
use guildhall_testkit::hostile::{Deed, Hostile, Truth};
use guildhall_testkit::protocol::api::Subscriptions;
use guildhall_testkit::protocol::body::{Demand, Unmet};
use guildhall_testkit::protocol::query::Query;
use guildhall_testkit::protocol::{Hash, cbor};
use guildhall_testkit::{
    Node, NotYet, PATIENCE, Package, acquainted, converge, lend, publish_ok, run, stage,
};

use crate::lab;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("a time")
}

fn in_category(category: &str, text: &str) -> Query {
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    Query { category: Some(category.parse().expect("a category")), text, ..Query::default() }
}

/// What a node counted by itself: category and count; and how many queries are open.
async fn counted(node: &Node) -> (Vec<(String, u32)>, u64) {
    let report = node.client().demand().await.expect("it answers");
    let here = report.here.iter().map(|unmet| (unmet.category.to_string(), unmet.count));
    (here.collect(), report.open)
}

/// ```text
///   lab-a   (alone, stopped and started in between)
/// ```
#[tokio::test]
async fn a_search_in_vain_is_counted_and_the_count_survives_a_restart() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    for text in ["runes", "old runes", "Runes"] {
        let answer = a
            .client()
            .search(&in_category("vision/object-detection", text))
            .await
            .expect("an answer");
        assert!(answer.results.is_empty());
    }
    assert_eq!(counted(&a).await, (vec![("vision/object-detection".to_owned(), 2)], 0));
    assert!(a.stop().await.expect("it stops"));
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(counted(&a).await, (vec![("vision/object-detection".to_owned(), 2)], 0));
    let report = a.client().demand().await.expect("it answers");
    assert!(report.here_since_ms > 0 && report.least == 3, "{report:?}");
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn a_search_after_which_something_is_fetched_or_run_is_met() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    lend(&a, 1, &[]).await;
    let echo = Package::stage("echo", &stage::echo()).contract(5_000, 1 << 24, 65_536);
    publish_ok(&a, &lab.write(&echo)).await;
    let detail = a.client().show(&"lab-a/echo".parse().expect("a reference")).await.expect("it");
    let category = detail.listing.categories[0].to_string();
    let search = async |text: &str| {
        let answer = a.client().search(&in_category(&category, text)).await.expect("an answer");
        assert_eq!(answer.results.len(), 1, "{text}");
        answer.query_id.to_string()
    };
    let cli = lab.cli(a.home());
    let out = |name: &str| lab.path(name).to_str().expect("UTF-8").to_owned();

    // By the query's id.
    let query = search("").await;
    assert_eq!(counted(&a).await, (vec![], 1));
    cli.ok(["get", "lab-a/echo", "-o", &out("one"), "--query", &query]).await;
    assert_eq!(counted(&a).await, (vec![], 0));
    // By what it showed.
    search("echo").await;
    assert_eq!(counted(&a).await, (vec![], 1));
    run(&a, "lab-a/echo", ["x"], "local").await;
    assert_eq!(counted(&a).await, (vec![], 0));
    // Looking is not using.
    search("ECHO echo").await;
    cli.ok(["show", "lab-a/echo"]).await;
    assert_eq!(counted(&a).await, (vec![], 1));
}

/// What a node counted on the day before is in its store; the day is over when it starts again.
///
/// ```text
///   lab-a (missed something yesterday) ──▶ lab-b (subscribed) ──▶ lab-c (away until then)
/// ```
#[tokio::test]
async fn what_was_missed_in_a_day_reaches_the_other_orgs_and_says_nothing_of_who_asked() {
    let lab = lab();
    let [mut a, b, mut c] = lab.federation(["lab-a", "lab-b", "lab-c"]).await;
    let everything = Subscriptions { categories: vec!["*".parse().expect("a category")] };
    b.client().subscribe(&everything).await.expect("it subscribes");
    assert!(c.stop().await.expect("it stops"));
    assert!(a.stop().await.expect("it stops"));
    let day_ago_ms = now_ms() - DAY_MS;
    let mut watch = Watch::default();
    watch.poll(day_ago_ms);
    for number in 0..6_u8 {
        let query = in_category("vision/object-detection", &format!("secret words {number}"));
        watch.handle_answer(Hash::of(&[number]), &query, &[], day_ago_ms);
    }
    watch.handle_answer(
        Hash::of(b"one"),
        &in_category("audio/classification", ""),
        &[],
        day_ago_ms,
    );
    let store = Store::open(&a.home().join("store")).expect("its store");
    let mut batch = Batch::new();
    batch.put_document(Collection::Identity, b"demand", cbor::encode(&watch.save()));
    store.commit(batch).await.expect("it is written");
    store.close().await.expect("it is closed");

    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let told = async |node: &Node| {
        let told = converge(PATIENCE, "the news", async || {
            let federation = node.client().demand().await?.federation;
            let shown: Vec<_> = federation
                .iter()
                .map(|it| (it.unmet.category.to_string(), it.unmet.count, it.orgs))
                .collect();
            match &shown[..] {
                [one] if *one == ("vision/object-detection".to_owned(), 4, 1) => Ok(()),
                _ => Err(NotYet::saw(format!("{shown:?}"))),
            }
        });
        told.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
    };
    told(&b).await;
    let notices = b.client().notices().await.expect("it answers");
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].text.contains("lab-a"), "{notices:?}");
    c.restart().await.unwrap_or_else(|error| panic!("{error}"));
    told(&c).await;
    assert_eq!(c.client().notices().await.expect("it answers"), [], "it did not subscribe");
    // Here it is known exactly, and told to nobody a second time.
    let here =
        vec![("vision/object-detection".to_owned(), 6), ("audio/classification".to_owned(), 1)];
    assert_eq!(counted(&a).await, (here, 0));
    let before = b.client().demand().await.expect("it answers").federation;
    assert!(a.stop().await.expect("it stops"));
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    acquainted(&[&a, &b, &c]).await;
    assert_eq!(b.client().demand().await.expect("it answers").federation, before);
    assert_eq!(b.client().notices().await.expect("it answers").len(), 1);
}

/// ```text
///   a node of lab-x (says what it missed) ──▶ lab-a (subscribed to vision)
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demand_in_a_subscribed_category_becomes_one_notice() {
    let lab = lab();
    let [mut a, x] = lab.federation(["lab-a", "lab-x"]).await;
    let subscriptions =
        Subscriptions { categories: vec!["vision".parse().expect("a category"); 2] };
    let report = a.client().subscribe(&subscriptions).await.expect("it subscribes");
    assert_eq!(report.subscriptions.len(), 1, "the same twice is one");
    assert_eq!(a.client().notices().await.expect("it answers"), []);

    let federation = a.client().status().await.expect("it answers").federation.id;
    let missed = |category: &str, count| Unmet {
        category: category.parse().expect("a category"),
        kind: None,
        input: None,
        output: None,
        count,
    };
    let until_ms = now_ms();
    let demand = Demand {
        federation,
        from_ms: until_ms - DAY_MS,
        until_ms,
        unmet: vec![missed("vision/object-detection", 8), missed("audio/classification", 64)],
    };
    let other = Hostile::another_of(x.home(), 7, Truth::default(), Deed::Missing).await;
    other.say(&demand);
    other.meet(&a).await;
    let told = converge(PATIENCE, "the notice", async || {
        let notices = a.client().notices().await?;
        (!notices.is_empty()).then_some(()).ok_or_else(|| NotYet::saw("none"))
    });
    told.await.unwrap_or_else(|error| panic!("{error}\n{}", a.log_tail()));
    let notices = a.client().notices().await.expect("it answers");
    assert_eq!((notices.len(), notices[0].kind.as_str()), (1, "demand"));
    let text = &notices[0].text;
    assert!(text.contains("lab-x") && text.contains("vision/object-detection, 8"), "{text}");
    assert!(!text.contains("audio"), "nobody subscribed to that: {text}");
    let shown = |report: guildhall_testkit::protocol::api::DemandReport| {
        let federation = report.federation.into_iter();
        let shown = federation.map(|it| (it.unmet.category.to_string(), it.orgs, it.subscribed));
        shown.collect::<Vec<_>>()
    };
    let expected = [
        ("audio/classification".to_owned(), 1, false),
        ("vision/object-detection".to_owned(), 1, true),
    ];
    assert_eq!(shown(a.client().demand().await.expect("it answers")), expected);

    assert!(a.stop().await.expect("it stops"));
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(a.client().notices().await.expect("it answers"), notices, "once, and kept");
    assert_eq!(a.client().status().await.expect("it answers").notices, 1);
    assert_eq!(shown(a.client().demand().await.expect("it answers")), expected);
}
