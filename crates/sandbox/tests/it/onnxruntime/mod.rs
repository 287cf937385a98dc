//! The `onnxruntime` engine, with the library that `GUILD_ONNXRUNTIME` names. Without it these tests say so and end.
//!
//! ```text
//! test (the node's place) --socket pair--> sandbox-worker --> libonnxruntime.so --> graph
//! ```
//!
//! The library of the Python package will do: `pip install onnxruntime`, then
//! `GUILD_ONNXRUNTIME=$(echo .../site-packages/onnxruntime/capi/libonnxruntime.so.*)`.

mod exports;
mod failing;
mod inside;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use guildhall_protocol::Hash;
use guildhall_protocol::contract::{Determinism, Limits};
use guildhall_sandbox::{Failure, OnnxRuntime, RunWorker, Spawner, run_tests};

use crate::package::{Package, model, patient, record, spawner};

/// The library to test with, or a word to whoever reads the log that nothing was tested.
fn library() -> Option<OnnxRuntime> {
    let Some(path) = std::env::var_os("GUILD_ONNXRUNTIME") else {
        let _unheard = writeln!(
            std::io::stderr(),
            "SKIPPED: GUILD_ONNXRUNTIME names no libonnxruntime.so to test with"
        );
        return None;
    };
    Some(OnnxRuntime::at(Path::new(&path)).unwrap())
}

fn with_library() -> Option<Spawner> {
    library().map(|library| spawner().with_onnxruntime(Some(library)))
}

fn start(spawner: &Spawner, package: &Package, limits: &Limits) -> Result<RunWorker, Failure> {
    spawner.start(&package.files(), limits, &BTreeMap::new(), 0)
}

/// The package with a contract that lets records share a run.
fn with_rounding(mut package: Package) -> Package {
    package.manifest.contract.as_mut().unwrap().determinism = Determinism::Numeric;
    package.manifest.check().unwrap();
    package
}

#[test]
fn the_machine_has_what_a_worker_could_run_a_graph_on() {
    let Some(spawner) = with_library() else { return };
    let found = spawner.engines();
    assert_eq!(found.problem, None);
    let names: Vec<_> = found.engines.iter().map(|engine| engine.name.as_str()).collect();
    assert_eq!(names, ["wasm", "onnx", "onnxruntime"]);
    let added = found.engines.last().unwrap();
    assert_eq!(added.providers.first().unwrap(), "cpu");
    assert!(added.version.starts_with("1."), "{added:?}");
}

#[test]
fn a_file_that_is_no_such_library_is_a_problem_and_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    std::fs::write(&path, b"not a library").unwrap();
    let spawner = spawner().with_onnxruntime(Some(OnnxRuntime::at(&path).unwrap()));
    let found = spawner.engines();
    assert_eq!(found.engines.len(), 2);
    let problem = found.problem.unwrap().to_string();
    assert!(problem.contains("cannot be used"), "{problem}");
    let failure = start(&spawner, &model(), &patient()).unwrap_err();
    assert!(!failure.is_fault_of_package(), "{failure:?}");
    let without = spawner.with_onnxruntime(None);
    assert!(start(&without, &model(), &patient()).is_ok());
}

#[test]
fn a_package_runs_in_either_engine_and_passes_its_unit_tests_in_both() {
    let Some(spawner) = with_library() else { return };
    let package = model();
    let code = package.manifest.code.as_ref().unwrap();
    assert_eq!(spawner.engine_of(code), "onnxruntime");
    let outcomes = run_tests(&spawner, &package.files(), &patient()).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.passed), "{outcomes:?}");
    let pixels: Vec<u8> = (0..64_u8).flat_map(|at| f32::from(at % 17).to_le_bytes()).collect();
    let scored = |spawner: &Spawner| {
        let mut worker = start(spawner, &package, &patient()).unwrap();
        worker.score(record(&pixels)).unwrap().outputs
    };
    let built_in = spawner.clone().with_onnxruntime(None);
    let class = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.split("\"confidence\"").next().unwrap().to_owned()
    };
    assert_eq!(class(&scored(&spawner)[0].bytes), class(&scored(&built_in)[0].bytes));
}

#[test]
fn an_inspection_says_which_engine_looked_and_what_it_saw() {
    let Some(spawner) = with_library() else { return };
    let package = model();
    let inspection = spawner.inspect(&package.files(), &Default::default()).unwrap();
    assert_eq!(inspection.engine.as_deref(), Some("onnxruntime"));
    let report = inspection.code.unwrap();
    assert_eq!(
        (report.inputs[0].name.as_str(), report.inputs[0].shape.as_str()),
        ("X", "F32 [?,64]")
    );
    assert_eq!(report.outputs[0].name, "probabilities");
}

#[test]
fn a_device_that_workers_do_not_reach_is_the_nodes_trouble() {
    let Some(library) = library() else { return };
    let on_cuda = spawner().with_onnxruntime(Some(library.clone().with_cuda(true)));
    let found = on_cuda.engines();
    let has_cuda = found.engines.iter().any(|engine| engine.providers.iter().any(|p| p == "cuda"));
    let started = start(&on_cuda, &model(), &patient());
    assert_eq!(started.is_ok(), has_cuda);
    if let Err(failure) = started {
        assert!(matches!(failure, Failure::Unsupported { .. }), "{failure:?}");
    }
}

#[test]
fn the_jail_holds_with_the_library_in_it() {
    let Some(library) = library() else { return };
    let output = Command::new(env!("CARGO_BIN_EXE_sandbox-worker"))
        .arg("try to break out")
        .arg(library.path())
        .env_clear()
        .env("ORT_DISABLE_TELEMETRY", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let with = String::from_utf8(output.stdout).unwrap();
    let without = Command::new(env!("CARGO_BIN_EXE_sandbox-worker"))
        .arg("try to break out")
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(with, String::from_utf8(without.stdout).unwrap());
}

#[test]
fn several_threads_are_confined_as_one_is() {
    let Some(library) = library() else { return };
    let one = spawner().with_onnxruntime(Some(library.clone()));
    let mut worker = start(&one, &model(), &patient()).unwrap();
    worker.score(record(&[0; 256])).unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", worker.process_id())).unwrap();
    assert_eq!(tasks.count(), 3, "the one that works, and two of every worker's own");
    let spawner = spawner().with_onnxruntime(Some(library.with_threads(2)));
    let mut worker = start(&spawner, &model(), &patient()).unwrap();
    worker.score(record(&[0; 256])).unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", worker.process_id())).unwrap();
    let states: Vec<_> = tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())
        .collect();
    assert_eq!(states.len(), 4);
    for state in states {
        let field = |name: &str| {
            state
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
                .unwrap()
                .to_owned()
        };
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()));
    }
}

/// Who changes the script writes the files again and their hashes down: `b3sum FILE...`.
#[test]
fn what_was_written_belongs_to_its_script() {
    let hash = |bytes: &[u8]| Hash::of(bytes).to_hex()[..16].to_owned();
    assert_eq!(hash(include_bytes!("make.py")), "6bfce2145ecddddf");
    assert_eq!(hash(include_bytes!("forest.onnx")), "0bcbe6699534a173");
    assert_eq!(hash(include_bytes!("columns.onnx")), "f1f2ee8c1c16171d");
}
