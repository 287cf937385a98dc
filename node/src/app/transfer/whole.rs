//! A manifest: the one blob whose length nobody knows before it comes.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::tree::{self, Cv, Shape};
use guildhall_protocol::wire::{BlobReply, BlobRequest, PiecePart};
use guildhall_protocol::{Hash, PackageId, PublicKey};

use super::holders::Holder;
use super::line::{Line, Pace, Trouble};
use crate::app::App;
use crate::app::fetch::FetchError;

/// How long one holder is waited for before the next one is asked too.
const PATIENCE: Duration = Duration::from_secs(1);

impl App {
    /// Gets the bytes that a package's id names, at most `max_bytes`, from the first holder that has them and tells the
    /// truth.
    pub(in crate::app) async fn fetch_bytes(
        self: &Arc<Self>,
        package: PackageId,
        hints: &[PublicKey],
        max_bytes: u64,
    ) -> Result<Vec<u8>, FetchError> {
        let holders = self.holders(package, hints).await;
        let mut waiting = holders.reachable.iter();
        let mut asked = FuturesUnordered::new();
        let mut tried = Vec::new();
        loop {
            // The next one begins when one has failed, or is slow.
            match waiting.next() {
                Some(holder) => asked.push(self.fetch_bytes_from(holder, package, max_bytes)),
                None if asked.is_empty() => break,
                None => {}
            }
            let patience = if waiting.len() > 0 { PATIENCE } else { Duration::MAX };
            let Ok(Some(fetched)) = tokio::time::timeout(patience, asked.next()).await else {
                continue;
            };
            match fetched {
                (_, Ok(Some(bytes))) => return Ok(bytes),
                (org, Ok(None)) => tried.push(format!("{org} does not have it")),
                (org, Err(Trouble::There(_, why))) => tried.push(format!("{org}: {why}")),
                (_, Err(Trouble::Here(error))) => return Err(error.into()),
                (_, Err(Trouble::Late)) => {}
            }
        }
        Err(FetchError::NoHolder { hash: package.0, tried, away: holders.away })
    }

    async fn fetch_bytes_from<'a>(
        &self,
        holder: &'a Holder,
        package: PackageId,
        max_bytes: u64,
    ) -> (&'a OrgName, Result<Option<Vec<u8>>, Trouble>) {
        let fetched = match self.open_line(holder.peer).await {
            Ok(mut line) => fetch(&mut line, package.0, max_bytes).await,
            Err(trouble) => Err(trouble),
        };
        (&holder.org, fetched)
    }
}

/// Gets a blob of unknown length. `None` when the holder does not have it.
async fn fetch(line: &mut Line, hash: Hash, max_bytes: u64) -> Result<Option<Vec<u8>>, Trouble> {
    line.ask(&BlobRequest::Batch { hashes: vec![hash] }).await?;
    line.ask(&BlobRequest::List { hash }).await?;
    let small = match line.reply().await? {
        BlobReply::Batch { lens } => match lens.as_slice() {
            [len] => *len,
            _ => return Err(Trouble::lied("it answers something else")),
        },
        _ => return Err(Trouble::lied("it answers something else")),
    };
    if let Some(len) = small.map(u64::from) {
        if len > tree::GROUP_BYTES {
            return Err(Trouble::lied("it sends a large file as a small one"));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        line.read(&mut bytes, &mut Pace::start()).await?;
        return match Hash::of(&bytes) == hash {
            true => Ok(Some(bytes)),
            false => Err(Trouble::lied("what it sends is not what was asked for")),
        };
    }
    let shape = match line.reply().await? {
        BlobReply::List { len_bytes } if len_bytes <= max_bytes => Shape::of(len_bytes),
        BlobReply::List { len_bytes } => {
            return Err(Trouble::lied(format!("it says {len_bytes} bytes, at most {max_bytes}")));
        }
        BlobReply::Missing => return Ok(None),
        _ => return Err(Trouble::lied("it answers something else")),
    };
    let pieces = match shape.pieces() {
        1 => Vec::new(),
        count => line.cvs(count).await?,
    };
    if shape.pieces() > 1 && tree::root(&pieces) != Some(hash) {
        return Err(Trouble::lied("its list is not that of what was asked for"));
    }
    let mut bytes = Vec::new();
    for piece in 0..shape.pieces() {
        let expected = usize::try_from(piece).ok().and_then(|at| pieces.get(at).copied());
        fetch_piece(line, hash, shape, (piece, expected), &mut bytes).await?;
    }
    Ok(Some(bytes))
}

async fn fetch_piece(
    line: &mut Line,
    hash: Hash,
    shape: Shape,
    (piece, expected): (u64, Option<Cv>),
    bytes: &mut Vec<u8>,
) -> Result<(), Trouble> {
    line.ask(&BlobRequest::Piece { hash, piece, part: PiecePart::Whole }).await?;
    match line.reply().await? {
        BlobReply::Piece => {}
        _ => return Err(Trouble::lied("it answers something else")),
    }
    let span = shape.piece(piece);
    let cvs = match shape.is_one_group() {
        true => Vec::new(),
        false => line.cvs(span.groups()).await?,
    };
    if !shape.is_one_group() && !super::lane::is_tree_of(shape, &hash, expected, &cvs) {
        return Err(Trouble::lied("its hashes are not those of what was asked for"));
    }
    let mut pace = Pace::start();
    let mut group_bytes = Vec::new();
    for index in 0..span.groups() {
        let group = span.group(index);
        group_bytes.resize(usize::try_from(group.len_bytes).unwrap_or(0), 0);
        line.read(&mut group_bytes, &mut pace).await?;
        let cv = usize::try_from(index).ok().and_then(|at| cvs.get(at));
        let right = match cv {
            Some(cv) => tree::group_cv(group.offset, &group_bytes) == *cv,
            None => shape.is_one_group() && Hash::of(&group_bytes) == hash,
        };
        if !right {
            return Err(Trouble::lied("what it sends is not what was asked for"));
        }
        bytes.extend_from_slice(&group_bytes);
    }
    Ok(())
}
