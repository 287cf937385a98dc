//! The content that a hostile node knows, so that it can lie about parts of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use guildhall_protocol::manifest::Manifest;
use guildhall_protocol::tree::{self, Cv, Shape, Span};
use guildhall_protocol::{Hash, PackageId};

/// Blobs by their hashes.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    blobs: BTreeMap<Hash, Vec<u8>>,
    manifests: Vec<Hash>,
}

impl Truth {
    /// A package whose files lie in `folder`, as a test wrote them.
    #[must_use]
    pub fn of(manifest: &Manifest, folder: &Path) -> Self {
        let mut truth = Self::default();
        let (package, bytes) = manifest.seal();
        truth.add_manifest(package, bytes);
        for file in &manifest.files {
            let path = folder.join(file.name.as_str());
            let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            truth.blobs.insert(file.hash, bytes);
        }
        truth
    }

    /// Adds any bytes as what a package's id names.
    pub fn add_manifest(&mut self, package: PackageId, bytes: Vec<u8>) {
        self.manifests.push(package.0);
        self.blobs.insert(package.0, bytes);
    }

    /// Adds a blob under a name that may not be its hash.
    pub fn add(&mut self, hash: Hash, bytes: Vec<u8>) {
        self.blobs.insert(hash, bytes);
    }

    pub(super) fn is_manifest(&self, hash: &Hash) -> bool {
        self.manifests.contains(hash)
    }

    pub(super) fn blob(&self, hash: &Hash) -> Option<&[u8]> {
        self.blobs.get(hash).map(Vec::as_slice)
    }
}

/// The CVs of a blob's pieces.
pub(super) fn piece_cvs(blob: &[u8]) -> Vec<Cv> {
    let shape = Shape::of(blob.len() as u64);
    let pieces = (0..shape.pieces()).map(|index| tree::merge(&group_cvs(blob, index)));
    pieces.map(|cv| cv.expect("a piece has groups")).collect()
}

/// The CVs of a piece's groups.
pub(super) fn group_cvs(blob: &[u8], piece: u64) -> Vec<Cv> {
    let span = Shape::of(blob.len() as u64).piece(piece);
    tree::group_cvs(span.offset, stretch(blob, span))
}

/// A stretch of a blob.
pub(super) fn stretch(blob: &[u8], span: Span) -> &[u8] {
    let at = usize::try_from(span.offset).expect("a test's blob fits memory");
    let len = usize::try_from(span.len_bytes).expect("a test's blob fits memory");
    blob.get(at..at + len).unwrap_or_default()
}
