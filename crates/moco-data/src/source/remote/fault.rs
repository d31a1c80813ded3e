//! What can go wrong with a server, each in one sentence that names the mend.

use crate::error::causes;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::error::Error;
use std::io;
use std::time::Duration;

/// Why a request got no good answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing came for so long, or too little.
    Silent { slow: bool, limit: Duration },
    /// No connection stood in time.
    NoAnswer,
    /// Nobody listens there.
    Refused,
    /// The name has no address.
    NoSuchHost,
    /// The connection ended before the answer did.
    Broke,
    /// The server has no time now.
    Busy { status: u16, after: Option<Duration> },
    /// The server's certificate is not one that this system trusts.
    Untrusted,
    /// The server does not speak TLS.
    NotTls,
    /// The server wants to know who asks, or does not like it.
    Denied(u16),
    /// Nothing in the environment says who asks.
    NoCredentials,
    /// There is nothing of that name.
    Missing(u16),
    /// What is there is not what was there before.
    Changed,
    /// A page to look at came, not a file.
    Page,
    /// The address leads from one to another without end.
    Redirects,
    /// Ranges of bytes were answered before, and are no more.
    NoRange,
    /// Another answer than any of these.
    Status(u16),
    /// The address makes no sense.
    Address,
    /// The system gives no thread for the network.
    NoThread,
}

impl Fault {
    /// Whether asking again may help. A wrong address looks at first like a server that is down.
    pub(super) fn may_pass(&self, opening: bool) -> bool {
        match self {
            Fault::Silent { .. } | Fault::NoAnswer | Fault::Broke | Fault::Busy { .. } => true,
            Fault::NoRange => true,
            Fault::Refused | Fault::NoSuchHost => !opening,
            _ => false,
        }
    }

    /// The fault of an answer that is none of success.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap) -> Option<Fault> {
        let seconds = || headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok();
        let number = status.as_u16();
        Some(match number {
            200..=299 => return None,
            401 | 403 | 407 => Fault::Denied(number),
            404 | 410 => Fault::Missing(number),
            412 | 416 => Fault::Changed,
            408 | 429 | 500 | 502..=504 => {
                Fault::Busy { status: number, after: seconds().map(Duration::from_secs) }
            }
            _ => Fault::Status(number),
        })
    }

    /// The fault behind an error of the client.
    pub(super) fn of_client(error: &reqwest::Error) -> Fault {
        if error.is_builder() {
            return Fault::Address;
        }
        if error.is_redirect() {
            return Fault::Redirects;
        }
        of_causes(error).unwrap_or(match error.is_timeout() {
            true => Fault::NoAnswer,
            false => Fault::Broke,
        })
    }

    /// The fault behind an error of an object store.
    pub(super) fn of_store(error: &object_store::Error) -> Fault {
        use object_store::Error as E;
        match error {
            E::NotFound { .. } => Fault::Missing(404),
            E::Precondition { .. } | E::NotModified { .. } => Fault::Changed,
            E::PermissionDenied { .. } => Fault::Denied(403),
            E::Unauthenticated { .. } => Fault::Denied(401),
            E::InvalidPath { .. } => Fault::Address,
            E::NotSupported { .. } => Fault::NoRange,
            error => {
                // Without credentials, those of a machine in the cloud are asked for.
                let text = error.to_string();
                let places = ["169.254.169.254", "metadata.google", "169.254.170"];
                if places.iter().any(|place| text.contains(place)) {
                    return Fault::NoCredentials;
                }
                of_causes(error).unwrap_or(Fault::Broke)
            }
        }
    }

    /// One sentence. `subject` is the address and `host` the server, both without secrets.
    pub(super) fn sentence(&self, subject: &str, host: &str, attempts: u32) -> String {
        let times = times(attempts);
        let copy = "check the connection, or copy the data here";
        match self {
            Fault::Silent { slow: false, limit } => {
                format!("`{host}` sent nothing for {}{times}: {copy}", seconds(*limit))
            }
            Fault::Silent { slow: true, limit } => {
                format!("`{host}` sent less than 1 KB in {}{times}: {copy}", seconds(*limit))
            }
            Fault::NoAnswer => format!("`{host}` does not answer{times}: {copy}"),
            Fault::Refused => format!(
                "`{host}` refuses connections{times}: check the address, and that the server runs"
            ),
            Fault::NoSuchHost => format!(
                "no server called `{host}` is known{times}: check the address and the connection"
            ),
            Fault::Broke => format!("the connection to `{host}` broke off{times}: {copy}"),
            Fault::Busy { status, .. } => format!(
                "`{host}` is too busy to answer (status {status}{times}): try again later, or copy \
                 the data here"
            ),
            Fault::Untrusted => format!(
                "this system does not trust the certificate of `{host}`: check the address and the \
                 clock, or add the server's authority to the system's certificates"
            ),
            Fault::NotTls => format!(
                "`{host}` does not speak TLS: check the port, or write the address with http://"
            ),
            Fault::Denied(status) => format!(
                "`{subject}` is not given to us (status {status}): make a new link if it is a signed \
                 one that has expired, or check that you may read it"
            ),
            Fault::NoCredentials => format!(
                "there are no credentials for `{subject}`: set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, AWS_SKIP_SIGNATURE=true for a public bucket, or \
                 GOOGLE_APPLICATION_CREDENTIALS"
            ),
            Fault::Missing(status) => {
                format!("`{subject}` is not on the server (status {status}): check the address")
            }
            Fault::Changed => format!(
                "`{subject}` has changed on the server since it was opened: open it again, and see \
                 that it stays as it is"
            ),
            Fault::Page => format!(
                "`{subject}` is a web page and not a data set: give the address of the file itself"
            ),
            Fault::Redirects => format!(
                "`{subject}` is redirected more than ten times or to nowhere: check the address"
            ),
            Fault::NoRange => {
                format!("`{host}` no longer answers requests for a range of bytes{times}: {copy}")
            }
            Fault::Status(status) => format!(
                "`{host}` answers the request for `{subject}` with status {status}: check the address"
            ),
            Fault::Address => {
                format!("`{subject}` is not a valid address: check its spelling")
            }
            Fault::NoThread => {
                "no thread could be started for the network: raise the limit of processes".into()
            }
        }
    }
}

