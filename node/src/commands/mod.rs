//! The commands that work on this machine rather than through a running node's API.

pub(crate) mod init;
pub(crate) mod up;
