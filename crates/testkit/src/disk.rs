//! Small disks: a file system in memory that is full when a test wants it to be.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;

/// What is taken at once when little is left, bytes: a page.
const STEP_BYTES: u64 = 4096;

/// A file system of its own at a folder. Unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a file system of this size at a new folder. `None` where that is not allowed: it takes root.
    #[must_use]
    pub fn mount(path: PathBuf, size_bytes: u64) -> Option<Self> {
        fs::create_dir_all(&path).expect("the folder is made");
        let options = format!("size={size_bytes},mode=700");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self { path })
    }

    /// Bytes that are free.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.path).expect("it is mounted");
        stat.f_bavail * stat.f_frsize
    }

    /// Takes room until at most this much is free, also while somebody else writes.
    pub fn fill(&self, free_bytes: u64) {
        let file = File::options().create(true).append(true).open(self.filler());
        let file = file.expect("the filler opens");
        let flags = rustix::fs::FallocateFlags::empty();
        loop {
            let missing = self.free_bytes().saturating_sub(free_bytes);
            // In steps: what is free now may not be when it is taken.
            let step = missing.min((missing / 2).max(STEP_BYTES));
            if step == 0 {
                return;
            }
            let from = file.metadata().expect("it is there").len();
            match rustix::fs::fallocate(&file, flags, from, step) {
                Ok(()) | Err(Errno::NOSPC) => {}
                Err(error) => panic!("{}: {error}", self.path.display()),
            }
        }
    }

    /// Gives the room back.
    pub fn empty(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just being killed may have files open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        assert!(
            std::thread::panicking() || unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.path.display()
        );
    }
}
