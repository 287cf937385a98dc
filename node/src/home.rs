//! A node's home: the folder with its configuration, keys and store.
//!
//! ```text
//! HOME/config.toml            what the keeper decided; edited by commands and by hand
//! HOME/keys/node.key          secret seeds, hex, readable by the owner only
//! HOME/keys/producer.key
//! HOME/keys/node.delegation   what the org's root signed for them, CBOR
//! HOME/keys/producer.delegation
//! HOME/keys/lease.seed
//! HOME/federation             the founding of the federation the node is in, CBOR
//! HOME/store/                 records, packages, receipts
//! HOME/api                    base URL of the running node's API; removed when it stops
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use guildhall_core::{DelegatedKey, Identity};
use guildhall_protocol::limits::{DELEGATION_MAX_LIFE_MS, RECORD_MAX_BYTES};
use guildhall_protocol::name::OrgName;
use guildhall_protocol::statement::{Delegation, Founding, Role, Signed};
use guildhall_protocol::{Hash, SecretKey, cbor};

use crate::clock;
use crate::config::Config;

/// Longest configuration file that is read, bytes.
const CONFIG_MAX_BYTES: u64 = 1024 * 1024;

/// A folder that is, or will be, a node's home.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    path: PathBuf,
    /// Held from reading the configuration to having written it. One process at a time uses a home.
    changing: Arc<Mutex<()>>,
}

impl Home {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, changing: Arc::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Where compiled code is kept. It can be removed at any time while the node is down.
    pub(crate) fn compiled(&self) -> PathBuf {
        self.path.join("compiled")
    }

    fn key(&self, name: &str) -> PathBuf {
        self.path.join("keys").join(name)
    }

