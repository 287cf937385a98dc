//! What every command is given: the global flags, the output, and the way to the node.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use clap::Args;
use guildhall_client::{Client, shell_quote};
use guildhall_protocol::api::Stale;

use super::exit;
use super::failure::Failure;
use super::federation::uptime;
use super::output::{Format, Output};

/// Where a node's API is when nothing says otherwise.
const NODE_DEFAULT: &str = "http://127.0.0.1:7480";

/// The home when neither flag nor environment names one, below the person's own.
const HOME_DEFAULT: &str = ".guild";

/// Longest address that is read from a home, bytes.
const URL_MAX_BYTES: usize = 1024;

/// How long a node may take to say who it is; more than a busy one needs.
const STATUS_MAX: Duration = Duration::from_secs(30);

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// Folder of the node's configuration, keys and store [default: ~/.guild]
    #[arg(long, global = true, env = "GUILD_HOME", hide_env_values = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Node to ask [default: the one that is up in the home, else http://127.0.0.1:7480]
    #[arg(long, global = true, env = "GUILD_NODE", hide_env_values = true, value_name = "URL")]
    pub(crate) node: Option<String>,
    /// Token of the node's API; needed when it listens on more than loopback
    #[arg(long, global = true, env = "GUILD_TOKEN", hide_env_values = true, value_name = "SECRET")]
    pub(crate) token: Option<String>,
    /// For whom to print
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// The same as --format json
    #[arg(long, global = true, conflicts_with = "format")]
    pub(crate) json: bool,
}

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// The global flags.
    pub(crate) globals: Globals,
    /// Where it prints.
    pub(crate) output: Output,
    /// Whom it asks, once it does: one node.
    asked: OnceLock<Client>,
}

impl Context {
    /// From the global flags.
    #[must_use]
    pub(crate) fn new(mut globals: Globals) -> Self {
        if globals.json {
            globals.format = Format::Json;
        }
        let output = Output::new(globals.format);
        Self { globals, output, asked: OnceLock::new() }
    }

    /// The node's home, whether it exists or not; absolute, because the node tells others where it lives.
    ///
    /// # Errors
    /// When nothing says where it is.
    pub(crate) fn try_home(&self) -> Result<PathBuf, Failure> {
        let home = match &self.globals.home {
            Some(home) => home.clone(),
            None => match std::env::var_os("HOME").filter(|own| !own.is_empty()) {
                Some(own) => PathBuf::from(own).join(HOME_DEFAULT),
                None => {
                    let message = "HOME is not set, so there is no default home of a node";
                    return Err(
                        Failure::new(exit::USAGE, message).with_help("guild COMMAND --home DIR")
                    );
                }
            },
        };
        // Only an empty path or a current folder that is gone have no absolute form.
        Ok(std::path::absolute(&home).unwrap_or(home))
    }

    /// The node's home of a command for which [`try_home`](Self::try_home) was asked before it began.
    #[must_use]
    pub(crate) fn home(&self) -> PathBuf {
        self.try_home().unwrap_or_else(|_| HOME_DEFAULT.into())
    }

    /// The failure as this command should show it: a node that does not answer is started where it lives.
    #[must_use]
    pub(crate) fn in_place(&self, failure: Failure) -> Failure {
        if failure.code != exit::UNREACHABLE || failure.help.is_some() {
            return failure;
        }
        let home = self.globals.home.as_deref().filter(|_| self.globals.node.is_none());
        failure.with_help(home.map_or_else(|| "guild up".to_owned(), up))
    }

    /// A client of the node that is meant. An address that comes from a home is asked once whether the node of that home
    /// has it still: one that was killed leaves it behind, and another node may listen there now.
    ///
    /// # Errors
    /// When the address or the token cannot be one, or the node of the home is not up.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        if let Some(url) = &self.globals.node {
            return self.client_at(url);
        }
        let home = self.try_home()?;
        if let Some(url) = running_at(&home)? {
            let client = self.client_at(&url)?;
            check_home(&client, &home).await?;
            return Ok(client);
        }
        if self.globals.home.is_some() {
            return Err(Failure::new(
                exit::UNREACHABLE,
                format!("there is no node in {}", home.display()),
            )
            .with_help(format!("guild init --org NAME --home {}", shell_quote(&home))));
        }
        self.client_at(NODE_DEFAULT)
    }

    fn client_at(&self, url: &str) -> Result<Client, Failure> {
        let client = match &self.globals.token {
            Some(token) => Client::with_token(url, token),
            None => Client::new(url),
        }?;
        Ok(self.asked.get_or_init(|| client).clone())
    }

    /// Tells the person if the node said that it is stale.
    pub(crate) fn say_stale(&self) {
        if let Some(stale) = self.asked.get().and_then(Client::stale) {
            self.output.warning(&stale_text(stale));
        }
    }
}

