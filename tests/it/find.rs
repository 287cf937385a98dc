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
    pages(&cli).await;

    let categories = cli.ok(["categories", "vision"]).await;
    assert!(categories.contains("vision/x-conditioning"), "{categories}");
    cli.fails(3, ["categories", "nothing"]).await;

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
