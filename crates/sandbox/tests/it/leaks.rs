//! Inputs made to crash a stage, so that something of its code, its model or another's input shows in what is left: an
//! answer, a log, a file, a core dump. And files of packages that must stay as they were.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use guildhall_protocol::Hash;
use guildhall_sandbox::Failure;

use crate::kills::apart;
use crate::misdeeds::hostile_modules;
use crate::package::{Package, any_bytes, limits, model, record};

/// How many secrets are looked for.
const CANARIES: usize = 64;

/// A secret that stands nowhere else.
fn canary(number: usize) -> Vec<u8> {
    let hash = Hash::of(format!("guildhall canary {number}").as_bytes()).to_hex();
    hash.as_bytes()[..24].to_vec()
}

/// Looks for secrets.
struct Scanner {
    secrets: Vec<Vec<u8>>,
}

impl Scanner {
    fn finds(&self, bytes: &[u8]) -> bool {
        // As they are, and as Rust would print them.
        self.secrets.iter().any(|secret| {
            let printed = format!("{secret:?}");
            let printed = printed.trim_matches(['[', ']']).as_bytes();
            contains(bytes, secret) || contains(bytes, printed)
        })
    }

    /// Files below a folder that hold one.
    fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(self.files(&path));
            } else if self.finds(&fs::read(&path).unwrap()) {
                found.push(path);
            }
        }
        found
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A stage that holds secrets and crashes in the way that the first byte of its input names.
fn keeper(secrets: &[Vec<u8>]) -> Package {
    let data: String = secrets
        .iter()
        .zip(0..)
        .map(|(secret, at)| {
            let secret = String::from_utf8(secret.clone()).unwrap();
            format!("(data (i32.const {}) \"{secret}\")", 1024 + at * 32)
        })
        .collect();
    let ways = [
        "unreachable",
        "(drop (i32.div_s (i32.const 1) (i32.const 0)))",
        "(drop (i32.trunc_f32_s (f32.const nan)))",
        "(drop (i64.load (i32.const -8)))",
        "(memory.copy (i32.const 131000) (i32.const 1024) (i32.const 131000))",
        "(call_indirect (type $nothing) (i32.const 0))",
        "(call_indirect (type $nothing) (i32.const 9))",
        "(drop (call $deep))",
        "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
        "(call $exit (i32.const 70))",
        "(loop (br 0))",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1))",
    ];
    let cases: String = (0..)
        .zip(ways)
        .map(|(way, body)| {
            format!("(if (i32.eq (i32.load8_u (i32.const 64)) (i32.const {way})) (then {body}))")
        })
        .collect();
    Package::text(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 2)
            (table 4 funcref)
            (type $nothing (func))
            (data (i32.const 0) "\40\00\00\00\40\00\00\00") {data}
            (func $deep (result i32) (i32.add (call $deep) (i32.const 1)))
            (func (export "_start")
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                {cases} unreachable))"#
    ))
}

/// Everything that this process logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl tracing::field::Visit for Log {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        write!(self.0.lock().unwrap(), "{field}={value:?} ").unwrap();
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// What a requester could see of a failure.
fn shown(failure: &Failure) -> String {
    format!("{failure} {failure:?} {}", serde_json::to_string(failure).unwrap())
}

fn cores(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_core = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name == "core" || name.starts_with("core.") || name.ends_with(".core")
    };
    paths.filter(is_core).collect()
}

#[test]
fn two_hundred_crashes_show_no_secret_anywhere() {
    apart("leaks::crashes");
}

