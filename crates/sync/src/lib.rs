//! guildhall-sync
