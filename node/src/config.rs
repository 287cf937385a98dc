//! What a node's keeper decided: `config.toml`, overridden by the environment and by flags.

use std::net::SocketAddr;

use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::name::{CategoryPrefix, OrgName};
use serde::{Deserialize, Serialize};

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
    /// Categories whose listings are kept.
    #[serde(default = "default_follows")]
    pub(crate) follows: Vec<CategoryPrefix>,
    /// Token that the API asks for; needed when it listens on more than loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Hardware that is lent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offer: Option<HardwareOffer>,
}

impl Config {
    pub(crate) fn new(org: OrgName) -> Self {
        Self {
            org,
            api: default_api(),
            listen: default_listen(),
            follows: default_follows(),
            token: None,
            offer: None,
        }
    }
}

fn default_api() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7480))
}

fn default_listen() -> Vec<String> {
    vec!["/ip4/0.0.0.0/tcp/7481".to_owned()]
}

fn default_follows() -> Vec<CategoryPrefix> {
    vec![CategoryPrefix::everything()]
}
