//! References that stand for nothing.

use guildhall_testkit::{Package, publish_ok};

use crate::lab;

/// ```text
///   lab-a   (alone)
/// ```
#[tokio::test]
async fn an_unknown_reference_ends_with_3_and_the_nearest_name() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let folder = lab.write(&Package::data("digits").files(1, 100, 1));
    publish_ok(&a, &folder).await;
    let cli = lab.cli(a.home());
    let unknown = format!("b3:{}", "0".repeat(64));

    for command in ["show", "get"] {
        let said = cli.fails(3, [command, "lab-a/digitz"]).await;
        assert!(said.contains("did you mean lab-a/digits"), "{said}");
        assert!(said.contains("help: guild show lab-a/digits"), "{said}");
    }
    cli.fails(3, ["show", "lab-a/something-else-entirely"]).await;
    cli.fails(3, ["show", "lab-a/digits@2.0.0"]).await;
    cli.fails(3, ["show", "nobody/digits"]).await;
    cli.fails(3, ["show", &unknown]).await;
    let input = folder.join("guild.toml");
    let input = input.to_str().expect("UTF-8");
    let said = cli.fails(3, ["run", "lab-a/digitz", "--input", input]).await;
    assert!(said.contains("did you mean lab-a/digits"), "{said}");
    cli.fails(3, ["run", "lab-a/digits", "--input", "no/such/file"]).await;
    let said = cli.run(["get", &unknown]).await;
    assert!(matches!(said.code, 3 | 6) && said.stderr.contains("help: "), "{}", said.stderr);
    assert_eq!(a.client().status().await.expect("it is alive").listings, 1);
}