    /// Where the org's root key goes when nobody says otherwise: beside the home, not in it.
    pub(crate) fn default_root_key(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".root.key");
        self.path.with_file_name(name)
    }

    /// Makes a new org with one node: a root key in a file of its own, a node and a producer key with delegations, and
    /// a federation of one.
    pub(crate) fn create(&self, org: &OrgName, root_out: &Path) -> Result<Identity, Error> {
        if self.path.join("config.toml").exists() {
            return Err(Error::Exists { home: self.path.clone() });
        }
        if root_out.exists() {
            return Err(Error::RootKeyExists { path: root_out.to_owned() });
        }
        let now_ms = clock::now_ms();
        let root = SecretKey::from_seed(clock::random().as_bytes());
        let founding = Founding {
            name: org.to_string(),
            root: root.public(),
            org: org.clone(),
            admit: 1,
            change: 1,
            time_ms: now_ms,
            nonce: clock::random(),
        };
        make_dir(&self.path)?;
        make_dir(&self.path.join("keys"))?;
        write_secret(root_out, &root.seed())?;
        let (node, producer) = self.issue_keys(&root)?;
        self.save_founding(&Signed::new(&founding, &root))?;
        // Last, because its presence says that the home is complete.
        self.save_config(&Config::new(org.clone()))?;
        Ok(Identity { org: org.clone(), root: root.public(), node, producer })
    }

    /// Reads the configuration.
    pub(crate) fn config(&self) -> Result<Config, Error> {
        let path = self.path.join("config.toml");
        match fs::metadata(&path) {
            Ok(meta) if meta.len() > CONFIG_MAX_BYTES => {
                return Err(Error::Config { path, why: "longer than 1 MiB".to_owned() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing { home: self.path.clone() });
            }
            Err(source) => return Err(Error::Io { path, source }),
        }
        let text =
            fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        toml::from_str(&text).map_err(|error| Error::Config { path, why: error.to_string() })
    }

    /// Writes the configuration, whole or not at all.
    fn save_config(&self, config: &Config) -> Result<(), Error> {
        let path = self.path.join("config.toml");
        let text = toml::to_string_pretty(config)
            .map_err(|error| Error::Config { path: path.clone(), why: error.to_string() })?;
        write_file(&path, text.as_bytes(), 0o644)
    }

    /// Changes the configuration and returns it as it is now. Changes at the same time wait for each other, so none is
    /// lost.
    pub(crate) fn update_config(&self, change: impl FnOnce(&mut Config)) -> Result<Config, Error> {
        // The data is in the file, which is whole even if a holder panicked.
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.config()?;
        let mut config = before.clone();
        change(&mut config);
        if config != before {
            self.save_config(&config)?;
        }
        Ok(config)
    }

    /// Reads the keys and checks that they and their delegations belong together.
    pub(crate) fn identity(&self, org: &OrgName) -> Result<Identity, Error> {
        let node = self.delegated("node", Role::Node)?;
        let producer = self.delegated("producer", Role::Producer)?;
        if node.1.root != producer.1.root {
            return Err(Error::Foreign { path: self.key("producer.delegation") });
        }
        let root = node.1.root;
        Ok(Identity { org: org.clone(), root, node: node.0, producer: producer.0 })
    }

    fn delegated(&self, name: &str, role: Role) -> Result<(DelegatedKey, Delegation), Error> {
        let secret = SecretKey::from_seed(&read_secret(&self.key(&format!("{name}.key")))?);
        let path = self.key(&format!("{name}.delegation"));
        let bytes = fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let broken = |why: String| Error::Delegation { path: path.clone(), why };
        let signed: Signed =
            cbor::decode(&bytes, RECORD_MAX_BYTES).map_err(|error| broken(error.to_string()))?;
        let delegation: Delegation = signed.open().map_err(|error| broken(error.to_string()))?;
        if delegation.key != secret.public() || delegation.role != role {
            return Err(Error::Foreign { path });
        }
        Ok((DelegatedKey { secret, delegation: signed }, delegation))
    }

    /// The secret from which lease ids are derived.
    pub(crate) fn lease_seed(&self) -> Result<Hash, Error> {
        read_secret(&self.key("lease.seed")).map(Hash::from_bytes)
    }

    /// The founding of the federation the node is in.
    pub(crate) fn founding(&self) -> Result<Signed, Error> {
        let path = self.path.join("federation");
        let bytes = fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        cbor::decode(&bytes, RECORD_MAX_BYTES)
            .map_err(|error| Error::Delegation { path, why: error.to_string() })
    }

    pub(crate) fn save_founding(&self, founding: &Signed) -> Result<(), Error> {
        write_file(&self.path.join("federation"), &cbor::encode(founding), 0o644)
    }

    /// A new folder for a backup, under a name that says that it is not complete.
    pub(crate) fn new_backup(&self, now_ms: u64) -> Result<PathBuf, Error> {
        let folder = self.path.join("backups");
        make_dir(&folder)?;
        let path = folder.join(format!("{now_ms}.partial"));
        make_dir(&path)?;
        Ok(path)
    }

    /// Adds to a backup what is not in the store, and gives it its name.
    pub(crate) fn finish_backup(&self, path: &Path) -> Result<PathBuf, Error> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        for name in ["config.toml", "federation"] {
            let bytes = fs::read(self.path.join(name)).map_err(io(&self.path.join(name)))?;
            // The configuration may hold the API's token.
            write_file(&path.join(name), &bytes, 0o600)?;
        }
        let complete = path.with_extension("");
        fs::rename(path, &complete).map_err(io(&complete))?;
        Ok(complete)
    }

    /// Makes a home out of a backup, with new keys that the org's root key speaks for. The store is to be moved in by
    /// the caller before, who then has it take the new node's key for its owner.
    pub(crate) fn restore(&self, backup: &Path, root_key: &Path) -> Result<Identity, Error> {
        if self.path.join("config.toml").exists() {
            return Err(Error::Exists { home: self.path.clone() });
        }
        let from = Self::new(backup.to_owned());
        let (mut config, founding) = (from.config()?, from.founding()?);
        // A backup has its content with it, and the place elsewhere stays the original's.
        config.content.s3 = None;
        let root = SecretKey::from_seed(&read_secret(root_key)?);
        make_dir(&self.path)?;
        make_dir(&self.path.join("keys"))?;
        let (node, producer) = self.issue_keys(&root)?;
        self.save_founding(&founding)?;
        // Last, because its presence says that the home is complete.
        self.save_config(&config)?;
        Ok(Identity { org: config.org, root: root.public(), node, producer })
    }

    /// Who the node is with delegations that the org's root key signs now, for the keys that it has or for new ones.
    /// Nothing is written yet: see [`save_keys`](Self::save_keys).
    pub(crate) fn renewed(&self, root_key: &Path, new_keys: bool) -> Result<Identity, Error> {
        let root = SecretKey::from_seed(&read_secret(root_key)?);
        let org = self.config()?.org;
        let of = |name: &str| -> Result<SecretKey, Error> {
            match new_keys {
                true => Ok(SecretKey::from_seed(clock::random().as_bytes())),
                false => read_secret(&self.key(name)).map(|seed| SecretKey::from_seed(&seed)),
            }
        };
        let (node, producer) = (of("node.key")?, of("producer.key")?);
        let before = self.identity(&org)?;
        if before.root != root.public() {
            return Err(Error::Foreign { path: root_key.to_owned() });
        }
        let (node, producer) =
            (issue(&root, node, Role::Node), issue(&root, producer, Role::Producer));
        Ok(Identity { org, root: root.public(), node, producer })
    }

    /// New keys for a node, with delegations by the root key.
    fn issue_keys(&self, root: &SecretKey) -> Result<(DelegatedKey, DelegatedKey), Error> {
        let new = || SecretKey::from_seed(clock::random().as_bytes());
        let (node, producer) = (issue(root, new(), Role::Node), issue(root, new(), Role::Producer));
        self.save_keys(&node, &producer)?;
        Ok((node, producer))
    }

    /// Writes the keys that the node has from now on.
    pub(crate) fn save_keys(
        &self,
        node: &DelegatedKey,
        producer: &DelegatedKey,
    ) -> Result<(), Error> {
        for (name, key) in [("node", node), ("producer", producer)] {
            write_secret(&self.key(&format!("{name}.key")), &key.secret.seed())?;
            let delegation = cbor::encode(&key.delegation);
            write_file(&self.key(&format!("{name}.delegation")), &delegation, 0o644)?;
        }
        write_secret(&self.key("lease.seed"), clock::random().as_bytes())
    }

    /// Says where the API of the running node is.
    pub(crate) fn save_api(&self, url: &str) -> Result<(), Error> {
        write_file(&self.path.join("api"), url.as_bytes(), 0o644)
    }

    /// Says that no node is running here.
    pub(crate) fn remove_api(&self) {
        let path = self.path.join("api");
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "the address of the API stays behind");
        }
    }
}

