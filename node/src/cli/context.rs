//! What every command is given: the global flags, the output, and the way to the node.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use guildhall_client::Client;

use super::exit;
use super::failure::Failure;
use super::output::{Format, Output};

/// Where a node's API is when nothing says otherwise.
const NODE_DEFAULT: &str = "http://127.0.0.1:7480";

/// The home when neither flag nor environment names one, below the person's own.
const HOME_DEFAULT: &str = ".guild";

/// Longest address that is read from a home, bytes.
const URL_MAX_BYTES: usize = 1024;

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
}

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// The global flags.
    pub(crate) globals: Globals,
    /// Where it prints.
    pub(crate) output: Output,
}

impl Context {
    /// From the global flags.
    #[must_use]
    pub(crate) fn new(globals: Globals) -> Self {
        let output = Output::new(globals.format);
        Self { globals, output }
    }

    /// The node's home, whether it exists or not.
    #[must_use]
    pub(crate) fn home(&self) -> PathBuf {
        let default = || {
            let own = std::env::var_os("HOME").filter(|home| !home.is_empty());
            PathBuf::from(own.unwrap_or_else(|| ".".into())).join(HOME_DEFAULT)
        };
        self.globals.home.clone().unwrap_or_else(default)
    }

    /// The failure as this command should show it: a node that does not answer is started where it lives.
    #[must_use]
    pub(crate) fn in_place(&self, failure: Failure) -> Failure {
        match &self.globals.home {
            Some(home) if failure.code == exit::UNREACHABLE => failure.with_help(up(home)),
            _ => failure,
        }
    }

    /// A client of the node that is meant.
    ///
    /// # Errors
    /// When the address or the token cannot be one, or the node of the home is not up.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let url = match &self.globals.node {
            Some(url) => url.clone(),
            None => running_at(&self.home())?.unwrap_or_else(|| NODE_DEFAULT.to_owned()),
        };
        let client = match &self.globals.token {
            Some(token) => Client::with_token(&url, token),
            None => Client::new(&url),
        };
        Ok(client?)
    }
}

/// What the running node of a home wrote about itself. `None` when the home is nobody's; a home whose node is not up is
/// an error, because whoever answers elsewhere would be another node.
fn running_at(home: &Path) -> Result<Option<String>, Failure> {
    let path = home.join("api");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.len() <= URL_MAX_BYTES => Ok(Some(text.trim().to_owned())),
        Ok(_) => Err(Failure::new(exit::FAILED, format!("{} holds no address", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
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

/// How to start the node of a home.
fn up(home: &Path) -> String {
    format!("guild up --home {}", home.display())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_home_and_the_home_over_the_default() {
        let home = tempfile::tempdir().unwrap();
        let globals = Globals { home: Some(home.path().to_owned()), ..Globals::default() };
        let url =
            |globals: &Globals| Context::new(globals.clone()).client().unwrap().url().to_owned();
        assert_eq!(url(&globals), NODE_DEFAULT);
        std::fs::write(home.path().join("config.toml"), "").unwrap();
        let down = Context::new(globals.clone()).client().unwrap_err();
        assert_eq!(down.code, exit::UNREACHABLE, "another node must not be asked instead");
        std::fs::write(home.path().join("api"), "http://127.0.0.1:1\n").unwrap();
        assert_eq!(url(&globals), "http://127.0.0.1:1");
        let flag = Some("http://[::1]:2/".to_owned());
        assert_eq!(url(&Globals { node: flag, ..globals }), "http://[::1]:2");
    }
}
