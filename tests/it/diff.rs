//! Two packages side by side: folders with folders, what is listed with what is not yet.

use std::fs;
use std::path::Path;

use guildhall_testkit::{Cli, Package, publish_ok, stage};

use crate::{GUILD, lab};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[tokio::test]
async fn two_folders_are_compared_without_a_node() {
    let lab = lab();
    let cli = Cli::new(GUILD, None);
    let table = |rows: &str| Package::data("table").file("t.csv", rows.as_bytes().to_vec());
    let before = table("x,y\n1,2\n").file("same.txt", b"words".to_vec());
    let after = table("x,z\n1,2\n3,4\n")
        .at("1.1.0")
        .file("same.txt", b"words".to_vec())
        .file("new.txt", b"more".to_vec());
    let (before, after) = (lab.write(&before), lab.write(&after));
    let found = cli.json(["diff", text(&before), text(&after)]).await;
    assert_eq!(found["same"], false);
    assert_eq!(found["files"]["changed"][0]["name"], "t.csv");
    assert_eq!(found["files"]["added"][0]["name"], "new.txt");
    assert_eq!(found["files"]["unchanged"], 1);
    let inside = &found["structure"][0];
    assert_eq!(inside["file"], "t.csv");
    let what: Vec<_> = inside["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .filter_map(|change| change["what"].as_str())
        .collect();
    assert_eq!(what, ["rows", "column y", "column z"], "{inside}");

    let said = cli.run(["diff", text(&before), text(&after), "--format", "human"]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    for words in ["+ new.txt", "~ t.csv", "inside t.csv", "1 unchanged"] {
        assert!(said.stdout.contains(words), "`{words}` is not in: {}", said.stdout);
    }
    let differ = cli.run(["diff", text(&before), text(&after), "--exit-code"]).await;
    assert_eq!((differ.code, differ.stderr.as_str()), (1, ""));
    let same = cli.run(["diff", text(&before), text(&before), "--exit-code"]).await;
    assert_eq!(same.code, 0);
    assert!(same.stdout.contains("the same: 2 files"), "{}", same.stdout);
    let said = cli.fails(3, ["diff", "./nowhere", text(&before)]).await;
    assert!(said.contains("neither a folder nor a reference"), "{said}");
}

/// ```text
///   lab-a ─── lab-b   asks
/// ```
#[tokio::test]
async fn what_is_listed_is_compared_with_a_folder_and_the_verdict_names_the_port() {
    let lab = lab();
    let [a, b] = lab.federation(["lab-a", "lab-b"]).await;
    let typed = |dims: u32| {
        let port = format!("{{ tensor = {{ dtype = \"f32\", dims = [{dims}] }} }}");
        Package::typed_stage("scale", &stage::echo(), &port, &port).contract(5_000, 1 << 24, 1_000)
    };
    let old = lab.write(&typed(4));
    publish_ok(&a, &old).await;
    fs::remove_dir_all(&old).expect("the folder is ours");
    let new = lab.write(&typed(8));
    let here = lab.cli(a.home()).json(["diff", "lab-a/scale@1.0.0", text(&new)]).await;
    assert_eq!(here["fits"], false, "{here}");
    assert!(here["misfits"][0].as_str().is_some_and(|why| why.contains("input `in`")), "{here}");
    assert_eq!(here["files"]["unchanged"], 1);

    // Elsewhere the manifest is fetched for a look, and what is inside the files is known when they are fetched.
    guildhall_testkit::holds_listings(&[&b], 1).await;
    let cli = lab.cli(b.home());
    let said = cli.run(["diff", "lab-a/scale", text(&new), "--format", "human"]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    let words = format!("{}{}", said.stdout, said.stderr);
    assert!(words.contains("guild get lab-a/scale@1.0.0"), "{words}");
    cli.ok(["get", "lab-a/scale", "-o", text(&lab.path("got"))]).await;
    let said = cli.run(["diff", "lab-a/scale", text(&new), "--format", "human"]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("b does not fit wherever a fitted"), "{}", said.stdout);
}
