//! From the configuration to storage that works: credentials, the client, and a try.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore as _, ObjectStoreExt as _, PutPayload, RetryConfig,
};

use crate::backend::{Credentials, S3, Spot};
use crate::error::{OpenError, RemoteError, RemoteFault};
use crate::layout::Layout;

use super::Remote;
use super::calls::{CONNECT_MAX, RETRIES_MAX, RETRY_MAX, TRY_MAX, sort};

/// Longest file of credentials that is read, bytes: some accounts' worth.
const CREDENTIALS_MAX_BYTES: u64 = 64 * 1024;

/// Pauses between tries: they double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// What the object of a try holds.
const PROBE: &[u8] = b"guildhall looks whether it can write here";

const CONFIGURING: &str = "reading the configuration";
const PROBING: &str = "trying to list, write, read and remove";

/// Keys. Never printed.
struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Remote {
    /// Storage as configured, tried.
    pub(crate) fn connect(s3: &S3, layout: &Arc<Layout>) -> Result<Self, OpenError> {
        let (endpoint, bucket, prefix) =
            (s3.endpoint.clone(), s3.bucket.clone(), s3.prefix.trim_matches('/').to_owned());
        let spot = Spot { endpoint, bucket, prefix };
        let unusable = |source| Self::unusable(&spot, source);
        check(s3).map_err(unusable)?;
        let keys = keys(&s3.credentials).map_err(unusable)?;
        let client = ClientOptions::new()
            .with_allow_http(s3.allow_http)
            .with_timeout(TRY_MAX)
            .with_connect_timeout(CONNECT_MAX);
        let backoff =
            BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: LAST_PAUSE, base: 2.0 };
        let retry = RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_MAX };
        let mut builder = AmazonS3Builder::new()
            .with_endpoint(s3.endpoint.as_str())
            .with_bucket_name(s3.bucket.as_str())
            .with_region(s3.region.as_str())
            .with_access_key_id(keys.id)
            .with_secret_access_key(keys.secret)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(token) = keys.token {
            builder = builder.with_token(token);
        }
        let objects = builder.build().map_err(|error| unusable(sort(CONFIGURING, &error)))?;
        let remote = Self::new(Arc::new(objects), spot.clone(), s3.cache_max_bytes, layout)?;
        remote.probe().map_err(unusable)?;
        Ok(remote)
    }

    /// Lists, writes, reads and removes, as will be needed. Listing comes first: some servers make a bucket that is
    /// missing when something is written.
    pub(crate) fn probe(&self) -> Result<(), RemoteError> {
        let mut name = [0; 8];
        let random = getrandom::fill(&mut name);
        random.map_err(|error| refused(PROBING, &error.to_string()))?;
        let name = format!("{:016x}", u64::from_be_bytes(name));
        let objects = Arc::clone(&self.link.objects);
        let folder: Key = self.link.prefix.clone().join("probe");
        let found = self.link.calls.ask(PROBING, async move {
            objects.list(Some(&folder)).next().await.transpose()?;
            let key = folder.join(name);
            objects.put(&key, PutPayload::from_static(PROBE)).await?;
            let found = objects.get(&key).await?.bytes().await?;
            objects.delete(&key).await?;
            Ok(found)
        })?;
        if found != PROBE {
            let cause = "what was read is not what was written";
            return Err(RemoteError::new(RemoteFault::Protocol, PROBING, cause));
        }
        Ok(())
    }
}

fn refused(doing: &'static str, cause: &str) -> RemoteError {
    RemoteError::new(RemoteFault::Configuration, doing, cause)
}

/// What the client would notice late, or not at all.
fn check(s3: &S3) -> Result<(), RemoteError> {
    let wrong = |cause| Err(refused(CONFIGURING, cause));
    let is_plain = s3.endpoint.starts_with("http://");
    if !is_plain && !s3.endpoint.starts_with("https://") {
        return wrong("the endpoint has to begin with https:// or http://");
    }
    if is_plain && !s3.allow_http {
        return wrong("the endpoint is plain http, which has to be allowed with allow_http");
    }
    if s3.bucket.is_empty() || s3.region.is_empty() {
        return wrong("bucket and region have to be named");
    }
    let names = [&s3.endpoint, &s3.bucket, &s3.prefix, &s3.region];
    if names.iter().any(|name| name.contains(char::is_control)) {
        return wrong("a name has characters that cannot be printed");
    }
    match Key::parse(&s3.prefix) {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(CONFIGURING, &format!("the prefix is no path: {error}"))),
    }
}

fn keys(credentials: &Credentials) -> Result<Keys, RemoteError> {
    match credentials {
        Credentials::Environment => {
            let var = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
            let (id, secret) = (var("AWS_ACCESS_KEY_ID"), var("AWS_SECRET_ACCESS_KEY"));
            let (Some(id), Some(secret)) = (id, secret) else {
                let cause = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set";
                return Err(refused(CONFIGURING, cause));
            };
            Ok(Keys { id, secret, token: var("AWS_SESSION_TOKEN") })
        }
        Credentials::File(path) => from_file(path),
    }
}

fn from_file(path: &Path) -> Result<Keys, RemoteError> {
    let mut text = String::new();
    let read = File::open(path);
    let read = read.and_then(|file| file.take(CREDENTIALS_MAX_BYTES).read_to_string(&mut text));
    read.map_err(|error| refused(CONFIGURING, &format!("{}: {error}", path.display())))?;
    parse_keys(&text).ok_or_else(|| {
        let wanted = "aws_access_key_id and aws_secret_access_key";
        refused(CONFIGURING, &format!("{} does not have {wanted}", path.display()))
    })
}

/// The keys of the first section.
fn parse_keys(text: &str) -> Option<Keys> {
    let (mut id, mut secret, mut token) = (None, None, None);
    let mut sections = 0;
    for line in text.lines().map(str::trim) {
        sections += usize::from(line.starts_with('['));
        if sections > 1 {
            break;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match name.trim() {
            "aws_access_key_id" => id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Some(Keys { id: id?, secret: secret?, token })
}

#[cfg(test)]
mod tests {
    use super::parse_keys;

    #[test]
    fn keys_come_from_the_first_section_only() {
        let keys = parse_keys(
            "# comment\n[default]\naws_access_key_id = A\naws_secret_access_key=s=/+\n\n[other]\naws_access_key_id = B\naws_session_token = t",
        );
        let keys = keys.expect("are there");
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.token), ("A", "s=/+", None));
        assert!(parse_keys("aws_access_key_id = A").is_none());
        assert!(parse_keys("[a]\naws_access_key_id = A\n[b]\naws_secret_access_key = s").is_none());
    }
}
