//! What a user writes for weights.

use crate::error::{Result, WeightsError};
use std::path::PathBuf;

/// A place of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or folder of this system.
    Path(PathBuf),
    /// A file on a server, `https://...` or `http://...`.
    Address(String),
    /// A repository of Hugging Face, `hf://ORG/NAME[@REVISION][/FILE]`.
    Repository {
        /// `ORG/NAME`.
        name: String,
        /// A branch, tag or commit; `main` if none is given.
        revision: String,
        /// A file within it, instead of the one that holds its weights.
        file: Option<String>,
    },
}

impl Source {
    /// Reads what a user writes. What exists as a path is one, whatever it looks like.
    ///
    /// # Errors
    /// [`WeightsError::Source`], for a `hf://` without organisation and name, and for other schemes.
    pub fn parse(text: &str) -> Result<Source> {
        let malformed = |mend: &str| WeightsError::Source { text: text.into(), mend: mend.into() };
        if text.is_empty() {
            return Err(malformed("give a file, a folder, https://... or hf://ORG/NAME"));
        }
        if let Some(repository) = text.strip_prefix("hf://") {
            return parse_repository(repository).ok_or_else(|| {
                malformed("write hf://ORG/NAME, hf://ORG/NAME@REVISION or hf://ORG/NAME/FILE")
            });
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Source::Address(text.into()));
        }
        let path = PathBuf::from(text);
        match text.split_once("://") {
            Some(_) if !path.exists() => {
                Err(malformed("copy the file here, or give https://... or hf://ORG/NAME"))
            }
            _ => Ok(Source::Path(path)),
        }
    }
}

fn parse_repository(text: &str) -> Option<Source> {
    let (organisation, rest) = text.split_once('/')?;
    let end = rest.find(['/', '@']).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let (revision, rest) = match rest.strip_prefix('@') {
        Some(rest) => match rest.split_once('/') {
            Some((revision, file)) => (revision, Some(file)),
            None => (rest, None),
        },
        None => ("main", rest.strip_prefix('/')),
    };
    let file = rest.map(|file| file.trim_end_matches('/')).filter(|file| !file.is_empty());
    let is_name = |name: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !name.is_empty() && name.chars().all(fits) && !name.starts_with('.')
    };
    let inside = |file: &str| file.split('/').all(|part| !part.is_empty() && part != "..");
    let fits =
        is_name(organisation) && is_name(name) && is_name(revision) && file.is_none_or(inside);
    fits.then(|| Source::Repository {
        name: format!("{organisation}/{name}"),
        revision: revision.to_owned(),
        file: file.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str, revision: &str, file: Option<&str>) -> Source {
        let file = file.map(str::to_owned);
        Source::Repository { name: name.into(), revision: revision.into(), file }
    }

    #[test]
    fn what_users_write_is_understood() {
        for (text, expected) in [
            ("a/b.pth", Source::Path("a/b.pth".into())),
            ("https://host/x.pth?y", Source::Address("https://host/x.pth?y".into())),
            ("hf://org/name", repository("org/name", "main", None)),
            ("hf://org/name/", repository("org/name", "main", None)),
            ("hf://org/name@v1.0", repository("org/name", "v1.0", None)),
            ("hf://org/name/a/b.bin", repository("org/name", "main", Some("a/b.bin"))),
            ("hf://org/name@abc/x.pth", repository("org/name", "abc", Some("x.pth"))),
        ] {
            assert_eq!(Source::parse(text).ok(), Some(expected), "{text}");
        }
        for text in [
            "",
            "hf://name",
            "hf://org/",
            "hf://org/name@",
            "hf://../name",
            "hf://o/n/../x",
            "s3://bucket/x.pth",
            "hf://org/name@../x",
        ] {
            assert!(Source::parse(text).is_err(), "{text}");
        }
    }
}
