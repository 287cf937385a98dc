//! What is imported, published and fetched: files of bytes that nothing can compress, in folders with a description.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::network::NetworkError;

/// What is written at a time, bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// How every file begins: bytes at random are sometimes those of a format that no node takes.
const BEGINNING: &[u8] = b"benchmark";

/// Length of a small file, bytes.
pub(super) const SMALL_BYTES: u64 = 4 * 1024;

/// Small files in one folder: a folder of more is slow on some file systems, and nobody has one.
const FILES_PER_FOLDER: u64 = 1_000;

/// One MiB in units of bytes.
pub(super) const MIB: u64 = 1024 * 1024;

/// Bytes that look random and are the same for the same seed: xorshift64*, which is fast and needs no library.
struct Noise(u64);

impl Noise {
    const fn of(seed: u64) -> Self {
        // Neighbouring seeds must not give neighbouring streams, and the state must not be 0.
        Self((seed.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for eight in bytes.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            eight.copy_from_slice(word.get(..eight.len()).unwrap_or_default());
        }
    }
}

/// Writes a file of `len_bytes`, and has it on disk when this returns.
pub(super) fn write_file(path: &Path, len_bytes: u64, seed: u64) -> Result<(), NetworkError> {
    let write = || -> io::Result<()> {
        let (mut noise, mut file) = (Noise::of(seed), File::create(path)?);
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = len_bytes;
        while left > 0 {
            let some = usize::try_from(left.min(CHUNK_BYTES as u64)).unwrap_or(CHUNK_BYTES);
            let bytes = chunk.get_mut(..some).unwrap_or_default();
            noise.fill(bytes);
            if left == len_bytes {
                begin(bytes);
            }
            file.write_all(bytes)?;
            left -= some as u64;
        }
        file.sync_all()
    };
    write().map_err(NetworkError::Io)
}

fn begin(bytes: &mut [u8]) {
    let len = bytes.len().min(BEGINNING.len());
    if let (Some(first), Some(beginning)) = (bytes.get_mut(..len), BEGINNING.get(..len)) {
        first.copy_from_slice(beginning);
    }
}

/// Uses as much memory of a folder in memory as what is measured next will use, and gives it back. The host of a
/// virtual machine takes memory that is free for seconds, and its first use after that costs more than what is
/// measured; so everything that writes, ours or a peer, is measured with memory that was just given back.
pub(super) fn warm(folder: &Path, len_bytes: u64) -> Result<(), NetworkError> {
    let write = || -> io::Result<()> {
        let mut file = tempfile::tempfile_in(folder)?;
        let chunk = vec![1; CHUNK_BYTES];
        for _ in 0..len_bytes.div_ceil(CHUNK_BYTES as u64) {
            file.write_all(&chunk)?;
        }
        Ok(())
    };
    write().map_err(NetworkError::Io)
}

/// A folder with a description, to be published.
pub(super) struct Package {
    pub(super) dir: PathBuf,
    pub(super) name: &'static str,
    pub(super) version: String,
    /// Length of all files, bytes.
    pub(super) len_bytes: u64,
}

impl Package {
    /// Begins a folder; what was in it before stays.
    pub(super) fn begin(
        dir: PathBuf,
        name: &'static str,
        version: impl Into<String>,
    ) -> Result<Self, NetworkError> {
        let version = version.into();
        fs::create_dir_all(&dir).map_err(NetworkError::Io)?;
        let description = format!(
            "kind = \"data\"\nname = \"{name}\"\nversion = \"{version}\"\n\
             categories = [\"tabular/x-benchmark\"]\nlicence = \"CC0-1.0\"\n\
             summary = \"A package that measures how content moves.\"\n"
        );
        fs::write(dir.join("guild.toml"), description).map_err(NetworkError::Io)?;
        Ok(Self { dir, name, version, len_bytes: 0 })
    }

    /// A package of one file.
    pub(super) fn one_file(
        dir: PathBuf,
        name: &'static str,
        version: impl Into<String>,
        len_bytes: u64,
        seed: u64,
    ) -> Result<Self, NetworkError> {
        let package = Self { len_bytes, ..Self::begin(dir, name, version)? };
        write_file(&package.file(), len_bytes, seed)?;
        Ok(package)
    }

    /// A package of `count` files of [`SMALL_BYTES`], all different.
    pub(super) fn small_files(
        dir: PathBuf,
        name: &'static str,
        version: impl Into<String>,
        count: u64,
        seed: u64,
    ) -> Result<Self, NetworkError> {
        let len_bytes = count.saturating_mul(SMALL_BYTES);
        let package = Self { len_bytes, ..Self::begin(dir, name, version)? };
        let mut noise = Noise::of(seed);
        let mut bytes = vec![0; usize::try_from(SMALL_BYTES).unwrap_or(0)];
        for index in 0..count {
            let folder = package.content().join(format!("{:03}", index / FILES_PER_FOLDER));
            if index % FILES_PER_FOLDER == 0 {
                fs::create_dir_all(&folder).map_err(NetworkError::Io)?;
            }
            noise.fill(&mut bytes);
            begin(&mut bytes);
            fs::write(folder.join(format!("{index:06}.bin")), &bytes).map_err(NetworkError::Io)?;
        }
        Ok(package)
    }

    /// The only file of a package of one.
    pub(super) fn file(&self) -> PathBuf {
        self.dir.join("content.bin")
    }

    /// The folder with the files of a package of many, without the description.
    pub(super) fn content(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// Removes the folder: its bytes are in a store, and memory is short.
    pub(super) fn remove(self) -> Result<(), NetworkError> {
        fs::remove_dir_all(&self.dir).map_err(NetworkError::Io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_their_length_and_differ_by_seed() {
        let dir = tempfile::tempdir().unwrap();
        let made = |seed| {
            let path = dir.path().join("file");
            write_file(&path, MIB + 5, seed).unwrap();
            fs::read(path).unwrap()
        };
        let (one, other) = (made(1), made(2));
        assert_eq!(one.len() as u64, MIB + 5);
        assert_ne!(one, other);
        assert_eq!(one, made(1));
        assert_ne!(one[16..24], one[24..32]);
    }

    #[test]
    fn small_files_are_as_many_as_asked_for_and_all_different() {
        let dir = tempfile::tempdir().unwrap();
        let package =
            Package::small_files(dir.path().join("p"), "small", "1.0.0", 1_002, 3).unwrap();
        let mut contents = std::collections::BTreeSet::new();
        for folder in fs::read_dir(package.content()).unwrap() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                contents.insert(fs::read(file.unwrap().path()).unwrap());
            }
        }
        assert_eq!(contents.len(), 1_002);
        assert!(contents.iter().all(|content| content.len() as u64 == SMALL_BYTES));
    }
}
