//! Compiling apart from running: what is kept, what is dropped, what is remembered, and who waits.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use guildhall_sandbox::{Compiler, CompilerSettings, CompilerStats, Failure, cache_key};

use crate::inspect::ladder;
use crate::package::{Package, any_bytes, spawner};
use crate::warm::echo;

fn compiler(folder: &Path, secret: &[u8]) -> Compiler {
    let folder = folder.to_owned();
    let settings = CompilerSettings { folder, key: cache_key(secret), max_bytes: 64 << 20 };
    Compiler::open(spawner(), settings).unwrap()
}

fn files(folder: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

#[test]
fn code_is_compiled_once_and_found_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let package = echo();
    let first = compiler(folder.path(), b"node");
    let made = first.compiled(&package.files(), "a").unwrap().unwrap();
    assert_eq!(files(folder.path(), "cwasm").len(), 1);
    let found = first.compiled(&package.files(), "b").unwrap().unwrap();
    assert_eq!(found.len_bytes(), made.len_bytes());
    let CompilerStats { kept, kept_bytes, found, compiled, .. } = first.stats();
    assert_eq!((kept, kept_bytes, found, compiled), (1, made.len_bytes(), 1, 1));
    let again = compiler(folder.path(), b"node");
    assert!(again.compiled(&package.files(), "a").unwrap().is_some());
    assert_eq!((again.stats().found, again.stats().compiled), (1, 0));
    // Graphs need none.
    assert!(again.compiled(&crate::package::model().files(), "a").unwrap().is_none());
}

#[test]
fn a_damaged_file_is_compiled_again_and_never_run() {
    let folder = tempfile::tempdir().unwrap();
    let package = echo();
    let compiler_here = compiler(folder.path(), b"node");
    compiler_here.compiled(&package.files(), "a").unwrap();
    let path = files(folder.path(), "cwasm").pop().unwrap();
    let good = fs::read(&path).unwrap();
    for at in [0, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        fs::write(&path, bytes).unwrap();
        let compiled = compiler_here.compiled(&package.files(), "a").unwrap().unwrap();
        assert_eq!(compiled.len_bytes(), good.len() as u64);
        assert_eq!(fs::read(&path).unwrap(), good, "byte {at}");
    }
    assert_eq!(compiler_here.stats().compiled, 4);
    // Another node's key seals other files.
    let stranger = compiler(folder.path(), b"another node");
    stranger.compiled(&package.files(), "a").unwrap();
    assert_eq!((stranger.stats().found, stranger.stats().compiled), (0, 1));
}

#[test]
fn determinism_classes_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = compiler(folder.path(), b"node");
    let mut package = echo();
    for (determinism, kept) in [("bitwise", 1), ("numeric", 2), ("bitwise", 2)] {
        package.manifest.contract.as_mut().unwrap().determinism =
            serde_json::from_value(determinism.into()).unwrap();
        compiler.compiled(&package.files(), "a").unwrap();
        assert_eq!(compiler.stats().kept, kept, "{determinism}");
    }
}

#[test]
fn invalid_code_is_remembered_over_a_restart_and_costs_no_second_worker() {
    let folder = tempfile::tempdir().unwrap();
    let invalid = Package::text("(module (memory (export \"memory\") 1))");
    let first = compiler(folder.path(), b"node");
    let failure = first.compiled(&invalid.files(), "a").unwrap_err();
    assert!(matches!(failure, Failure::InvalidModule { .. }), "{failure}");
    assert_eq!(first.compiled(&invalid.files(), "b").unwrap_err(), failure);
    let again = compiler(folder.path(), b"node");
    assert_eq!(again.compiled(&invalid.files(), "a").unwrap_err(), failure);
    let CompilerStats { compiled, refused, known_failures, kept, .. } = again.stats();
    assert_eq!((compiled, refused, known_failures, kept), (0, 1, 1, 0));
}

#[test]
fn fifty_bombs_at_once_hold_nobody_else_up_and_each_is_tried_once() {
    let folder = tempfile::tempdir().unwrap();
    let compiler_here = compiler(folder.path(), b"node");
    let bomb = ladder(4000);
    let (honest, ready) = (echo(), Barrier::new(51));
    let attempt = |number: usize| {
        let package = Package::command(&bomb, any_bytes(), any_bytes());
        ready.wait();
        compiler_here.compiled(&package.files(), &format!("bomber {}", number % 10))
    };
    let attempt = &attempt;
    thread::scope(|scope| {
        let attempts: Vec<_> =
            (0..50).map(|number| scope.spawn(move || attempt(number).map(drop))).collect();
        ready.wait();
        assert!(compiler_here.compiled(&honest.files(), "honest").unwrap().is_some());
        for attempt in attempts {
            let failure = attempt.join().unwrap().unwrap_err();
            let is_stopped =
                matches!(failure, Failure::MemoryLimit { .. } | Failure::CompileTimeout { .. });
            assert!(is_stopped, "{failure}");
        }
    });
    assert_eq!(compiler_here.stats().compiled, 2, "the bomb once, the honest code once");
    let again = compiler(folder.path(), b"node");
    let package = Package::command(&bomb, any_bytes(), any_bytes());
    assert!(again.compiled(&package.files(), "a").is_err());
    assert_eq!(again.stats().compiled, 0, "remembered");
}
