//! Whether answers fit: a crowded key, long addresses, and an asker who takes no larger packets than others do.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use guildhall_protocol::{Hash, PublicKey};
use libp2p::core::transport::memory::MemoryTransport;
use libp2p::core::{Transport as _, upgrade};
use libp2p::kad::{self, ProviderRecord, store::MemoryStore};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, swarm, yamux};

use super::wire::{Introduction, Wire};
use super::{keypair, public, record_key};
use crate::address::{Policy, to_peer_id};
use crate::behaviour::kademlia;
use crate::config::Limits;

/// A swarm that speaks one behaviour.
fn swarm<B>(id: PeerId, behaviour: B) -> Swarm<B>
where
    B: swarm::NetworkBehaviour,
{
    let transport = Wire { base: 0, inner: MemoryTransport::default() }
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(Introduction(id))
        .multiplex(yamux::Config::default())
        .boxed();
    Swarm::new(transport, behaviour, id, swarm::Config::with_tokio_executor())
}

/// Who the asker's only peer names.
async fn ask(asker: &mut Swarm<kad::Behaviour<MemoryStore>>, key: Hash) -> Vec<PeerId> {
    asker.behaviour_mut().get_providers(record_key(key));
    let mut named = Vec::new();
    loop {
        let SwarmEvent::Behaviour(event) = asker.select_next_some().await else { continue };
        let kad::Event::OutboundQueryProgressed { result, step, .. } = event else { continue };
        let kad::QueryResult::GetProviders(result) = result else { continue };
        if let kad::GetProvidersOk::FoundProviders { providers, .. } = result.unwrap() {
            named.extend(providers);
        }
        if step.last {
            return named;
        }
    }
}

/// As long an address as is kept of a provider.
fn long_address(port: u16) -> Multiaddr {
    format!("/ip6/2001:db8::1/udp/{port}/quic-v1").parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_a_hot_category_fits_a_packet_and_many_answers_name_many_holders() {
    let (holder, asker) = (keypair(1), keypair(2));
    let (id, key) = (holder.public().to_peer_id(), Hash::of(b"hot"));
    let policy = Policy::of_listeners(&["10.0.0.1:1".parse().unwrap()]);
    let mut kad = kademlia(&holder, policy, &Limits::default());
    for number in 100..5_100_u32 {
        // Keys without secrets are as good to be named.
        let provider = PublicKey::from_bytes(*Hash::of(&number.to_be_bytes()).as_bytes());
        kad.store_mut().admit(provider, public(&keypair(number % 50)));
        let record = ProviderRecord {
            key: record_key(key),
            provider: to_peer_id(&provider),
            expires: None,
            addresses: (1..9).map(long_address).collect(),
        };
        kad.store_mut().insert(record, std::time::Instant::now()).unwrap();
    }
    for number in 0..30 {
        for nth in 0..4 {
            let id = keypair(10_000 + number).public().to_peer_id();
            kad.add_address(&id, format!("/dns6/{}{nth}/tcp/1", "x".repeat(58)).parse().unwrap());
        }
    }
    let mut holder = swarm(id, kad);
    holder.listen_on("/memory/777".parse().unwrap()).unwrap();
    tokio::spawn(async move { while holder.next().await.is_some() {} });

    let asker_id = asker.public().to_peer_id();
    let config = kad::Config::new(StreamProtocol::new("/guildhall/kad/1"));
    let store = MemoryStore::new(asker_id);
    let mut asker = swarm(asker_id, kad::Behaviour::with_config(asker_id, store, config));
    asker.behaviour_mut().add_address(&id, "/memory/777".parse().unwrap());
    let mut named = BTreeSet::new();
    for _ in 0..64 {
        let answer = ask(&mut asker, key).await;
        assert_eq!(answer.len(), 20);
        named.extend(answer);
    }
    assert!(named.len() > 350, "{} holders", named.len());
}
