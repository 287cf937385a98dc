//! Whether a node really has a package that it says it has.
//!
//! It is asked for a part that nobody could guess: a random file's hashes, and one random group of it. A node that has
//! only the manifest cannot answer.

use guildhall_protocol::manifest::FileEntry;
use guildhall_protocol::tree::{self, Shape};
use guildhall_protocol::wire::{BlobReply, BlobRequest, PiecePart};
use guildhall_protocol::{Hash, PackageId, PublicKey};

use super::lane::is_tree_of;
use super::line::{Line, Pace, Trouble};
use crate::app::App;
use crate::clock;

impl App {
    /// Whether a node shows now that it holds a package, by one of these files. Without any it is only asked whether it
    /// knows the package.
    pub(in crate::app) async fn shows_that_it_holds(
        &self,
        peer: PublicKey,
        package: PackageId,
        files: &[FileEntry],
    ) -> bool {
        let shown = async {
            let mut line = self.open_line(peer).await?;
            line.ask(&BlobRequest::List { hash: package.0 }).await?;
            if !matches!(line.reply().await?, BlobReply::List { .. }) {
                return Ok(false);
            }
            match pick(files, random(0)) {
                Some(file) => show(&mut line, file).await,
                None => Ok(true),
            }
        };
        let shown: Result<bool, Trouble> = shown.await;
        shown.unwrap_or(false)
    }
}

/// A number that nobody can know beforehand.
fn random(at: usize) -> u64 {
    let hash = clock::random();
    let (numbers, _) = hash.as_bytes().as_chunks::<8>();
    numbers.get(at).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn pick<T>(all: &[T], number: u64) -> Option<&T> {
    let count = u64::try_from(all.len()).ok().filter(|count| *count > 0)?;
    all.get(usize::try_from(number % count).ok()?)
}

/// Asks for a random group of a file, and checks it.
async fn show(line: &mut Line, file: &FileEntry) -> Result<bool, Trouble> {
    let shape = Shape::of(file.len_bytes);
    let hash = file.hash;
    if shape.is_one_group() {
        line.ask(&BlobRequest::Batch { hashes: vec![hash] }).await?;
        let BlobReply::Batch { lens } = line.reply().await? else { return Ok(false) };
        if lens.as_slice() != [u32::try_from(file.len_bytes).ok()] {
            return Ok(false);
        }
        let mut bytes = vec![0; usize::try_from(file.len_bytes).unwrap_or(0)];
        line.read(&mut bytes, &mut Pace::start()).await?;
        return Ok(Hash::of(&bytes) == hash);
    }
    let piece = random(1) % shape.pieces();
    let mut expected = None;
    if shape.pieces() > 1 {
        line.ask(&BlobRequest::List { hash }).await?;
        match line.reply().await? {
            BlobReply::List { len_bytes } if len_bytes == file.len_bytes => {}
            _ => return Ok(false),
        }
        let list = line.cvs(shape.pieces()).await?;
        if tree::root(&list) != Some(hash) {
            return Ok(false);
        }
        expected = usize::try_from(piece).ok().and_then(|at| list.get(at).copied());
    }
    let span = shape.piece(piece);
    let index = random(2) % span.groups();
    let first = u32::try_from(index).unwrap_or(0);
    for part in [PiecePart::Hashes, PiecePart::Groups { first, count: 1 }] {
        line.ask(&BlobRequest::Piece { hash, piece, part }).await?;
    }
    let BlobReply::Piece = line.reply().await? else { return Ok(false) };
    let cvs = line.cvs(span.groups()).await?;
    if !is_tree_of(shape, &hash, expected, &cvs) {
        return Ok(false);
    }
    let BlobReply::Piece = line.reply().await? else { return Ok(false) };
    let group = span.group(index);
    let mut bytes = vec![0; usize::try_from(group.len_bytes).unwrap_or(0)];
    line.read(&mut bytes, &mut Pace::start()).await?;
    let cv = usize::try_from(index).ok().and_then(|at| cvs.get(at));
    Ok(cv == Some(&tree::group_cv(group.offset, &bytes)))
}
