//! What can be seen on this machine, whether the node is up or not.

use std::time::Duration;

use guildhall_client::package::ByteSize;
use guildhall_federation::State as Federation;
use guildhall_overlay::peer_id_string;
use guildhall_protocol::isolation::Level;
use guildhall_protocol::statement::Delegation;

use super::check::{Check, Report};
use super::{at_home, node};
use crate::app::disk_room;
use crate::cli::{Failure, exit, uptime};
use crate::clock;
use crate::engines::{self, Engines, LIBRARY_ENV};
use crate::home::{self, Home};

/// Below this much free room the node makes some every hour, and a person should know.
const ROOM_LOW_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Before a delegation ends by so much, there is time to do something.
const EXPIRY_SOON_MS: u64 = 14 * DAY_MS;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// How long starting a worker and trying things out in it may take. It takes less than a second.
const WORKER_MAX: Duration = Duration::from_secs(8);

/// Nobody answers. A process that holds the store all the same is stuck, or its API listens elsewhere.
/// Where there is no home, what is said of the keys is enough.
pub(super) fn not_up(home: Option<&Home>, failure: Failure) -> Option<Check> {
    if home.is_some_and(|home| matches!(home.config(), Err(home::Error::Missing { .. }))) {
        return None;
    }
    let saw = match failure.causes.first() {
        Some(cause) => format!("{}: {cause}", failure.message),
        None => failure.message.clone(),
    };
    let help = failure.help.unwrap_or_else(|| "guild status".to_owned());
    let is_silent = failure.code == exit::UNREACHABLE;
    Some(match home {
        Some(home) if is_silent && is_locked(home) => Check::problem(
            "node",
            format!("a process uses the store and its API does not answer: {saw}"),
            "wait a moment; if it stays so, end that process and start it again: guild up",
        ),
        // A person may want to know before the first start; but a node that was named should answer.
        Some(_) if is_silent => Check::warning("node", saw, help),
        _ => Check::problem("node", saw, help),
    })
}

