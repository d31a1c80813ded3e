//! Addresses of what lies on servers.

/// Whether a text is one.
pub(super) fn is_address(text: &str) -> bool {
    ["s3://", "gs://", "https://", "http://"].iter().any(|scheme| text.starts_with(scheme))
}

/// An address without what may be a secret: user, password, query and fragment.
pub(super) fn shown(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    if !scheme.starts_with("http") {
        return address.into();
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let signed = "https://me:pw@a.b:8/c%2Fd.tar?X-Amz-Signature=1#x";
        assert_eq!(shown(signed), "https://a.b:8/c%2Fd.tar");
        assert_eq!(shown("http://a?x/y@z"), "http://a");
        assert_eq!(shown("s3://bucket/a?b.tar"), "s3://bucket/a?b.tar");
    }
}
