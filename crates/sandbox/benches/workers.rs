//! What a worker costs: to start, to take from those that wait, to load, to call. Each beside what the system takes to
//! start `/bin/true`, in the same run. `cargo bench -p guildhall-sandbox -- [rounds]`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for people, which ends at the first thing that is wrong"
)]

#[path = "../tests/it/package.rs"]
#[allow(dead_code, reason = "the tests' packages, of which one is used here")]
mod package;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use guildhall_protocol::{Hash, PackageId};
use guildhall_sandbox::{
    Compiler, CompilerSettings, Level, Wanted, Workers, WorkersSettings, cache_key,
};

use crate::package::{Package, patient, prepare, record, spawner};

/// Rounds, if nothing else is asked for: enough for a 99th percentile that is not the slowest.
const ROUNDS: usize = 200;

/// Calls in a round of the last row: one takes less than a clock's uncertainty on a busy machine.
const CALLS: usize = 20;

fn main() {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let rounds = asked.unwrap_or(ROUNDS);
    let empty = Package::text(r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    let folder = tempfile::tempdir().unwrap();
    println!("{:<44} {:>9} {:>9} {:>9}", "", "p50 us", "p99 us", "x true");
    let posix = row("posix_spawn of /bin/true, and its end", rounds, None, || {
        let mut child = Command::new("/bin/true").stdin(Stdio::null()).spawn().unwrap();
        child.wait().unwrap();
    });
    let base = Some(posix);
    row("a worker started, shut in, ended", rounds, base, || {
        spawner().isolation_untested().unwrap();
    });
    row("the same, and its jail tried out", rounds.min(50), base, || {
        spawner().isolation().unwrap();
    });
    let compiler = |name: &str| {
        let settings = CompilerSettings {
            folder: folder.path().join(name),
            key: cache_key(b"bench"),
            max_bytes: 1 << 30,
        };
        Compiler::open(spawner(), settings).unwrap()
    };
    for (name, package) in [("empty stage", &empty), ("examples/digits/prepare", &prepare())] {
        row(&format!("{name}: compiled"), rounds.min(50), base, || {
            let compiler = Compiler::without_folder(spawner());
            drop(compiler.compiled(&package.files(), "a").unwrap());
        });
        let compiler = compiler(name);
        drop(compiler.compiled(&package.files(), "a").unwrap());
        row(&format!("{name}: found compiled"), rounds, base, || {
            drop(compiler.compiled(&package.files(), "a").unwrap());
        });
        of_workers(name, package, &compiler, rounds, base);
    }
}

/// Workers of each kind for one package.
fn of_workers(
    name: &str,
    package: &Package,
    compiler: &Compiler,
    rounds: usize,
    base: Option<Duration>,
) {
    let memory_bytes = 4 << 30;
    let settings = WorkersSettings { memory_bytes };
    let workers = Workers::start(spawner(), compiler.clone(), settings).unwrap();
    let (files, limits, config) = (package.files(), patient(), BTreeMap::new());
    let take = |org: &str| {
        let id = PackageId(Hash::of(name.as_bytes()));
        let least = Level::None;
        let (package, limits, config) = (&files, &limits, &config);
        workers
            .take(&Wanted { id, package, org, engine: None, limits, config, seed: 0, least })
            .unwrap()
    };
    let until_blank = || {
        while workers.stats().blank < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // What a new one still does after it said that it is ready is not part of what is measured.
        std::thread::sleep(Duration::from_millis(5));
    };
    let lent = RefCell::new(None);
    let until_blank = || {
        drop(lent.take());
        until_blank();
    };
    row_with(&format!("{name}: blank worker, loaded"), rounds, base, until_blank, || {
        lent.replace(Some(take("nobody")));
    });
    drop(lent.take());
    let take_one = || drop(lent.replace(Some(take("nobody"))));
    row_with(&format!("{name}: worker killed and gone"), rounds.min(50), base, take_one, || {
        drop(lent.take());
    });
    take("a").give_back();
    row(&format!("{name}: warm worker, taken and given back"), rounds, base, || {
        take("a").give_back();
    });
    if name.starts_with("empty") {
        let mut lent = take("a");
        let mut each = Vec::new();
        for _ in 0..rounds * CALLS {
            let started = Instant::now();
            lent.score(record(b"")).unwrap();
            each.push(started.elapsed());
        }
        print(&format!("{name}: a warm call"), each, base);
        lent.give_back();
    }
}

/// Measures something a number of times and prints a line; the median.
fn row(name: &str, rounds: usize, base: Option<Duration>, act: impl FnMut()) -> Duration {
    row_with(name, rounds, base, || {}, act)
}

fn row_with(
    name: &str,
    rounds: usize,
    base: Option<Duration>,
    mut before: impl FnMut(),
    mut act: impl FnMut(),
) -> Duration {
    let mut each = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        before();
        let started = Instant::now();
        act();
        each.push(started.elapsed());
    }
    print(name, each, base)
}

fn print(name: &str, mut each: Vec<Duration>, base: Option<Duration>) -> Duration {
    each.sort();
    let at = |percent: usize| each[(each.len() - 1) * percent / 100];
    let (median, late) = (at(50), at(99));
    let ratio = base.map_or(1.0, |base| median.as_secs_f64() / base.as_secs_f64());
    println!("{name:<44} {:>9} {:>9} {ratio:>9.2}", median.as_micros(), late.as_micros());
    median
}
