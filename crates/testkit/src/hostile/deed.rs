//! What a hostile node does when it is asked for content.

/// One way to be a bad holder. Unless it says otherwise, manifests are served as they are, so that the lie is told
/// about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It serves what is asked for.
    Honest,
    /// One bit of this group of every piece is flipped, and of every small file if it is 0.
    WrongGroup(u64),
    /// The list of a blob's pieces is another blob's.
    WrongList,
    /// The hashes of a piece's groups are others', and the bytes fit them.
    OtherTree,
    /// Every length that is told is larger by this much.
    Longer(u64),
    /// After the reply content never ends, and none of it is right.
    Endless,
    /// A byte each second.
    Drip,
    /// Everything is right and comes as slowly as may be.
    Slow,
    /// Nothing is ever answered.
    Silent,
    /// The same for manifests too.
    SilentAboutAll,
    /// The stream ends in the middle of the content.
    BreaksOff,
    /// A reply of another kind than the request.
    OtherReply,
    /// A frame that is no CBOR.
    Gibberish,
    /// A frame that says that it has four gigabytes.
    HugeFrame,
    /// More CVs are promised than anybody has: a list for a blob of 2^60 bytes, and then CVs without end.
    EndlessList,
    /// It has nothing, whatever it claimed.
    Missing,
    /// One reply after another, whatever was asked for.
    Unasked,
}
