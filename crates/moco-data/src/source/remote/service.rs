//! Servers that are told things and answer in JSON, by the client that reads data sets.

use super::fault::Fault;
use super::line::{Body, Line, Pulse};
use super::{naming, web};
use crate::error::Unreachable;
use crate::source::{OpenOptions, Patience, address};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, StatusCode};

/// Bytes of an answer at most.
const LARGEST: usize = 1 << 20;

/// A server, and how long it is waited for.
pub struct Service {
    client: Client,
    options: OpenOptions,
    address: String,
    authorization: Option<String>,
}

/// Why a service did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// It cannot be reached, or has no time now.
    #[error("{0}")]
    Away(String),
    /// It answers that it does not want to.
    #[error("`{host}` refuses (status {status}): {answer}")]
    Refused {
        /// Who.
        host: String,
        /// The status of its answer.
        status: u16,
        /// The beginning of its answer.
        answer: String,
    },
}

impl Service {
    /// The service at `address`, `http://` or `https://` with no path that is asked for. The header
    /// `Authorization` is `authorization`, if there is one.
    ///
    /// # Errors
    /// An address that makes no sense.
    pub fn at(
        address: &str,
        authorization: Option<String>,
        patience: Patience,
    ) -> Result<Service, ServiceError> {
        // Fails if there is one: that of the embedding program, whose choice it is, or ours.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = naming::host(address);
        let away =
            |fault: Fault| ServiceError::Away(fault.sentence(&address::shown(address), &host, 1));
        if !address.starts_with("http://") && !address.starts_with("https://") {
            return Err(away(Fault::Address));
        }
        let client = web::client(&patience).map_err(away)?;
        let options = OpenOptions { patience, ..OpenOptions::default() };
        let address = address.trim_end_matches('/').to_owned();
        Ok(Service { client, options, address, authorization })
    }

    /// What the service answers to a GET of `path`, which begins with `/`.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn get(&self, path: &str) -> Result<String, ServiceError> {
        self.ask(path, None)
    }

    /// What the service answers to `body`, a JSON text, sent to `path` by POST.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn post(&self, path: &str, body: &str) -> Result<String, ServiceError> {
        self.ask(path, Some(body))
    }

    fn ask(&self, path: &str, body: Option<&str>) -> Result<String, ServiceError> {
        let address = format!("{}{path}", self.address);
        // One of its own, which knows nothing of earlier failures: when to ask again is the caller's.
        let line = Line::new(naming::host(&self.address), &self.options);
        let answer = line.ask(&address::shown(&address), false, |pulse| {
            let request = match body {
                Some(_) => self.client.post(&address),
                None => self.client.get(&address),
            };
            let body = body.map(str::to_owned);
            let authorization = self.authorization.clone();
            async move {
                let request = match body {
                    Some(body) => request.header(CONTENT_TYPE, "application/json").body(body),
                    None => request,
                };
                let request = match authorization {
                    Some(value) => request.header(AUTHORIZATION, value),
                    None => request,
                };
                answered(request.send().await, pulse).await
            }
        });
        let (status, text) = answer.map_err(away)?;
        if status.is_success() {
            return Ok(text);
        }
        let host = naming::host(&self.address);
        let answer = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let answer = answer.chars().take(300).collect();
        Err(ServiceError::Refused { host, status: status.as_u16(), answer })
    }
}

/// The reason without the mend that concerns data sets.
fn away(Unreachable(reason): Unreachable) -> ServiceError {
    ServiceError::Away(reason.replace(", or copy the data here", ""))
}

/// The header `Authorization` of a name and a password.
pub fn basic_authorization(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Status and text of an answer; what asking again may mend is a fault.
async fn answered(
    response: Result<reqwest::Response, reqwest::Error>,
    pulse: Pulse,
) -> Result<(StatusCode, String), Fault> {
    let mut response = response.map_err(|error| Fault::of_client(&error))?;
    let status = response.status();
    if let Some(fault @ Fault::Busy { .. }) = Fault::of_status(status, response.headers())
        && status != StatusCode::INTERNAL_SERVER_ERROR
    {
        return Err(fault);
    }
    let mut body = Body::begin(LARGEST, pulse);
    while let Some(chunk) = response.chunk().await.map_err(|error| Fault::of_client(&error))? {
        body.add(&chunk)?;
    }
    Ok((status, String::from_utf8_lossy(&body.so_far()).into_owned()))
}
