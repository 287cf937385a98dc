//! Every bound that two nodes must agree on, and why it has this value.
//!
//! Bounds of one node's own queues and caches live beside those queues; here are only the ones that decide whether
//! another node's bytes are acceptable.

/// Largest encoded record, bytes. Below gossipsub's 64 KiB message cap, which drops larger messages without a word.
pub const RECORD_MAX_BYTES: usize = 60 * 1024;

/// Deepest nesting of arrays and maps in anything we decode. Our own types nest at most nine deep.
pub const CBOR_MAX_DEPTH: usize = 16;

/// Largest manifest, bytes: 10,000 files need about 1.2 MiB, so this leaves room for six times that.
pub const MANIFEST_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Most files in one package. A manifest with this many short names stays below [`MANIFEST_MAX_BYTES`].
pub const PACKAGE_MAX_FILES: usize = 65_536;

/// Longest file name inside a package, bytes: what common file systems take for a whole relative path in archives.
pub const FILE_NAME_MAX_BYTES: usize = 255;

/// Most stages in one pipeline. Plans are shown to people; nobody reads more.
pub const PIPELINE_MAX_STAGES: usize = 64;

/// Most unit tests that travel in a package. Each is run by every verifier.
pub const PACKAGE_MAX_TESTS: usize = 256;

/// Most models that a package's code may load: a stage has one or a few, and each is in memory whole.
pub const CODE_MAX_MODELS: usize = 16;

/// Most ports on one side of an interface.
pub const INTERFACE_MAX_PORTS: usize = 64;

/// Most dimensions of a tensor type: numpy stops at 64, model formats at 8.
pub const TENSOR_MAX_RANK: usize = 16;

/// Most labels of one prediction port: ImageNet-21k has 21,841.
pub const LABELS_MAX: usize = 32_768;

/// Largest request or response of the request-response protocol, bytes: one page of sixteen whole records.
pub const MESSAGE_MAX_BYTES: usize = 1024 * 1024;

/// Largest single frame on a job stream, bytes: a value is at most this long while it travels inline.
pub const FRAME_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Largest input or output value of one record in a job, bytes; leaves room for the frame around it.
pub const VALUE_MAX_BYTES: usize = FRAME_MAX_BYTES - 64 * 1024;

/// Most records in one job until batches are split: bounds what an executor holds for one lease.
pub const JOB_MAX_RECORDS: u64 = 1_000_000;

/// How far ahead of our clock a record's time may be before it waits, milliseconds.
pub const CLOCK_SKEW_MAX_MS: u64 = 5 * 60 * 1000;

/// Longest life of a delegation, milliseconds: 90 days, so that a stolen node key dies by itself.
pub const DELEGATION_MAX_LIFE_MS: u64 = 90 * 24 * 60 * 60 * 1000;

/// Longest life of an invite, milliseconds: seven days, the time a colleague's holiday takes.
pub const INVITE_MAX_LIFE_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Shards a category is spread over in the DHT, so that a hot category does not end on twenty nodes.
pub const CATEGORY_SHARDS: u8 = 16;

/// Most results in one answer to a query.
pub const QUERY_MAX_RESULTS: usize = 100;

/// Longest free text of a query, bytes.
pub const QUERY_TEXT_MAX_BYTES: usize = 1024;

/// Longest word of a query that names a licence, a metric or an engine, bytes.
pub const QUERY_WORD_MAX_BYTES: usize = 128;

/// Longest reason of a yank and longest text of a review, bytes: some paragraphs.
pub const OPINION_MAX_BYTES: usize = 4 * 1024;

/// Kinds of unmet queries in one demand record: what a busy node sees of a day, most frequent first.
pub const DEMAND_MAX_ENTRIES: usize = 256;

/// Most category prefixes one node follows.
pub const FOLLOWS_MAX: usize = 256;

/// Most addresses in a node record.
pub const ADDRESSES_MAX: usize = 16;

/// Longest human text in a record (a summary, a reason), bytes.
pub const TEXT_MAX_BYTES: usize = 8 * 1024;

/// Longest error text a job may send back, bytes: enough to explain, too little to smuggle data out.
pub const JOB_ERROR_MAX_BYTES: usize = 1024;

/// Blobs that one `POST /blobs/known` asks about, and one small-blob request of the transfer protocol names.
pub const BLOB_QUERY_MAX: usize = 4_096;

/// Problems that one scrub names; the others are counted.
pub const SCRUB_MAX_PROBLEMS: usize = 1_000;
