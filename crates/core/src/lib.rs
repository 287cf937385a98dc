//! guildhall-core