#[test]
#[ignore = "run by `two_hundred_crashes_show_no_secret_anywhere` in a process of its own"]
fn crashes() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let secrets: Vec<_> = (0..CANARIES).map(canary).collect();
    let (package, graph) = (keeper(&secrets), model());
    // Parts of the model's own weights are as secret.
    let bytes = fs::read(format!("{}/model/model.onnx", crate::package::DIGITS)).unwrap();
    let of_graph: Vec<_> = bytes
        .chunks_exact(16)
        .filter(|part| part.iter().filter(|byte| **byte == 0).count() < 3)
        .map(<[u8]>::to_vec)
        .take(CANARIES)
        .collect();
    assert_eq!(of_graph.len(), CANARIES);
    let inputs: Vec<_> = (CANARIES..2 * CANARIES).map(canary).collect();
    let scanner = Scanner { secrets: [secrets, of_graph, inputs.clone()].concat() };
    let temporary = std::env::temp_dir();
    let known = scanner.files(&temporary);
    assert_eq!(known.len(), 2, "the packages' own files: {known:?}");

    let quick = limits(150, 16 << 20, 1000);
    let mut answers = Vec::new();
    for number in 0..200_usize {
        let input = &inputs[number % inputs.len()];
        let failure = match number % 20 {
            way @ 0..12 => {
                let input = [&[u8::try_from(way).unwrap()], input.as_slice()].concat();
                package.score(&quick, &input).unwrap_err()
            }
            // Inputs that a graph does not take, of every kind of wrong length.
            12..16 => graph.score(&quick, &input[..number % 24]).unwrap_err(),
            // The worker itself crashes.
            kind => {
                let signals = [
                    rustix::process::Signal::SEGV,
                    rustix::process::Signal::ABORT,
                    rustix::process::Signal::BUS,
                    rustix::process::Signal::KILL,
                ];
                let mut worker = package.start(&limits(60_000, 16 << 20, 1000)).unwrap();
                let process = i32::try_from(worker.process_id()).unwrap();
                let process = rustix::process::Pid::from_raw(process).unwrap();
                let is_over = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        // An engine takes the first fault that it is sent from outside for the guest's.
                        while !is_over.load(Ordering::Relaxed) {
                            std::thread::sleep(std::time::Duration::from_millis(5));
                            let _died_meanwhile =
                                rustix::process::kill_process(process, signals[kind - 16]);
                        }
                    });
                    // Loops until it is hit.
                    let ended = worker.score(record(&[[10].as_slice(), input].concat()));
                    is_over.store(true, Ordering::Relaxed);
                    ended.unwrap_err()
                })
            }
        };
        answers.push(shown(&failure));
    }
    assert_eq!(answers.len(), 200);
    for answer in &answers {
        assert!(answer.len() <= 4096, "{answer}");
        assert!(!scanner.finds(answer.as_bytes()), "{answer}");
    }
    let logged = log.0.lock().unwrap().clone();
    assert!(logged.contains("worker started"), "the log is kept");
    assert!(!scanner.finds(logged.as_bytes()));
    assert_eq!(scanner.files(&temporary), known);
    let here = std::env::current_dir().unwrap();
    for folder in [&here, &temporary, Path::new("/")] {
        assert_eq!(cores(folder), Vec::<PathBuf>::new());
    }
    found_by_the_same_scanner(&scanner, &temporary, known.len());
}

/// The control: what leaks on purpose is found.
fn found_by_the_same_scanner(scanner: &Scanner, temporary: &Path, known: usize) {
    fs::write(temporary.join("leak"), [b"before ", canary(63).as_slice(), b" after"].concat())
        .unwrap();
    assert_eq!(scanner.files(temporary).len(), known + 1);
    let secret = String::from_utf8(canary(100)).unwrap();
    let leak = Failure::InvalidModule { why: secret };
    assert!(scanner.finds(shown(&leak).as_bytes()));
    assert!(scanner.finds(format!("{:?}", canary(0)).as_bytes()));
    fs::write(temporary.join("core.7"), b"").unwrap();
    assert_eq!(cores(temporary).len(), 1);
}

#[test]
fn files_of_packages_stay_as_they_were_whatever_runs() {
    for (name, module) in hostile_modules() {
        let package = Package::command(&module, any_bytes(), any_bytes());
        let entry = &package.manifest.files[0];
        let opened = std::cell::Cell::new(0);
        let open = |entry: &_| {
            opened.set(opened.get() + 1);
            let file = (package.files().open)(entry)?;
            let flags = rustix::fs::fcntl_getfl(&file)?;
            assert_eq!(flags & rustix::fs::OFlags::RWMODE, rustix::fs::OFlags::RDONLY);
            Ok(file)
        };
        let files = guildhall_sandbox::PackageFiles { manifest: &package.manifest, open: &open };
        let quick = limits(30, 16 << 20, 1000);
        let spawner = crate::package::spawner();
        let ended = spawner
            .start(&files, &quick, &std::collections::BTreeMap::new(), 0)
            .and_then(|mut worker| worker.score(record(&[0; 64])));
        assert!(ended.is_err(), "{name}");
        assert!(opened.get() > 0);
        let mut file = (package.files().open)(entry).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        assert_eq!(Hash::of(&bytes), entry.hash, "{name}");
    }
}
