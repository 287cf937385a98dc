//! What happens to a node, and what it decides to do about it.

use guildhall_protocol::api::AskOutcome;
use guildhall_protocol::body::{Confirmation, Demand, Forked, NodeBody, Unmet, Yank};
use guildhall_protocol::name::{CategoryPrefix, OrgName, Reference};
use guildhall_protocol::query::{PageMark, Query, Suggestion};
use guildhall_protocol::record::Record;
use guildhall_protocol::wire::{OfferRequest, Request, Response};
use guildhall_protocol::{Hash, PackageId, PublicKey, RecordId, api};

use guildhall_sync::Contradiction;

use crate::lend::NotNow;

/// Names a request that this node sent, until its response comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Names a request that a peer sent, until it is answered. Chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyId(pub u64);

/// Names a gossip message until its verdict is given. Chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GossipId(pub u64);

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// A connection is open; nothing is known of the peer but its key.
    Connected {
        /// Who.
        peer: PublicKey,
    },
    /// The last connection to a peer is gone.
    Disconnected {
        /// Who.
        peer: PublicKey,
    },
    /// A peer asks.
    Request {
        /// Who.
        peer: PublicKey,
        /// To be answered under this name.
        reply: ReplyId,
        /// What.
        request: Request,
    },
    /// A request of ours was answered, or could not be delivered.
    Response {
        /// Which.
        call: CallId,
        /// The answer, or why there is none.
        result: Result<Response, String>,
    },
    /// A record came by gossip from an admitted peer.
    Gossip {
        /// The neighbour that passed it on.
        from: PublicKey,
        /// To be judged under this name.
        message: GossipId,
        /// The record's bytes.
        bytes: Vec<u8>,
    },
    /// A record that this node wrote is on disk.
    Wrote(Box<Record>),
    /// A requester asks this node.
    Search {
        /// Names the question; unguessable, because it is shown as the query's id.
        ask: Hash,
        /// What is asked.
        query: Box<Query>,
    },
    /// Somebody at this node fetched a package, ran it or put it into a pipeline.
    Used {
        /// The query that led there, if it was named.
        query_id: Option<Hash>,
        /// What was used.
        package: PackageId,
    },
    /// The DHT named holders for a question.
    Holders {
        /// What [`Effect::FindHolders`] called it.
        ask: Hash,
        /// Nodes that say they hold the category, strangers among them.
        peers: Vec<PublicKey>,
    },
    /// A complete package is on disk.
    PackageHeld(PackageId),
    /// A package is not on disk any more.
    PackageDropped(PackageId),
    /// Time passed; comes about once a second.
    Tick,
    /// Time passed that no tick counted: the machine slept, or the node was too busy to tick.
    Missed {
        /// How much, milliseconds.
        ms: u64,
    },
}

