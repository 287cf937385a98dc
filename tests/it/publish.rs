//! Publications that are refused: the cause and the place are named, nothing is listed, the node goes on.

use guildhall_testkit::{Cli, Lab, Node, Package, publish_ok, stage};

use crate::lab;

/// Publishes a package that must be refused; returns what was said.
async fn refused(lab: &Lab, node: &Node, package: &Package, code: u8) -> String {
    let folder = lab.write(package);
    let cli: Cli = lab.cli(node.home());
    let said = cli.fails_plainly(code, ["publish", folder.to_str().expect("UTF-8")]).await;
    std::fs::remove_dir_all(folder).expect("the folder is ours");
    said
}

#[track_caller]
fn names(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

/// The node holds exactly `count` listings, and takes a good package.
async fn holds(node: &Node, count: u64) {
    let status = node.client().status().await.expect("it is alive");
    assert_eq!(status.listings, count, "{}", node.log_tail());
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn what_is_wrong_in_the_folder_is_named_before_anything_is_sent() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let good = || Package::stage("odd", &stage::echo()).contract(5_000, 1 << 24, 1_000);

    let missing_test = good().table(
        "[[tests]]\nname = \"1\"\ninputs = [{ port = \"in\", file = \"tests/none.in\" }]\n\
         outputs = [{ port = \"out\", file = \"stage.wasm\" }]",
    );
    names(&refused(&lab, &a, &missing_test, 4).await, &["tests/none.in", "not in the package"]);

    let coded_data = Package::data("odd")
        .table("[code.command]\nmodule = \"stage.wasm\"")
        .contract(1_000, 1 << 20, 1_000);
    names(&refused(&lab, &a, &coded_data, 4).await, &["only an algorithm or a model"]);

    let misspelt = good().table("[contrakt]\nmemory = 1");
    let line =
        misspelt.description().lines().position(|l| l == "[contrakt]").expect("the line") + 1;
    let said = refused(&lab, &a, &misspelt, 4).await;
    names(&said, &[&format!("guild.toml:{line}:"), "contrakt"]);

    let no_toml = good().line("this is no toml");
    let line =
        no_toml.description().lines().position(|l| l.contains("no toml")).expect("the line") + 1;
    names(&refused(&lab, &a, &no_toml, 4).await, &[&format!("guild.toml:{line}:")]);

    let no_contract = Package::stage("odd", &stage::echo());
    names(&refused(&lab, &a, &no_contract, 4).await, &["contract"]);

    let empty = lab.path("empty");
    std::fs::create_dir(&empty).expect("a folder");
    let said = lab.cli(a.home()).fails(4, ["publish", empty.to_str().expect("UTF-8")]).await;
    names(&said, &["has no guild.toml"]);
    holds(&a, 0).await;
}

/// ```text
///   lab-a ◀── a client that says it sent everything
/// ```
#[tokio::test]
async fn a_file_that_was_never_sent_is_named_and_nothing_is_listed() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let folder = lab.write(&Package::data("images").files(2, 1_000, 1));
    let draft = guildhall_testkit::client::package::read_dir(&folder).expect("a package");
    let request = draft.request(false).expect("it keeps every rule");
    a.client().upload_file(&folder.join("files/000.bin")).await.expect("one of the two is sent");
    let error = a.client().publish(&request).await.expect_err("the other is missing");
    assert_eq!(error.code(), Some("missing_file"));
    names(&error.to_string(), &["files/001.bin"]);
    holds(&a, 0).await;
    let dry =
        lab.cli(a.home()).json(["publish", folder.to_str().expect("UTF-8"), "--dry-run"]).await;
    assert_eq!(dry["listing_id"], serde_json::Value::Null);
    holds(&a, 0).await;
    publish_ok(&a, &folder).await;
    holds(&a, 1).await;
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn what_a_worker_finds_in_the_files_is_named_with_the_file() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let contract = |package: Package| package.contract(2_000, 1 << 24, 1_000);

    let networked = contract(Package::stage("odd", &stage::networked()));
    names(&refused(&lab, &a, &networked, 4).await, &["sock_send", "is not listed"]);

    let wrong = contract(Package::stage("odd", &stage::echo()))
        .test("right", b"same", b"same")
        .test("wrong", b"this", b"that");
    let said = refused(&lab, &a, &wrong, 4).await;
    names(&said, &["test wrong", "1 of its checks failed"]);
    assert!(!said.contains("test right:"), "only what failed is an error: {said}");

    let looping =
        Package::stage("odd", &stage::endless()).contract(200, 1 << 24, 1_000).test("1", b"", b"");
    names(&refused(&lab, &a, &looping, 4).await, &["test 1", "200 ms"]);

    let pickle = Package::data("odd").file("weights.bin", b"\x80\x04\x95\x10\0\0\0.".to_vec());
    names(&refused(&lab, &a, &pickle, 4).await, &["weights.bin", "pickle"]);
    let named = Package::data("odd").file("model.pkl", b"anything".to_vec());
    names(&refused(&lab, &a, &named, 4).await, &["model.pkl", ".pkl"]);

    let no_module = Package::data("odd").file("picture.png", b"no picture".to_vec());
    names(&refused(&lab, &a, &no_module, 4).await, &["picture.png", "image/png"]);
    holds(&a, 0).await;

    // After all that, a good package is listed, and its checks are told.
    let folder = lab.write(&contract(Package::stage("odd", &stage::echo())).test("1", b"x", b"x"));
    let said = lab.cli(a.home()).run(["publish", folder.to_str().expect("UTF-8")]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    names(&said.stderr, &["files and code", "test 1"]);
    holds(&a, 1).await;
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn a_pipeline_whose_ports_do_not_fit_is_refused_with_both_ends() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let four = "{ tensor = { dtype = \"f32\", dims = [4] } }";
    let text = "\"text\"";
    for (name, input, output) in [("to-floats", text, four), ("of-text", text, text)] {
        let package = Package::typed_stage(name, &stage::echo(), input, output);
        publish_ok(&a, &lab.write(&package.contract(5_000, 1 << 24, 1_000))).await;
    }
    publish_ok(&a, &lab.write(&Package::data("table").files(1, 10, 1))).await;

    let misfit =
        Package::pipeline("chain", &[("first", "self/to-floats"), ("then", "self/of-text@1.0.0")]);
    let said = refused(&lab, &a, &misfit, 4).await;
    names(&said, &["`first`", "`then`", "`out`", "`in`", "tensor", "text"]);

    let data = Package::pipeline("chain", &[("first", "self/table")]);
    names(&refused(&lab, &a, &data, 4).await, &["`first` is a data"]);

    let unknown = Package::pipeline("chain", &[("first", "self/of-txt")]);
    let said = refused(&lab, &a, &unknown, 3).await;
    names(&said, &["lab-a/of-txt", "did you mean lab-a/of-text"]);

    let version = Package::pipeline("chain", &[("first", "self/of-text@9.0.0")]);
    names(&refused(&lab, &a, &version, 3).await, &["lab-a/of-text@9.0.0"]);
    holds(&a, 3).await;

    let good = Package::pipeline("chain", &[("first", "self/of-text"), ("then", "self/to-floats")]);
    publish_ok(&a, &lab.write(&good)).await;
    holds(&a, 4).await;
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn a_version_never_changes_and_the_same_again_is_no_error() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let folder = lab.write(&Package::data("images").files(2, 100, 1));
    let first = publish_ok(&a, &folder).await;
    let again = publish_ok(&a, &folder).await;
    assert_eq!(first.package_id, again.package_id);
    assert_eq!(first.listing_id, again.listing_id);
    assert!(first.listing_id.is_some());
    std::fs::remove_dir_all(&folder).expect("the folder is ours");

    let other = Package::data("images").files(2, 100, 2);
    let said = refused(&lab, &a, &other, 4).await;
    names(&said, &["lab-a/images@1.0.0", &first.package_id.to_string(), "a version never changes"]);
    publish_ok(&a, &lab.write(&other.at("1.0.1"))).await;
    let shown = a.client().show(&"lab-a/images".parse().expect("a reference")).await;
    assert_eq!(shown.expect("it is listed").reference.to_string(), "lab-a/images@1.0.1");
    holds(&a, 2).await;
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn a_listing_beyond_the_limits_is_refused_and_leaves_no_release_behind() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let before = a.client().status().await.expect("it answers").records;
    let data = || Package::data("big").files(1, 100, 1);
    let word = |len: usize| "w".repeat(len);

    let long = data().replacing("Made by a test.", &word(61 * 1024));
    names(&refused(&lab, &a, &long, 4).await, &["summary", "longer than 8192 bytes"]);
    // Each keyword is short enough, all together are more than a record holds.
    let keywords = format!("keywords = [{}]", vec![format!("\"{}\"", word(4_000)); 20].join(", "));
    let said = refused(&lab, &a, &data().line(&keywords), 4).await;
    names(&said, &["at most 61440"]);
    let many = format!("keywords = [{}]", vec!["\"w\""; 65].join(", "));
    names(&refused(&lab, &a, &data().line(&many), 4).await, &["keywords", "more than 64"]);

    let status = a.client().status().await.expect("it is alive");
    assert_eq!((status.listings, status.records), (0, before), "nothing was signed");
    publish_ok(&a, &lab.write(&data())).await;
    holds(&a, 1).await;
}
