//! guildhall-federation