/// What the running node of a home wrote about itself. `None` when the home is nobody's; a home whose node is not up is
/// an error, because whoever answers elsewhere would be another node.
fn running_at(home: &Path) -> Result<Option<String>, Failure> {
    let path = home.join("api");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.len() <= URL_MAX_BYTES => Ok(Some(text.trim().to_owned())),
        Ok(_) => Err(Failure::new(exit::FAILED, format!("{} holds no address", path.display()))),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            if !home.join("config.toml").exists() {
                return Ok(None);
            }
            let message = format!("the node in {} is not up", home.display());
            Err(Failure::new(exit::UNREACHABLE, message).with_help(up(home)))
        }
        Err(error) => Err(Failure::from_error(exit::FAILED, &error)
            .with_cause(format!("while reading {}", path.display()))),
    }
}

/// Checks that the node at an address that a home names lives in that home.
async fn check_home(client: &Client, home: &Path) -> Result<(), Failure> {
    match tokio::time::timeout(STATUS_MAX, client.status()).await {
        Ok(Ok(status)) if is_same(Path::new(&status.home), home) => Ok(()),
        // A node that wants a token, or is too busy to say who it is, says so.
        Ok(Err(error @ guildhall_client::Error::Api { .. })) => Err(error.into()),
        // Another node, another program, or nobody.
        _ => Err(not_up(home)),
    }
}

/// Whether two paths lead to one folder.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn not_up(home: &Path) -> Failure {
    let message = format!("no node is up in this home: {}", home.display());
    Failure::new(exit::UNREACHABLE, message).with_help(up(home))
}

/// What a stale node's answers are worth.
fn stale_text(stale: Stale) -> String {
    let since = uptime(stale.heard_s);
    let runs = match stale.refuses {
        true => ", and the node runs only code of its own organisation",
        false => "",
    };
    format!(
        "nothing was heard from another organisation for {since}: this may be out of date{runs} (guild doctor)"
    )
}

/// How to start the node of a home.
fn up(home: &Path) -> String {
    format!("guild up --home {}", shell_quote(home))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    async fn url(globals: &Globals) -> Result<String, Failure> {
        Context::new(globals.clone()).client().await.map(|client| client.url().to_owned())
    }

    fn at(home: &Path) -> Globals {
        Globals { home: Some(home.to_owned()), ..Globals::default() }
    }

    /// Answers one request like a node that lives in `home`, and says where.
    fn node_in(home: &Path) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let zero = "0".repeat(64);
        let status = serde_json::json!({
            "org": "lab-a", "root": zero, "node": zero, "peer_id": "", "api": url, "home": home,
            "addresses": [], "follows": [], "offer": null, "engines": [], "isolation": [],
            "federation": { "id": zero, "name": "lab-a", "members": [], "admit": 1, "change": 1 },
            "peers": 0, "records": 0, "listings": 0, "packages": 0, "jobs": 0, "software": "",
            "uptime_s": 0,
        });
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            let body = status.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        });
        url
    }

    #[tokio::test]
    async fn the_flag_wins_over_the_home_and_a_home_stands_for_its_own_node_only() {
        let home = tempfile::tempdir().unwrap();
        let globals = at(home.path());
        let nobody = url(&globals).await.unwrap_err();
        assert_eq!(nobody.code, exit::UNREACHABLE);
        assert!(nobody.message.starts_with("there is no node in "), "{}", nobody.message);
        assert!(nobody.help.unwrap().starts_with("guild init --org NAME --home "));
        std::fs::write(home.path().join("config.toml"), "").unwrap();
        let down = url(&globals).await.unwrap_err();
        assert_eq!(down.code, exit::UNREACHABLE, "another node must not be asked instead");
        let flag = Some("http://[::1]:2/".to_owned());
        assert_eq!(url(&Globals { node: flag, ..globals }).await.unwrap(), "http://[::1]:2");
    }

    #[tokio::test]
    async fn an_address_that_another_node_has_now_leads_nowhere() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = other.path().join("link");
        std::os::unix::fs::symlink(home.path(), &link).unwrap();
        let write = |url: &str| std::fs::write(home.path().join("api"), url).unwrap();
        for (lives, right) in [(home.path(), true), (&link, true), (other.path(), false)] {
            let node = node_in(lives);
            write(&format!("{node}\n"));
            match url(&at(home.path())).await {
                Ok(found) => assert!(right && found == node, "{}", lives.display()),
                Err(failure) => {
                    assert!(!right, "{failure:?}");
                    assert_eq!(failure.code, exit::UNREACHABLE);
                    assert!(failure.help.unwrap().starts_with("guild up --home "));
                }
            }
        }
        // Nobody listens there.
        write("http://127.0.0.1:1\n");
        let down = url(&at(home.path())).await.unwrap_err();
        assert_eq!((down.code, down.causes.len()), (exit::UNREACHABLE, 0));
        assert!(down.message.starts_with("no node is up in this home"), "{}", down.message);
    }
}
