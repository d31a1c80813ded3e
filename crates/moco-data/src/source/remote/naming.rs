//! What objects are called and kept by.

use crate::source::address::shown;
use crate::source::listing::Fnv;
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// Names of files that tell what is in them, the longest first.
const ENDINGS: [&str; 4] = [".tar.gz", ".tgz", ".tar", ".parquet"];

/// Beginnings of the names in queries that sign a link and say nothing of where it leads.
const SIGNATURES: [&str; 12] = [
    "x-amz-",
    "x-goog-",
    "awsaccesskeyid",
    "googleaccessid",
    "signature",
    "expires",
    "policy",
    "key-pair-id",
    "token",
    "access_token",
    "sig",
    "se",
];

/// The server of an address, as a message names it.
pub(super) fn host(address: &str) -> String {
    let shown = shown(address);
    let (scheme, rest) = shown.split_once("://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    if scheme.starts_with("http") { host.into() } else { format!("{scheme}://{host}") }
}

/// Stands for where an address leads: two links to one object that were signed at different times
/// have the same.
pub(super) fn identity(address: &str) -> u64 {
    let mut hash = Fnv::new();
    hash.feed(shown(address).as_bytes());
    let query = address.split('#').next().and_then(|text| text.split_once('?'));
    for pair in query.map_or("", |(_, query)| query).split('&') {
        let name = pair.split('=').next().unwrap_or_default().to_lowercase();
        let signs = |known: &str| match known.len() {
            // Names of Azure, too short to be beginnings.
            ..=3 => name == known,
            _ => name.starts_with(known),
        };
        if !SIGNATURES.into_iter().any(signs) {
            hash.feed(&[0]);
            hash.feed(pair.as_bytes());
        }
    }
    hash.0
}

/// The address that an object is called by, whose ending says what it is: that of the address, else
/// of the name that the server gives, else as the first bytes have it.
pub(super) fn called(shown: &str, given: Option<&str>, head: &Bytes) -> PathBuf {
    let (folder, file) = shown.rsplit_once('/').unwrap_or(("", shown));
    let given = given.filter(|name| !name.is_empty());
    let names = [Some(file), given];
    let known = names.into_iter().flatten().find(|name| ending(name).is_some());
    let mut name = known.or(given).unwrap_or(file).to_string();
    let stem = ending(&name).map_or(name.len(), |ending| name.len() - ending.len());
    if let Some(kind) = kind(head)
        && ending(&name) != Some(kind)
        && (kind, ending(&name)) != (".tar.gz", Some(".tgz"))
    {
        name.truncate(stem);
        name.push_str(kind);
    }
    PathBuf::from(format!("{folder}/{name}"))
}

/// The ending that fits the first bytes of a file.
fn kind(head: &Bytes) -> Option<&'static str> {
    if is_gzip(head) {
        Some(".tar.gz")
    } else if head.starts_with(b"PAR1") {
        Some(".parquet")
    } else if head.get(257..262) == Some(b"ustar") {
        Some(".tar")
    } else {
        None
    }
}

/// Whether bytes are the first of a gzipped file.
pub(super) fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b])
}

fn ending(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    ENDINGS.into_iter().find(|ending| name.ends_with(ending))
}

/// The file's name in a header `Content-Disposition`.
pub(super) fn disposition_name(header: &str) -> Option<String> {
    let (_, rest) = header.split_once("filename=")?;
    let name = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split(';').next()?.trim(),
    };
    Path::new(name.rsplit(['/', '\\']).next()?).to_str().map(String::from)
}

/// A name for a file in the cache.
pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let safe = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
    let chars: Vec<char> = name.chars().map(safe).collect();
    // The end tells what it is.
    chars[chars.len().saturating_sub(80)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_no_secrets() {
        assert_eq!(host("https://me:pw@a.b:8/c.tar?x"), "a.b:8");
        assert_eq!(host("s3://bucket/a.tar"), "s3://bucket");
    }

    #[test]
    fn signatures_do_not_make_another_object() {
        let of = |query: &str| identity(&format!("https://a/b.tar?{query}"));
        assert_eq!(of("id=1&X-Amz-Signature=a&Expires=1"), of("id=1&X-Amz-Signature=b&Expires=2"));
        assert_ne!(of("id=1"), of("id=2"));
        assert_ne!(of("seed=1"), of("seed=2"));
    }

    #[test]
    fn names_tell_what_is_there() {
        let called = |shown: &str, given: Option<&str>, head: &'static [u8]| {
            super::called(shown, given, &Bytes::from_static(head)).to_str().unwrap().to_string()
        };
        assert_eq!(called("http://a/b.tar", None, b""), "http://a/b.tar");
        assert_eq!(called("http://a/get", Some("x.tar"), b""), "http://a/x.tar");
        assert_eq!(called("http://a/get", None, b"PAR1"), "http://a/get.parquet");
        assert_eq!(called("http://a/b.tar", None, b"\x1f\x8b"), "http://a/b.tar.gz");
        assert_eq!(called("http://a/b.tgz", None, b"\x1f\x8b"), "http://a/b.tgz");
        assert_eq!(called("http://a/get", None, b"text"), "http://a/get");
    }

    #[test]
    fn names_in_headers() {
        let name = |header| disposition_name(header).unwrap();
        assert_eq!(name("attachment; filename=\"../a b.tar\"; x=y"), "a b.tar");
        assert_eq!(name("attachment; filename=a.tar; x=y"), "a.tar");
        assert_eq!(disposition_name("inline"), None);
    }
}
