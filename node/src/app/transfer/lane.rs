//! One holder at work: asks it for parts, a few ahead, checks what comes group by group, and stores it.

use std::collections::VecDeque;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use guildhall_protocol::Hash;
use guildhall_protocol::tree::{self, Cv, Shape, Span};
use guildhall_protocol::wire::{BlobReply, BlobRequest, PiecePart};
use guildhall_store::{BlobError, BlobWriter, PieceWriter};
use guildhall_sync::download::{BlobIndex, Next, Task};
use tokio::time::Instant;
use tracing::debug;

use super::download::{Download, Target};
use super::holders::Holder;
use super::line::{Line, Pace, Trouble};

/// Requests that are under way at a holder: the next one is there when it has sent the last byte of one, also over a
/// long line, and little is lost when somebody else takes over.
const AHEAD: usize = 2;

/// How long an idle lane waits before it looks again for something to take over.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// An unused stream is opened anew after this long; the holder closes it later than that.
const FRESH_FOR: Duration = Duration::from_secs(30);

/// Wait before a holder that broke off is tried again.
const PAUSE: Duration = Duration::from_millis(300);

/// Runs of groups that are asked for in one piece; with more of them the whole piece is simpler and hardly longer.
const RUNS_MAX: usize = 16;

/// Groups that are written without giving other tasks of this thread the chance to move away: what a sink gathers.
const GROUPS_PER_FLUSH: u64 = 16;

