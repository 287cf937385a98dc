//! Where a store's blobs are: chosen when it is made, remembered in its catalogue, and compared at every start.
//!
//! The row `backend` of `meta` is there if blobs are elsewhere. Its payload is text, one part a line: `s3`, the store's
//! mark (32 hex digits), whether the mark was put there (`0` or `1`), bucket, prefix, endpoint. The mark stands in an
//! object too. So a store notices when it is given another bucket, and two stores never share one: what one of them
//! needs the other would sweep away.

use std::fmt;
use std::io;
use std::path::Path;
#[cfg(feature = "s3")]
use std::path::PathBuf;
use std::sync::Arc;

use redb::{Database, ReadableDatabase as _, WriteTransaction};

use crate::error::{Fault, OpenError, fenced};
use crate::layout::Layout;
#[cfg(feature = "s3")]
use crate::remote::Remote;
use crate::shelf::{Directory, Shelf};
use crate::table::{BACKEND_KEY, META, seal, unseal};

/// What local copies of blobs that are elsewhere may take, bytes, unless said otherwise.
#[cfg(feature = "s3")]
pub const CACHE_MAX_BYTES_DEFAULT: u64 = 10 << 30;

/// Where blobs are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// In the store's own directory.
    #[default]
    Directory,
    /// In S3-compatible storage.
    #[cfg(feature = "s3")]
    S3(S3),
}

/// A place in S3-compatible storage. One place belongs to one store.
#[cfg(feature = "s3")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3 {
    /// The server's URL, without the bucket.
    pub endpoint: String,
    /// The bucket, which must be there.
    pub bucket: String,
    /// What names of objects begin with, without slashes around; may be empty.
    pub prefix: String,
    /// The region to sign for.
    pub region: String,
    /// Whether the endpoint may be plain `http`: anybody on the way reads the blobs then.
    pub allow_http: bool,
    /// Where the keys are.
    pub credentials: Credentials,
    /// What local copies may take, bytes.
    pub cache_max_bytes: u64,
}

/// Where the keys for the storage come from. They are read at the start and are never part of a message.
#[cfg(feature = "s3")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// From `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if there is one, `AWS_SESSION_TOKEN`.
    #[default]
    Environment,
    /// From the first section of a file with lines `aws_access_key_id = …` and `aws_secret_access_key = …`.
    File(PathBuf),
}

impl Backend {
    /// Gets ready to use it, and tries whether it can be used.
    pub(crate) fn connect(&self, layout: &Arc<Layout>) -> Result<Place, OpenError> {
        match self {
            Self::Directory => Ok(Place::directory(layout)),
            #[cfg(feature = "s3")]
            Self::S3(s3) => Ok(Place::Remote(Box::new(Remote::connect(s3, layout)?))),
        }
    }
}

/// A backend that is ready.
pub(crate) enum Place {
    Directory(Directory),
    #[cfg(feature = "s3")]
    Remote(Box<Remote>),
}

/// What the directory is called in messages.
const OWN_DIRECTORY: &str = "its own directory";

impl Place {
    pub(crate) fn directory(layout: &Arc<Layout>) -> Self {
        Self::Directory(Directory(Arc::clone(layout)))
    }

    /// What a new catalogue says of it.
    pub(crate) fn new_binding(&self) -> io::Result<Option<Binding>> {
        match self {
            Self::Directory(_) => Ok(None),
            #[cfg(feature = "s3")]
            Self::Remote(remote) => {
                let mut mark = [0; 16];
                getrandom::fill(&mut mark).map_err(io::Error::other)?;
                let mark = mark.iter().map(|byte| format!("{byte:02x}")).collect();
                Ok(Some(Binding { mark, is_marked: false, spot: remote.spot().clone() }))
            }
        }
    }

