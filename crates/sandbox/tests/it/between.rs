//! What one org's run leaves behind must not be seen by another's, and no run may change the files of a package. Few
//! rounds here; `GUILDHALL_ORG_ROUNDS=10000 GUILDHALL_ORG_MIB=256` and `GUILDHALL_FILE_RUNS=10000` do as many as the
//! threats ask for.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use guildhall_protocol::{Hash, PackageId};
use guildhall_sandbox::{Compiler, Failure, Lent, Level, Wanted, Workers, WorkersSettings};

use crate::misdeeds::hostile_modules;
use crate::package::{PATIENT_MS, Package, any_bytes, limits, record, spawner};

fn asked(name: &str, usual: u32) -> u32 {
    std::env::var(name).map_or(usual, |count| count.parse().unwrap())
}

/// Looks through all the memory that it can get for anything but zeros, then fills it with its input's first byte; what
/// it finds is a crash, and so is an input that begins with `!`, when everything is filled.
fn nosy(mib: u32) -> Package {
    let bytes = mib << 20;
    let pages = mib * 16;
    Package::text(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (local $at i32)
                (drop (memory.grow (i32.const {})))
                (loop
                    (if (i64.ne (i64.load (local.get $at)) (i64.const 0))
                        (then (call $exit (i32.const 99))))
                    (local.set $at (i32.add (local.get $at) (i32.const 8)))
                    (br_if 0 (i32.lt_u (local.get $at) (i32.const {bytes}))))
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (i32.const 1))
                (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (local.set $at (i32.load8_u (i32.const 64)))
                (memory.fill (i32.const 0) (local.get $at) (i32.const {bytes}))
                (if (i32.eq (local.get $at) (i32.const 33)) (then unreachable))))"#,
        pages - 1
    ))
}

fn take(workers: &Workers, package: &Package, org: &str, mib: u32) -> Lent {
    let limits = limits(PATIENT_MS, u64::from(mib) << 20, 1000);
    let wanted = Wanted {
        engine: None,
        id: PackageId(package.manifest.files[0].hash),
        package: &package.files(),
        org,
        limits: &limits,
        config: &BTreeMap::new(),
        seed: 0,
        least: Level::None,
    };
    workers.take(&wanted).unwrap()
}

/// T23: each run sees zeros only, whoever ran before it and however that ended, and no org ever has another's process.
#[test]
fn t23_alternate_runs_of_two_orgs_find_nothing_of_each_other() {
    let (rounds, mib) = (asked("GUILDHALL_ORG_ROUNDS", 100), asked("GUILDHALL_ORG_MIB", 8));
    let compiler = Compiler::without_folder(spawner());
    let settings = WorkersSettings { memory_bytes: 4 << 30 };
    let workers = Workers::start(spawner(), compiler, settings).unwrap();
    let package = nosy(mib);
    let mut owners = BTreeMap::<u32, &str>::new();
    for round in 0..rounds {
        let org = ["a", "b"][(round % 2) as usize];
        let mut lent = take(&workers, &package, org, mib);
        let owner = *owners.entry(lent.process_id()).or_insert(org);
        assert_eq!(owner, org, "round {round}: a worker serves one org in its life");
        // Every seventh crashes with its secrets in memory.
        let scored = lent.score(record(if round % 7 == 6 { b"!" } else { b"\xca" }));
        match scored {
            Ok(_) => assert_ne!(round % 7, 6),
            Err(Failure::Trap { .. }) => assert_eq!(round % 7, 6),
            Err(other) => panic!("round {round}: something was there: {other:?}"),
        }
        lent.give_back();
    }
    assert!(workers.stats().reused > 0, "workers were used again");
}

/// Descriptors of a process, and mappings, through which it could change a file below `folder`. `None` where the system
/// does not show them to us.
fn ways_to_write(process: u32, folder: &std::path::Path) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let number = entry.file_name();
        let info = PathBuf::from(format!("/proc/{process}/fdinfo")).join(number);
        let Ok(info) = fs::read_to_string(info) else { continue };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        // 3 is O_ACCMODE, 0 is O_RDONLY.
        if target.starts_with(folder) && flags & 3 != 0 {
            found.push(format!("{} {flags:o}", target.display()));
        }
    }
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let folder = folder.to_str().unwrap();
    let shared = maps.lines().filter(|line| {
        let rights = line.split_whitespace().nth(1).unwrap_or_default();
        line.contains(folder) && rights.contains('w') && rights.ends_with('s')
    });
    found.extend(shared.map(str::to_owned));
    Some(found)
}

/// T32: after each of many hostile runs the package's files are what they were, and while it runs nothing can write to
/// them.
#[test]
fn t32_no_hostile_run_changes_a_packages_files_or_could() {
    let packages: Vec<_> = hostile_modules()
        .iter()
        .map(|(name, module)| (name.clone(), Package::command(module, any_bytes(), any_bytes())))
        .collect();
    let quick = limits(10, 16 << 20, 1000);
    let runs = asked("GUILDHALL_FILE_RUNS", 200);
    let (mut started, mut seen) = (0, 0);
    for (name, package) in packages.iter().cycle().take(runs as usize) {
        let entry = &package.manifest.files[0];
        if let Ok(mut worker) = package.start(&quick) {
            started += 1;
            let folder = package.folder();
            if let Some(ways) = ways_to_write(worker.process_id(), folder) {
                seen += 1;
                assert_eq!(ways, Vec::<String>::new(), "{name}");
            }
            assert!(worker.score(record(&[0; 64])).is_err(), "{name}");
        }
        let bytes = fs::read(package.folder().join(entry.name.as_str())).unwrap();
        assert_eq!(Hash::of(&bytes), entry.hash, "{name}");
    }
    assert!(started * 2 > runs, "most of them run: {started}");
    // Where the system shows them to nobody but root, what is opened is checked by its flags in `leaks`.
    assert!(seen == 0 || seen == started, "descriptors of {seen} of {started} were looked at");
    // The control: this process has a file below a folder open for writing, and is found.
    let folder = tempfile::tempdir().unwrap();
    let _open = fs::File::create(folder.path().join("open")).unwrap();
    let found = ways_to_write(std::process::id(), folder.path()).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
}
