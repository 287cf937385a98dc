//! Finding by the command line, on a real node.

use std::fs;

use guildhall_testkit::{Cli, Package, publish_ok, stage};
use serde_json::json;

use crate::lab;

/// A page whose text wants to act on the terminal.
const README: &str = "# Echo\n\nSays *again* what it heard\u{1b}[2J.\n\n```sh\nguild run x\n```\n";

fn tour() -> String {
    json!({
        "nbformat": 4, "nbformat_minor": 5, "metadata": {},
        "cells": [
            { "cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Tour"] },
            { "cell_type": "code", "id": "b", "metadata": {}, "execution_count": 1,
              "source": ["print(1)"],
              "outputs": [{ "output_type": "stream", "name": "stdout", "text": ["1\n"] }] },
        ],
    })
    .to_string()
}

fn echo() -> Package {
    Package::stage("echo", &stage::echo())
        .contract(5_000, 1 << 24, 65_536)
        .test("1", b"hello", b"hello")
        .line("documentation = \"README.md\"")
        .file("README.md", README)
        .file("tour.ipynb", tour())
}

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn what_is_published_is_found_read_and_explained() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    publish_ok(&a, &lab.write(&echo())).await;
    let cli = lab.cli(a.home());
    typed_queries(&cli).await;
    words_that_may_mean_something_else(&cli).await;
    pages(&cli).await;
    categories(&cli).await;

    let sketch = lab.path("sketch");
    fs::create_dir(&sketch).expect("a folder");
    let description = "[[interface.outputs]]\nname = \"said\"\ntype = \"text\"\n\
                       [[stages]]\nname = \"hear\"\npackage = \"self/echo\"\n\
                       [[stages]]\nname = \"read\"\npackage = \"?\"\n";
    fs::write(sketch.join("guild.toml"), description).expect("written");
    let gaps = cli.json(["search", "--for", sketch.to_str().expect("UTF-8")]).await;
    assert_eq!(gaps[0]["fits"], "bytes..text", "{gaps}");
    assert_eq!(gaps[0]["why"], "`read` is looked for");
    let none = cli.fails(2, ["search", "--for", "lab-a/echo"]).await;
    assert!(none.contains("is no pipeline: its kind is algorithm"), "{none}");
}

