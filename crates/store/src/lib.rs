//! guildhall-store
