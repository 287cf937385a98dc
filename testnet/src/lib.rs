//! guildhall-testnet
