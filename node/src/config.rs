//! What a node's keeper decided: `config.toml`, overridden by the environment and by flags.

mod offer;

use std::net::SocketAddr;
use std::path::PathBuf;

use guildhall_client::package::ByteSize;
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::name::{CategoryPrefix, OrgName};
use guildhall_store::Backend;
#[cfg(feature = "s3")]
use guildhall_store::Credentials;
use serde::{Deserialize, Serialize, Serializer};

/// Static peers that joining keeps; enough for some invites of nodes with several addresses each.
const PEERS_MAX: usize = 64;

/// The configuration file. Every field but the org has a default, so that `guild up` needs nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The org's name.
    pub(crate) org: OrgName,
    /// Where the API listens.
    #[serde(default = "default_api")]
    pub(crate) api: SocketAddr,
    /// Where the overlay listens, multiaddresses.
    #[serde(default = "default_listen")]
    pub(crate) listen: Vec<String>,
    /// Nodes to dial while no peer is admitted: multiaddresses that end in `/p2p/PEER`. Joining adds those of the
    /// invite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) peers: Vec<String>,
    /// Categories whose listings are kept.
    #[serde(default = "default_follows")]
    pub(crate) follows: Vec<CategoryPrefix>,
    /// Categories whose demand the org wants to be told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) subscriptions: Vec<CategoryPrefix>,
    /// How the org ranks what it finds; what is not named is as by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) ranking: guildhall_protocol::api::Ranking,
    /// Token that the API asks for; needed when it listens on more than loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Whether the node finishes what it has and takes no more jobs of others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) draining: bool,
    /// Hardware that is lent.
    #[serde(default, deserialize_with = "offer::read", skip_serializing_if = "Option::is_none")]
    pub(crate) offer: Option<HardwareOffer>,
    /// The library of onnxruntime that executes graphs, by its whole path, or `off` to use none that is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) onnxruntime: Option<String>,
    /// How fast content is sent to others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) upload: Upload,
    /// What content may take on the disk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) content: Content,
}

/// `[upload]`: bytes per second; without a limit as fast as it goes, shared fairly among orgs either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Upload {
    /// To all orgs together.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_bytes")]
    pub(crate) max_per_second: Option<ByteSize>,
    /// To each org.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_bytes")]
    pub(crate) max_per_second_and_org: Option<ByteSize>,
}

/// `[content]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Content {
    /// What copies of others' packages may take; 0 keeps none.
    #[serde(serialize_with = "bytes")]
    pub(crate) replicas_max: ByteSize,
    /// How long a package that was fetched for a person or a job stays without being used, days.
    pub(crate) unused_days: u64,
    /// Where large files are kept, if not in the home. Decided before the first start: it does not change later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) s3: Option<S3>,
}

/// `[content.s3]`: a bucket in S3-compatible storage. A prefix in it belongs to one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3 {
    /// The server's URL, without the bucket.
    pub(crate) endpoint: String,
    /// The bucket, which must be there.
    pub(crate) bucket: String,
    /// What the names of this node's objects begin with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) prefix: String,
    /// The region to sign for; servers that have none take this.
    #[serde(default = "default_region")]
    pub(crate) region: String,
    /// Whether the endpoint may be plain `http`.
    #[serde(default)]
    pub(crate) allow_http: bool,
    /// A file with the keys, as other programs have them; else `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` of the
    /// environment are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credentials: Option<PathBuf>,
    /// What copies in the home may take of what was used lately.
    #[serde(default = "default_cache_max", serialize_with = "bytes")]
    pub(crate) cache_max: ByteSize,
}

impl Content {
    /// Where the store has its blobs.
    #[cfg(feature = "s3")]
    pub(crate) fn backend(&self) -> Result<Backend, NoS3> {
        let Some(s3) = self.s3.clone() else { return Ok(Backend::Directory) };
        let credentials = s3.credentials.map_or(Credentials::Environment, Credentials::File);
        Ok(Backend::S3(guildhall_store::S3 {
            endpoint: s3.endpoint,
            bucket: s3.bucket,
            prefix: s3.prefix,
            region: s3.region,
            allow_http: s3.allow_http,
            credentials,
            cache_max_bytes: s3.cache_max.0,
        }))
    }

