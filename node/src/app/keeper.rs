//! Puts records on disk, in the order in which they came. One task does, so that whoever decides need not wait for a
//! disk: what came while it wrote becomes one commit.
//!
//! A record that others wrote may be passed on before it is on disk; one of ours may not, so its writer waits here, and
//! hears at once when there is no room. Others' records wait for room, and when too many wait, so do the peers that have
//! more. When the store fails in another way and does not come back, the node stops, because it would promise what it
//! forgets.

use std::error::Error as _;
use std::time::Duration;

use guildhall_protocol::record::Record;
use guildhall_store::{Batch, Store, WriteError};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::tasks::Tasks;

/// Groups that wait for the disk, most of them one record of at most 60 KiB. When full, whoever has more waits, the
/// driving task among them: then peers wait, or pull later.
pub(super) const QUEUE_MAX: usize = 1_024;

/// A commit takes no further group from this size on, bytes; an eighth of what the store takes at once.
const COMMIT_FULL_BYTES: usize = 8 * 1024 * 1024;

/// Between two tries: a disk that is full stays so for longer.
const PAUSE: Duration = Duration::from_secs(1);

/// Tries after which a store that failed, and not for lack of room, is given up.
const TRIES_MAX: u32 = 5;

/// The way to the task.
pub(super) struct Keeper(mpsc::Sender<Group>);

struct Group {
    records: Vec<Record>,
    done: Option<oneshot::Sender<Result<(), WriteError>>>,
}

impl Keeper {
    pub(super) fn start(tasks: &Tasks, store: &Store) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        tasks.spawn("keeper", run(tasks.clone(), store.clone(), receiver));
        Self(sender)
    }

    /// Records that are to be kept; waits only while the queue is full.
    pub(super) async fn push(&self, records: Vec<Record>) {
        let count = records.len();
        if self.0.send(Group { records, done: None }).await.is_err() {
            error!(count, "records came after the node stopped; peers will be asked again");
        }
    }

    /// Groups that wait.
    pub(super) fn waiting(&self) -> usize {
        QUEUE_MAX.saturating_sub(self.0.capacity())
    }

    /// Waits until the records are on disk, and everything that was pushed before them.
    pub(super) async fn keep(&self, records: Vec<Record>) -> Result<(), WriteError> {
        let (done, result) = oneshot::channel();
        let group = Group { records, done: Some(done) };
        self.0.send(group).await.map_err(|_| WriteError::Closed)?;
        result.await.unwrap_or(Err(WriteError::Closed))
    }
}

/// Runs until the node is told to stop and everything that was queued by then is on disk.
async fn run(tasks: Tasks, store: Store, mut queue: mpsc::Receiver<Group>) {
    let mut is_open = true;
    loop {
        let first = tokio::select! {
            biased;
            () = tasks.token().cancelled(), if is_open => {
                is_open = false;
                queue.close();
                continue;
            }
            group = queue.recv() => group,
        };
        let Some(first) = first else { return };
        commit(&tasks, &store, first, &mut queue).await;
    }
}

/// Writes a group and those that wait behind it.
async fn commit(tasks: &Tasks, store: &Store, first: Group, queue: &mut mpsc::Receiver<Group>) {
    let mut len_bytes = 0_usize;
    let mut groups = vec![first];
    while let Some(last) = groups.last() {
        len_bytes += last.records.iter().map(|record| record.bytes().len()).sum::<usize>();
        match queue.try_recv() {
            Ok(next) if len_bytes < COMMIT_FULL_BYTES => groups.push(next),
            Ok(next) => {
                groups.push(next);
                break;
            }
            Err(_) => break,
        }
    }
    let mut tries = 0;
    while !groups.is_empty() {
        let result = store.commit(batch_of(&groups)).await;
        let Err(error) = &result else { return answer(groups, &result) };
        let (own, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(|g| g.done.is_some());
        answer(own, &result);
        groups = others;
        let count: usize = groups.iter().map(|group| group.records.len()).sum();
        tries += 1;
        let is_hopeless = match error {
            WriteError::NoSpace { .. } => false,
            WriteError::Failed { .. } => tries >= TRIES_MAX,
            _ => true,
        };
        if is_hopeless {
            error!(%error, count, "records are not on disk; peers will be asked again");
            if matches!(error, WriteError::Failed { .. }) {
                let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                tasks.fail(format!("{error}{cause}"));
            }
            return;
        }
        if tries == 1 {
            error!(%error, count, "records are not on disk yet; it is tried again");
        }
        tokio::select! {
            biased;
            () = tasks.token().cancelled() => {
                return error!(count, "records are not on disk; peers will be asked again");
            }
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

fn batch_of(groups: &[Group]) -> Batch {
    let mut batch = Batch::new();
    for record in groups.iter().flat_map(|group| &group.records) {
        let header = record.header();
        batch.put_record(header.author, header.seq, record.id(), record.bytes().to_vec());
    }
    batch
}

fn answer(groups: Vec<Group>, result: &Result<(), WriteError>) {
    for done in groups.into_iter().filter_map(|group| group.done) {
        // Its writer may have been cancelled.
        let _gone = done.send(result.clone());
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::record::{Body, Position};
    use guildhall_protocol::statement::{Delegation, Role, Signed};
    use guildhall_protocol::{PublicKey, SecretKey};

    use super::*;

    fn log(len: u64) -> (PublicKey, Vec<Record>) {
        let key = SecretKey::from_seed(&[7; 32]);
        let delegation = Delegation {
            root: key.public(),
            key: key.public(),
            role: Role::Producer,
            issued_ms: 0,
            expires_ms: 1,
        };
        let delegation = Signed::new(&delegation, &key);
        let (mut records, mut at) = (Vec::new(), Position::default());
        for seq in 0..len {
            let body = Body { record_type: "later", version: 1, bytes: b"x" };
            let record = Record::write(&key, &delegation, at, &body, 0).unwrap();
            at = Position { seq: seq + 1, prev: Some(record.id()) };
            records.push(record);
        }
        (key.public(), records)
    }

    fn stored(store: &Store, author: &PublicKey) -> usize {
        store.records_of(author, 0, 100, usize::MAX).unwrap().len()
    }

    #[tokio::test]
    async fn what_was_pushed_before_is_on_disk_when_a_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let keeper = Keeper::start(&Tasks::default(), &store);
        let (author, records) = log(20);
        for record in &records[..19] {
            keeper.push(vec![record.clone()]).await;
        }
        keeper.keep(vec![records[19].clone()]).await.unwrap();
        assert_eq!(stored(&store, &author), 20);
    }

    #[tokio::test]
    async fn what_was_queued_when_the_node_stops_is_written_and_what_comes_later_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let tasks = Tasks::default();
        let keeper = Keeper::start(&tasks, &store);
        let (author, records) = log(9);
        for record in &records[..8] {
            keeper.push(vec![record.clone()]).await;
        }
        tasks.cancel();
        assert!(tasks.join(std::time::Duration::from_secs(10)).await);
        assert_eq!(stored(&store, &author), 8);
        let late = keeper.keep(vec![records[8].clone()]).await;
        assert!(matches!(late, Err(WriteError::Closed)));
    }

    #[tokio::test]
    async fn a_writer_hears_that_its_record_is_not_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let keeper = Keeper::start(&Tasks::default(), &store);
        store.close().await.unwrap();
        assert!(keeper.keep(log(1).1).await.is_err());
    }
}
