use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, GROUP_BYTES, PIECE_BYTES, Shape};

use super::{bytes_of, file_of, open, stage};
use crate::{Batch, BlobError, Import, StagedBlob, Store};

const GROUP: usize = GROUP_BYTES as usize;
const PIECE: usize = PIECE_BYTES as usize;

fn commit(store: &Store, staged: StagedBlob) {
    let mut batch = Batch::new();
    batch.add_blob(staged);
    store.commit_blocking(batch).expect("commits");
}

/// That a blob is here, whole, and has exactly its tree.
fn check(dir: &Path, store: &Store, blob: &[u8]) {
    let (hash, len) = (Hash::of(blob), blob.len() as u64);
    let shape = Shape::of(len);
    assert_eq!(store.read_blob(&hash, len).expect("reads"), blob);
    assert_eq!(store.blob_len(&hash).expect("reads"), Some(len));
    store.verify_blob(&hash).expect("is whole");
    let (mut file, found) = store.open_blob(&hash).expect("opens");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("reads");
    assert_eq!((found, bytes == blob), (len, true));
    assert_eq!(file_of(dir, &hash).exists(), !shape.is_one_group());
    let pieces = store.piece_cvs(&hash).expect("reads");
    assert_eq!(pieces.is_some(), shape.pieces() > 1);
    for index in 0..shape.pieces() {
        let groups = store.group_cvs(&hash, index).expect("reads");
        if shape.is_one_group() {
            assert_eq!(groups, None);
            continue;
        }
        let span = shape.piece(index);
        let bytes = &blob[span.offset as usize..][..span.len_bytes as usize];
        let expected = tree::group_cvs(span.offset, bytes);
        assert_eq!(groups.as_ref(), Some(&expected));
        if let Some(pieces) = &pieces {
            assert_eq!(Some(pieces[index as usize]), tree::merge(&expected));
        }
    }
    assert_eq!(store.group_cvs(&hash, shape.pieces()).expect("reads"), None);
}

fn lengths() -> Vec<usize> {
    let near = |at: usize| [at.saturating_sub(1), at, at + 1];
    let mut lengths: Vec<_> =
        [0, 1024, GROUP, 2 * GROUP, 16 * GROUP, PIECE, PIECE + GROUP, 2 * PIECE, 3 * PIECE]
            .into_iter()
            .flat_map(near)
            .collect();
    // More pieces than stay in memory.
    lengths.push(17 * PIECE + 5);
    lengths
}

#[test]
fn blobs_of_every_kind_of_length_come_in_every_way() {
    let dir = super::folder();
    let (streamed, copied, adopted) =
        (dir.path().join("streamed"), dir.path().join("copied"), dir.path().join("adopted"));
    let stores = [open(&streamed), open(&copied), open(&adopted)];
    let source = dir.path().join("source");
    for len in lengths() {
        let blob = bytes_of(len, len as u64);
        commit(&stores[0], stage(&stores[0], &blob));
        check(&streamed, &stores[0], &blob);
        fs::write(&source, &blob).expect("writes");
        commit(&stores[1], stores[1].import_file(&source, Import::Copy).expect("imports"));
        check(&copied, &stores[1], &blob);
        fs::rename(&source, stores[2].incoming_dir().join("file")).expect("moves");
        let mode = Import::Adopt { linked: false };
        commit(&stores[2], stores[2].import_file(Path::new("file"), mode).expect("adopts"));
        check(&adopted, &stores[2], &blob);
    }
    for (name, store) in ["streamed", "copied", "adopted"].iter().zip(&stores) {
        let dir = dir.path().join(name);
        assert_eq!(fs::read_dir(dir.join("tmp")).expect("lists").count(), 0);
        assert_eq!(fs::read_dir(store.incoming_dir()).expect("lists").count(), 0);
    }
}