/// Whether a process uses the store of this home.
fn is_locked(home: &Home) -> bool {
    let lock = std::fs::OpenOptions::new().write(true).open(home.store().join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// Whether the keys belong together, hold, and are nobody else's; and the founding of the federation is signed.
pub(super) fn membership(home: &Home, report: &mut Report) {
    const CHECK: &str = "membership";
    let read = home.config().and_then(|config| home.identity(&config.org));
    let me = match read {
        Ok(me) => me,
        Err(error) => {
            let help = error.help().unwrap_or_else(|| {
                "put back what was there, or guild store restore BACKUP --home NEW-HOME".to_owned()
            });
            return report.add(Check::problem(CHECK, error.to_string(), help));
        }
    };
    let founding = home.founding().map_err(|error| error.to_string());
    let founded = founding
        .and_then(|founding| Federation::found(founding).map_err(|error| error.to_string()));
    let name = match founded {
        Ok(federation) => federation.name().to_owned(),
        Err(why) => {
            let saw = format!("the federation's founding is unusable: {why}");
            return report.add(Check::problem(CHECK, saw, "guild join INVITE"));
        }
    };
    let who = format!("{} in {name}, node {}", me.org, peer_id_string(&me.node.public()));
    let delegations = [&me.node.delegation, &me.producer.delegation];
    let opened = delegations.into_iter().map(|signed| signed.open::<Delegation>());
    match opened.collect::<Result<Vec<Delegation>, _>>() {
        Ok(delegations) => report.add(expiry(&who, &delegations, clock::now_ms(), home)),
        Err(error) => {
            let help = at_home("guild store restore BACKUP", home);
            report.add(Check::problem(CHECK, format!("{who}: {error}"), help));
        }
    }
}

/// For how long the delegations hold.
fn expiry(who: &str, delegations: &[Delegation], now_ms: u64, home: &Home) -> Check {
    const CHECK: &str = "membership";
    let renew = || at_home("guild node renew --root-key FILE", home);
    let ends_ms = delegations.iter().map(|one| one.expires_ms).min().unwrap_or_default();
    let begins_ms = delegations.iter().map(|one| one.issued_ms).max().unwrap_or_default();
    let days = ends_ms.saturating_sub(now_ms) / DAY_MS;
    if now_ms >= ends_ms {
        let ago = uptime((now_ms - ends_ms) / 1_000);
        let saw = format!("{who}: its keys ran out {ago} ago, and no other node admits it");
        Check::problem(CHECK, saw, renew())
    } else if now_ms < begins_ms {
        let saw = format!("{who}: its keys hold from later on; this machine's clock stands before");
        Check::problem(CHECK, saw, "timedatectl set-ntp true")
    } else if ends_ms - now_ms < EXPIRY_SOON_MS {
        Check::warning(CHECK, format!("{who}: its keys run out in {days} days"), renew())
    } else {
        Check::ok(CHECK, format!("{who}; its keys hold for {days} days"))
    }
}

/// A clock of which only its own machine can be asked.
pub(super) fn clock_alone() -> Check {
    Check::ok("clock", "it is compared with other nodes' while the node is up")
}

/// Whether the home can be written and has room.
pub(super) fn disk(home: &Home) -> Vec<Check> {
    let mut checks = Vec::new();
    if !home.path().is_dir() {
        return checks;
    }
    if let Err(error) = tempfile::Builder::new().prefix(".doctor.").tempfile_in(home.path()) {
        let path = home.path().display();
        let saw = format!("{path} cannot be written: {error}");
        checks.push(Check::problem("disk", saw, format!("ls -ld {path}; mount; df -i {path}")));
    }
    let Some((free_bytes, all_bytes, reserve_bytes)) = disk_room(home.path()) else {
        let saw = "the system does not say how much room there is";
        checks.push(Check::warning("disk", saw, "df -h"));
        return checks;
    };
    let saw = format!(
        "{} free of {}, of which content leaves {}",
        ByteSize(free_bytes),
        ByteSize(all_bytes),
        ByteSize(reserve_bytes)
    );
    let help = at_home("guild store gc", home);
    checks.push(match free_bytes {
        free if free < reserve_bytes => Check::problem("disk", saw, help),
        free if free < ROOM_LOW_BYTES => Check::warning("disk", saw, help),
        _ => Check::ok("disk", saw),
    });
    checks
}

/// What a worker that is started now is shut in with.
pub(super) async fn isolation() -> Check {
    const CHECK: &str = "isolation";
    let started = tokio::task::spawn_blocking(|| engines::spawner().isolation());
    let isolation = match tokio::time::timeout(WORKER_MAX, started).await {
        Ok(Ok(Ok(isolation))) => isolation,
        Ok(Ok(Err(failure))) => {
            let saw = format!("no worker starts, so nothing can be executed: {failure}");
            return Check::problem(CHECK, saw, "guild --version; ulimit -a; dmesg | tail");
        }
        Ok(Err(error)) => return Check::problem(CHECK, error.to_string(), "dmesg | tail"),
        Err(_) => {
            let saw = format!("no worker started within {} s", WORKER_MAX.as_secs());
            return Check::problem(CHECK, saw, "look at the load and the memory of this machine");
        }
    };
    judge_isolation(&isolation.names())
}

fn judge_isolation(names: &[&str]) -> Check {
    const CHECK: &str = "isolation";
    let level = Level::of_names(names);
    let saw = format!("level {} ({level}): {}", level.number(), names.join(", "));
    match level {
        Level::Full => Check::ok(CHECK, saw),
        Level::Filtered => Check::warning(
            CHECK,
            format!("{saw}; no namespaces, so who asks for level 3 is not served"),
            "sysctl kernel.unprivileged_userns_clone=1 \
             kernel.apparmor_restrict_unprivileged_userns=0, or a container that allows namespaces",
        ),
        Level::None | Level::Limits => Check::problem(
            CHECK,
            format!("{saw}; the kernel filters no system calls of foreign code"),
            "a kernel with CONFIG_SECCOMP_FILTER, and a container whose profile allows seccomp",
        ),
    }
}

/// The engines that a node would find here.
pub(super) async fn engines(library: Option<String>) -> Check {
    const CHECK: &str = "engines";
    let library = std::env::var(LIBRARY_ENV).ok().or(library);
    let found = tokio::task::spawn_blocking(move || Engines::find(library.as_deref()));
    match tokio::time::timeout(WORKER_MAX, found).await {
        Ok(Ok(Ok(engines))) => node::judge_engines(&engines.names()),
        Ok(Ok(Err(problem))) => Check::problem(
            CHECK,
            problem.to_string(),
            "name another with `onnxruntime` in config.toml, or `off` to use none",
        ),
        Ok(Err(error)) => Check::problem(CHECK, error.to_string(), "dmesg | tail"),
        Err(_) => {
            let saw = format!("they did not start within {} s", WORKER_MAX.as_secs());
            Check::problem(CHECK, saw, "look at the load and the memory of this machine")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use guildhall_protocol::SecretKey;
    use guildhall_protocol::statement::Role;

    use super::super::check::State;
    use super::*;

    #[test]
    fn keys_are_warned_of_before_they_run_out_and_a_problem_from_then_on() {
        let key = SecretKey::from_seed(&[1; 32]).public();
        let delegation = |issued_ms, expires_ms| Delegation {
            root: key,
            key,
            role: Role::Node,
            issued_ms,
            expires_ms,
        };
        // The one that ends first counts.
        let both = [delegation(DAY_MS, 90 * DAY_MS), delegation(DAY_MS, 80 * DAY_MS)];
        let home = Home::new("/srv/guild".into());
        let at = |now_ms| expiry("lab-a", &both, now_ms, &home);
        assert_eq!(at(DAY_MS).state, State::Ok);
        assert_eq!(at(66 * DAY_MS).state, State::Ok);
        let soon = at(66 * DAY_MS + 1);
        assert_eq!(soon.state, State::Warning);
        assert!(soon.saw.ends_with("in 13 days"), "{}", soon.saw);
        assert!(soon.help.unwrap().contains("--home /srv/guild"));
        assert_eq!(at(80 * DAY_MS).state, State::Problem);
        let early = at(DAY_MS - 1);
        assert_eq!(early.state, State::Problem);
        assert!(early.saw.contains("clock"), "{}", early.saw);
    }

    #[test]
    fn a_node_that_does_not_answer_is_a_problem_only_while_something_holds_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().join("home"));
        let silent = || Failure::new(exit::UNREACHABLE, "nobody").with_help("guild up");
        assert_eq!(
            not_up(Some(&home), silent()),
            None,
            "there is no home, and that is said elsewhere"
        );
        home.create(&"lab-a".parse().unwrap(), &folder.path().join("root.key")).unwrap();
        assert_eq!(not_up(Some(&home), silent()).unwrap().state, State::Warning);
        assert_eq!(not_up(None, silent()).unwrap().state, State::Problem);
        let token = Failure::new(exit::REFUSED, "it wants a token");
        assert_eq!(not_up(Some(&home), token).unwrap().state, State::Problem);
        let store = guildhall_store::Store::open(&home.store()).unwrap();
        let held = not_up(Some(&home), silent()).unwrap();
        assert_eq!(held.state, State::Problem);
        assert!(held.saw.contains("uses the store"), "{}", held.saw);
        drop(store);
    }

    #[test]
    fn a_home_is_looked_at_without_its_node() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().join("home"));
        let state = || {
            let mut report = Report::default();
            membership(&home, &mut report);
            report.checks.pop().unwrap().state
        };
        assert_eq!(state(), State::Problem);
        home.create(&"lab-a".parse().unwrap(), &folder.path().join("root.key")).unwrap();
        assert_eq!(state(), State::Ok);
        let disk = disk(&home);
        assert!(disk.iter().all(|check| !check.saw.contains("cannot be written")), "{disk:?}");
        let key = home.path().join("keys/node.key");
        std::fs::write(&key, "0".repeat(64)).unwrap();
        assert_eq!(state(), State::Problem, "the delegation is for another key");
    }

    #[test]
    fn workers_without_a_filter_are_a_problem_and_without_namespaces_a_warning() {
        let all = ["rlimits", "no-new-privs", "seccomp", "landlock", "network-namespace"];
        assert_eq!(judge_isolation(&all).state, State::Ok);
        assert_eq!(judge_isolation(&all[..4]).state, State::Warning);
        assert_eq!(judge_isolation(&all[..2]).state, State::Problem);
        assert_eq!(judge_isolation(&[]).state, State::Problem);
    }
}
