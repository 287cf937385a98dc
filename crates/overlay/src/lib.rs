//! guildhall-overlay
