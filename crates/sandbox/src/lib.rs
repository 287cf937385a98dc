//! guildhall-sandbox
