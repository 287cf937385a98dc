//! The sending side of the event channel.
//!
//! Nothing here blocks. Connects, disconnects and listen addresses must arrive, so they wait in a backlog when the
//! channel is full; everything else is refused then, and as long as the backlog lasts, so that order is kept: no
//! request of a peer overtakes the news that it connected.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::event::Event;

/// Most listen addresses in the backlog; a machine with more has them in [`addresses`](crate::Overlay::addresses).
const LISTENING_MAX: usize = 64;

/// Hands events to the node.
pub(crate) struct Outbox {
    sender: mpsc::Sender<Event>,
    /// Grows at most to two entries per connection (see [`Outbox::push`]) and [`LISTENING_MAX`].
    backlog: VecDeque<Event>,
    refused: u64,
}

impl Outbox {
    pub(crate) fn new(sender: mpsc::Sender<Event>) -> Self {
        Self { sender, backlog: VecDeque::new(), refused: 0 }
    }

    /// Delivers an event that must not be lost.
    ///
    /// A connect whose disconnect comes before the node has seen it is taken back instead: so per peer there is at most
    /// one disconnect followed by one connect.
    pub(crate) fn push(&mut self, event: Event) {
        let event = if self.backlog.is_empty() {
            match self.sender.try_send(event) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(event)) => event,
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        } else {
            event
        };
        match &event {
            Event::Disconnected { peer: gone } => {
                let unseen = self
                    .backlog
                    .iter()
                    .rposition(|e| matches!(e, Event::Connected { peer, .. } if peer == gone));
                if let Some(unseen) = unseen {
                    self.backlog.remove(unseen);
                    return;
                }
            }
            Event::Listening { .. } => {
                let waiting = |e: &&Event| matches!(e, Event::Listening { .. });
                if self.backlog.iter().filter(waiting).count() >= LISTENING_MAX {
                    return;
                }
            }
            _ => {}
        }
        self.backlog.push_back(event);
    }

    /// Delivers an event if there is room, and says whether there was.
    pub(crate) fn offer(&mut self, event: Event) -> bool {
        let taken = self.backlog.is_empty() && self.sender.try_send(event).is_ok();
        if !taken && !self.sender.is_closed() {
            self.refused += 1;
            // Powers of two only: a flood must not become a flood of log lines.
            if self.refused.is_power_of_two() {
                let refused = self.refused;
                tracing::warn!(refused, "the node does not keep up with events, refusing some");
            }
        }
        taken
    }

    /// Moves one event from the backlog as soon as there is room; with an empty backlog, waits until the node drops its
    /// end. False when that has happened. Cancel safe.
    pub(crate) async fn advance(&mut self) -> bool {
        if self.backlog.is_empty() {
            self.sender.closed().await;
            return false;
        }
        let Ok(place) = self.sender.reserve().await else { return false };
        if let Some(event) = self.backlog.pop_front() {
            place.send(event);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use guildhall_protocol::PublicKey;

    use super::*;

    fn peer(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    fn up(n: u8) -> Event {
        Event::Connected { peer: peer(n), address: String::new(), inbound: true }
    }

    fn down(n: u8) -> Event {
        Event::Disconnected { peer: peer(n) }
    }

    #[tokio::test]
    async fn a_slow_node_misses_no_connect_and_no_disconnect_and_order_is_kept() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        outbox.push(up(1));
        outbox.push(up(2));
        assert!(!outbox.offer(down(9)), "full");
        outbox.push(down(1));
        for _ in 0..1000 {
            outbox.push(up(1));
            outbox.push(down(1));
        }
        outbox.push(up(1));
        outbox.push(up(3));
        outbox.push(down(3));
        assert!(outbox.backlog.len() <= 3, "bounded by the peers, not by what happened");
        let mut seen = vec![receiver.recv().await.unwrap()];
        assert!(!outbox.offer(down(9)), "there is room, but others wait");
        while !outbox.backlog.is_empty() {
            assert!(outbox.advance().await);
            seen.push(receiver.recv().await.unwrap());
        }
        let seen: Vec<_> = seen
            .into_iter()
            .map(|event| match event {
                Event::Connected { peer, .. } => (peer, true),
                Event::Disconnected { peer } => (peer, false),
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        let expected = [(peer(1), true), (peer(2), true), (peer(1), false), (peer(1), true)];
        assert_eq!(seen, expected);
        assert!(outbox.offer(down(2)), "room again");
    }

    #[tokio::test]
    async fn a_node_that_is_gone_ends_the_driver() {
        let (sender, receiver) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        drop(receiver);
        assert!(!outbox.advance().await);
        outbox.push(up(1));
        assert!(!outbox.advance().await);
    }
}
