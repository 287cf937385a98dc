//! `node offer` and `node follow`: what the node lends, and what it keeps listings of. `node rank` is in
//! [`rank`](super::rank).

use clap::{Args, Subcommand};
use guildhall_client::package::ByteSize;
use guildhall_protocol::api::{Follows, OfferChange, Status};
use guildhall_protocol::body::HardwareOffer;
use guildhall_protocol::contract::{Hardware, NodeLimits};
use guildhall_protocol::name::{CategoryPrefix, OrgName};
use guildhall_protocol::vocabulary;

use super::category::{self, Given};
use super::federation::{list, offer_text};
use super::rank::RankArgs;
use super::{Context, Failure};

/// `guild node`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Lend hardware to the federation's members, or stop lending
    Offer(OfferArgs),
    /// Keep the listings of these categories, and answer for them
    Follow(FollowArgs),
    /// What counts how much in searches, and whom you trust; without flags, how it is
    Rank(RankArgs),
}

/// `guild node offer`.
#[derive(Clone, Debug, Args)]
pub(crate) struct OfferArgs {
    /// Jobs executed at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) slots: u32,
    /// Most memory of one stage [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// Longest time for one record, milliseconds [default: 60000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) scoring_ms: Option<u64>,
    /// Longest time for a whole job, milliseconds [default: 3600000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) total_ms: Option<u64>,
    /// Organisation to lend to; may be repeated [default: every member]
    #[arg(long, value_name = "ORG")]
    pub(crate) to: Vec<OrgName>,
    /// Lend nothing from now on
    #[arg(long, conflicts_with_all = ["slots", "memory", "scoring_ms", "total_ms", "to"])]
    pub(crate) none: bool,
}

impl From<OfferArgs> for OfferChange {
    fn from(args: OfferArgs) -> Self {
        let default = NodeLimits::default();
        let limits = NodeLimits {
            scoring_ms: args.scoring_ms.unwrap_or(default.scoring_ms),
            total_ms: args.total_ms.unwrap_or(default.total_ms),
            memory_bytes: args.memory.map_or(default.memory_bytes, |size| size.0),
            output_bytes: default.output_bytes,
        };
        let offer = HardwareOffer {
            slots: args.slots,
            hardware: Hardware::default(),
            limits,
            orgs: args.to,
        };
        Self { offer: (!args.none).then_some(offer) }
    }
}

/// `guild node follow`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FollowArgs {
    /// Categories or starts of them, `*` for all; they take the place of those followed so far
    #[arg(value_name = "CATEGORY", required = true, value_parser = category::prefix)]
    pub(crate) categories: Vec<Given<CategoryPrefix>>,
}

pub(super) async fn offer(context: &Context, args: OfferArgs) -> Result<(), Failure> {
    let status = context.client().await?.set_offer(&args.into()).await?;
    let lends = offer_text(status.offer.as_ref());
    show(context, &status, &format!("lends {lends}"))
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