    /// Checks that this is the store's place, and takes a new store's in possession.
    pub(crate) fn bind(
        self,
        database: &Database,
        path: &Path,
    ) -> Result<Box<dyn Shelf>, OpenError> {
        let fault = |fault| OpenError::from_fault(path, fault);
        let found = fenced(|| Binding::of(database)).map_err(fault)?;
        let (made, asked) = (found.as_ref().map(|found| &found.spot), self.spot());
        // The server may have got another name; the mark says whether it is the same.
        let same = match (made, asked) {
            (None, None) => true,
            (Some(made), Some(asked)) => {
                (&made.bucket, &made.prefix) == (&asked.bucket, &asked.prefix)
            }
            _ => false,
        };
        if !same {
            let name = |spot: Option<&Spot>| spot.map_or(OWN_DIRECTORY.to_owned(), Spot::to_string);
            return Err(OpenError::OtherBackend { made: name(made), asked: name(asked) });
        }
        match (self, found) {
            #[cfg(feature = "s3")]
            (Self::Remote(remote), Some(found)) => {
                remote.claim(&found.mark, found.is_marked)?;
                let now = Binding {
                    mark: found.mark.clone(),
                    is_marked: true,
                    spot: remote.spot().clone(),
                };
                if now != found {
                    let written = fenced(|| {
                        crate::database::write(database, |transaction| now.put(transaction))
                    });
                    written.map_err(fault)?;
                }
                Ok(remote)
            }
            #[cfg(feature = "s3")]
            (Self::Remote(remote), None) => Ok(remote),
            (Self::Directory(directory), _) => Ok(Box::new(directory)),
        }
    }

    fn spot(&self) -> Option<&Spot> {
        match self {
            Self::Directory(_) => None,
            #[cfg(feature = "s3")]
            Self::Remote(remote) => Some(remote.spot()),
        }
    }
}

/// A place elsewhere, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) prefix: String,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, bucket, prefix } = self;
        write!(f, "bucket `{bucket}`, prefix `{prefix}`, at {endpoint}")
    }
}

/// What the catalogue says of where the blobs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) mark: String,
    /// Whether the mark was seen there.
    pub(crate) is_marked: bool,
    pub(crate) spot: Spot,
}

impl Binding {
    /// From the catalogue. A damaged row is no row, but a reason to stop.
    fn of(database: &Database) -> Result<Option<Self>, Fault> {
        let meta = database.begin_read()?.open_table(META)?;
        let Some(row) = meta.get(BACKEND_KEY)? else { return Ok(None) };
        let payload = unseal(META, BACKEND_KEY, row.value());
        let parsed = payload.and_then(|payload| Self::parse(std::str::from_utf8(payload).ok()?));
        let damaged = "the row that says where the blobs are is damaged";
        parsed.map(Some).ok_or(Fault::inconsistent(damaged))
    }

    fn parse(text: &str) -> Option<Self> {
        let [kind, mark, is_marked, bucket, prefix, endpoint] =
            text.split('\n').collect::<Vec<_>>().try_into().ok()?;
        let is_marked = match (kind, is_marked) {
            ("s3", "0") => false,
            ("s3", "1") => true,
            _ => return None,
        };
        let spot = Spot { endpoint: endpoint.into(), bucket: bucket.into(), prefix: prefix.into() };
        Some(Self { mark: mark.into(), is_marked, spot })
    }

    pub(crate) fn put(&self, transaction: &WriteTransaction) -> Result<(), Fault> {
        let Spot { endpoint, bucket, prefix } = &self.spot;
        let is_marked = u8::from(self.is_marked);
        let text = format!("s3\n{}\n{is_marked}\n{bucket}\n{prefix}\n{endpoint}", self.mark);
        let sealed = seal(META, BACKEND_KEY, &[text.as_bytes()]);
        transaction.open_table(META)?.insert(BACKEND_KEY, sealed.as_slice())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Binding, Spot};

    #[test]
    fn what_is_no_binding_is_not_taken_for_one() {
        let spot = Spot { endpoint: "http://x".into(), bucket: "b".into(), prefix: String::new() };
        let binding = Binding { mark: "ab".into(), is_marked: true, spot };
        assert_eq!(Binding::parse("s3\nab\n1\nb\n\nhttp://x"), Some(binding));
        for text in
            ["", "s3\nab\n2\nb\n\nx", "s4\nab\n1\nb\n\nx", "s3\nab\n1\nb\nx", "s3\nab\n1\nb\n\nx\n"]
        {
            assert_eq!(Binding::parse(text), None, "{text:?}");
        }
    }
}
