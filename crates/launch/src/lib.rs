//! guildhall-launch
