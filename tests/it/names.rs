//! T13: names that a producer chose to leave its folder, to hide, or to break something: through the API and through
//! `guild get`. 0 files outside the folder, 0 panics, links not followed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use guildhall_testkit::protocol::manifest::{FileEntry, MANIFEST_FORMAT, Manifest};
use guildhall_testkit::protocol::name::FileName;
use guildhall_testkit::protocol::{Hash, PackageId, cbor};
use guildhall_testkit::{Node, Package, http, publish_ok};
use serde_json::{Value, json};

use crate::lab;

/// What every hostile file says, so that it would be recognised elsewhere.
const CONTENT: &[u8] = b"written by a hostile package";

/// Names that no package may have.
fn impossible() -> Vec<String> {
    let mut names: Vec<String> = [
        "",
        ".",
        "..",
        "/",
        "//",
        "../x",
        "x/..",
        "x/../y",
        "./x",
        "x/.",
        "x/./y",
        "/etc/passwd",
        "/tmp/guildhall-t13",
        "//server/share",
        "x//y",
        "x/",
        "..\\x",
        "\\x",
        "x\\..\\y",
        "\\\\server\\share",
        "\\\\.\\COM1",
        "\\\\?\\C:\\x",
        "file:///etc/passwd",
        "x:stream",
        "x::$DATA",
        "con:",
        "nul:",
        ".../../x",
        "x/../../y",
        "~/../x",
        "a/b/../../../c",
        "http://192.0.2.1/x",
        "C:",
        "..%2f/../x",
        "\u{2025}/../x",
    ]
    .map(str::to_owned)
    .to_vec();
    let controls = ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
    let invisible =
        ['\u{ad}', '\u{61c}', '\u{180e}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{feff}']
            .into_iter()
            .chain('\u{2028}'..='\u{202e}')
            .chain('\u{2060}'..='\u{206f}');
    for c in controls.chain(invisible) {
        names.extend([format!("a{c}b"), format!("{c}report.txt"), format!("report.txt{c}")]);
        names.extend([format!("x/{c}/y"), c.to_string()]);
    }
    names.extend(('A'..='Z').map(|drive| format!("{drive}:\\x")));
    names.extend(('A'..='Z').map(|drive| format!("{drive}:/x")));
    names.extend([256, 257, 4_096, 60_000].map(|len| "a".repeat(len)));
    names.extend((1..12).map(|depth| "../".repeat(depth) + "x"));
    names.extend((1..12).map(|depth| "a/".repeat(depth) + &"../".repeat(depth + 1) + "x"));
    names.push("a/".repeat(200) + "a");
    names
}

/// Names that are odd and harmless: they have to arrive under the folder, as they are.
fn odd() -> Vec<String> {
    let mut names: Vec<String> = [
        "CON",
        "con.txt",
        "NUL",
        "aux.tar",
        "COM1",
        "LPT9.log",
        "trailing.",
        "trailing ",
        " leading",
        "...x",
        "x...",
        "a..b",
        "..a/x",
        "~",
        "~root",
        "$HOME",
        "$(touch x)",
        "`x`",
        "-rf",
        "--help",
        "*",
        "?",
        "a|b",
        "a;b",
        "a&b",
        "a'b",
        "a\"b",
        "<a>",
        "a%2e%2e%2fb",
        "%00",
        "{a,b}",
        "!x",
        "#x",
        "desktop.ini",
        "Thumbs.db",
        "autorun.inf",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{1f600}",
        "\u{5d0}\u{5d1}",
        "\u{ff0e}\u{ff0e}/x",
        "\u{2024}\u{2024}/x",
        "\u{2215}etc\u{2215}passwd",
        "\u{29f8}x",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("a".repeat(255));
    names.push("d/".repeat(127) + "x");
    names.push("\u{1f600}".repeat(60));
    // Hidden ones are refused by `get` and not written here.
    names.retain(|name| !name.split('/').any(|part| part.starts_with('.')));
    names
}

fn entry(name: &str) -> FileEntry {
    FileEntry {
        name: name.parse::<FileName>().unwrap_or_else(|error| panic!("{error}")),
        len_bytes: CONTENT.len() as u64,
        hash: Hash::of(CONTENT),
        media_type: "text/plain".to_owned(),
    }
}

/// A manifest that our types cannot hold, as bytes: the placeholder of a good one is exchanged.
fn manifest_with(name: &str) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Entry<'a> {
        name: &'a str,
        len_bytes: u64,
        hash: Hash,
        media_type: &'a str,
    }
    #[derive(serde::Serialize)]
    struct Raw<'a> {
        format: u16,
        kind: &'a str,
        files: Vec<Entry<'a>>,
        licence: &'a str,
    }
    let hash = Hash::of(CONTENT);
    let file = Entry { name, len_bytes: CONTENT.len() as u64, hash, media_type: "text/plain" };
    cbor::encode(&Raw {
        format: MANIFEST_FORMAT,
        kind: "data",
        files: vec![file],
        licence: "CC0-1.0",
    })
}

