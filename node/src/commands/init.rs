//! `guild init`: makes an org with its first node.

use std::path::PathBuf;

use guildhall_core::Identity;
use guildhall_protocol::name::OrgName;

use crate::home::{Error, Home};

/// What was made.
pub(crate) struct Made {
    pub(crate) identity: Identity,
    pub(crate) root_key: PathBuf,
}

/// Makes the home, the keys and the root key's file.
pub(crate) fn run(home: &Home, org: &OrgName, root_out: Option<PathBuf>) -> Result<Made, Error> {
    let root_key = root_out.unwrap_or_else(|| home.default_root_key());
    let identity = home.create(org, &root_key)?;
    Ok(Made { identity, root_key })
}
