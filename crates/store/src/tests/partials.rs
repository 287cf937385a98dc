use std::fs;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Cv, GROUP_BYTES, PIECE_BYTES, Shape};
use proptest::prelude::*;

use super::{add, bytes_of, file_of, open};
use crate::{Batch, BlobError, Partial, Store};

const GROUP: usize = GROUP_BYTES as usize;
const PIECE: usize = PIECE_BYTES as usize;

fn piece_of(blob: &[u8], index: u64) -> &[u8] {
    let span = Shape::of(blob.len() as u64).piece(index);
    &blob[span.offset as usize..][..span.len_bytes as usize]
}

fn groups_of(blob: &[u8], index: u64) -> Vec<Cv> {
    tree::group_cvs(index * PIECE_BYTES, piece_of(blob, index))
}

fn list_of(blob: &[u8]) -> Vec<Cv> {
    let pieces = 0..Shape::of(blob.len() as u64).pieces();
    pieces.map(|index| tree::merge(&groups_of(blob, index)).expect("groups")).collect()
}

/// Gives a partial blob some of its pieces, and the list of all.
pub(super) fn fill(partial: &Partial, blob: &[u8], pieces: &[u64]) {
    if partial.shape().pieces() > 1 {
        partial.set_piece_cvs(list_of(blob)).expect("is right");
    }
    for index in pieces {
        let mut writer = partial.piece_writer(*index, groups_of(blob, *index)).expect("starts");
        // Backwards, so that not all lie side by side.
        let groups: Vec<_> = piece_of(blob, *index).chunks(GROUP).collect();
        for (number, bytes) in groups.iter().enumerate().rev() {
            writer.write_group(number as u64, bytes).expect("is right");
        }
        writer.finish().expect("is whole");
    }
}

fn commit(store: &Store, partial: Partial) {
    let mut batch = Batch::new();
    batch.add_blob(partial.stage().expect("is whole"));
    store.commit_blocking(batch).expect("commits");
}

#[test]
fn a_blob_that_comes_in_pieces_over_several_lives_ends_whole() {
    let dir = super::folder();
    let blob = bytes_of(3 * PIECE + 5 * GROUP + 7, 1);
    let (hash, len) = (Hash::of(&blob), blob.len() as u64);
    let store = open(dir.path());
    let partial = store.partial(hash, len).expect("opens");
    assert_eq!(partial.missing(), [0, 1, 2, 3]);
    assert!(matches!(store.partial(hash, len), Err(BlobError::Busy { .. })));
    fill(&partial, &blob, &[2, 3]);
    partial.checkpoint().expect("saves");
    fill(&partial, &blob, &[0]);
    assert_eq!(partial.unsaved_bytes(), PIECE_BYTES);
    drop(partial);
    drop(store);

    let store = open(dir.path());
    let saved = PIECE_BYTES + 5 * GROUP_BYTES + 7;
    let listed = store.partials().expect("lists");
    assert_eq!((listed.len(), listed[0].hash, listed[0].saved_bytes), (1, hash, saved));
    let partial = store.partial(hash, len).expect("opens");
    assert_eq!(partial.missing(), [0, 1], "what was not saved is not believed");
    assert_eq!(partial.piece_cvs(), Some(list_of(&blob)));
    fill(&partial, &blob, &[1]);
    let early = partial.stage();
    assert!(matches!(early, Err(BlobError::Incomplete { .. })));
    drop(partial);
    let partial = store.partial(hash, len).expect("opens");
    assert_eq!(partial.missing(), [0]);
    fill(&partial, &blob, &[0]);
    let staged = partial.stage().expect("is whole");
    assert!(matches!(store.partial(hash, len), Err(BlobError::Busy { .. })), "it is staged");
    drop((staged, partial));
    let partial = store.partial(hash, len).expect("a dropped one can be opened again");
    assert_eq!(partial.missing(), [0_u64; 0]);
    commit(&store, partial);
    assert_eq!(store.read_blob(&hash, len).expect("reads"), blob);
    store.verify_blob(&hash).expect("is whole");
    assert_eq!(store.partials().expect("lists"), []);
    assert_eq!(store.piece_cvs(&hash).expect("reads"), Some(list_of(&blob)));
    for index in 0..4 {
        assert_eq!(store.group_cvs(&hash, index).expect("reads"), Some(groups_of(&blob, index)));
    }
    assert_eq!(store.usage().expect("usage").blob_bytes, len);
}

