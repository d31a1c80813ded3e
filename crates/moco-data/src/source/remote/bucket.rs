//! Objects in the buckets of S3 and Google Cloud Storage, and of what speaks like them.
//!
//! Credentials, region and endpoint come from the usual variables of the environment (`AWS_*`,
//! `GOOGLE_*`).

use super::Probe;
use super::fault::Fault;
use super::line::{Body, Pulse};
use crate::source::Patience;
use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientConfigKey as Setting, GetOptions, GetResult, GetResultPayload,
    ObjectStore, RetryConfig,
};
use std::future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// First bytes that are asked for to learn what an object is.
const HEAD: u64 = 512;

/// Where an object lies.
#[derive(Clone)]
pub(super) struct Key {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

impl Key {
    /// The object of an address `s3://BUCKET/PATH` or `gs://BUCKET/PATH`.
    pub(super) fn of(address: &str, patience: &Patience) -> Result<Key, Fault> {
        let (scheme, rest) = address.split_once("://").ok_or(Fault::Address)?;
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = Path::from_url_path(path).map_err(|_| Fault::Address)?;
        // Waiting and asking again are the business of `Line`.
        let connect = format!("{}ms", patience.connect.as_millis());
        let store: Result<Arc<dyn ObjectStore>, _> = match scheme {
            "s3" => AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_config(AmazonS3ConfigKey::Client(Setting::Timeout), "1day")
                .with_config(AmazonS3ConfigKey::Client(Setting::ConnectTimeout), connect)
                .with_retry(once())
                .build()
                .map(|store| Arc::new(store) as _),
            _ => GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_config(GoogleConfigKey::Client(Setting::Timeout), "1day")
                .with_config(GoogleConfigKey::Client(Setting::ConnectTimeout), connect)
                .with_retry(once())
                .build()
                .map(|store| Arc::new(store) as _),
        };
        let store = store.map_err(|error| Fault::of_store(&error))?;
        Ok(Key { store, path })
    }

    /// Asks for the first bytes and learns the size.
    pub(super) async fn probe(self, pulse: Pulse) -> Result<Probe, Fault> {
        let options = GetOptions::default().with_range(Some(0..HEAD));
        let result = self.store.get_opts(&self.path, options).await;
        let result = result.map_err(|error| Fault::of_store(&error))?;
        let meta = result.meta.clone();
        let head = body(result, HEAD as usize, pulse).await?.so_far();
        Ok(Probe {
            size: Some(meta.size),
            ranged: true,
            tag: meta.e_tag,
            modified: Some(meta.last_modified.to_string()),
            name: None,
            head,
        })
    }

    /// The bytes of a range of the object that `probe` saw.
    pub(super) async fn range(
        self,
        probe: Probe,
        range: Range<u64>,
        pulse: Pulse,
    ) -> Result<Bytes, Fault> {
        let length = (range.end - range.start) as usize;
        let tag = probe.strong_tag().map(String::from);
        let options = GetOptions::default().with_range(Some(range)).with_if_match(tag);
        let result = self.store.get_opts(&self.path, options).await;
        let result = result.map_err(|error| Fault::of_store(&error))?;
        if Some(result.meta.size) != probe.size {
            return Err(Fault::Changed);
        }
        body(result, length, pulse).await?.whole()
    }
}

async fn body(result: GetResult, length: usize, pulse: Pulse) -> Result<Body, Fault> {
    let GetResultPayload::Stream(mut stream) = result.payload;
    let mut body = Body::begin(length, pulse);
    while let Some(chunk) = future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
        body.add(&chunk.map_err(|error| Fault::of_store(&error))?)?;
    }
    Ok(body)
}

fn once() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: Duration::from_secs(3600),
    }
}
