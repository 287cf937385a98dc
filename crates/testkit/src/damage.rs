//! Damage done to a node's files, as a disk would.

use std::fs;
use std::path::{Path, PathBuf};

use guildhall_protocol::Hash;

/// The file in which the store of `home` keeps a blob.
#[must_use]
pub fn blob_file(home: &Path, hash: &Hash) -> PathBuf {
    let hex = hash.to_hex();
    let shard = hex.get(..2).expect("a hash has 64 digits");
    home.join("store/blobs").join(shard).join(&hex)
}

/// The file with the rows of the store of `home`.
#[must_use]
pub fn catalogue_file(home: &Path) -> PathBuf {
    home.join("store/catalogue.redb")
}

/// How many blobs the store of `home` has files of.
#[must_use]
pub fn blob_files(home: &Path) -> usize {
    let shards = fs::read_dir(home.join("store/blobs")).into_iter().flatten().flatten();
    shards.map(|shard| fs::read_dir(shard.path()).into_iter().flatten().count()).sum()
}

/// Flips one bit of the byte at `at`; the file keeps its length.
pub fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes[at] ^= 0x40;
    write_in_place(path, &bytes);
}

/// Flips a bit of a blob's middle byte.
pub fn flip_blob(home: &Path, hash: &Hash) {
    let path = blob_file(home, hash);
    let len =
        fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len();
    flip(&path, usize::try_from(len / 2).expect("a test's blob fits memory"));
}

/// Writes into the file that is there, so that whoever has it open sees it.
fn write_in_place(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    let mut permissions = fs::metadata(path).expect("the file is there").permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a temporary file of a test")]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).expect("the file is ours");
    let mut file = fs::OpenOptions::new().write(true).open(path).expect("the file opens");
    file.write_all(bytes).expect("the file is written");
}
