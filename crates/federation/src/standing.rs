//! By whose authority a key speaks, and whether that authority still holds.

use guildhall_protocol::limits::CLOCK_SKEW_MAX_MS;
use guildhall_protocol::name::OrgName;
use guildhall_protocol::record::Record;
use guildhall_protocol::statement::{Delegation, Role, Signed, StatementError};
use guildhall_protocol::{PublicKey, limits};

use crate::state::State;

/// The org that a key speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The org's root key.
    pub root: PublicKey,
    /// The org's name in this federation.
    pub org: OrgName,
}

/// Why a key does not speak for a member now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Outsider {
    /// The delegation is unreadable or not signed by its root.
    #[error("the delegation does not hold: {0}")]
    Delegation(#[from] StatementError),
    /// The delegation is for another key than the one that speaks.
    #[error("the delegation is for another key")]
    OtherKey,
    /// The delegation is for another role.
    #[error("the delegation is for the role {0:?}")]
    Role(Role),
    /// The delegation lives longer than 90 days.
    #[error("the delegation lives longer than 90 days")]
    TooLong,
    /// The delegation has expired.
    #[error("the delegation expired; its org has to renew it")]
    Expired,
    /// The delegation or record is dated in the future.
    #[error("it is dated more than five minutes in the future")]
    Future,
    /// The org is not in the federation, as far as is known here.
    #[error("its org is not a member of this federation")]
    NotMember,
}

/// Decides for which member `key` speaks in the role of a node, by the delegation that it presents.
///
/// # Errors
/// [`Outsider`] with the first thing that does not hold.
pub fn check_delegation(
    state: &State,
    signed: &Signed,
    key: PublicKey,
    now_ms: u64,
) -> Result<Authority, Outsider> {
    let delegation: Delegation = signed.open()?;
    if delegation.key != key {
        return Err(Outsider::OtherKey);
    }
    if delegation.role != Role::Node {
        return Err(Outsider::Role(delegation.role));
    }
    check_life(&delegation, now_ms)?;
    let member = state.member(&delegation.root).ok_or(Outsider::NotMember)?;
    Ok(Authority { root: delegation.root, org: member.org.clone() })
}

/// Decides whether a record that was not seen before may be taken now, apart from its author's membership: its
/// delegation must not have expired, and neither it nor the record may lie in the future.
///
/// # Errors
/// [`Outsider::Expired`], [`Outsider::Future`].
pub fn check_record(record: &Record, now_ms: u64) -> Result<(), Outsider> {
    if record.header().time_ms > now_ms.saturating_add(CLOCK_SKEW_MAX_MS) {
        return Err(Outsider::Future);
    }
    check_life(record.delegation(), now_ms)
}

fn check_life(delegation: &Delegation, now_ms: u64) -> Result<(), Outsider> {
    if delegation.expires_ms.saturating_sub(delegation.issued_ms) > limits::DELEGATION_MAX_LIFE_MS {
        Err(Outsider::TooLong)
    } else if delegation.expires_ms <= now_ms {
        Err(Outsider::Expired)
    } else if delegation.issued_ms > now_ms.saturating_add(CLOCK_SKEW_MAX_MS) {
        Err(Outsider::Future)
    } else {
        Ok(())
    }
}
