//! guildhall-gateway
