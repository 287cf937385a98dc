//! Sessions: which shares stay open for requests of a few records each, who joins which, and whose end makes room.
//!
//! A [`Book`] knows the sessions that a node holds as a requester. It says of each request whether it joins one, opens
//! one or becomes a run ([`Book::ask`]), counts the requests in each, and names the session whose end frees a slot for
//! somebody who has none ([`Book::make_room`]). Of a session it keeps the caller's handle and never looks at it.
//!
//! A session is [opening](Phase::Opening) until its node is ready, then [open](Phase::Open). From the moment at which it
//! shall end it is [closing](Phase::Closing): nobody joins it, but what it took is scored, both sides sign, and whoever
//! asks for its run still finds it. It leaves the book when that is done.
//!
//! Bounds: [`SESSIONS_MAX`] in all, those that close included; [`LIKE_SESSIONS_MAX`] for the same that take requests;
//! [`SILENT_MAX`] nodes that are left alone. What goes beyond the first two becomes a run. Of the last, the one whose
//! time is over first is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use guildhall_protocol::{PublicKey, RunId};

/// Sessions of a node, each with a task, a stream and a slot somewhere. More different models than these are hardly
/// asked within the seconds that a session lasts.
pub const SESSIONS_MAX: usize = 64;

/// Sessions for the same package, place and limits: beyond these, a run spreads better.
pub const LIKE_SESSIONS_MAX: usize = 4;

/// Requests in a session from which another one for the same is worth opening: what waits is then more than one part.
pub const CROWD: usize = 8;

/// After a further session was not to be had, how long none is tried, milliseconds: slots do not come free faster.
pub const CROWDED_MS: u64 = 2_000;

/// How long no session is opened with a node that was silent, milliseconds. Runs ask it meanwhile, beside others.
pub const SILENT_MS: u64 = 60_000;

/// Nodes that are left alone at once: more than a federation has in trouble within a minute.
pub const SILENT_MAX: usize = 1_024;

/// A session's number. None is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(u64);

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A node is asked. Requests may wait for it.
    Opening,
    /// Requests are scored.
    Open,
    /// It takes no more requests; its receipt is on the way.
    Closing,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is counted in this session.
    Joined(Id),
    /// A session should be opened. There may be a crowded one, which would do.
    Open {
        /// That one. The request is not counted there yet.
        beside: Option<Id>,
    },
    /// There are as many sessions as there may be.
    Full,
}

/// What came of [`Book::open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A new session.
    New(Id),
    /// Others were faster: this one is for the same.
    Other(Id),
    /// There are as many sessions as there may be.
    Full,
}

/// The sessions of a node. `K` is what requests have in common that share a session, `H` the caller's handle of one.
#[derive(Clone, Debug)]
pub struct Book<K, H> {
    sessions: BTreeMap<Id, Session<K, H>>,
    /// Where a further session was not to be had, and until when none is tried. Only what has sessions is in here.
    crowded: BTreeMap<K, u64>,
    /// Nodes that said nothing when they should have, and until when they are left alone.
    silent: BTreeMap<PublicKey, u64>,
    opened: u64,
}

#[derive(Clone, Debug)]
struct Session<K, H> {
    key: K,
    run: RunId,
    handle: H,
    phase: Phase,
    /// The node that it is with, or that is being asked.
    node: Option<PublicKey>,
    /// Requests that wait or are being scored.
    load: usize,
    /// Whether the slot that its end frees is promised to somebody.
    is_promised: bool,
}

impl<K, H> Default for Book<K, H> {
    fn default() -> Self {
        let (sessions, crowded, silent) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { sessions, crowded, silent, opened: 0 }
    }
}

impl<K: Ord + Clone, H> Book<K, H> {
    /// What becomes of a request: it joins the least busy session for the same, unless all are crowded and another may be
    /// opened. Whoever joined [leaves](Self::leave) when it is answered or gives up.
    pub fn ask(&mut self, now_ms: u64, key: &K) -> Turn {
        let has_room = self.sessions.len() < SESSIONS_MAX;
        let Some((least, load)) = self.least(key) else {
            return if has_room { Turn::Open { beside: None } } else { Turn::Full };
        };
        let is_crowded = load >= CROWD
            && self.like(key).count() < LIKE_SESSIONS_MAX
            && self.crowded.get(key).is_none_or(|until_ms| *until_ms <= now_ms);
        if has_room && is_crowded {
            return Turn::Open { beside: Some(least) };
        }
        self.join(least);
        Turn::Joined(least)
    }

    /// Counts a request in a session; `false` if that takes none any more.
    pub fn join(&mut self, id: Id) -> bool {
        let session = self.sessions.get_mut(&id);
        let Some(session) = session.filter(|session| session.phase != Phase::Closing) else {
            return false;
        };
        session.load = session.load.saturating_add(1);
        true
    }

