//! Routes around finding and judging.

use guildhall_client::Error;
use guildhall_protocol::Hash;
use guildhall_protocol::api::{ListRequest, Ranking, ReviewRequest, Subscriptions, YankRequest};
use guildhall_protocol::name::Reference;
use guildhall_protocol::query::{PageMark, Query};

use super::fake::{Running, package_id};
use super::raw;

fn reference() -> Reference {
    "lab-a/digits@1.0.0+b".parse().unwrap()
}

#[tokio::test]
async fn every_route_of_finding_reaches_its_method_and_comes_back_typed() {
    let client = Running::start(None).await.client();
    let categories = client.categories().await.unwrap();
    assert_eq!(categories[0].category.as_str(), "vision/image-classification");
    let review = ReviewRequest { reference: reference(), stars: 4, text: "works".into() };
    let shown = client.review(&review).await.unwrap();
    assert_eq!((shown.stars, shown.text.as_str()), (4, "works"));
    assert_eq!(client.reviews(&reference()).await.unwrap(), [shown]);
    let yank = YankRequest { reference: reference(), why: "wrong labels".into() };
    let yanked = client.yank(&yank).await.unwrap();
    assert_eq!((yanked.reference, yanked.why), (reference(), "wrong labels".to_owned()));
    assert!(client.unlisted().await.unwrap().is_empty());
    let list = ListRequest {
        reference: reference(),
        categories: None,
        summary: Some("Digits".into()),
        keywords: None,
    };
    assert_eq!(client.list(&list).await.unwrap().package_id, package_id());
    assert!(client.demand().await.unwrap().subscriptions.is_empty());
    let categories = vec!["vision".parse().unwrap(), "*".parse().unwrap()];
    let report = client.subscribe(&Subscriptions { categories: categories.clone() }).await.unwrap();
    assert_eq!(report.subscriptions, categories);
    assert_eq!(client.ranking().await.unwrap(), Ranking::default());
    let mut change = Ranking::default();
    change.weights.insert("text".into(), 2.0);
    change.trust.insert("lab-b".parse().unwrap(), 0.25);
    assert_eq!(client.set_ranking(&change).await.unwrap(), change);
    assert!(client.notices().await.unwrap().is_empty());
    assert_eq!(client.reindex().await.unwrap().listings, 5);
}

#[tokio::test]
async fn a_typed_query_is_the_query_that_it_means() {
    let gateway = Running::start(None).await;
    for typed in [
        "small digits kind:model task:vision/image-classification licence:mit latency<50ms",
        "größe & mehr=1 fits:\"image(image/png)..tensor(f32, n, 64)\"",
        "",
    ] {
        let meant = Query::read(typed).unwrap().shorthand();
        let answer = gateway.client().search_typed(typed).await.unwrap();
        assert_eq!(answer.notes, [meant], "{typed}");
    }
    let mark = PageMark { query: Hash::of(b"query"), offset: 20 };
    let path = format!("/api/v1/search?q=kind%3Amodel&limit=5&facets=true&local=true&page={mark}");
    let answer = raw::get(gateway.address, &path, "host: localhost\r\n").await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    assert_eq!(raw::json(&answer)["notes"][0], "kind:model");
}

#[tokio::test]
async fn a_typed_query_that_means_nothing_is_refused_by_its_word() {
    let gateway = Running::start(None).await;
    let Err(Error::Api { status: 400, body }) = gateway.client().search_typed("licens:mit").await
    else {
        panic!("a key that is none")
    };
    assert_eq!(body.code, "bad_query");
    assert!(body.message.contains("did you mean `license:mit`"), "{}", body.message);
    assert!(body.help.unwrap().contains("--data-urlencode"));
    for (parameters, says) in [
        ("kind=model", "unknown field `kind`"),
        ("q=a&q=b", "duplicate field `q`"),
        ("q=a&limit=many", "limit"),
        ("q=a&page=2", "a page is named by"),
        ("q=kind%3Amodel+kind%3Adata", "two values"),
        ("q=latency%3C%00", "us, ms or s"),
    ] {
        let path = format!("/api/v1/search?{parameters}");
        let answer = raw::get(gateway.address, &path, "host: localhost\r\n").await;
        assert_eq!(raw::status(&answer), 400, "{answer}");
        let error = raw::json(&answer);
        assert_eq!(error["code"], "bad_query", "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
    let long = format!("/api/v1/search?q={}", "a".repeat(20_000));
    let answer = raw::get(gateway.address, &long, "host: localhost\r\n").await;
    assert_eq!(raw::status(&answer), 400);
    assert!(raw::json(&answer)["message"].as_str().unwrap().contains("at most"));
}

#[tokio::test]
async fn opinions_that_do_not_fit_are_refused_with_their_field() {
    let address = Running::start(None).await.address;
    for (path, body, says) in [
        ("reviews", r#"{"ref":"lab-a/digits","stars":-1}"#, "line 1 column 32"),
        ("reviews", r#"{"ref":"lab-a/digits"}"#, "stars"),
        ("reviews", r#"{"ref":"digits","stars":5}"#, "org/name"),
        ("yanks", r#"{"ref":"lab-a/digits@1.0.0"}"#, "why"),
        ("list", r#"{"ref":"lab-a/digits","categories":["Vision"]}"#, "category"),
    ] {
        let answer = raw::post_json(address, &format!("/api/v1/{path}"), body).await;
        assert_eq!(raw::status(&answer), 400, "{body}");
        let message = raw::json(&answer)["message"].to_string();
        assert!(message.contains(says), "{body}: {message}");
    }
}

#[tokio::test]
async fn the_routes_of_finding_want_the_token_too() {
    let gateway = Running::start(Some("secret")).await;
    for path in ["search?q=", "categories", "demand", "ranking", "notices", "unlisted"] {
        let path = format!("/api/v1/{path}");
        let without = raw::get(gateway.address, &path, "host: localhost\r\n").await;
        assert_eq!(raw::status(&without), 401, "{path}");
        let bearer = "host: localhost\r\nauthorization: Bearer secret\r\n";
        assert_eq!(raw::status(&raw::get(gateway.address, &path, bearer).await), 200, "{path}");
    }
}