/// Everything below a folder, links not followed, but for what a running node changes.
fn tree(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !path.ends_with("lab-a") {
            found.extend(tree(&path));
        }
        found.insert(path);
    }
    found
}

async fn post(node: &Node, route: &str, body: &Value) -> (u16, String) {
    http::post(node, route, "application/json", body.to_string().as_bytes()).await
}

/// A publication by hand that is only tried.
fn publication(name: &str) -> Value {
    let file = json!({"name": name, "len_bytes": CONTENT.len(), "hash": Hash::of(CONTENT),
        "media_type": "text/plain"});
    json!({
        "manifest": {"format": 1, "kind": "data", "files": [file], "licence": "CC0-1.0"},
        "listing": {"name": "hostile", "version": "1.0.0", "summary": "x",
            "categories": ["vision/image-classification"]},
        "dry_run": true,
    })
}

/// The API takes none of 500 names: not in a publication, not as a manifest that is here already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t13_no_hostile_name_gets_through_the_api() {
    let lab = lab();
    let mut a = lab.found("lab-a").await;
    a.client().upload_bytes(CONTENT.to_vec()).await.expect("it is stored");
    let names = impossible();
    assert!(names.len() >= 500, "{}", names.len());
    let before = tree(&lab.path(""));
    let temporary = tree(Path::new("/tmp/guildhall-t13"));
    let good = manifest_with("good.txt");
    assert!(Manifest::open(PackageId(Hash::of(&good)), &good).is_ok(), "only the name is wrong");
    let (status, said) = post(&a, "publish", &publication("good.txt")).await;
    assert_eq!(status, 200, "only the name is wrong: {said}");
    for name in &names {
        let request = publication(name);
        let (status, said) = post(&a, "publish", &request).await;
        assert!((400..500).contains(&status), "{name:?}: {status} {said}");
    }
    let manifests: Vec<Vec<u8>> = names.iter().map(|name| manifest_with(name)).collect();
    let stored = a.client().upload_batch(&manifests).await.expect("bytes are bytes");
    for (name, stored) in names.iter().zip(stored) {
        let package = PackageId(stored.hash);
        let request = json!({"ref": package});
        let (status, said) = post(&a, "fetch", &request).await;
        assert!((400..600).contains(&status) && said.contains("manifest"), "{name:?}: {said}");
        // What is said about a name is one line that a terminal shows as it is.
        assert!(!said.contains(char::is_control), "{name:?}: {said:?}");
    }
    assert!(a.is_running().expect("it can be asked"), "{}", a.log_tail());
    assert_eq!(a.client().status().await.expect("it answers").listings, 0);
    assert_eq!(tree(&lab.path("")), before);
    assert_eq!(tree(Path::new("/tmp/guildhall-t13")), temporary);
}