#[test]
fn lies_are_refused_and_leave_nothing_behind() {
    let dir = super::folder();
    let store = open(dir.path());
    let (blob, other) = (bytes_of(2 * PIECE + 1, 1), bytes_of(2 * PIECE + 1, 2));
    let (hash, len) = (Hash::of(&blob), blob.len() as u64);
    assert!(matches!(store.partial(hash, GROUP_BYTES), Err(BlobError::WrongTree { .. })));
    assert!(matches!(store.partial(hash, u64::MAX), Err(BlobError::WrongTree { .. })));
    let partial = store.partial(hash, len).expect("opens");
    let early = partial.piece_writer(0, groups_of(&blob, 0));
    assert!(matches!(early, Err(BlobError::Incomplete { .. })), "there is nothing to check it by");
    let mut longer = list_of(&blob);
    longer.push(longer[0]);
    for lie in [list_of(&other), longer, Vec::new(), list_of(&blob)[..2].to_vec()] {
        assert!(matches!(partial.set_piece_cvs(lie), Err(BlobError::WrongTree { .. })));
    }
    partial.set_piece_cvs(list_of(&blob)).expect("is right");
    for lie in [groups_of(&other, 0), groups_of(&blob, 1), Vec::new(), groups_of(&blob, 2)] {
        assert!(matches!(partial.piece_writer(0, lie), Err(BlobError::WrongTree { .. })));
    }
    assert!(matches!(partial.piece_writer(3, Vec::new()), Err(BlobError::WrongTree { .. })));
    let mut writer = partial.piece_writer(0, groups_of(&blob, 0)).expect("starts");
    let right = &blob[..GROUP];
    let mut flipped = right.to_vec();
    flipped[GROUP - 1] ^= 1;
    for (number, lie) in
        [(0, &flipped[..]), (1, right), (0, &right[1..]), (0, b""), (256, right), (u64::MAX, right)]
    {
        let refused = writer.write_group(number, lie);
        assert!(matches!(refused, Err(BlobError::WrongGroup { .. })));
    }
    writer.write_group(0, right).expect("is right");
    writer.write_group(0, right).expect("a second time is harmless");
    assert_eq!(writer.missing().len(), 255);
    // Another sender may overtake this one; both write the same bytes.
    let mut second = partial.piece_writer(0, groups_of(&blob, 0)).expect("starts too");
    second.write_group(1, &blob[GROUP..2 * GROUP]).expect("is right");
    drop(second);
    assert!(matches!(writer.finish(), Err(BlobError::Incomplete { .. })));
    fill(&partial, &blob, &[0, 1, 2]);
    commit(&store, partial);
    assert_eq!(store.read_blob(&hash, len).expect("reads"), blob);
}

#[test]
fn pieces_written_by_many_threads_at_once_make_a_whole_blob() {
    let dir = super::folder();
    let store = open(dir.path());
    let blob = bytes_of(7 * PIECE + 12_345, 3);
    let (hash, len) = (Hash::of(&blob), blob.len() as u64);
    let partial = store.partial(hash, len).expect("opens");
    fill(&partial, &blob, &[]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (partial, blob) = (&partial, &blob);
            scope.spawn(move || {
                for index in (0..8).filter(|index| index % 4 == thread) {
                    fill(partial, blob, &[index]);
                    partial.checkpoint().expect("saves");
                }
            });
        }
    });
    assert_eq!((partial.missing(), partial.unsaved_bytes()), (Vec::new(), 0));
    commit(&store, partial);
    assert_eq!(store.read_blob(&hash, len).expect("reads"), blob);
}

