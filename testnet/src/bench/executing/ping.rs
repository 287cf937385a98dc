//! The overlay's ping to a node: what nodes measure among each other every fifteen seconds, here as often as wanted.
//!
//! This process connects as a stranger over TCP, Noise and Yamux, as nodes do among each other, and pings on that
//! connection. A node answers strangers' pings until it hangs up on them, which is after seconds.

use std::time::Duration;

use futures::StreamExt as _;
use guildhall_launch::Node;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, SwarmBuilder, noise, ping, tcp, yamux};
use tokio::time::timeout;

use super::{Failed, failed};
use crate::bench::figures::Samples;

/// Pause between two pings: short enough that many fit into a connection's life.
const PAUSE: Duration = Duration::from_millis(1);

/// Pings of a connection before the first that counts: its first ones wait for protocols to be agreed on.
const WARM_UP: usize = 5;

/// How long all of them may take; nodes hang up on strangers after some seconds.
const PINGS_MAX: Duration = Duration::from_secs(10);

/// Round trips, milliseconds.
pub(super) async fn round_trips(node: &Node, count: usize) -> Result<Samples, Failed> {
    let address: Multiaddr = node
        .ready()
        .addresses
        .iter()
        .find(|address| address.contains("/tcp/"))
        .ok_or_else(|| failed("the node listens on no TCP address"))?
        .parse()
        .map_err(failed)?;
    let config = ping::Config::new().with_interval(PAUSE);
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(failed)?
        .with_behaviour(|_| ping::Behaviour::new(config))
        .map_err(failed)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(PINGS_MAX))
        .build();
    swarm.dial(address).map_err(failed)?;
    let pinging = async {
        let mut round_trips = Vec::new();
        while round_trips.len() < WARM_UP + count {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(ping::Event { result: Ok(took), .. }) => {
                    round_trips.push(took.as_secs_f64() * 1e3);
                }
                SwarmEvent::Behaviour(ping::Event { result: Err(error), .. }) => {
                    return Err(failed(error));
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(failed(error)),
                SwarmEvent::ConnectionClosed { cause, .. } => {
                    return Err(failed(format!("the node hung up on pings: {cause:?}")));
                }
                _ => {}
            }
        }
        Ok(round_trips.into_iter().skip(WARM_UP).collect())
    };
    timeout(PINGS_MAX, pinging).await.map_err(|_| failed("pings were not answered in time"))?
}
