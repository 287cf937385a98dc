//! What becomes of an index: closed, opened again, damaged, without a disk, and used by two threads at once.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use common::{converge, numbers, says};
use guildhall_catalog::text::TextIndex;
use guildhall_text::{BATCH_MAX, DiskIndex, OpenError, PENDING_MAX};

/// The node shares it between threads.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<DiskIndex>();
};

fn filled(dir: &Path, count: u32) -> DiskIndex {
    let mut index = DiskIndex::open(dir, 0).unwrap();
    let says = [says("even"), says("odd")];
    (0..count).for_each(|number| index.put(number, &says[number as usize % 2]));
    index
}

#[test]
fn a_listing_is_found_at_once_and_on_disk_soon_after() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = DiskIndex::open(dir.path(), 0).unwrap();
    index.put(3, &says("chest"));
    assert_eq!(numbers(&index, "chest"), [3]);
    assert_eq!((index.kept_below(), index.pending()), (0, 1));
    converge("it is written without being asked", || index.kept_below() == 4);
    assert_eq!((numbers(&index, "chest"), index.pending()), (vec![3], 0));
    // It is there: this changes nothing.
    index.put(3, &says("other"));
    assert_eq!(numbers(&index, "other"), [0; 0]);
}

#[test]
fn after_a_drop_without_keep_everything_is_found_once_again() {
    let dir = tempfile::tempdir().unwrap();
    let count = 3 * u32::try_from(BATCH_MAX).unwrap() + 100;
    drop(filled(dir.path(), count));
    for keep_below in [count, 5000, 4999] {
        let mut index = DiskIndex::open(dir.path(), keep_below).unwrap();
        let kept_below = index.kept_below();
        assert!(kept_below <= keep_below);
        let even: Vec<u32> = (0..kept_below).step_by(2).collect();
        assert_eq!(numbers(&index, "even"), even, "what is below {kept_below} is there");
        for number in kept_below..count {
            index.put(number, &says(if number % 2 == 0 { "even" } else { "odd" }));
        }
        let even: Vec<u32> = (0..count).step_by(2).collect();
        assert_eq!(numbers(&index, "even"), even);
        index.keep().unwrap();
        assert_eq!(index.kept_below(), count);
        assert_eq!(numbers(&index, "even"), even);
    }
}

#[test]
fn a_forgotten_listing_leaves_the_disk_with_the_next_keep() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path(), 10);
    index.keep().unwrap();
    index.forget(4);
    index.put(10, &says("even"));
    index.put(12, &says("even"));
    index.forget(12);
    index.keep().unwrap();
    assert_eq!(numbers(&index, "even"), [0, 2, 6, 8, 10]);
    index.forget(0);
    index.keep().unwrap();
    drop(index);
    let index = DiskIndex::open(dir.path(), u32::MAX).unwrap();
    assert_eq!(numbers(&index, "even"), [2, 6, 8, 10]);
    assert_eq!(index.kept_below(), 13);
}

#[test]
fn a_directory_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path(), 1);
    let error = DiskIndex::open(dir.path(), 0).unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(matches!(inner, Some(OpenError::InUse(_))), "{error}");
    assert_eq!(numbers(&index, "even"), [0]);
}

/// Makes an index, changes one file of it, and says what is found after opening it again.
fn damaged(change: impl Fn(&Path, Vec<u8>) -> Option<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path(), 3000);
    index.keep().unwrap();
    drop(index);
    let kept = tempfile::tempdir().unwrap();
    copy(dir.path(), kept.path());
    let files: Vec<PathBuf> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    for file in files {
        if file.to_string_lossy().ends_with(".lock") {
            continue;
        }
        copy(kept.path(), dir.path());
        match change(&file, fs::read(&file).unwrap()) {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let mut index = DiskIndex::open(dir.path(), 3000).unwrap();
        let kept_below = index.kept_below();
        // Other files only help tantivy to tidy up, or may mean the same as before.
        let is_segment = !file.ends_with("meta.json") && !file.ends_with(".managed.json");
        assert!(kept_below == 0 || (kept_below == 3000 && !is_segment), "{}", file.display());
        for number in kept_below..3000 {
            index.put(number, &says(if number % 2 == 0 { "even" } else { "odd" }));
        }
        index.keep().unwrap();
        assert_eq!(numbers(&index, "even").len(), 1500, "{}", file.display());
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(to).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_directory_without_one_of_its_files_is_made_anew() {
    damaged(|_, _| None);
}

#[test]
fn a_directory_with_a_shortened_file_is_made_anew() {
    damaged(|_, mut bytes| {
        bytes.truncate(bytes.len() / 2);
        Some(bytes)
    });
    damaged(|_, _| Some(Vec::new()));
}

#[test]
fn a_directory_with_a_changed_byte_is_made_anew() {
    for part in 0..8 {
        damaged(|_, mut bytes| {
            let at = (bytes.len() - 1) * part / 7;
            bytes[at] ^= 0x11;
            Some(bytes)
        });
    }
}

/// The list of segments is the one file without a checksum.
#[test]
fn a_changed_list_of_segments_is_noticed_wherever_it_matters() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path(), 100);
    index.keep().unwrap();
    drop(index);
    let meta = fs::read(dir.path().join("meta.json")).unwrap();
    let kept = tempfile::tempdir().unwrap();
    copy(dir.path(), kept.path());
    for at in 0..meta.len() {
        copy(kept.path(), dir.path());
        let mut bytes = meta.clone();
        bytes[at] ^= 1;
        fs::write(dir.path().join("meta.json"), &bytes).unwrap();
        let index = DiskIndex::open(dir.path(), 100).unwrap();
        let even: Vec<u32> = (0..index.kept_below()).step_by(2).collect();
        assert_eq!(numbers(&index, "even"), even, "{}", String::from_utf8_lossy(&bytes));
        assert!([0, 100].contains(&index.kept_below()));
    }
}