/// `guild get` writes odd names below the folder, hidden and impossible ones not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t13_get_writes_below_its_folder_and_nowhere_else() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let cli = lab.cli(a.home());
    a.client().upload_bytes(CONTENT.to_vec()).await.expect("it is stored");
    let good = manifest_with("good.txt");
    let mut manifest = Manifest::open(PackageId(Hash::of(&good)), &good).expect("a manifest");
    let work = lab.path("work");
    fs::create_dir(&work).expect("it is made");

    manifest.files = odd().iter().map(|name| entry(name)).collect();
    manifest.files.sort_by(|one, other| one.name.cmp(&other.name));
    manifest.files.dedup_by(|one, other| one.name == other.name);
    let (package, bytes) = manifest.seal();
    a.client().upload_bytes(bytes).await.expect("it is stored");
    let before = tree(&lab.path(""));
    let out = work.join("out");
    let out_text = out.to_str().expect("UTF-8").to_owned();
    cli.ok(["get", &package.to_string(), "-o", &out_text]).await;
    for file in &manifest.files {
        let written = fs::read(out.join(file.name.as_str()));
        assert_eq!(written.expect("it was written"), CONTENT, "{}", file.name);
    }
    let new: Vec<PathBuf> = tree(&lab.path("")).difference(&before).cloned().collect();
    assert!(new.iter().all(|path| path.starts_with(&out)), "{new:?}");

    // Hidden ones: nothing is written, not even beside them.
    for name in [".bashrc", ".git/hooks/post-checkout", "a/.ssh/authorized_keys", "..a", ".guild-x"]
    {
        manifest.files = vec![entry(name), entry("visible.txt")];
        manifest.files.sort_by(|one, other| one.name.cmp(&other.name));
        let (package, bytes) = manifest.seal();
        a.client().upload_bytes(bytes).await.expect("it is stored");
        let hidden = work.join("hidden");
        let hidden = hidden.to_str().expect("UTF-8");
        cli.fails_plainly(4, ["get", &package.to_string(), "-o", hidden]).await;
        assert!(tree(Path::new(hidden)).is_empty(), "{name}");
    }
    for name in ["../escaped", "/tmp/guildhall-t13", "a/../../escaped", "x\0y", "a\u{202e}b"] {
        let bytes = manifest_with(name);
        let package = PackageId(Hash::of(&bytes)).to_string();
        a.client().upload_bytes(bytes).await.expect("it is stored");
        let said = cli.run(["get", &package, "-o", &out_text, "--force"]).await;
        assert_ne!(said.code, 0, "{name:?}");
    }
    let new: Vec<PathBuf> = tree(&lab.path("")).difference(&before).cloned().collect();
    assert!(new.iter().all(|path| path.starts_with(&out)), "{new:?}");
    assert!(!Path::new("/tmp/guildhall-t13").exists());
}

/// Links that somebody put into the target are neither followed nor written through; a package that cannot be held on
/// a disk, because a file is also a folder, is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t13_links_in_the_target_are_not_followed() {
    let lab = lab();
    let a = lab.found("lab-a").await;
    let package = Package::data("content").file("one/two.txt", CONTENT).file("three.txt", CONTENT);
    publish_ok(&a, &lab.write(&package)).await;
    let outside = lab.path("outside");
    fs::create_dir(&outside).expect("it is made");
    fs::write(outside.join("precious.txt"), "precious").expect("it is written");
    let precious = outside.join("precious.txt");
    let cli = lab.cli(a.home());
    let links: [(&str, &Path); 4] = [
        ("one", &outside),
        ("three.txt", &precious),
        ("one", Path::new("/nonexistent/guildhall")),
        ("three.txt", Path::new("../outside/new.txt")),
    ];
    for (number, (name, target)) in links.into_iter().enumerate() {
        for force in [&[][..], &["--force"]] {
            let out = lab.path(&format!("out-{number}-{}", force.len()));
            fs::create_dir(&out).expect("it is made");
            symlink(target, out.join(name)).expect("a link");
            let out_text = out.to_str().expect("UTF-8");
            let arguments = [&["get", "lab-a/content", "-o", out_text], force].concat();
            cli.fails(4, arguments).await;
            assert!(out.join(name).is_symlink(), "{name} is replaced");
            let left = fs::read_dir(&outside).expect("it is there").count();
            assert_eq!(left, 1, "{name} -> {}", target.display());
            assert_eq!(fs::read(&precious).expect("it is there"), b"precious");
        }
    }
}
