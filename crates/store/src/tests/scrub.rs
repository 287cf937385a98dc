use std::fs;
use std::sync::atomic::AtomicBool;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::PIECE_BYTES;

use super::partials::fill;
use super::sweep::{scrubbed, stray_tree};
use super::{add, bytes_of, file_of, open, put};
use crate::table::{BLOBS, PIECE_LIST, TREES, tree_key};
use crate::{Batch, BlobDamage, BlobError, Row, ScrubItem, Store};

const PIECE: usize = PIECE_BYTES as usize;

fn remove_row(store: &Store, key: &[u8]) {
    let write = store.inner.shared.write(|transaction| {
        transaction.open_table(TREES)?.remove(key)?;
        Ok(())
    });
    write.expect("writes");
}

fn damage(path: &std::path::Path, at: usize) {
    let mut bytes = fs::read(path).expect("reads");
    bytes[at] ^= 4;
    fs::write(path, bytes).expect("writes");
}

/// Fills what is missing and puts the blob back.
fn mend(store: &Store, partial: crate::Partial, blob: &[u8]) {
    fill(&partial, blob, &partial.missing());
    let mut batch = Batch::new();
    batch.add_blob(partial.stage().expect("is whole"));
    store.commit_blocking(batch).expect("commits");
}

#[test]
fn a_scrub_finds_every_kind_of_damage_and_nothing_in_a_sound_store() {
    let dir = super::folder();
    let store = open(dir.path());
    put(&store, 1, 1);
    let blobs: Vec<_> = (0..4).map(|seed| bytes_of(3 * PIECE + 9, seed)).collect();
    let hashes: Vec<_> = blobs.iter().map(|blob| add(&store, blob)).collect();
    let small = add(&store, b"small");
    assert_eq!(scrubbed(&store), []);

    damage(&file_of(dir.path(), &hashes[0]), 2 * PIECE + 77);
    fs::remove_file(file_of(dir.path(), &hashes[1])).expect("removes");
    remove_row(&store, &tree_key(&hashes[2], 1));
    remove_row(&store, &tree_key(&hashes[3], PIECE_LIST));
    stray_tree(&store, &Hash::of(b"nobody"));
    let stray = file_of(dir.path(), &Hash::of(b"stray"));
    fs::write(&stray, vec![0; 9]).expect("writes");
    let write = store.inner.shared.write(|transaction| {
        transaction.open_table(BLOBS)?.insert(small.as_bytes().as_slice(), &[0; 50][..])?;
        Ok(())
    });
    write.expect("writes");
    let lost = bytes_of(2 * PIECE, 9);
    let partial = store.partial(Hash::of(&lost), lost.len() as u64).expect("opens");
    fill(&partial, &lost, &[0]);
    partial.checkpoint().expect("saves");
    drop(partial);
    fs::remove_file(dir.path().join("partial").join(Hash::of(&lost).to_hex())).expect("removes");

    let found = scrubbed(&store);
    let content = BlobDamage::Content { pieces: 1, first_offset: 2 * PIECE_BYTES };
    let expected = [
        ScrubItem::Row(Row::Blob(small)),
        ScrubItem::Blob { hash: hashes[0], damage: content },
        ScrubItem::Blob { hash: hashes[1], damage: BlobDamage::FileMissing },
        ScrubItem::Row(Row::Tree { hash: hashes[2], piece: Some(1) }),
        ScrubItem::Row(Row::Tree { hash: hashes[3], piece: None }),
        ScrubItem::StrayTree { hash: Hash::of(b"nobody") },
        ScrubItem::StrayFile { path: stray, len_bytes: 9 },
        ScrubItem::StalePartial { hash: Hash::of(&lost) },
    ];
    for item in &expected {
        assert!(found.contains(item), "{item:?} in {found:?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:?}");
    let stopped = store.scrub(Some(1), &AtomicBool::new(true), |item| panic!("{item:?}"));
    assert!(stopped.expect("ends at once").stopped);
}

#[test]
fn only_damaged_pieces_come_anew() {
    let dir = super::folder();
    let store = open(dir.path());
    let blob = bytes_of(4 * PIECE + 100, 1);
    let hash = add(&store, &blob);
    let path = file_of(dir.path(), &hash);
    for at in [PIECE, 4 * PIECE + 99, PIECE + 5] {
        damage(&path, at);
    }
    let found = store.verify_blob(&hash);
    let expected = BlobDamage::Content { pieces: 2, first_offset: PIECE_BYTES };
    assert!(matches!(found, Err(BlobError::Damaged { damage, .. }) if damage == expected));
    assert_eq!(store.damaged_pieces(&hash).expect("reads"), [1, 4]);
    let partial = store.repair(&hash).expect("repairs");
    assert_eq!(partial.missing(), [1, 4]);
    assert!(!store.has_blob(&hash).expect("reads") && !path.exists());
    // Interrupted, it goes on.
    fill(&partial, &blob, &[4]);
    partial.checkpoint().expect("saves");
    drop((partial, store));
    let store = open(dir.path());
    let partial = store.partial(hash, blob.len() as u64).expect("opens");
    assert_eq!(partial.missing(), [1]);
    mend(&store, partial, &blob);
    assert_eq!(store.read_blob(&hash, 1 << 30).expect("reads"), blob);
    assert_eq!(scrubbed(&store), []);
}

#[test]
fn a_cut_lost_or_sound_blob_and_a_damaged_tree_are_mended_too() {
    let dir = super::folder();
    let store = open(dir.path());
    let blob = bytes_of(3 * PIECE + 100, 1);
    let hash = add(&store, &blob);
    let path = file_of(dir.path(), &hash);
    let check = |partial: crate::Partial, missing: &[u64]| {
        assert_eq!(partial.missing(), missing);
        mend(&store, partial, &blob);
        assert_eq!(store.read_blob(&hash, 1 << 30).expect("reads"), blob);
        assert_eq!(scrubbed(&store), []);
    };
    check(store.repair(&hash).expect("repairs"), &[]);
    fs::write(&path, &blob[..2 * PIECE + 50]).expect("writes");
    check(store.repair(&hash).expect("repairs"), &[2, 3]);
    fs::write(&path, [&blob[..], b"more"].concat()).expect("writes");
    check(store.repair(&hash).expect("repairs"), &[]);
    fs::remove_file(&path).expect("removes");
    check(store.repair(&hash).expect("repairs"), &[0, 1, 2, 3]);
    // The list of pieces can be made again from their groups, and groups from the file.
    remove_row(&store, &tree_key(&hash, PIECE_LIST));
    damage(&path, 0);
    check(store.repair(&hash).expect("repairs"), &[0]);
    remove_row(&store, &tree_key(&hash, PIECE_LIST));
    remove_row(&store, &tree_key(&hash, 1));
    check(store.repair(&hash).expect("repairs"), &[]);
    remove_row(&store, &tree_key(&hash, PIECE_LIST));
    remove_row(&store, &tree_key(&hash, 1));
    damage(&path, 0);
    check(store.repair(&hash).expect("repairs"), &[0, 1, 2, 3]);
    let small = add(&store, b"small");
    assert!(matches!(store.repair(&small), Err(BlobError::WrongTree { .. })));
    assert!(matches!(store.repair(&Hash::of(b"no")), Err(BlobError::Missing { .. })));
}

#[test]
fn a_flipped_bit_anywhere_in_a_file_is_found_where_it_is() {
    let dir = super::folder();
    let store = open(dir.path());
    let blob = bytes_of(2 * PIECE + 5000, 1);
    let hash = add(&store, &blob);
    let path = file_of(dir.path(), &hash);
    let mut at = 0;
    while at < blob.len() {
        damage(&path, at);
        assert_eq!(store.damaged_pieces(&hash).expect("reads"), [(at / PIECE) as u64]);
        damage(&path, at);
        at += PIECE / 3 + 1;
    }
    store.verify_blob(&hash).expect("is whole again");
}
