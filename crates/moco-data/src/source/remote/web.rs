//! Files on plain servers, by HTTP.

use super::fault::Fault;
use super::line::{Body, Pulse};
use super::{Probe, naming};
use crate::source::Patience;
use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, IF_MATCH, LAST_MODIFIED, RANGE,
};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use std::ops::Range;

/// First bytes of a file that are asked for to learn what it is; a tar says so within them.
const HEAD: usize = 512;

/// Where a file lies. Its address stays as it was given.
#[derive(Clone)]
pub(super) struct Link {
    client: Client,
    address: String,
    /// Who asks, where the server wants to know.
    bearer: Option<String>,
}

/// The client for all files of a data set. It follows redirects, and heeds the proxies that the
/// environment names.
pub(super) fn client(patience: &Patience) -> Result<Client, Fault> {
    Client::builder()
        .user_agent(concat!("moco/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(patience.connect)
        .redirect(Policy::limited(10))
        .referer(false)
        .build()
        .map_err(|_| Fault::Address)
}

impl Link {
    pub(super) fn new(client: Client, address: &str, bearer: Option<String>) -> Link {
        Link { client, address: address.into(), bearer }
    }

    /// A request for the bytes as they are: a server that packs them on the way numbers others.
    fn get(&self) -> RequestBuilder {
        let request = self.client.get(&self.address).header(ACCEPT_ENCODING, "identity");
        match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        }
    }

    /// Asks for the first bytes, and learns the size and whether there are ranges. Not by HEAD,
    /// which many servers refuse and no link allows that is signed for GET.
    pub(super) async fn probe(self, pulse: Pulse) -> Result<Probe, Fault> {
        let request = self.get().header(RANGE, format!("bytes=0-{}", HEAD - 1));
        let mut response = request.send().await.map_err(|error| Fault::of_client(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let span = content_range(&headers);
        if status == StatusCode::RANGE_NOT_SATISFIABLE && span.as_ref().is_some_and(|s| s.1 == 0) {
            return Ok(Probe { size: Some(0), ranged: true, ..Probe::default() });
        }
        if let Some(fault) = Fault::of_status(status, &headers) {
            return Err(fault);
        }
        pulse.begin();
        let size = match &span {
            Some((range, size)) if status == StatusCode::PARTIAL_CONTENT && range.start == 0 => {
                Some(*size)
            }
            _ => None,
        };
        let mut head = BytesMut::new();
        while head.len() < HEAD
            && let Some(chunk) = response.chunk().await.map_err(|error| Fault::of_client(&error))?
        {
            pulse.add(chunk.len());
            head.extend_from_slice(&chunk);
        }
        let kind = text(&headers, CONTENT_TYPE).unwrap_or_default();
        if kind.starts_with("text/html") && head.trim_ascii_start().starts_with(b"<") {
            return Err(Fault::Page);
        }
        Ok(Probe {
            size: size.or_else(|| text(&headers, CONTENT_LENGTH)?.parse().ok()),
            ranged: size.is_some(),
            tag: text(&headers, ETAG),
            modified: text(&headers, LAST_MODIFIED),
            name: text(&headers, CONTENT_DISPOSITION)
                .and_then(|header| naming::disposition_name(&header)),
            head: head.freeze(),
        })
    }

    /// The bytes of a range of the file that `probe` saw.
    pub(super) async fn range(
        self,
        probe: Probe,
        range: Range<u64>,
        pulse: Pulse,
    ) -> Result<Bytes, Fault> {
        let mut request =
            self.get().header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        if let Some(tag) = probe.strong_tag() {
            request = request.header(IF_MATCH, tag);
        }
        let mut response = request.send().await.map_err(|error| Fault::of_client(&error))?;
        let headers = response.headers();
        if let Some(fault) = Fault::of_status(response.status(), headers) {
            return Err(fault);
        }
        let (tag, modified) = (text(headers, ETAG), text(headers, LAST_MODIFIED));
        match content_range(headers) {
            _ if !probe.is_still(tag, modified) => return Err(Fault::Changed),
            Some((_, size)) if Some(size) != probe.size => return Err(Fault::Changed),
            Some((span, _)) if span == range => {}
            _ => return Err(Fault::NoRange),
        }
        let mut body = Body::begin((range.end - range.start) as usize, pulse);
        while let Some(chunk) = response.chunk().await.map_err(|error| Fault::of_client(&error))? {
            body.add(&chunk)?;
        }
        body.whole()
    }

    /// Begins to read the whole file.
    pub(super) async fn whole(self, pulse: Pulse) -> Result<Response, Fault> {
        let response = self.get().send().await.map_err(|error| Fault::of_client(&error))?;
        if let Some(fault) = Fault::of_status(response.status(), response.headers()) {
            return Err(fault);
        }
        pulse.begin();
        Ok(response)
    }
}

/// The next bytes of a whole file, at least so many unless it ends; none at its end.
pub(super) async fn more(
    mut response: Response,
    least: usize,
    pulse: Pulse,
) -> Result<(Response, BytesMut), Fault> {
    let mut bytes = BytesMut::new();
    while bytes.len() < least
        && let Some(chunk) = response.chunk().await.map_err(|error| Fault::of_client(&error))?
    {
        pulse.add(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    Ok((response, bytes))
}

/// The range of an answer and the size of the whole: `bytes 0-511/1234`, or `bytes */0`.
fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let header = text(headers, CONTENT_RANGE)?;
    let (span, size) = header.strip_prefix("bytes ")?.trim().split_once('/')?;
    let range = match span.split_once('-') {
        Some((first, last)) => first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?,
        None => 0..0,
    };
    Some((range, size.parse().ok()?))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_string())
}
