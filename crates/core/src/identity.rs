//! The keys a node speaks with, and the delegations that let it.

use guildhall_protocol::name::OrgName;
use guildhall_protocol::statement::{Delegation, Role, Signed};
use guildhall_protocol::{PublicKey, SecretKey};

/// One node's keys. The org's root key is not among them: it stays in a file of its own, away from nodes.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The org's name, as its keeper chose it.
    pub org: OrgName,
    /// The org's root key.
    pub root: PublicKey,
    /// The node's key: its overlay identity, and the author of its node's log.
    pub node: DelegatedKey,
    /// The producer's key: the author of releases and listings.
    pub producer: DelegatedKey,
}

/// A secret key with the delegation that the org's root gave it.
#[derive(Clone, Debug)]
pub struct DelegatedKey {
    /// The secret key.
    pub secret: SecretKey,
    /// The root's signed [`Delegation`] to it.
    pub delegation: Signed,
}

impl DelegatedKey {
    /// Lets `root` delegate to `secret` until `expires_ms`.
    #[must_use]
    pub fn issue(
        root: &SecretKey,
        secret: SecretKey,
        role: Role,
        issued_ms: u64,
        expires_ms: u64,
    ) -> Self {
        let delegation =
            Delegation { root: root.public(), key: secret.public(), role, issued_ms, expires_ms };
        Self { delegation: Signed::new(&delegation, root), secret }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.secret.public()
    }
}