/// Works with one holder until there is nothing left for it to do.
pub(super) async fn run(download: &Download, holder: &Holder) {
    loop {
        let worked = match download.app().open_line(holder.peer).await {
            Ok(line) => Lane { download, holder, line, steps: VecDeque::new() }.work().await,
            Err(trouble) => Err(trouble),
        };
        match worked {
            Ok(End::Done) => return,
            Ok(End::Anew) | Err(Trouble::Late) => download.handle_left(holder),
            Err(Trouble::Here(error)) => return download.fail(error),
            Err(Trouble::There(fault, why)) => {
                if download.handle_fault(holder, fault, &why) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// How a stream ended well.
enum End {
    /// Nothing is left to do.
    Done,
    /// What is under way on this stream is not wanted any more.
    Anew,
}

/// Something that was asked for.
enum Step {
    List(BlobIndex),
    Batch(u32, Vec<BlobIndex>),
    Whole(BlobIndex, u64),
    Hashes(BlobIndex, u64),
    /// The groups of a piece that another version of the file does not have.
    Patch {
        blob: BlobIndex,
        piece: u64,
        cvs: Vec<Cv>,
        base: Hash,
        runs: Vec<(u32, u32)>,
    },
}

impl Step {
    const fn task(&self) -> Task {
        match self {
            Self::List(blob) => Task::List(*blob),
            Self::Batch(number, _) => Task::Batch(*number),
            Self::Whole(blob, piece) | Self::Hashes(blob, piece) => Task::Piece(*blob, *piece),
            Self::Patch { blob, piece, .. } => Task::Piece(*blob, *piece),
        }
    }
}

struct Lane<'a> {
    download: &'a Download,
    holder: &'a Holder,
    line: Line,
    steps: VecDeque<Step>,
}

impl Lane<'_> {
    async fn work(mut self) -> Result<End, Trouble> {
        let mut used = Instant::now();
        loop {
            let mut is_leaving = false;
            while self.steps.len() < AHEAD && !is_leaving {
                match self.download.next(self.holder.peer) {
                    Next::Do(task) => self.begin(task).await?,
                    Next::Wait => break,
                    Next::Leave => is_leaving = true,
                }
            }
            let Some(step) = self.steps.pop_front() else {
                if is_leaving {
                    return Ok(End::Done);
                }
                if used.elapsed() > FRESH_FOR {
                    return Ok(End::Anew);
                }
                self.download.wait(LOOK_AGAIN).await;
                continue;
            };
            if !self.download.is_wanted(step.task()) {
                return Ok(End::Anew);
            }
            self.take(step).await?;
            used = Instant::now();
        }
    }

    /// Asks for what a task needs first.
    async fn begin(&mut self, task: Task) -> Result<(), Trouble> {
        let (request, step) = match task {
            Task::List(blob) => {
                let hash = self.target(blob)?.hash;
                (BlobRequest::List { hash }, Step::List(blob))
            }
            Task::Batch(number) => {
                let blobs = self.download.batch(number);
                let hashes = blobs.iter().map(|blob| Ok(self.target(*blob)?.hash));
                let hashes = hashes.collect::<Result<_, Trouble>>()?;
                (BlobRequest::Batch { hashes }, Step::Batch(number, blobs))
            }
            Task::Piece(blob, piece) => {
                let target = self.target(blob)?;
                let hash = target.hash;
                if target.base().is_some() {
                    let part = PiecePart::Hashes;
                    (BlobRequest::Piece { hash, piece, part }, Step::Hashes(blob, piece))
                } else {
                    let part = PiecePart::Whole;
                    (BlobRequest::Piece { hash, piece, part }, Step::Whole(blob, piece))
                }
            }
        };
        self.line.ask(&request).await?;
        self.steps.push_back(step);
        Ok(())
    }

    fn target(&self, blob: BlobIndex) -> Result<&Target, Trouble> {
        // Tasks come from the same list of blobs.
        self.download.target(blob).ok_or(Trouble::Here(BlobError::Interrupted))
    }

    async fn take(&mut self, step: Step) -> Result<(), Trouble> {
        match step {
            Step::List(blob) => self.take_list(blob).await,
            Step::Batch(number, blobs) => self.take_batch(number, &blobs).await,
            Step::Whole(blob, piece) => self.take_whole(blob, piece).await,
            Step::Hashes(blob, piece) => self.take_hashes(blob, piece).await,
            Step::Patch { blob, piece, cvs, base, runs } => {
                self.take_patch(blob, piece, cvs, base, &runs).await
            }
        }
    }

    async fn take_list(&mut self, blob: BlobIndex) -> Result<(), Trouble> {
        let shape = self.target(blob)?.shape();
        match self.line.reply().await? {
            BlobReply::List { len_bytes } if len_bytes == shape.len_bytes() => {
                let cvs = self.line.cvs(shape.pieces()).await?;
                self.received(cvs.len() as u64 * 32);
                self.download.handle_list(blob, cvs)
            }
            BlobReply::List { len_bytes } => Err(Trouble::lied(format!(
                "it says that a file has {len_bytes} bytes, not {}",
                shape.len_bytes()
            ))),
            reply => self.no_content(blob, &reply),
        }
    }

    async fn take_batch(&mut self, number: u32, blobs: &[BlobIndex]) -> Result<(), Trouble> {
        let lens = match self.line.reply().await? {
            BlobReply::Batch { lens } if lens.len() == blobs.len() => lens,
            _ => return Err(Trouble::lied("it answers something else")),
        };
        let mut missing = Vec::new();
        let mut bytes = Vec::new();
        let mut pace = Pace::start();
        for (blob, len) in blobs.iter().zip(lens) {
            let Some(len) = len else {
                missing.push(*blob);
                continue;
            };
            let target = self.target(*blob)?;
            let len_bytes = target.len_bytes;
            if u64::from(len) != len_bytes {
                return Err(Trouble::lied(format!("it says {len} bytes, not {len_bytes}")));
            }
            bytes.resize(len as usize, 0);
            self.line.read(&mut bytes, &mut pace).await?;
            self.received(len_bytes);
            self.download.keep_small(*blob, &bytes).await.map_err(lie_or_trouble)?;
        }
        self.download.handle_batch(self.holder, number, &missing);
        Ok(())
    }

    async fn take_whole(&mut self, blob: BlobIndex, piece: u64) -> Result<(), Trouble> {
        match self.line.reply().await? {
            BlobReply::Piece => {}
            reply => return self.no_content(blob, &reply),
        }
        let span = self.target(blob)?.shape().piece(piece);
        let cvs = self.line.cvs(span.groups()).await?;
        let mut sink = Sink::open(self.download, blob, piece, cvs)?;
        let mut pace = Pace::start();
        let mut bytes = Vec::new();
        for index in 0..span.groups() {
            self.take_group(&mut sink, span, index, &mut bytes, &mut pace).await?;
        }
        self.download.keep_piece(blob, piece, sink).await
    }

    async fn take_group(
        &mut self,
        sink: &mut Sink,
        span: Span,
        index: u64,
        bytes: &mut Vec<u8>,
        pace: &mut Pace,
    ) -> Result<(), Trouble> {
        bytes.resize(usize::try_from(span.group(index).len_bytes).unwrap_or(0), 0);
        self.line.read(bytes, pace).await?;
        self.received(bytes.len() as u64);
        sink.write(index, bytes)
    }

    /// The hashes of a piece's groups came: those that another version here has too are taken from there.
    async fn take_hashes(&mut self, blob: BlobIndex, piece: u64) -> Result<(), Trouble> {
        match self.line.reply().await? {
            BlobReply::Piece => {}
            reply => return self.no_content(blob, &reply),
        }
        let span = self.target(blob)?.shape().piece(piece);
        let cvs = self.line.cvs(span.groups()).await?;
        self.received(cvs.len() as u64 * 32);
        self.download.check_groups(blob, piece, &cvs)?;
        let hash = self.target(blob)?.hash;
        let runs = self.download.base_groups(blob, piece).map(|(base, ours)| {
            let differs = |index: usize| ours.get(index) != cvs.get(index);
            (base, runs_of(cvs.len(), differs))
        });
        match runs {
            Some((base, runs)) if runs.len() <= RUNS_MAX && !is_everything(&runs, cvs.len()) => {
                for (first, count) in &runs {
                    let part = PiecePart::Groups { first: *first, count: *count };
                    self.line.ask(&BlobRequest::Piece { hash, piece, part }).await?;
                }
                self.steps.push_back(Step::Patch { blob, piece, cvs, base, runs });
            }
            _ => {
                let part = PiecePart::Whole;
                self.line.ask(&BlobRequest::Piece { hash, piece, part }).await?;
                self.steps.push_back(Step::Whole(blob, piece));
            }
        }
        Ok(())
    }

    async fn take_patch(
        &mut self,
        blob: BlobIndex,
        piece: u64,
        cvs: Vec<Cv>,
        base: Hash,
        runs: &[(u32, u32)],
    ) -> Result<(), Trouble> {
        let span = self.target(blob)?.shape().piece(piece);
        let opened = tokio::task::block_in_place(|| self.download.app().store.open_blob(&base));
        let Ok((file, _)) = opened else { return Err(self.without_base(blob, &base)) };
        let mut sink = Sink::open(self.download, blob, piece, cvs)?;
        let mut bytes = Vec::new();
        let mut reused_bytes = 0;
        let mut pace = Pace::start();
        for index in 0..span.groups() {
            let group = span.group(index);
            match place_in(runs, index) {
                Place::First | Place::Inside => {
                    if place_in(runs, index) == Place::First {
                        match self.line.reply().await? {
                            BlobReply::Piece => {}
                            reply => {
                                self.no_content(blob, &reply)?;
                                // The replies for the other runs are still to come, and nobody wants them.
                                return Err(Trouble::Late);
                            }
                        }
                    }
                    self.take_group(&mut sink, span, index, &mut bytes, &mut pace).await?;
                }
                Place::Outside => {
                    bytes.resize(usize::try_from(group.len_bytes).unwrap_or(0), 0);
                    let read = tokio::task::block_in_place(|| {
                        file.read_exact_at(&mut bytes, group.offset)
                    });
                    if read.is_err() || sink.write(index, &bytes).is_err() {
                        return Err(self.without_base(blob, &base));
                    }
                    reused_bytes += group.len_bytes;
                }
            }
        }
        self.download.keep_piece(blob, piece, sink).await?;
        self.download.add_reused(reused_bytes);
        Ok(())
    }

    /// Another version of a file is damaged here: everything comes from the holder.
    fn without_base(&self, blob: BlobIndex, base: &Hash) -> Trouble {
        debug!(%base, "another version of a file is damaged here");
        self.download.forget_base(blob);
        Trouble::Late
    }

    /// A reply that brings nothing.
    fn no_content(&self, blob: BlobIndex, reply: &BlobReply) -> Result<(), Trouble> {
        match reply {
            BlobReply::Missing => {
                self.download.handle_missing(self.holder, blob);
                Ok(())
            }
            _ => Err(Trouble::lied("it answers something else")),
        }
    }

    fn received(&self, bytes: u64) {
        self.download.add_received(self.holder, bytes);
    }
}

fn wrong() -> Trouble {
    Trouble::lied("what it sends is not what was asked for")
}

/// Where the groups of one piece go.
pub(super) enum Sink {
    /// A part of a blob of several pieces.
    Piece(PieceWriter),
    /// A blob of one piece, from its beginning to its end.
    Blob(Box<Blob>),
}

/// A blob of one piece, being written.
pub(super) struct Blob {
    pub(super) writer: BlobWriter,
    cvs: Vec<Cv>,
    span: Span,
}

impl Sink {
    /// Checks the CVs of a piece's groups and opens its place.
    fn open(
        download: &Download,
        blob: BlobIndex,
        piece: u64,
        cvs: Vec<Cv>,
    ) -> Result<Self, Trouble> {
        let interrupted = Trouble::Here(BlobError::Interrupted);
        let target = download.target(blob).ok_or(interrupted)?;
        let shape = target.shape();
        if shape.pieces() > 1 {
            let opened = tokio::task::block_in_place(|| {
                let partial = download.partial(blob)?.ok_or(Trouble::Late)?;
                partial.piece_writer(piece, cvs).map_err(lie_or_trouble)
            });
            return opened.map(Self::Piece);
        }
        if tree::root(&cvs) != Some(target.hash) {
            return Err(wrong());
        }
        let store = &download.app().store;
        let writer =
            tokio::task::block_in_place(|| store.blob_writer(Some(target.hash), target.len_bytes))?;
        Ok(Self::Blob(Box::new(Blob { writer, cvs, span: shape.piece(0) })))
    }

    /// Checks a group and writes it. Those of a blob come in order.
    fn write(&mut self, index: u64, bytes: &[u8]) -> Result<(), Trouble> {
        let flushes = (index + 1).is_multiple_of(GROUPS_PER_FLUSH);
        let mut write = || match self {
            Self::Piece(writer) => writer.write_group(index, bytes).map_err(lie_or_trouble),
            Self::Blob(blob) => {
                let group = blob.span.group(index);
                let cv = usize::try_from(index).ok().and_then(|at| blob.cvs.get(at));
                if cv != Some(&tree::group_cv(group.offset, bytes)) {
                    return Err(wrong());
                }
                Ok(blob.writer.write_all(bytes)?)
            }
        };
        if flushes { tokio::task::block_in_place(write) } else { write() }
    }
}

fn lie_or_trouble(error: BlobError) -> Trouble {
    match error {
        BlobError::WrongTree { .. }
        | BlobError::WrongGroup { .. }
        | BlobError::HashMismatch { .. } => wrong(),
        error => Trouble::Here(error),
    }
}

/// Stretches of groups that are wanted, each as its first and their number.
fn runs_of(count: usize, wanted: impl Fn(usize) -> bool) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for index in (0..count).filter(|index| wanted(*index)) {
        let Ok(index) = u32::try_from(index) else { break };
        match runs.last_mut() {
            Some((first, len)) if *first + *len == index => *len += 1,
            _ => runs.push((index, 1)),
        }
    }
    runs
}

fn is_everything(runs: &[(u32, u32)], count: usize) -> bool {
    matches!(runs, [(0, len)] if *len as usize == count)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Inside,
    Outside,
}

fn place_in(runs: &[(u32, u32)], index: u64) -> Place {
    let inside = |(first, len): &&(u32, u32)| {
        index >= u64::from(*first) && index < u64::from(*first) + u64::from(*len)
    };
    match runs.iter().find(inside) {
        Some((first, _)) if u64::from(*first) == index => Place::First,
        Some(_) => Place::Inside,
        None => Place::Outside,
    }
}

/// Whether groups' CVs are those of a piece.
pub(super) fn is_tree_of(shape: Shape, hash: &Hash, piece_cv: Option<Cv>, cvs: &[Cv]) -> bool {
    match shape.pieces() {
        1 => tree::root(cvs) == Some(*hash),
        _ => piece_cv.is_some() && tree::merge(cvs) == piece_cv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_what_differs_and_every_group_knows_its_place() {
        let differs = [0, 1, 1, 0, 0, 1];
        let runs = runs_of(differs.len(), |index| differs[index] == 1);
        assert_eq!(runs, [(1, 2), (5, 1)]);
        use Place::{First, Inside, Outside};
        let places: Vec<Place> = (0..6).map(|index| place_in(&runs, index)).collect();
        assert_eq!(places, [Outside, First, Inside, Outside, Outside, First]);
        assert!(!is_everything(&runs, 6));
        assert!(is_everything(&runs_of(6, |_| true), 6));
        assert!(runs_of(6, |_| false).is_empty());
    }
}