#[test]
fn a_small_blob_touches_no_file_before_its_batch_and_none_after() {
    let dir = super::folder();
    let store = open(dir.path());
    let blob = bytes_of(GROUP, 1);
    let staged = stage(&store, &blob);
    assert_eq!(fs::read_dir(dir.path().join("tmp")).expect("lists").count(), 0);
    commit(&store, staged);
    assert!(!file_of(dir.path(), &Hash::of(&blob)).exists());
    let (mut file, _) = store.open_blob(&Hash::of(&blob)).expect("opens");
    assert!(file.write_all(b"x").is_err(), "nobody can change what was handed out");
    assert!(file.set_len(0).is_err());
    let mut out = [0; 100];
    let read = |at, out: &mut [u8]| store.read_blob_at(&Hash::of(&blob), at, out).expect("reads");
    assert_eq!(read(GROUP_BYTES - 10, &mut out), 10);
    assert_eq!(out[..10], blob[GROUP - 10..]);
    assert_eq!(read(u64::MAX, &mut out), 0);
}

#[test]
fn only_plain_files_in_the_folder_for_it_are_adopted() {
    let dir = super::folder();
    let store = open(&dir.path().join("store"));
    let incoming = store.incoming_dir();
    let outside = dir.path().join("outside");
    fs::write(&outside, bytes_of(20_000, 1)).expect("writes");
    let adopt = |name: &str, linked| store.import_file(Path::new(name), Import::Adopt { linked });
    let refused = |name: &str| matches!(adopt(name, true), Err(BlobError::NotImportable { .. }));
    fs::write(incoming.join(".hidden"), b"x").expect("writes");
    fs::create_dir(incoming.join("folder")).expect("creates");
    let outside_name = outside.to_string_lossy();
    for name in ["", ".", "..", ".hidden", "folder", "a/b", "../../outside", &outside_name] {
        assert!(refused(name), "{name}");
    }
    std::os::unix::fs::symlink(&outside, incoming.join("link")).expect("links");
    assert!(matches!(adopt("link", true), Err(BlobError::Io { .. })));
    assert!(matches!(adopt("nothing", true), Err(BlobError::Io { .. })));
    let pipe = incoming.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("runs");
    assert!(made.success());
    assert!(refused("pipe"), "and it does not wait for a writer");

    fs::hard_link(&outside, incoming.join("linked")).expect("links");
    let refused = adopt("linked", false);
    assert!(matches!(refused, Err(BlobError::NotImportable { .. })));
    commit(&store, adopt("linked", true).expect("is allowed"));
    check(&dir.path().join("store"), &store, &bytes_of(20_000, 1));
    assert!(outside.exists());
}

#[test]
fn the_hash_is_of_what_is_in_the_store_even_if_the_source_changes() {
    let dir = super::folder();
    let store = open(&dir.path().join("store"));
    let source = dir.path().join("source");
    fs::write(&source, bytes_of(6 * PIECE, 1)).expect("writes");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::os::unix::fs::FileExt as _;
            let file = File::options().write(true).open(&source).expect("opens");
            let mut seed = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                seed += 1;
                let at = (seed * 7919 % 6000) * 4096;
                file.write_all_at(&bytes_of(4096, seed), at).expect("writes");
            }
        });
        for _ in 0..4 {
            let staged = store.import_file(&source, Import::Copy).expect("imports");
            let hash = staged.hash();
            commit(&store, staged);
            store.verify_blob(&hash).expect("is what its hash says");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn trees_written_before_their_blob_survive_its_being_forgotten_in_the_same_batch() {
    let dir = super::folder();
    let store = open(dir.path());
    let (blob, other) = (bytes_of(18 * PIECE, 9), bytes_of(5 * PIECE, 8));
    let mut batch = Batch::new();
    batch.add_blob(stage(&store, &blob));
    batch.forget_blob(Hash::of(&blob));
    batch.add_blob(stage(&store, &other));
    batch.add_blob(stage(&store, &blob));
    store.commit_blocking(batch).expect("commits");
    check(dir.path(), &store, &blob);
    check(dir.path(), &store, &other);
}
