//! Examination of files that no manifest describes yet, many of them in one worker.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use guildhall_protocol::facts::Facts;
use guildhall_protocol::manifest::Kind;
use guildhall_protocol::name::FileName;

use super::Spawner;
use super::process::{Process, Wait};
use crate::facts;
use crate::failure::Failure;
use crate::message::{Reply, Request, Setup};

/// Writable memory of a worker that examines files, bytes. What takes most is the longest module (64 MiB) beside its
/// validator; every other format is read in pieces of at most 16 MiB.
pub const EXAMINE_MEMORY_BYTES: u64 = 256 << 20;

/// Processor time of one worker, seconds. Small files take less than a millisecond each, so a worker sees many
/// thousands; after it another one starts.
const WORKER_SECONDS: u64 = 600;

/// Examines files in a worker that it keeps from one to the next. After a failure that ended the worker, the next file
/// gets a new one. Dropping it kills the worker.
#[derive(Debug)]
pub struct Examiner {
    spawner: Spawner,
    worker: Option<Worker>,
}

#[derive(Debug)]
struct Worker {
    process: Process,
    /// Processor time that it surely has left. It takes no more than passes on the clock: it works on one thread.
    left: Duration,
}

impl Spawner {
    /// Examines files one after another in one worker.
    #[must_use]
    pub fn examiner(&self) -> Examiner {
        Examiner { spawner: self.clone(), worker: None }
    }

    /// Examines one file in a worker of its own.
    ///
    /// # Errors
    /// As [`Examiner::examine`].
    pub fn examine(
        &self,
        name: &FileName,
        media_type: &str,
        kind: Option<Kind>,
        file: File,
    ) -> Result<Facts, Failure> {
        self.examiner().examine(name, media_type, kind, file)
    }
}

impl Examiner {
    /// Checks format and structure of a file, and says what the file says about itself. With a kind, it must also be of
    /// a format that such a package may hold for some purpose; [`Spawner::inspect`] knows the purpose and is stricter.
    ///
    /// # Errors
    /// [`Failure::RefusedFormat`] with place, cause and help; [`Failure::MissingFile`] if it cannot be read;
    /// [`Failure::MemoryLimit`], [`Failure::WorkerDied`] or [`Failure::Internal`] of the worker.
    pub fn examine(
        &mut self,
        name: &FileName,
        media_type: &str,
        kind: Option<Kind>,
        mut file: File,
    ) -> Result<Facts, Failure> {
        let len_bytes = file.seek(SeekFrom::End(0)).map_err(|error| {
            Failure::MissingFile { file: name.to_string(), why: error.to_string() }.bounded()
        })?;
        let wait = Wait::File { len_bytes };
        let mut worker = self.worker(wait.limit())?;
        let started = Instant::now();
        let request =
            Request::Examine { name: name.clone(), media_type: media_type.to_owned(), kind };
        let reply = worker.process.request(&request, Some(file.as_fd()), wait);
        worker.left = worker.left.saturating_sub(started.elapsed());
        let found = match reply {
            Ok(Reply::Checked(facts)) => Ok(facts::bounded(*facts)),
            Ok(_) => Err(worker.process.broke_protocol()),
            Err(failure) => Err(failure),
        };
        self.worker = Some(worker);
        found
    }

    /// A worker that lives and has this much processor time left.
    fn worker(&mut self, wanted: Duration) -> Result<Worker, Failure> {
        if let Some(mut worker) = self.worker.take()
            && worker.left >= wanted
            && worker.process.is_alive()
        {
            return Ok(worker);
        }
        let left = wanted.saturating_add(Duration::from_secs(WORKER_SECONDS));
        let setup = Setup {
            data_bytes: EXAMINE_MEMORY_BYTES,
            cpu_seconds: left.as_secs(),
            cpu_moves: false,
            nice: 0,
            self_test: false,
        };
        Ok(Worker { process: Process::start(&self.spawner, setup, EXAMINE_MEMORY_BYTES)?, left })
    }
}