    /// Where the store has its blobs.
    #[cfg(not(feature = "s3"))]
    pub(crate) fn backend(&self) -> Result<Backend, NoS3> {
        match self.s3 {
            None => Ok(Backend::Directory),
            Some(_) => Err(NoS3),
        }
    }
}

/// The configuration names S3-compatible storage, and this program was built without it.
#[derive(Debug, thiserror::Error)]
#[error("config.toml has [content.s3], but this program was built without the feature `s3`")]
pub(crate) struct NoS3;

impl Default for Content {
    fn default() -> Self {
        Self { replicas_max: ByteSize(20 << 30), unused_days: 30, s3: None }
    }
}

fn bytes<S: Serializer>(size: &ByteSize, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_u64(size.0)
}

fn some_bytes<S: Serializer>(size: &Option<ByteSize>, output: S) -> Result<S::Ok, S::Error> {
    size.map(|size| size.0).serialize(output)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Config {
    pub(crate) fn new(org: OrgName) -> Self {
        Self {
            org,
            api: default_api(),
            listen: default_listen(),
            peers: Vec::new(),
            follows: default_follows(),
            subscriptions: Vec::new(),
            ranking: guildhall_protocol::api::Ranking::default(),
            token: None,
            draining: false,
            offer: None,
            onnxruntime: None,
            upload: Upload::default(),
            content: Content::default(),
        }
    }

    /// Remembers addresses of nodes that can be dialled, the newest last. Beyond [`PEERS_MAX`] the oldest are dropped.
    pub(crate) fn add_peers(&mut self, addresses: &[String]) {
        add_peers(&mut self.peers, addresses);
    }
}

/// Adds addresses that are not in the list yet, and drops the oldest beyond [`PEERS_MAX`].
pub(crate) fn add_peers(peers: &mut Vec<String>, addresses: &[String]) {
    for address in addresses {
        if !peers.contains(address) {
            peers.push(address.clone());
        }
    }
    let surplus = peers.len().saturating_sub(PEERS_MAX);
    peers.drain(..surplus);
}

fn default_api() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7480))
}

fn default_listen() -> Vec<String> {
    vec!["/ip4/0.0.0.0/tcp/7481".to_owned(), "/ip4/0.0.0.0/udp/7481/quic-v1".to_owned()]
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_cache_max() -> ByteSize {
    ByteSize(10 << 30)
}

fn default_follows() -> Vec<CategoryPrefix> {
    vec![CategoryPrefix::everything()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_elsewhere_needs_an_endpoint_and_a_bucket_and_survives_being_written() {
        let text =
            "org = \"lab-a\"\n[content.s3]\nendpoint = \"https://s3.example\"\nbucket = \"b\"\n";
        let config: Config = toml::from_str(text).unwrap();
        let s3 = config.content.s3.clone().unwrap();
        assert_eq!(
            (s3.region.as_str(), s3.allow_http, s3.cache_max.0),
            ("us-east-1", false, 10 << 30)
        );
        assert_eq!(config.content.replicas_max, Content::default().replicas_max);
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&written).unwrap(), config);
        for less in ["endpoint", "bucket"] {
            let lines = text.lines().filter(|line| !line.starts_with(less));
            let without = lines.collect::<Vec<_>>().join("\n");
            assert!(toml::from_str::<Config>(&without).is_err(), "without {less}");
        }
        assert!(toml::from_str::<Config>(&format!("{text}secret = 1\n")).is_err());
    }

    #[test]
    fn static_peers_have_no_duplicates_and_the_oldest_give_way() {
        let mut config = Config::new("lab-a".parse().unwrap());
        let addresses: Vec<String> =
            (0..PEERS_MAX).map(|port| format!("/ip4/127.0.0.1/tcp/{port}")).collect();
        config.add_peers(&addresses);
        config.add_peers(&addresses);
        assert_eq!(config.peers, addresses);
        config.add_peers(&["/ip4/127.0.0.1/tcp/9999".to_owned()]);
        assert_eq!(config.peers.len(), PEERS_MAX);
        assert_eq!(config.peers.first(), addresses.get(1));
        assert_eq!(config.peers.last().map(String::as_str), Some("/ip4/127.0.0.1/tcp/9999"));
    }
}
