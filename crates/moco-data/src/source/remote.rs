//! Objects on servers: `s3://`, `gs://`, `https://` and `http://`.
//!
//! Credentials, region and endpoint come from the usual variables of the environment (`AWS_*`,
//! `GOOGLE_*`). Requests are of ranges of bytes, and are repeated when a server stumbles.

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, GetOptions, GetRange, ObjectMeta, ObjectStore,
    ObjectStoreExt, RetryConfig,
};
use std::future::{self, Future};
use std::io;
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};

/// Times that a request is repeated whose answer broke off.
const ATTEMPTS: usize = 4;

/// Drives all requests, on a thread of its own.
static DRIVER: LazyLock<io::Result<Handle>> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("network".into())
        .spawn(move || runtime.block_on(future::pending::<()>()))?;
    Ok(handle)
});

/// An object whose size is known.
pub(super) struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    meta: ObjectMeta,
}

impl Object {
    /// Asks for the object's size.
    pub(super) fn open(address: &str) -> io::Result<Object> {
        let (store, path) = connect(address)?;
        let meta = retried(|| {
            let (store, path) = (Arc::clone(&store), path.clone());
            wait(async move { store.head(&path).await })
        })?;
        Ok(Object { store, path, meta })
    }

    pub(super) fn len(&self) -> u64 {
        self.meta.size
    }

    /// Changes when the object does.
    pub(super) fn version(&self) -> String {
        let tag = self.meta.e_tag.as_deref().unwrap_or_default();
        format!("{} {} {tag}", self.meta.size, self.meta.last_modified)
    }

    /// The `length` bytes at `offset`, which must exist.
    pub(super) fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        // That the object is still the same can be asked for by a strong tag alone.
        let tag = self.meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
        let bytes = retried(|| {
            let (store, path, tag) = (Arc::clone(&self.store), self.path.clone(), tag.clone());
            let range = GetRange::Bounded(offset..offset + length as u64);
            let options = GetOptions::default().with_range(Some(range)).with_if_match(tag);
            wait(async move { store.get_opts(&path, options).await?.bytes().await })
        })?;
        if bytes.len() == length {
            Ok(bytes)
        } else {
            Err(io::Error::other(format!("{} bytes came instead of {length}", bytes.len())))
        }
    }
}

/// The server and the path on it.
fn connect(address: &str) -> io::Result<(Arc<dyn ObjectStore>, Path)> {
    // Fails if there is one: that of the embedding program, whose choice it is, or ours.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = Path::from_url_path(path).map_err(io::Error::other)?;
    let store: Result<Arc<dyn ObjectStore>, Error> = match scheme {
        "s3" => AmazonS3Builder::from_env()
            .with_bucket_name(host)
            .with_retry(retry())
            .build()
            .map(|store| Arc::new(store) as _),
        "gs" => GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(host)
            .with_retry(retry())
            .build()
            .map(|store| Arc::new(store) as _),
        _ => HttpBuilder::new()
            .with_url(format!("{scheme}://{host}"))
            .with_client_options(ClientOptions::new().with_allow_http(scheme == "http"))
            .with_retry(retry())
            .build()
            .map(|store| Arc::new(store) as _),
    };
    Ok((store.map_err(io::Error::other)?, path))
}

/// Gives up within half a minute: a person may be waiting.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 5,
        retry_timeout: Duration::from_secs(30),
    }
}

/// Runs a request to its end, from whatever thread.
fn wait<T: Send + 'static>(
    request: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic {
        store: "network",
        source,
    };
    let driver = DRIVER.as_ref().map_err(|error| failed(error.to_string().into()))?;
    let (sender, receiver) = mpsc::channel();
    driver.spawn(async move {
        let _ = sender.send(request.await);
    });
    receiver.recv().map_err(|error| failed(Box::new(error)))?
}

/// The library repeats a request that gets no good answer; one whose answer breaks off is repeated
/// here.
fn retried<T>(mut request: impl FnMut() -> Result<T, Error>) -> io::Result<T> {
    let mut attempt = 1;
    loop {
        match request() {
            Ok(value) => return Ok(value),
            Err(Error::Generic { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(explain(error)),
        }
    }
}

fn explain(error: Error) -> io::Error {
    match error {
        Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, "it is not there"),
        Error::Precondition { .. } => io::Error::other("it has changed since it was opened"),
        Error::NotSupported { .. } => {
            io::Error::other("the server does not answer requests for a range of bytes")
        }
        error => io::Error::other(root_cause(&error)),
    }
}

/// The innermost reason: the outer ones name the store and the address, which are known.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
