//! `node offer`, `node drain` and `node follow`: what the node lends, and what it keeps listings of. `node rank` is in
//! [`rank`](super::rank).

mod drain;
mod offer;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use guildhall_protocol::api::{Follows, Status};
use guildhall_protocol::name::CategoryPrefix;
use guildhall_protocol::vocabulary;

use super::category::{self, Given};
use super::federation::list;
use super::rank::RankArgs;
use super::{Context, Failure};

pub(super) use drain::{DrainArgs, drain};
pub(super) use offer::{OfferArgs, offer};

/// `guild node`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Lend hardware to the federation's members, or stop lending; without flags, what is lent and who uses it
    Offer(OfferArgs),
    /// Finish the jobs of others and take no more, for example before maintenance; holds over restarts
    Drain(DrainArgs),
    /// Keep the listings of these categories, and answer for them
    Follow(FollowArgs),
    /// What counts how much in searches, and whom you trust; without flags, how it is
    Rank(RankArgs),
    /// Have the root key sign for this node for another 90 days, while it is down; or give it new keys
    Renew(RenewArgs),
}

/// `guild node renew`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RenewArgs {
    /// Make new keys, because the old ones were stolen, or used by two writers; the node gets another peer id, and what
    /// such a key listed is listed again
    #[arg(long)]
    pub(crate) new_keys: bool,
    /// The organisation's root key [default: beside the home, as `guild init` puts it]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key: Option<PathBuf>,
}

/// `guild node follow`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FollowArgs {
    /// Categories or starts of them, `*` for all; they take the place of those followed so far
    #[arg(value_name = "CATEGORY", required = true, value_parser = category::prefix)]
    pub(crate) categories: Vec<Given<CategoryPrefix>>,
}

pub(super) async fn follow(context: &Context, args: FollowArgs) -> Result<(), Failure> {
    category::tell(&context.output, &args.categories);
    let follows: Vec<CategoryPrefix> = args.categories.into_iter().map(|one| one.value).collect();
    for one in &follows {
        category::warn_of(&context.output, one.as_str(), vocabulary::is_known_prefix(one));
    }
    let status = context.client().await?.set_follows(&Follows { follows }).await?;
    let follows = list(&status.follows);
    show(context, &status, &format!("follows {follows}"))
}

fn show(context: &Context, status: &Status, line: &str) -> Result<(), Failure> {
    if context.output.is_json() {
        context.output.json(status)
    } else if context.output.is_quiet() {
        Ok(())
    } else {
        context.output.line(line)
    }
}