/// ```text
///   lab-a   (alone: an algorithm, and data of the type that is missing)
/// ```
#[tokio::test]
async fn stages_are_looked_for_among_algorithms_and_models_where_a_type_is_known() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    publish_ok(&a, &lab.write(&echo())).await;
    publish_ok(&a, &lab.write(&Package::data("numbers").file("one.csv", "x,y\n1,2\n"))).await;
    let cli = lab.cli(a.home());
    let folder = lab.path("sketch");
    fs::create_dir(&folder).expect("a folder");
    let sketch = |text: &str| fs::write(folder.join("guild.toml"), text).expect("it is written");
    let folder = folder.to_str().expect("UTF-8");

    sketch(
        "[[stages]]\nname = \"read\"\npackage = \"?\"\n\
         [[stages]]\nname = \"hear\"\npackage = \"self/echo\"\n",
    );
    let gaps = cli.json(["search", "--for", folder]).await;
    assert_eq!(gaps[0]["fits"], "..bytes", "{gaps}");
    let found = gaps[0]["answer"]["results"].as_array().expect("results");
    let kinds: Vec<_> = found.iter().map(|one| one["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("algorithm")], "no data: {gaps}");
    let table = cli.ok(["search", "--for", folder]).await;
    assert!(table.contains("SCORE  FIT") && table.contains("as it is"), "{table}");
    let data = cli.fails(2, ["search", "--for", folder, "--kind", "data"]).await;
    assert!(data.contains("a stage is an algorithm or a model"), "{data}");

    sketch("[[stages]]\nname = \"read\"\npackage = \"?\"\n");
    let untyped = cli.run(["search", "--for", folder]).await;
    assert_eq!(untyped.code, 0);
    assert!(untyped.stdout.contains("nothing says what goes in or comes out"), "{untyped:?}");
    assert!(untyped.stderr.contains("interface.inputs"), "{untyped:?}");
    let gaps = cli.json(["search", "--for", folder]).await;
    assert!(gaps[0]["fits"].is_null() && gaps[0]["answer"].is_null(), "{gaps}");
}

async fn words_that_may_mean_something_else(cli: &Cli) {
    let ocr = cli.run(["search", "task:ocr"]).await;
    assert!(ocr.stderr.contains("`ocr` is read as vision/image-to-text/ocr"), "{ocr:?}");
    assert!(ocr.stdout.starts_with("nothing found for task:vision/image-to-text/ocr"), "{ocr:?}");
    let text = cli.run(["search", "author:echo"]).await;
    assert!(text.stderr.contains("`author:echo` begins with no key"), "{text:?}");
    let name = cli.run(["search", "lab-a/echo"]).await;
    assert!(name.stderr.contains("`ref:lab-a/echo` finds that one alone"), "{name:?}");
    let slip = cli.run(["search", "ref:lab-a/ecko"]).await;
    assert!(slip.stdout.contains("did you mean lab-a/echo"), "{slip:?}");
    assert!(slip.stderr.contains("next: guild show lab-a/echo"), "{slip:?}");
    let bare = cli.run(["show", "echo"]).await;
    assert!(bare.code == 2 && bare.stderr.contains("guild search echo"), "{bare:?}");
}

async fn categories(cli: &Cli) {
    let found = cli.ok(["categories", "vision"]).await;
    assert!(found.contains("vision/x-conditioning  1         a producer's own name"), "{found}");
    let start = cli.ok(["categories", "visio", "--all"]).await;
    assert!(start.contains("vision/depth-estimation"), "{start}");
    let ocr = cli.run(["categories", "ocr", "--all"]).await;
    assert!(ocr.code == 0 && ocr.stdout.contains("vision/image-to-text/ocr"), "{ocr:?}");
    cli.fails(3, ["categories", "nothing"]).await;
    let slip = cli.fails(3, ["categories", "vision/image-classificaton"]).await;
    assert!(slip.contains("guild categories vision/image-classification"), "{slip}");

    let told = cli.run(["demand", "--subscribe", "ocr", "--subscribe", "vision/ocrr"]).await;
    assert!(
        told.stderr.contains("subscribed to vision/image-to-text/ocr, vision/ocrr"),
        "{told:?}"
    );
    assert!(told.stderr.contains("warning: vision/ocrr is not in the vocabulary"), "{told:?}");
    let none = cli.run(["demand", "--unsubscribe", "ocr", "--unsubscribe", "vision/ocrr"]).await;
    assert!(none.stderr.contains("subscribed to nothing"), "{none:?}");
}

async fn typed_queries(cli: &Cli) {
    let typed = cli.json(["search", "echo kind:algorithm", "task:vision"]).await;
    assert_eq!(typed["results"][0]["ref"], "lab-a/echo@1.0.0");
    let flags = cli.json(["search", "echo", "--kind", "algorithm", "--category", "vision"]).await;
    assert_eq!(flags["results"], typed["results"]);
    let table = cli.ok(["search", "echo"]).await;
    assert!(table.starts_with("#  REF") && table.contains("lab-a/echo@1.0.0"), "{table}");
    let best = cli.ok(["search", "echo", "--one"]).await;
    assert!(
        best.contains("why (there is no other)") && best.contains("next: guild show"),
        "{best}"
    );

    let none = cli.run(["search", "echo kind:model"]).await;
    assert_eq!(
        (none.code, none.stdout.lines().next()),
        (0, Some("nothing found for echo kind:model"))
    );
    cli.fails(3, ["search", "echo", "--kind", "model", "--one"]).await;
    let wrong = cli.fails(2, ["search", "knid:model"]).await;
    assert!(wrong.contains("did you mean `kind:model`"), "{wrong}");
}

async fn pages(cli: &Cli) {
    let page = cli.ok(["show", "lab-a/echo"]).await;
    for words in ["takes      in: bytes", "guild run lab-a/echo@1.0.0 --input FILE", "--readme"] {
        assert!(page.contains(words), "`{words}` is not in: {page}");
    }
    let readme = cli.ok(["show", "lab-a/echo", "--readme"]).await;
    assert!(readme.starts_with("Echo\n====\n"), "{readme}");
    assert!(readme.contains("    guild run x") && !readme.contains('\u{1b}'), "{readme}");
    let tour = cli.ok(["show", "lab-a/echo", "--notebook"]).await;
    assert!(tour.contains("Tour\n====") && tour.contains("Out [1]:\n    1"), "{tour}");
    let none = cli.fails(3, ["show", "lab-a/echo", "--notebook", "other.ipynb"]).await;
    assert!(none.contains("tour.ipynb"), "{none}");
}
