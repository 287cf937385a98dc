//! What becomes of an index whose process is killed, or may not write any more: in processes of their own, which are
//! this program again with one of its ignored tests.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{found, numbers, says};
use guildhall_catalog::text::{MemoryIndex, TextIndex};
use guildhall_catalog::words::{Terms, Wanted};
use guildhall_text::DiskIndex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Tells a child where its index is.
const DIR: &str = "GUILDHALL_TEXT_TEST_DIR";

/// What a child prints before the number below which all is kept.
const KEPT: &str = "kept below ";

/// Starts one of the ignored tests below.
fn child(test: &str, dir: &Path) -> Command {
    // The limit on the size of files comes with a signal that ends a process which has not said that it does not care.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", test]).env(DIR, dir);
    command
}

/// Where the index is, in a child.
fn dir() -> PathBuf {
    std::env::var_os(DIR).expect("only the other tests start this one").into()
}

/// What listing `number` says, the same in both processes.
fn listing(number: u32) -> Terms {
    says(&format!("all third{} word{} own{number:06}", number % 3, number % 101))
}

#[test]
#[ignore = "a child of the test below"]
fn puts_and_keeps_without_end() {
    let mut index = DiskIndex::open(&dir(), u32::MAX).unwrap();
    let mut number = index.kept_below();
    for round in 1_u32.. {
        for _ in 0..round.wrapping_mul(2_654_435_761) % 700 {
            index.put(number, &listing(number));
            number += 1;
        }
        index.forget(number / 2);
        index.keep().unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{KEPT}{}", index.kept_below()).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_killed_process_loses_only_what_it_did_not_call_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut memory = MemoryIndex::default();
    let mut put = 0;
    for round in 0..8 {
        let mut child = child("puts_and_keeps_without_end", dir.path());
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let kept = lines.map_while(Result::ok).filter_map(|line| {
            line.strip_prefix(KEPT).map(|number| number.parse::<u32>().unwrap())
        });
        // Each time after other commits and merges.
        let said = kept.take(3 + round * 2).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut index = DiskIndex::open(dir.path(), u32::MAX).unwrap();
        let kept_below = index.kept_below();
        assert!(kept_below >= said, "{kept_below} of {said}");
        // What the catalogue does: it puts the others again.
        let next = kept_below + 100;
        (kept_below..next).for_each(|number| index.put(number, &listing(number)));
        (put..next).for_each(|number| memory.put(number, &listing(number)));
        put = next;
        compare(&index, &memory, next);
        index.keep().unwrap();
        compare(&index, &memory, next);
    }
}

/// Both find the same, but for what a child may have forgotten: numbers in the first half, few of them.
fn compare(index: &DiskIndex, memory: &MemoryIndex, next: u32) {
    for text in ["all", "third1", "thi", "word7 third2", "all word100", "own000077", "nothing"] {
        let wanted = Wanted::new(Some(text));
        let (on_disk, mut all) = (found(index, &wanted, None), found(memory, &wanted, None));
        let missing: BTreeMap<u32, f32> =
            all.extract_if(.., |number, _| !on_disk.contains_key(number)).collect();
        assert_eq!(on_disk, all, "{text}");
        let last = missing.last_key_value().map(|(number, _)| *number);
        assert!(last <= Some(next / 2) && missing.len() <= 200, "{text}: {missing:?}");
    }
}

/// The largest file that may be written from now on, bytes.
fn limit_files(len_bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: len_bytes, maximum }).unwrap();
}

#[test]
#[ignore = "a child of the test below"]
fn goes_on_in_memory_while_it_may_not_write() {
    let mut index = DiskIndex::open(&dir(), 0).unwrap();
    (0..100).for_each(|number| index.put(number, &listing(number)));
    index.keep().unwrap();

    limit_files(Some(4096));
    (100..5000).for_each(|number| index.put(number, &listing(number)));
    let error = index.keep().unwrap_err();
    assert!(error.to_string().contains("large"), "{error}");
    index.keep().unwrap_err();
    assert_eq!((index.kept_below(), index.pending()), (100, 4900));
    (5000..6000).for_each(|number| index.put(number, &listing(number)));
    assert_eq!(numbers(&index, "all"), (0..6000).collect::<Vec<_>>());
    assert_eq!(numbers(&index, "own005999"), [5999]);

    limit_files(None);
    index.keep().unwrap();
    assert_eq!((index.kept_below(), index.pending()), (6000, 0));
    assert_eq!(numbers(&index, "all"), (0..6000).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_is_reported_and_written_again_when_it_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let output = child("goes_on_in_memory_while_it_may_not_write", dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let index = DiskIndex::open(dir.path(), 5500).unwrap();
    assert_eq!(index.kept_below(), 5500);
    assert_eq!(numbers(&index, "all"), (0..5500).collect::<Vec<_>>());
}

#[test]
#[ignore = "a child of the test below"]
fn cannot_be_made_where_it_may_not_write() {
    limit_files(Some(0));
    let error = DiskIndex::open(&dir(), 0).unwrap_err();
    writeln!(std::io::stderr(), "{error}: {:?}", error.kind()).unwrap();
}

#[test]
fn an_index_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let output = child("cannot_be_made_where_it_may_not_write", dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("a text index cannot be made"), "{said}");
    assert_eq!(DiskIndex::open(dir.path(), 7).unwrap().kept_below(), 0);
}
