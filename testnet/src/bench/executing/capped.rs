//! A part of a processor for a node and all that it starts, by the system's own means.
//!
//! A control group with a quota is tried first, of either version, then a scope of systemd. Where neither can be had,
//! nothing is measured: stopping and continuing processes would stop them in the middle of what they hold, and a stage
//! that sleeps would leave the node itself a whole processor.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::bench::programs;

/// How long a period is, microseconds: short, so that what is stopped at the end of its quota waits for little. Shorter
/// quotas than a millisecond do not exist.
const PERIOD_US: u64 = 20_000;

/// What a node gets of each period: a quarter of a processor.
const QUOTA_US: u64 = PERIOD_US / 4;

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// A way to give nodes a part of a processor. Its groups go when it is dropped.
pub(super) enum Cap {
    /// A folder of control groups, and the file of a group that takes processes.
    Groups { folder: PathBuf, made: Vec<PathBuf> },
    /// Scopes of the user's systemd, or of the system's.
    Scopes { is_user: bool },
}

impl Cap {
    /// Finds out what this system has.
    pub(super) async fn find() -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for folder in places(&own) {
            let mut cap = Self::Groups { folder, made: Vec::new() };
            if cap.group(&format!("guild-bench-{}-probe", std::process::id())).is_ok() {
                return Ok(cap);
            }
        }
        for is_user in [true, false] {
            let Ok(program) = programs::find("systemd-run") else { break };
            let mut command = programs::command(program);
            command.args(scope(is_user)).arg("true").stderr(Stdio::null());
            if command.status().await.is_ok_and(|status| status.success()) {
                return Ok(Self::Scopes { is_user });
            }
        }
        Err("neither control groups nor systemd give a process a part of a processor".to_owned())
    }

    /// How it is done, in words.
    pub(super) fn means(&self) -> &'static str {
        match self {
            Self::Groups { .. } => "a control group",
            Self::Scopes { .. } => "a scope of systemd",
        }
    }

    /// A program that starts `guild` with a quarter of a processor, below `folder`.
    pub(super) fn program(
        &mut self,
        guild: &Path,
        folder: &Path,
        name: &str,
    ) -> io::Result<PathBuf> {
        let guild = guild.canonicalize()?;
        let text = match self {
            Self::Groups { .. } => {
                let group = self.group(&format!("guild-bench-{}-{name}", std::process::id()))?;
                let group = group.join("cgroup.procs");
                format!("echo $$ > '{}' && exec '{}' \"$@\"\n", group.display(), guild.display())
            }
            Self::Scopes { is_user } => {
                let words = scope(*is_user).join("' '");
                format!("exec systemd-run '{words}' '{}' \"$@\"\n", guild.display())
            }
        };
        let path = folder.join(format!("guild-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{text}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(path)
    }

    /// Makes a group with the quota.
    fn group(&mut self, name: &str) -> io::Result<PathBuf> {
        let Self::Groups { folder, made } = self else { return Err(io::ErrorKind::Other.into()) };
        let group = folder.join(name);
        fs::create_dir(&group)?;
        made.push(group.clone());
        if group.join("cpu.max").exists() {
            fs::write(group.join("cpu.max"), format!("{QUOTA_US} {PERIOD_US}"))?;
        } else {
            fs::write(group.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
            fs::write(group.join("cpu.cfs_quota_us"), QUOTA_US.to_string())?;
        }
        Ok(group)
    }
}

impl Drop for Cap {
    fn drop(&mut self) {
        if let Self::Groups { made, .. } = self {
            for group in made {
                // One that still has processes stays; it is empty of settings that matter to others.
                let _removed = fs::remove_dir(group);
            }
        }
    }
}

/// Folders below which this process may have a group with a quota: its own group's, by version.
fn places(own: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            found.push(Path::new(GROUPS).join(path));
        } else if controllers.split(',').any(|name| name == "cpu") {
            found.push(Path::new(GROUPS).join(controllers).join(path));
            found.push(Path::new(GROUPS).join("cpu").join(path));
        }
    }
    found
}

/// Words for systemd-run.
fn scope(is_user: bool) -> Vec<&'static str> {
    let user = if is_user { "--user" } else { "--system" };
    let (quota, period) = ("--property=CPUQuota=25%", "--property=CPUQuotaPeriodSec=20ms");
    vec![user, "--scope", "--quiet", quota, period]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_looked_for_where_this_process_is() {
        let found = places("9:name=systemd:/\n4:memory:/a\n1:cpu,cpuacct:/b\n0::/user.slice/x\n");
        let expected =
            ["/sys/fs/cgroup/cpu,cpuacct/b", "/sys/fs/cgroup/cpu/b", "/sys/fs/cgroup/user.slice/x"];
        assert_eq!(found, expected.map(PathBuf::from));
        assert!(places("nonsense").is_empty());
    }
}