#[test]
fn another_version_and_foreign_files_are_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("meta.json"), "{}").unwrap();
    fs::write(dir.path().join("other"), "text").unwrap();
    assert_eq!(DiskIndex::open(dir.path(), 5).unwrap().kept_below(), 0);
    assert!(!dir.path().join("other").exists());
    let mut index = filled(dir.path(), 10);
    index.keep().unwrap();
    drop(index);
    let meta = dir.path().join("meta.json");
    let text = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, text.replace("guildhall-text 1", "guildhall-text 2")).unwrap();
    let index = DiskIndex::open(dir.path(), 10).unwrap();
    assert_eq!((index.kept_below(), numbers(&index, "even")), (0, Vec::new()));
}

#[test]
fn without_a_disk_new_listings_are_found_until_they_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    let mut index = filled(&path, 10);
    index.keep().unwrap();
    fs::remove_dir_all(&path).unwrap();
    index.put(10, &says("lonely"));
    index.keep().unwrap_err();
    assert_eq!(index.kept_below(), 10);
    assert_eq!(numbers(&index, "lonely"), [10]);
    assert_eq!(numbers(&index, "even"), [0, 2, 4, 6, 8]);
    // More than memory may hold: the oldest go.
    let (same, last) = (says("same"), 11 + u32::try_from(PENDING_MAX).unwrap());
    (11..last).for_each(|number| index.put(number, &same));
    index.put(last, &says("newest"));
    assert!(index.pending() <= PENDING_MAX);
    assert_eq!(numbers(&index, "newest"), [last]);
    assert_eq!(numbers(&index, "lonely"), [0; 0]);
    assert_eq!(index.kept_below(), 10);
    assert!(index.keep().is_err());
}

#[test]
fn listings_that_come_faster_than_they_are_written_wait_and_are_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let total = 2 * u32::try_from(PENDING_MAX).unwrap() + 5;
    let mut index = filled(dir.path(), total);
    assert!(index.pending() <= PENDING_MAX);
    assert_eq!(numbers(&index, "odd").len(), total as usize / 2);
    index.keep().unwrap();
    assert_eq!(index.kept_below(), total);
    assert_eq!(numbers(&index, "odd").len(), total as usize / 2);
}

/// Listings as long as may be, with words that nobody else has.
#[test]
fn listings_that_say_much_leave_memory_sooner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    let mut index = filled(&path, 0);
    index.keep().unwrap();
    fs::remove_dir_all(&path).unwrap();
    index.put(0, &says("first"));
    index.keep().unwrap_err();
    let last = 4000;
    for number in 1..=last {
        let words: Vec<String> = (0..500).map(|n| format!("w{number}x{n}")).collect();
        index.put(number, &says(&words.join(" ")));
    }
    assert_eq!(numbers(&index, "first"), [0; 0]);
    assert_eq!(numbers(&index, &format!("w{last}x499")), [last]);
    // Each takes some 80 kB.
    assert!((1000..2000).contains(&index.pending()), "{}", index.pending());
}

/// Listing n says two words: one that all say, and one of its own. While one thread puts, others look.
#[test]
fn every_listing_is_found_exactly_once_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let index = RwLock::new(DiskIndex::open(dir.path(), 0).unwrap());
    let (put, done) = (AtomicU32::new(0), AtomicBool::new(false));
    let total = 60_000;
    let all = says("all");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..total {
                index.write().unwrap().put(number, &all);
                put.store(number + 1, Ordering::SeqCst);
                if number % 7000 == 6999 {
                    // Small segments too, and merges of them.
                    index.write().unwrap().keep().unwrap();
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let at_least = put.load(Ordering::SeqCst);
                    let numbers = numbers(&*index.read().unwrap(), "all");
                    let wanted: Vec<u32> = (0..u32::try_from(numbers.len()).unwrap()).collect();
                    assert!(numbers.len() >= at_least as usize);
                    assert_eq!(numbers, wanted);
                }
            });
        }
    });
    let index = index.into_inner().unwrap();
    converge("all are written", || index.pending() == 0);
    assert_eq!(index.kept_below(), total);
    let found: BTreeSet<u32> = numbers(&index, "all").into_iter().collect();
    assert_eq!(found.len(), total as usize);
}