/// Something is to be done. Effects are carried out in the order in which they were returned.
#[derive(Debug)]
pub enum Effect {
    /// Send a request; its response comes back under `call`.
    Call {
        /// Its name.
        call: CallId,
        /// To whom.
        peer: PublicKey,
        /// What.
        request: Request,
    },
    /// Answer a peer.
    Respond {
        /// Which request.
        reply: ReplyId,
        /// The answer.
        response: Response,
    },
    /// Hold a peer's question for hardware for as long as `not_now` says: ask
    /// [`grant_again`](crate::Core::grant_again) whenever something became free and now and then, and answer what it says, or
    /// with the refusal when there is no room to hold it.
    HoldOffer {
        /// Which request.
        reply: ReplyId,
        /// Who asks.
        peer: PublicKey,
        /// The key of its org's root.
        root: PublicKey,
        /// What it asks.
        offer: Box<OfferRequest>,
        /// Why it is not granted yet.
        not_now: NotNow,
    },
    /// Answer a peer with a page of a log from the store.
    RespondRecords {
        /// Which request.
        reply: ReplyId,
        /// Whose log.
        author: PublicKey,
        /// From which position on.
        from_seq: u64,
        /// Listing bodies outside these categories are left out.
        follows: Vec<CategoryPrefix>,
    },
    /// Answer a peer with listing records from the store.
    RespondListings {
        /// Which request.
        reply: ReplyId,
        /// The records, best first.
        listings: Vec<RecordId>,
    },
    /// Tell the overlay what to do with a gossip message.
    Verdict {
        /// Which message.
        message: GossipId,
        /// What to do.
        verdict: Verdict,
    },
    /// Keep records.
    Store(Vec<Record>),
    /// Spread a record.
    Publish(Box<Record>),
    /// Write a record into the node's log, as [`Core::write_as_node`](crate::Core::write_as_node) does: an org comes in.
    Confirm(Confirmation),
    /// Write a record into the node's log, as [`Core::write_as_node`](crate::Core::write_as_node) does: what was missed
    /// here. Should it not get there, it comes again.
    Tell(Demand),
    /// Another org missed what it had not missed before; for whoever wants to be told.
    Demanded {
        /// Who.
        org: OrgName,
        /// What.
        news: Vec<Unmet>,
    },
    /// A log was stopped by a contradiction. Read what stands at the position, if it is not here, and write what
    /// [`Core::fork_proof`](crate::Core::fork_proof) makes of the two into the node's log.
    ProveFork(Contradiction),
    /// A key is in quarantine from now on.
    Quarantined(Forked),
    /// Let a peer take part in everything. It comes again when the peer's org is another one than was said before.
    Admit {
        /// Who.
        peer: PublicKey,
        /// The root key of its org, which shares the bounds that hold for one org.
        org: PublicKey,
    },
    /// Cut a peer off, and forget what it said in the DHT. It may be away already.
    Expel {
        /// Who.
        peer: PublicKey,
    },
    /// Forget what nodes of an org that is no longer a member said in the DHT, also of those that are away.
    ForgetOrg {
        /// The org's root key.
        org: PublicKey,
    },
    /// Remember where a peer listens.
    SetKnown {
        /// Who.
        peer: PublicKey,
        /// Where.
        addresses: Vec<String>,
    },
    /// Try to connect.
    Dial {
        /// To whom.
        peer: PublicKey,
        /// Where, by its own node record.
        addresses: Vec<String>,
    },
    /// Say in the DHT that this node has something.
    Provide(Hash),
    /// Say it no longer. Who has heard it may believe it for some time.
    Withdraw(Hash),
    /// Ask the DHT who has one of these; the union comes back as [`Event::Holders`].
    FindHolders {
        /// Names the lookup: the same for everybody who asks the same.
        ask: Hash,
        /// Keys to look up.
        keys: Vec<Hash>,
    },
    /// Answer a requester.
    Answer {
        /// The question.
        ask: Hash,
        /// The answer.
        found: Box<Found>,
    },
    /// Tell a requester that there is no such page.
    NoPage {
        /// The question.
        ask: Hash,
        /// Why not.
        why: PageFault,
    },
    /// A version was taken back by its producer.
    Yanked {
        /// `org/name@version`.
        reference: Reference,
        /// What it says.
        yank: Box<Yank>,
        /// The producer's clock, milliseconds since 1970.
        time_ms: u64,
    },
    /// Something was refused or dropped; for the log.
    Note(String),
}

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFault {
    /// The answer that it is of is not remembered any more.
    Forgotten,
    /// It is of another query.
    OtherQuery,
    /// No page of that answer began there.
    NotShown,
}

/// What becomes of a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// It is bad, and so is who sent it.
    Reject,
    /// Do not pass it on; nobody is to blame.
    Ignore,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Ranked results.
    pub results: Vec<Suggestion>,
    /// Versions that answer, on all pages.
    pub total: u64,
    /// Names the next page.
    pub next: Option<PageMark>,
    /// Counts by dimension, if they were asked for.
    pub facets: Vec<api::Facet>,
    /// What may have been meant.
    pub did_you_mean: Vec<api::Correction>,
    /// When nothing was found: what was nearest.
    pub nearest: Vec<api::Near>,
    /// When nothing was found: how much each criterion excludes.
    pub excluded: Vec<api::Excluded>,
    /// How they were found.
    pub via: api::Via,
    /// Nodes that were asked.
    pub asked: u64,
    /// Nodes that answered in time.
    pub answered: u64,
    /// Holders that the DHT named.
    pub holders: u64,
    /// Each node that was asked, in this order.
    pub nodes: Vec<NodeAsked>,
    /// How old the oldest part of it may be, seconds: since this node last compared its records with another, or since
    /// a node was asked whose answer is remembered. `None` when it never heard from another.
    pub age_s: Option<u64>,
    /// What was left out, in words.
    pub notes: Vec<String>,
}

/// What became of asking a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAsked {
    /// The node.
    pub node: PublicKey,
    /// Its org.
    pub org: OrgName,
    /// What became of it.
    pub outcome: AskOutcome,
    /// Listings it named that hold.
    pub listings: u64,
    /// Listings it named that were refused.
    pub refused: u64,
    /// How long it took, milliseconds; of a remembered answer, how old that is.
    pub ms: u64,
}

/// Questions that one org's nodes asked this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueriesServed {
    /// Those that were answered.
    pub answered: u64,
    /// Those that came too fast.
    pub refused: u64,
}

/// What a node knows of another node: the newest node record of its log.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// The org's root key.
    pub root: PublicKey,
    /// Position of the record in the node's log.
    pub seq: u64,
    /// What the record says.
    pub body: NodeBody,
}
