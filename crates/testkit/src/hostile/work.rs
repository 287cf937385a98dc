//! What a hostile node does with a job that it is given.

/// One way to be a bad executor. Records are scored as an echo of their input, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It does all that is asked.
    Honest,
    /// It never answers when it is asked for its hardware.
    Unanswered,
    /// It says that it is busy, and that asking again is worth it in the next geological age.
    BusyForEver,
    /// It takes the lease and the job and then says nothing.
    NeverReady,
    /// It says that it is ready, and what it is asked for, when everybody has long gone on: see `Hostile::let_go`.
    LateReady,
    /// It is ready and never sends a result.
    Mute,
    /// It is ready, and results come when everybody has long gone on.
    Late,
    /// Results come of records that it was not asked for.
    Unasked,
    /// Results come of records whose part is over, again and again.
    Again,
    /// Every result is longer than the contract allows.
    TooLong,
    /// Every result has ten thousand values of ports that do not exist, without a byte in them.
    ManyPorts,
    /// Frames with results come for ever, and there is nothing in them.
    Endless,
    /// A frame begins that has as many bytes as one may have, and they come one each tenth of a second.
    Drip,
    /// The frame says that it has four gigabytes.
    HugeFrame,
    /// It claims limits that the contract does not allow.
    OtherLimits,
    /// It signs for other results than it sent.
    OtherResults,
    /// It signs for another run.
    OtherRun,
    /// It signs with a key that is not its own.
    OtherKey,
    /// It does all the work and never signs.
    Unsigned,
    /// It does all the work and signs when it is let go. Until then its only slot is taken, and it says so.
    SignsLate,
    /// A record takes so many milliseconds, and it says that it took none.
    Slow(u64),
    /// It hangs up after so many records, in the middle of a part.
    HangsUp(u64),
}