#[test]
fn a_file_that_was_moved_by_a_failed_batch_is_found_again_and_checked() {
    let dir = super::folder();
    let blob = bytes_of(2 * PIECE, 4);
    let (hash, len) = (Hash::of(&blob), blob.len() as u64);
    for damaged in [false, true] {
        let store = open(dir.path());
        let partial = store.partial(hash, len).expect("opens");
        fill(&partial, &blob, &partial.missing());
        partial.checkpoint().expect("saves");
        drop((partial, store));
        let at = dir.path().join("partial").join(hash.to_hex());
        let mut bytes = fs::read(&at).expect("reads");
        bytes[PIECE] ^= u8::from(damaged);
        fs::write(file_of(dir.path(), &hash), bytes).expect("writes");
        fs::remove_file(at).expect("removes");

        let store = open(dir.path());
        let partial = store.partial(hash, len).expect("opens");
        assert_eq!(partial.missing(), if damaged { vec![1] } else { vec![] });
        assert!(!file_of(dir.path(), &hash).exists());
    }
}

#[test]
fn a_lost_file_starts_anew() {
    let dir = super::folder();
    let store = open(dir.path());
    let blob = bytes_of(2 * PIECE, 4);
    let (hash, len) = (Hash::of(&blob), blob.len() as u64);
    let partial = store.partial(hash, len).expect("opens");
    fill(&partial, &blob, &[0]);
    partial.checkpoint().expect("saves");
    drop(partial);
    fs::remove_file(dir.path().join("partial").join(hash.to_hex())).expect("removes");
    assert_eq!(store.partial(hash, len).expect("opens").missing(), [0, 1]);
    let mut batch = Batch::new();
    batch.forget_partial(hash);
    store.commit_blocking(batch).expect("commits");
    assert_eq!(store.partials().expect("lists"), []);
    assert_eq!(fs::read_dir(dir.path().join("partial")).expect("lists").count(), 0);
}

#[test]
fn forgetting_one_of_a_blob_and_its_partial_leaves_the_others_tree() {
    let dir = super::folder();
    let store = open(dir.path());
    let blob = bytes_of(2 * PIECE, 5);
    let (hash, len) = (Hash::of(&blob), blob.len() as u64);
    let partial = store.partial(hash, len).expect("opens");
    fill(&partial, &blob, &[0, 1]);
    partial.checkpoint().expect("saves");
    assert_eq!(add(&store, &blob), hash);
    let mut batch = Batch::new();
    batch.forget_blob(hash);
    store.commit_blocking(batch).expect("commits");
    commit(&store, partial);
    assert_eq!(store.group_cvs(&hash, 1).expect("reads"), Some(groups_of(&blob, 1)));

    let partial = store.partial(hash, len).expect("opens");
    drop(partial);
    let mut batch = Batch::new();
    batch.forget_partial(hash);
    store.commit_blocking(batch).expect("commits");
    assert_eq!(store.group_cvs(&hash, 0).expect("reads"), Some(groups_of(&blob, 0)));
    store.verify_blob(&hash).expect("is whole");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_is_saved_before_each_kill_stays(
        len in GROUP + 1..3 * PIECE,
        lives in prop::collection::vec((prop::collection::vec(0_u64..3, 0..3), any::<bool>()), 1..5),
    ) {
        let dir = super::folder();
        let blob = bytes_of(len, len as u64);
        let (hash, len) = (Hash::of(&blob), len as u64);
        let pieces = Shape::of(len).pieces();
        let mut saved = std::collections::BTreeSet::new();
        for (indexes, keep) in lives {
            let store = open(dir.path());
            let partial = store.partial(hash, len).expect("opens");
            let expected: Vec<_> = (0..pieces).filter(|index| !saved.contains(index)).collect();
            prop_assert_eq!(partial.missing(), expected);
            let mut now = std::collections::BTreeSet::new();
            for index in indexes.into_iter().filter(|index| *index < pieces) {
                if !saved.contains(&index) && now.insert(index) {
                    fill(&partial, &blob, &[index]);
                }
            }
            if keep {
                partial.checkpoint().expect("saves");
                saved.extend(now);
            }
        }
        let store = open(dir.path());
        let partial = store.partial(hash, len).expect("opens");
        fill(&partial, &blob, &partial.missing());
        commit(&store, partial);
        prop_assert_eq!(store.read_blob(&hash, len).expect("reads"), blob);
    }
}
