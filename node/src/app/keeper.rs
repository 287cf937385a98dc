//! Puts records on disk, in the order in which they came. One task does, so that whoever decides need not wait for a
//! disk: what came while it wrote becomes one commit.
//!
//! A record that others wrote may be passed on before it is on disk; one of ours may not, so its writer waits here.
//! When the store takes no more writes the node stops, because it would promise what it forgets.

use std::error::Error as _;

use guildhall_protocol::record::Record;
use guildhall_store::{Batch, Store, WriteError};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::tasks::Tasks;

/// Groups that wait for the disk, most of them one record of at most 60 KiB. When full, whoever has more waits, the
/// driving task among them: then peers wait, or pull later.
const QUEUE_MAX: usize = 1_024;

/// A commit takes no further group from this size on, bytes; an eighth of what the store takes at once.
const COMMIT_FULL_BYTES: usize = 8 * 1024 * 1024;

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
    let (mut batch, mut waiting) = (Batch::new(), Vec::new());
    let (mut count, mut len_bytes) = (0_usize, 0_usize);
    let mut next = Some(first);
    while let Some(Group { records, done }) = next {
        for record in &records {
            let header = record.header();
            batch.put_record(header.author, header.seq, record.id(), record.bytes().to_vec());
            len_bytes += record.bytes().len();
        }
        count += records.len();
        waiting.extend(done);
        next = match len_bytes < COMMIT_FULL_BYTES {
            true => queue.try_recv().ok(),
            false => None,
        };
    }
    let result = store.commit(batch).await;
    if let Err(error) = &result {
        error!(%error, count, "records are not on disk; peers will be asked again");
        if matches!(error, WriteError::Failed { .. }) {
            let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            tasks.fail(format!("{error}{cause}"));
        }
    }
    for done in waiting {
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
