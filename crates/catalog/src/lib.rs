//! guildhall-catalog
