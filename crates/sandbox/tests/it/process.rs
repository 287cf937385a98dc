//! Workers as processes: started by hand, killed from outside, orphaned, impersonated, and trying to break out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use guildhall_sandbox::{Failure, Spawner};

use crate::package::{PATIENT_MS, Package, limits, model, patient, record, spawner};

pub(crate) fn endless() -> Package {
    Package::text(r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#)
}

/// Waits until it holds, or for a minute.
pub(crate) fn converge(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_person_who_starts_a_worker_is_told_what_it_is() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sandbox-worker")).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("started by the node"));
}

#[test]
fn a_worker_killed_from_outside_is_a_failure_and_the_next_one_works() {
    let package = endless();
    let mut worker = package.start(&limits(PATIENT_MS, 16 << 20, 1000)).unwrap();
    let killer = worker.killer();
    let outside = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        killer.kill();
    });
    let failure = worker.score(record(b"")).unwrap_err();
    assert_eq!(failure, Failure::WorkerDied { why: "signal 9".into() });
    assert!(!failure.is_fault_of_package());
    outside.join().unwrap();
    assert!(!worker.is_alive());
    assert!(matches!(worker.score(record(b"")).unwrap_err(), Failure::WorkerDied { .. }));
    assert!(model().score(&patient(), &[0; 256]).is_ok());
}

#[test]
fn a_dropped_worker_is_gone() {
    let worker = model().start(&patient()).unwrap();
    let process = format!("/proc/{}", worker.process_id());
    assert!(Path::new(&process).exists());
    drop(worker);
    assert!(!Path::new(&process).exists());
}

#[test]
#[ignore = "the part of `a_busy_worker_ends_when_its_node_is_killed` that is killed"]
fn score_something_endless() {
    let package = endless();
    let mut worker = package.start(&limits(10 * PATIENT_MS, 16 << 20, 1000)).unwrap();
    let mut stdout = std::io::stdout();
    std::io::Write::write_all(&mut stdout, format!("worker {}\n", worker.process_id()).as_bytes())
        .unwrap();
    worker.score(record(b"")).unwrap_err();
}

#[test]
fn a_busy_worker_ends_when_its_node_is_killed() {
    let mut node = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::score_something_endless", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let worker = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("worker ").map(|(_, id)| id.to_owned()))
        .unwrap();
    let process = format!("/proc/{worker}");
    assert!(Path::new(&process).exists());
    node.kill().unwrap();
    node.wait().unwrap();
    // An orphan's zombie is the init process's to reap; dead is dead.
    converge("the worker lives on", || {
        !Path::new(&process).exists() || state(&process).is_none_or(|state| state == 'Z')
    });
}

fn state(process: &str) -> Option<char> {
    let stat = std::fs::read_to_string(format!("{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn what_is_no_worker_is_a_failure_and_no_hang() {
    let model = model();
    let start = |program: &str, args: &[&str]| {
        let args = args.iter().map(OsString::from).collect::<Vec<_>>();
        let spawner = Spawner::new(program, args);
        spawner.start(&model.files(), &patient(), &BTreeMap::new(), 0).unwrap_err()
    };
    let failure = start("/no/such/program", &[]);
    assert!(matches!(failure, Failure::Internal { .. }), "{failure:?}");
    let failure = start("/bin/true", &[]);
    assert!(matches!(failure, Failure::WorkerDied { .. }), "{failure:?}");
    let spawner = Spawner::this_program([OsString::from("--list")]);
    let failure = spawner.isolation().unwrap_err();
    assert_eq!(failure, Failure::WorkerDied { why: "exit status 0".into() });
    let no_memory = "echo 'memory allocation of 7 bytes failed' >&2; kill -ABRT $$";
    let failure = start("/bin/sh", &["-c", no_memory]);
    assert_eq!(failure, Failure::MemoryLimit { limit_bytes: patient().memory_bytes.value });
    // It speaks a length of 0x64636261 bytes, then a frame that is no message.
    for words in ["abcdefgh", r"\001\000\000\000\377", r"\001\000\000\000\001"] {
        let speak = format!("printf '{words}' >&0; exec sleep 60");
        let failure = start("/bin/sh", &["-c", &speak]);
        match failure {
            Failure::WorkerDied { why } => assert!(why.contains("protocol"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nothing_inside_reaches_files_network_or_programs() {
    let output = Command::new(env!("CARGO_BIN_EXE_sandbox-worker"))
        .arg("try to break out")
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let mut lines = said.lines();
    let isolation = lines.next().unwrap();
    let tried: usize = lines.next().unwrap().parse().unwrap();
    let worked: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    assert!(tried >= 40, "{tried}");
    assert!(isolation.contains("no_new_privs: true"), "{isolation}");
    if isolation.contains("seccomp: true") {
        assert!(worked.is_empty(), "with {isolation}, of {tried} these worked: {worked:?}");
    }
    let reported = spawner().isolation().unwrap();
    assert_eq!(format!("{reported:?}"), isolation);
}

/// Fields of the kernel's own account of a process.
fn account(process: u32) -> BTreeMap<String, String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

#[test]
fn the_kernel_says_what_a_worker_is_kept_in() {
    // Something that a careless library of the node left open for its children.
    let left_open = std::fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty()).unwrap();
    let worker = model().start(&patient()).unwrap();
    let process = worker.process_id();
    let account = account(process);
    for (field, expected) in [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("Threads", "3"),
    ] {
        assert_eq!(account[field], expected, "{field}");
    }
    let score = std::fs::read_to_string(format!("/proc/{process}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "1000");
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let group = stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap();
    assert_eq!(group, process.to_string(), "it is in a group of its own");
    // Only root may look at these of a process that cannot be dumped.
    let folder = format!("/proc/{process}");
    match std::fs::read_dir(format!("{folder}/fd")) {
        Ok(open) => {
            let numbers: Vec<_> = open.map(|one| one.unwrap().file_name()).collect();
            assert!(numbers.len() <= 5, "stdin, stdout, stderr, the channel twice: {numbers:?}");
            let links = numbers.iter().map(|number| {
                std::fs::read_link(format!("{folder}/fd/{}", number.display())).unwrap()
            });
            for link in links {
                assert_ne!(link, Path::new("/etc/passwd"));
            }
            assert_eq!(std::fs::read(format!("{folder}/environ")).unwrap(), b"");
        }
        Err(error) => println!("skipped: descriptors and environment of a worker: {error}"),
    }
    if worker.isolation().network {
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        match std::fs::read_link(format!("{folder}/ns/net")) {
            Ok(its) => assert_ne!(its, own),
            Err(error) => println!("skipped: the network of a worker: {error}"),
        }
    }
}
