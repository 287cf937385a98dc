//! The folder of a store on this machine where whoever may write there leaves files for the node to take over.
//!
//! It saves sending a large file through a socket to a program on the same disk. It is only ever an attempt: whatever
//! goes wrong, the file is sent as to any node.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use guildhall_protocol::Hash;
use guildhall_protocol::api::{AdoptRequest, Status};

use super::draft::DraftFile;
use crate::client::Client;

/// Where a home has that folder.
const INCOMING_DIR: &str = "store/incoming";

/// Permissions of a copy: nobody else reads it while it lies there.
const COPY_MODE: u32 = 0o600;

/// The folder of the node that is asked.
#[derive(Clone, Debug)]
pub struct Incoming {
    dir: PathBuf,
    link: bool,
}

impl Incoming {
    /// The folder of `client`'s node, when that runs on this machine and lets us write there. With `link` files are not
    /// copied but get a second name: whoever asks for it promises not to change them.
    #[must_use]
    pub fn of(client: &Client, status: &Status, link: bool) -> Option<Self> {
        if !client.is_loopback() {
            return None;
        }
        let incoming = Self { dir: Path::new(&status.home).join(INCOMING_DIR), link };
        // Only trying tells whether we may, and whether this is the folder of a node at all.
        let (path, made) = incoming.place(&Hash::of(b"")).ok()?;
        drop(made);
        fs::remove_file(path).ok()?;
        Some(incoming)
    }

    /// Gives the node a file. `false` when that did not work, or the node made another hash of it.
    pub(super) async fn give(&self, client: &Client, file: &DraftFile) -> bool {
        let (here, source) = (self.clone(), file.clone());
        let placed = tokio::task::spawn_blocking(move || here.put(&source)).await;
        let Ok(Ok((path, linked))) = placed else { return false };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let adopted = client.adopt(&AdoptRequest { name, linked }).await;
        let is_same = adopted.is_ok_and(|stored| stored.hash == file.entry.hash);
        if !is_same {
            // The node may have taken it away already; if it cannot be removed, the next start of the node does.
            let _ = fs::remove_file(&path);
        }
        is_same
    }

    /// Puts a copy or a second name of the file there; says whether it is a second name.
    fn put(&self, file: &DraftFile) -> io::Result<(PathBuf, bool)> {
        if self.link {
            let path = self.dir.join(name(&file.entry.hash));
            if fs::hard_link(&file.path, &path).is_ok() {
                return Ok((path, true));
            }
        }
        let (path, mut copy) = self.place(&file.entry.hash)?;
        // Between files the standard library asks the kernel to copy, which shares blocks where the file system can.
        let copied = File::open(&file.path).and_then(|mut from| io::copy(&mut from, &mut copy));
        match copied {
            Ok(_) => Ok((path, false)),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// A new file there.
    fn place(&self, hash: &Hash) -> io::Result<(PathBuf, File)> {
        let path = self.dir.join(name(hash));
        let made = OpenOptions::new().write(true).create_new(true).mode(COPY_MODE).open(&path)?;
        Ok((path, made))
    }
}

/// A name that no other process and no other file of this one takes.
fn name(hash: &Hash) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let hex = hash.to_hex();
    format!("{}-{count}-{}", std::process::id(), hex.get(..16).unwrap_or(&hex))
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::manifest::FileEntry;

    use super::*;

    fn folder(link: bool) -> (tempfile::TempDir, Incoming, DraftFile) {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, "content").unwrap();
        let incoming = Incoming { dir: dir.path().join("incoming"), link };
        fs::create_dir(&incoming.dir).unwrap();
        let entry = FileEntry {
            name: "source".parse().unwrap(),
            len_bytes: 7,
            hash: Hash::of(b"content"),
            media_type: String::new(),
        };
        (dir, incoming, DraftFile { path: source, entry })
    }

    #[test]
    fn a_copy_is_another_file_and_a_link_the_same() {
        use std::os::unix::fs::MetadataExt as _;
        for link in [false, true] {
            let (_dir, incoming, file) = folder(link);
            let (path, linked) = incoming.put(&file).unwrap();
            assert_eq!((fs::read(&path).unwrap(), linked), (b"content".to_vec(), link));
            let inode = |path: &Path| fs::metadata(path).unwrap().ino();
            assert_eq!(inode(&path) == inode(&file.path), link);
            assert_ne!(incoming.put(&file).unwrap().0, path, "names are never used twice");
        }
    }

    #[tokio::test]
    async fn without_a_node_nothing_is_left_behind() {
        let (_dir, incoming, file) = folder(false);
        let client = Client::new("http://127.0.0.1:1").unwrap();
        assert!(!incoming.give(&client, &file).await);
        assert_eq!(fs::read_dir(&incoming.dir).unwrap().count(), 0);
        fs::remove_dir(&incoming.dir).unwrap();
        assert!(!incoming.give(&client, &file).await);
    }
}
