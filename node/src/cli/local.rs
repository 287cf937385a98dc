//! Arguments of the commands that act on this machine; what they do is in [`commands`](crate::commands).

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use guildhall_client::package::ByteSize;
use guildhall_protocol::name::{CategoryPrefix, OrgName};

/// `guild init`.
#[derive(Clone, Debug, Args)]
pub(crate) struct InitArgs {
    /// The organisation's name: 2 to 39 of a-z, 0-9 and inner hyphens
    #[arg(long, value_name = "NAME")]
    pub(crate) org: OrgName,
    /// Where the organisation's root key goes; keep it away from the node [default: beside the home]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_out: Option<PathBuf>,
}

/// `guild up`.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpArgs {
    /// Where the API listens; port 0 takes any. On more than loopback it needs --token
    #[arg(long, value_name = "ADDR")]
    pub(crate) api: Option<SocketAddr>,
    /// Where other nodes reach this one, for example /ip4/0.0.0.0/tcp/7481; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<String>,
    /// Node to dial while no peer is there, an address that ends in /p2p/PEER; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) peer: Vec<String>,
    /// Category whose listings are kept, or the start of one; may be repeated [default: all]
    #[arg(long, value_name = "CATEGORY")]
    pub(crate) follow: Vec<CategoryPrefix>,
    /// Most room for copies of others' packages, this time; 0 keeps none [default: 20GiB, or as config.toml says]
    #[arg(long, value_name = "SIZE", env = "GUILD_REPLICAS_MAX")]
    pub(crate) replicas_max: Option<ByteSize>,
    /// Library of onnxruntime for graphs, libonnxruntime.so of version 1.17 or later, or `off`
    /// [default: as config.toml says, else one that the system has]
    #[arg(long, value_name = "FILE", env = "GUILD_ONNXRUNTIME")]
    pub(crate) onnxruntime: Option<String>,
}

/// `guild demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the three nodes running when it is over, with commands to try; Ctrl-C stops them
    #[arg(long)]
    pub(crate) keep: bool,
}
