//! Yanks, reviews, pages and ranking at real nodes, over restarts and a kill.

use guildhall_testkit::client::Error;
use guildhall_testkit::protocol::api::{Detail, Ranking, ReviewRequest, RunState, YankRequest};
use guildhall_testkit::protocol::name::Reference;
use guildhall_testkit::protocol::query::Query;
use guildhall_testkit::{
    Node, NotYet, PATIENCE, Package, converge, holds_listings, publish_ok, records, request, run,
    stage,
};

use crate::lab;

fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

async fn found(node: &Node) -> Vec<String> {
    let answer = node.client().search(&Query::default()).await.expect("an answer");
    answer.results.iter().map(|one| one.reference.to_string()).collect()
}

async fn show(node: &Node, name: &str) -> Detail {
    node.client().show(&reference(name)).await.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Waits until a node's search finds exactly this.
async fn finds(node: &Node, expected: &[&str]) {
    let met =
        converge(PATIENCE, "the search finds what it should", async || match found(node).await {
            found if found == expected => Ok(()),
            found => Err(NotYet::saw(format!("{found:?}"))),
        });
    met.await.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
}

fn code_of<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::Api { body, .. }) => body.code,
        other => panic!("{other:?}"),
    }
}

/// ```text
///   lab-a (lists two versions, yanks one) ──▶ lab-b (has both; restarted, then killed)
/// ```
#[tokio::test]
async fn a_yank_reaches_everybody_is_told_to_who_holds_it_and_survives_a_kill() {
    let lab = lab();
    let [a, mut b] = lab.federation(["lab-a", "lab-b"]).await;
    let numbers = || Package::data("numbers").file("one.csv", "x,y\n1,2\n");
    publish_ok(&a, &lab.write(&numbers())).await;
    publish_ok(&a, &lab.write(&numbers().at("1.1.0").file("two.csv", "x,y\n3,4\n"))).await;
    holds_listings(&[&b], 2).await;
    finds(&b, &["lab-a/numbers@1.1.0"]).await;
    let wanted = reference("lab-a/numbers@1.1.0");
    b.client().fetch(&wanted).await.unwrap_or_else(|error| panic!("{error}"));

    let request = YankRequest { reference: wanted.clone(), why: "columns are swapped".to_owned() };
    assert_eq!(code_of(b.client().yank(&request).await), "not_yours");
    let bare = YankRequest { why: "  ".to_owned(), ..request.clone() };
    assert_eq!(code_of(a.client().yank(&bare).await), "bad_request");
    let nothing = YankRequest { reference: reference("lab-a/numbers@7.0.0"), ..request.clone() };
    assert_eq!(code_of(a.client().yank(&nothing).await), "unknown_reference");
    let yanked = a.client().yank(&request).await.unwrap_or_else(|error| panic!("{error}"));
    let again = YankRequest { why: "another reason".to_owned(), ..request };
    let same = a.client().yank(&again).await.expect("it is no error");
    assert_eq!((&same.why, same.time_ms), (&yanked.why, yanked.time_ms), "the first reason holds");

    for is_killed in [false, true] {
        for node in [&a, &b] {
            finds(node, &["lab-a/numbers@1.0.0"]).await;
            let detail = show(node, "lab-a/numbers").await;
            assert_eq!(detail.reference, reference("lab-a/numbers@1.0.0"));
            assert_eq!(detail.yanked.len(), 1);
            assert_eq!(detail.yanked[0].why, "columns are swapped");
            assert_eq!(show(node, "lab-a/numbers@1.1.0").await.yanked.len(), 1, "it says why");
            assert_eq!(code_of(node.client().fetch(&wanted).await), "yanked");
        }
        let notices = b.client().notices().await.expect("it answers");
        let told: Vec<_> = notices.iter().filter(|one| one.kind == "yanked").collect();
        assert_eq!(told.len(), 1, "{notices:?}");
        assert_eq!(told[0].reference, Some(wanted.clone()));
        assert!(told[0].text.contains("columns are swapped"), "{told:?}");
        if is_killed {
            b.kill().await.expect("it is killed");
        } else {
            assert!(b.stop().await.expect("it stops"));
        }
        b.restart().await.unwrap_or_else(|error| panic!("{error}"));
    }
    finds(&b, &["lab-a/numbers@1.0.0"]).await;
}

