//! Lending hardware: which jobs this node promises to execute, for whom.

use guildhall_federation::Authority;
use guildhall_pipeline::lease::{Asker, Opened, Policy};
use guildhall_protocol::wire::{JobSpec, Lease, OfferRequest, Refusal, Response};
use guildhall_protocol::{Hash, PublicKey};

use crate::node::Core;

impl Core {
    pub(crate) fn handle_offer(
        &mut self,
        now_ms: u64,
        peer: PublicKey,
        authority: &Authority,
        request: &OfferRequest,
    ) -> Response {
        let asker = match authority.root == self.me.root {
            true => Asker::OwnOrg,
            false => Asker::Member(&authority.org),
        };
        match self.grant(now_ms, request, asker, peer) {
            Ok(lease) => Response::Lease(lease),
            Err(refusal) => Response::Refused(refusal),
        }
    }

    /// Promises this node's own hardware to a run of its own.
    ///
    /// # Errors
    /// [`Refusal`] when an engine is missing or every slot is taken.
    pub fn grant_own(&mut self, now_ms: u64, request: &OfferRequest) -> Result<Lease, Refusal> {
        self.grant(now_ms, request, Asker::ThisNode, self.me.node.public())
    }

    fn grant(
        &mut self,
        now_ms: u64,
        request: &OfferRequest,
        asker: Asker<'_>,
        node: PublicKey,
    ) -> Result<Lease, Refusal> {
        let lease = self.next_lease_id(now_ms);
        let policy =
            Policy { offer: self.settings.offer.as_ref(), engines: &self.settings.engines };
        self.leases.grant(now_ms, request, policy, (asker, node), lease)
    }

    /// Follows from a secret, so nobody can guess it; never repeats within a start, and hardly between two.
    fn next_lease_id(&mut self, now_ms: u64) -> Hash {
        self.leases_granted += 1;
        let mut bytes = self.settings.lease_seed.as_bytes().to_vec();
        bytes.extend_from_slice(&now_ms.to_le_bytes());
        bytes.extend_from_slice(&self.leases_granted.to_le_bytes());
        Hash::of(&bytes)
    }

    /// Redeems a lease; the job may start.
    ///
    /// # Errors
    /// [`Refusal`] for the requester's node.
    pub fn open_lease(
        &mut self,
        now_ms: u64,
        spec: &JobSpec,
        from: PublicKey,
    ) -> Result<Opened, Refusal> {
        self.leases.open(now_ms, spec, from)
    }

    /// A job is over; its slot is free.
    pub fn close_lease(&mut self, lease: &Hash) {
        self.leases.close(lease);
    }
}