    /// A request that joined is answered, or nobody waits for it any more.
    pub fn leave(&mut self, id: Id) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.load = session.load.saturating_sub(1);
        }
    }

    /// Takes a new session in, unless others did so since [`ask`](Self::ask) said that one should be opened. `is_further`
    /// says whether it is one beside another for the same.
    pub fn open(&mut self, key: &K, run: RunId, is_further: bool, handle: H) -> Opened {
        let most = if is_further { LIKE_SESSIONS_MAX } else { 1 };
        match self.least(key) {
            Some((least, _)) if self.like(key).count() >= most => return Opened::Other(least),
            _ if self.sessions.len() >= SESSIONS_MAX => return Opened::Full,
            _ => {}
        }
        let id = Id(self.opened);
        self.opened = self.opened.saturating_add(1);
        let (key, node) = (key.clone(), None);
        let phase = Phase::Opening;
        let session = Session { key, run, handle, phase, node, load: 0, is_promised: false };
        self.sessions.insert(id, session);
        Opened::New(id)
    }

    /// A session asks this node now.
    pub fn handle_asking(&mut self, id: Id, node: PublicKey) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.node = Some(node);
        }
    }

    /// The node of a session is ready.
    pub fn handle_ready(&mut self, id: Id) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.phase == Phase::Opening
        {
            session.phase = Phase::Open;
        }
    }

    /// A session shall end: nobody joins it from now on.
    pub fn handle_closing(&mut self, id: Id) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.phase = Phase::Closing;
        }
    }

    /// A session is over: its receipt is kept, or there will be none. `came_about` says whether its node was ever ready.
    pub fn handle_over(&mut self, now_ms: u64, id: Id, came_about: bool) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if self.sessions.values().all(|other| other.key != session.key) {
            self.crowded.remove(&session.key);
        } else if !came_about {
            self.crowded.insert(session.key, now_ms.saturating_add(CROWDED_MS));
        }
    }

    /// The session whose end frees a slot of this node, for somebody who needs one there. It is closing from now on, if
    /// it was not already; the caller ends it and waits for that. Each is named once, since one slot serves one.
    ///
    /// One that has only to sign comes first, then the oldest that nobody waits for, then one that still scores what it
    /// took. `None` if there is none of these.
    pub fn make_room(&mut self, node: PublicKey) -> Option<Id> {
        let rank = |session: &Session<K, H>| match (session.phase, session.load) {
            (Phase::Closing, 0) => Some(0),
            (Phase::Open, 0) => Some(1),
            (Phase::Closing, _) => Some(2),
            _ => None,
        };
        let theirs = self.sessions.iter_mut().filter(|(_, session)| session.node == Some(node));
        let ranked = theirs.filter(|(_, session)| !session.is_promised);
        let ranked = ranked.filter_map(|(id, session)| Some((rank(session)?, *id, session)));
        let (_, id, session) = ranked.min_by_key(|(rank, id, _)| (*rank, *id))?;
        (session.phase, session.is_promised) = (Phase::Closing, true);
        Some(id)
    }

    /// The session of a run, until its receipt is kept.
    pub fn of_run(&self, run: RunId) -> Option<Id> {
        self.sessions.iter().find(|(_, session)| session.run == run).map(|(id, _)| *id)
    }

    /// The caller's handle of a session.
    pub fn handle(&self, id: Id) -> Option<&H> {
        self.sessions.get(&id).map(|session| &session.handle)
    }

    /// Notes that a node said nothing when it should have.
    pub fn note_silent(&mut self, now_ms: u64, node: PublicKey) {
        self.silent.retain(|_, until_ms| *until_ms > now_ms);
        self.silent.insert(node, now_ms.saturating_add(SILENT_MS));
        if self.silent.len() > SILENT_MAX {
            let first = self.silent.iter().min_by_key(|(_, until_ms)| **until_ms);
            if let Some(first) = first.map(|(node, _)| *node) {
                self.silent.remove(&first);
            }
        }
    }

    /// Whether a node is left alone.
    #[must_use]
    pub fn is_silent(&self, now_ms: u64, node: &PublicKey) -> bool {
        self.silent.get(node).is_some_and(|until_ms| *until_ms > now_ms)
    }

    /// Sessions, those that close included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The least busy session for this that takes requests, the older of equals, and its load.
    fn least(&self, key: &K) -> Option<(Id, usize)> {
        let least = self.like(key).min_by_key(|(id, session)| (session.load, **id));
        least.map(|(id, session)| (*id, session.load))
    }

    /// Sessions for this that take requests.
    fn like(&self, key: &K) -> impl Iterator<Item = (&Id, &Session<K, H>)> {
        self.sessions
            .iter()
            .filter(move |(_, session)| session.key == *key && session.phase != Phase::Closing)
    }

    /// Checks what must always hold; for tests.
    ///
    /// # Errors
    /// What does not.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        if self.sessions.len() > SESSIONS_MAX {
            return Err("there are more sessions than there may be");
        }
        let mut open: BTreeMap<&K, usize> = BTreeMap::new();
        for session in self.sessions.values() {
            let count = open.entry(&session.key).or_default();
            *count = count.saturating_add(usize::from(session.phase != Phase::Closing));
        }
        if open.values().any(|count| *count > LIKE_SESSIONS_MAX) {
            return Err("there are more sessions for the same than there may be");
        }
        if self.crowded.keys().any(|key| !open.contains_key(key)) {
            return Err("something is kept for a key without sessions");
        }
        let promised = self.sessions.values().filter(|session| session.is_promised);
        if promised.into_iter().any(|session| session.phase != Phase::Closing) {
            return Err("a slot is promised that is not about to be free");
        }
        let runs: BTreeSet<RunId> = self.sessions.values().map(|session| session.run).collect();
        if runs.len() < self.sessions.len() {
            return Err("two sessions have the same run");
        }
        if self.silent.len() > SILENT_MAX {
            return Err("more nodes are left alone than are remembered");
        }
        Ok(())
    }
}