/// A delegation from now on, for as long as one may hold.
fn issue(root: &SecretKey, key: SecretKey, role: Role) -> DelegatedKey {
    let now_ms = clock::now_ms();
    DelegatedKey::issue(root, key, role, now_ms, now_ms + DELEGATION_MAX_LIFE_MS)
}

fn make_dir(path: &Path) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(io)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io)
}

/// Writes a file whole or not at all: a temporary one beside it, of a name of its own, is synced, then renamed.
fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    let mut new = tempfile::Builder::new()
        .prefix(&name)
        .suffix(".new")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(parent)
        .map_err(io)?;
    new.write_all(bytes).and_then(|()| new.as_file().sync_all()).map_err(io)?;
    new.persist(path).map_err(|error| io(error.error))?;
    fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(io)
}

fn write_secret(path: &Path, seed: &[u8; 32]) -> Result<(), Error> {
    write_file(path, Hash::from_bytes(*seed).to_hex().as_bytes(), 0o600)
}

fn read_secret(path: &Path) -> Result<[u8; 32], Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::Readable { path: path.to_owned(), mode: mode & 0o777 });
    }
    let text = fs::read_to_string(path).map_err(io)?;
    text.trim().parse::<Hash>().map(|seed| *seed.as_bytes()).map_err(|_| Error::Delegation {
        path: path.to_owned(),
        why: "it does not hold 64 hex digits".to_owned(),
    })
}

/// Why a home cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no node in {}", home.display())]
    Missing { home: PathBuf },
    #[error("there is a node in {} already", home.display())]
    Exists { home: PathBuf },
    #[error("there is a root key in {} already; it is never overwritten", path.display())]
    RootKeyExists { path: PathBuf },
    #[error("{}: {why}", path.display())]
    Config { path: PathBuf, why: String },
    #[error("{} belongs to another identity than the keys beside it; put back what belongs together", path.display())]
    Foreign { path: PathBuf },
    #[error("{} is unusable: {why}", path.display())]
    Delegation { path: PathBuf, why: String },
    #[error("{} can be read by others (mode {mode:o}), so it is not used", path.display())]
    Readable { path: PathBuf, mode: u32 },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Error {
    /// What the person can do.
    pub(crate) fn help(&self) -> Option<String> {
        Some(match self {
            Self::Missing { home } => format!("guild init --org NAME --home {}", home.display()),
            Self::Exists { .. } => "guild up".to_owned(),
            Self::RootKeyExists { .. } => "guild init --org NAME --root-out FILE".to_owned(),
            Self::Readable { path, .. } => format!("chmod 600 {}", path.display()),
            Self::Foreign { .. }
            | Self::Config { .. }
            | Self::Delegation { .. }
            | Self::Io { .. } => {
                return None;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_the_configuration_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().join("home"));
        home.create(&"lab-a".parse().unwrap(), &folder.path().join("root.key")).unwrap();
        std::thread::scope(|scope| {
            for port in 0..16 {
                let home = home.clone();
                scope.spawn(move || {
                    let address = format!("/ip4/127.0.0.1/tcp/{port}");
                    home.update_config(|config| config.add_peers(&[address])).unwrap();
                });
            }
        });
        assert_eq!(home.config().unwrap().peers.len(), 16);
        let files = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        files.sort_unstable();
        assert_eq!(files, ["config.toml", "federation", "keys"], "no temporary file stays behind");
    }
}