/// ```text
///   lab-a (lists) ──▶ lab-b (reviews twice, reindexes)
/// ```
#[tokio::test]
async fn a_review_travels_the_newest_of_an_org_holds_and_reindexing_loses_nothing() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    publish_ok(&a, &lab.write(&Package::data("numbers").file("one.csv", "x,y\n1,2\n"))).await;
    holds_listings(&[&b], 1).await;
    let review = |stars, text: &str| ReviewRequest {
        reference: reference("lab-a/numbers"),
        stars,
        text: text.to_owned(),
    };
    assert_eq!(code_of(b.client().review(&review(6, "too good")).await), "bad_request");
    for (stars, text) in [(2, "hm"), (5, "just what we needed")] {
        b.client().review(&review(stars, text)).await.unwrap_or_else(|error| panic!("{error}"));
    }
    let own = a.client().review(&review(5, "ours")).await.expect("it may");
    assert!(own.own, "{own:?}");
    for node in [&a, &b] {
        let met = converge(PATIENCE, "the review is there", async || {
            let detail = show(node, "lab-a/numbers").await;
            match (detail.rating.orgs, detail.rating.stars, detail.reviews.len()) {
                (1, 5.0, 2) => Ok(()),
                _ => Err(NotYet::saw(format!("{:?} {:?}", detail.rating, detail.reviews))),
            }
        });
        met.await.unwrap_or_else(|error| panic!("{error}"));
    }
    let reindexed = b.client().reindex().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(reindexed.listings, 1);
    let detail = show(&b, "lab-a/numbers").await;
    assert_eq!((detail.rating.orgs, detail.reviews.len()), (1, 2));
    assert_eq!(found(&b).await, ["lab-a/numbers@1.0.0"]);
}

/// ```text
///   lab-a (alone, ranks in its own way, restarted)
/// ```
#[tokio::test]
async fn how_an_org_ranks_is_its_own_and_stays() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    let before = a.client().ranking().await.expect("it answers");
    assert!(before.weights["text"] > before.weights["freshness"]);
    let change = |name: &str, weight| Ranking {
        weights: [(name.to_owned(), weight)].into(),
        ..Ranking::default()
    };
    for bad in [change("luck", 1.0), change("trust", -1.0), change("trust", 101.0)] {
        assert_eq!(code_of(a.client().set_ranking(&bad).await), "bad_ranking");
    }
    let trust =
        Ranking { trust: [("lab-b".parse().expect("a name"), 0.9)].into(), ..change("usage", 2.0) };
    a.client().set_ranking(&trust).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(a.stop().await.expect("it stops"));
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let after = a.client().ranking().await.expect("it answers");
    assert!((after.weights["usage"] - 2.0).abs() < 1e-9, "{after:?}");
    assert_eq!(after.trust.len(), 1);
    let back = a.client().set_ranking(&Ranking::default()).await.expect("it answers");
    assert_eq!(back, before);
}

/// ```text
///   lab-a (alone, twelve listings; one more while pages are turned)
/// ```
#[tokio::test]
async fn pages_repeat_nothing_while_listings_arrive_and_are_forgotten_with_the_node() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    for number in 0..12 {
        let package = Package::data(&format!("numbers-{number}")).file("one.csv", "x,y\n1,2\n");
        publish_ok(&a, &lab.write(&package)).await;
    }
    let all = a.client().search(&Query::default()).await.expect("an answer");
    assert_eq!((all.results.len(), all.total, all.next), (12, 12, None));
    let first = a.client().search(&Query { limit: 5, facets: true, ..Query::default() }).await;
    let mut answer = first.expect("an answer");
    let kinds = answer.facets.iter().find(|facet| facet.name == "kind").expect("it is counted");
    assert_eq!((kinds.values[0].value.as_str(), kinds.values[0].count), ("data", 12));
    let query_id = answer.query_id;
    let mut seen: Vec<_> = answer.results.iter().map(|one| one.reference.clone()).collect();
    publish_ok(&a, &lab.write(&Package::data("late").file("one.csv", "x,y\n1,2\n"))).await;
    while let Some(next) = answer.next {
        let page = Query { page: Some(next), ..Query::default() };
        answer = a.client().search(&page).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((answer.query_id, answer.total), (query_id, 12));
        seen.extend(answer.results.iter().map(|one| one.reference.clone()));
    }
    let expected: Vec<_> = all.results.iter().map(|one| one.reference.clone()).collect();
    assert_eq!(seen, expected);

    let first = a.client().search(&Query { limit: 5, ..Query::default() }).await.expect("it");
    assert!(a.stop().await.expect("it stops"));
    a.restart().await.unwrap_or_else(|error| panic!("{error}"));
    let gone = a.client().search(&Query { page: first.next, ..Query::default() }).await;
    assert_eq!(code_of(gone), "page_gone");
}

/// ```text
///   lab-a (lists `numbers`) ──▶ lab-b (lists what looks like it)
/// ```
#[tokio::test]
async fn a_name_that_looks_like_anothers_is_refused_or_pointed_out() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let data = |name: &str| lab.write(&Package::data(name).file("one.csv", "x,y\n1,2\n"));
    publish_ok(&a, &data("numbers")).await;
    holds_listings(&[&b], 1).await;
    let alike = data("nurnbers");
    let alike = alike.to_str().expect("UTF-8");
    let cli = lab.cli(b.home());
    let said = cli.fails_plainly(4, ["publish", alike]).await;
    assert!(said.contains("lab-a/numbers") && said.contains("--although-alike"), "{said}");
    cli.ok(["publish", alike, "--although-alike"]).await;
    // The same name says whose it is by its org.
    publish_ok(&b, &data("numbers")).await;
    holds_listings(&[&a, &b], 3).await;
    for node in [&a, &b] {
        let detail = show(node, "lab-b/nurnbers").await;
        assert_eq!(detail.looks_like, Some(reference("lab-a/numbers")));
        assert_eq!(show(node, "lab-b/numbers").await.looks_like, None);
        assert_eq!(show(node, "lab-a/numbers").await.looks_like, None, "it was there before");
    }
}

