//! guildhall-node