/// What the causes of an error say, the outermost first.
fn of_causes(error: &(dyn Error + 'static)) -> Option<Fault> {
    causes(error).find_map(|cause| {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some(match tls {
                rustls::Error::InvalidMessage(_) => Fault::NotTls,
                rustls::Error::InvalidCertificate(_) => Fault::Untrusted,
                _ => Fault::Broke,
            });
        }
        if cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_redirect) {
            return Some(Fault::Redirects);
        }
        // The client's own kinds of error have no names for others.
        if cause.to_string().contains("dns error") {
            return Some(Fault::NoSuchHost);
        }
        use io::ErrorKind as Kind;
        match cause.downcast_ref::<io::Error>()?.kind() {
            Kind::ConnectionRefused => Some(Fault::Refused),
            Kind::TimedOut | Kind::HostUnreachable | Kind::NetworkUnreachable => {
                Some(Fault::NoAnswer)
            }
            _ => None,
        }
    })
}

/// `, five times`; nothing for once.
fn times(count: u32) -> String {
    let words = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    match (count, words.get((count as usize).wrapping_sub(2))) {
        (0 | 1, _) => String::new(),
        (_, Some(word)) => format!(", {word} times"),
        (count, None) => format!(", {count} times"),
    }
}

fn seconds(time: Duration) -> String {
    match time.as_millis() {
        millis if millis.is_multiple_of(1000) => format!("{} s", millis / 1000),
        millis => format!("{} s", millis as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_is_one_sentence() {
        let fault = Fault::Silent { slow: false, limit: Duration::from_secs(30) };
        assert_eq!(
            fault.sentence("http://a/b.tar", "a", 5),
            "`a` sent nothing for 30 s, five times: check the connection, or copy the data here"
        );
        let fault = Fault::Silent { slow: true, limit: Duration::from_millis(1500) };
        assert!(fault.sentence("", "a", 1).starts_with("`a` sent less than 1 KB in 1.5 s: "));
        assert_eq!([times(2), times(10), times(11)], [", two times", ", ten times", ", 11 times"]);
    }
}