/// ```text
///   lab-a (alone)
/// ```
#[tokio::test]
async fn a_yanked_version_never_comes_back_and_unlisted_ones_wait_for_the_command_line() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let cli = lab.cli(a.home());
    let numbers = || Package::data("numbers").file("one.csv", "x,y\n1,2\n");
    let folder = lab.write(&numbers());
    let folder = folder.to_str().expect("UTF-8");
    cli.ok(["publish", folder, "--unlisted"]).await;
    assert!(found(&a).await.is_empty());
    for waiting in [
        vec!["show", "lab-a/numbers"],
        vec!["yank", "lab-a/numbers@1.0.0", "--why", "wrong"],
        vec!["review", "lab-a/numbers", "--stars", "3"],
    ] {
        let said = cli.fails(3, waiting).await;
        assert!(
            said.contains("not listed yet") && said.contains("guild list lab-a/numbers"),
            "{said}"
        );
    }
    let listed = cli.run(["list", "lab-a/numbers", "--category", "ocr"]).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(listed.stderr.contains("`ocr` is read as vision/image-to-text/ocr"), "{listed:?}");
    assert_eq!(found(&a).await, ["lab-a/numbers@1.0.0"]);
    cli.ok(["yank", "lab-a/numbers@1.0.0", "--why", "wrong"]).await;
    assert!(found(&a).await.is_empty());
    let again = cli.ok(["yank", "lab-a/numbers@1.0.0", "--why", "another reason"]).await;
    assert!(again.contains("was taken back already, on ") && again.contains(": wrong"), "{again}");
    let page = cli.ok(["show", "lab-a/numbers@1.0.0"]).await;
    assert!(page.contains("taken back by its producer: wrong"), "{page}");
    assert!(!page.contains("guild get") && !page.contains("guild review"), "{page}");
    let search = cli.run(["search", "lab-a/numbers@1.0.0"]).await;
    assert!(search.stdout.contains("was taken back by its producer on "), "{search:?}");
    let said = cli.fails_plainly(4, ["publish", folder]).await;
    assert!(said.contains("never comes back"), "{said}");
    let other = lab.write(&numbers().file("two.csv", "x,y\n3,4\n"));
    cli.fails_plainly(4, ["publish", other.to_str().expect("UTF-8")]).await;
    let said = cli.fails_plainly(4, ["get", "lab-a/numbers@1.0.0"]).await;
    assert!(said.contains("wrong"), "{said}");
}

/// ```text
///   lab-a (a pipeline, whose stage it takes back)
/// ```
#[tokio::test]
async fn what_is_yanked_is_run_no_more_and_neither_is_a_pipeline_that_uses_it() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let echo = Package::stage("echo", &stage::echo()).contract(5_000, 1 << 24, 1_000);
    publish_ok(&a, &lab.write(&echo)).await;
    let twice = Package::pipeline("twice", &[("first", "self/echo"), ("then", "self/echo")]);
    publish_ok(&a, &lab.write(&twice)).await;
    let cli = lab.cli(a.home());
    let done = run(&a, "lab-a/twice", ["one"], "local").await;
    assert_eq!(done.state, RunState::Completed, "{:?}", done.failure);
    let why = "it repeats itself".to_owned();
    let yank = YankRequest { reference: reference("lab-a/echo@1.0.0"), why };
    a.client().yank(&yank).await.unwrap_or_else(|error| panic!("{error}"));
    for (name, named) in [("lab-a/echo@1.0.0", "lab-a/echo@1.0.0"), ("lab-a/twice", "`first`")] {
        match a.client().start_run(&request(name, records(["one"]), "local")).await {
            Err(Error::Api { body, .. }) => {
                assert_eq!(body.code, "yanked");
                let said = &body.message;
                assert!(said.contains(named) && said.contains("it repeats itself"), "{said}");
            }
            other => panic!("{other:?}"),
        }
    }
    let page = cli.ok(["show", "lab-a/twice"]).await;
    let stage = "first: lab-a/echo@1.0.0 (taken back: it repeats itself)";
    assert!(page.contains(stage), "{page}");
    let gaps = cli.run(["search", "--for", "lab-a/twice"]).await;
    assert!(gaps.stderr.contains("stage `first`, lab-a/echo@1.0.0, was taken back"), "{gaps:?}");
    assert!(gaps.stdout.contains("`first` and `then`"), "{gaps:?}");
}
