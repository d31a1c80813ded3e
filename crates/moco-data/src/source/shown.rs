//! Names as they are shown: those that are not UTF-8 are percent-encoded, so that they stay apart.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;

/// A name as text. Of one that is not UTF-8, each byte that belongs to no character is `%` and two
/// hexadecimal digits, and each `%` is `%25`; any other is itself, even with a `%` in it.
pub(crate) fn shown(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        out.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}

/// A name of the system's as text.
pub(crate) fn shown_os(name: &OsStr) -> Cow<'_, str> {
    shown(name.as_encoded_bytes())
}

/// Whether a name looks like one that [`shown`] had to encode: with its `%` resolved, it is not
/// UTF-8. The names that browsers and servers encode are UTF-8.
pub(crate) fn is_encoded(name: &str) -> bool {
    let encoded =
        |part: &str| part.contains('%') && std::str::from_utf8(&resolved(part.as_bytes())).is_err();
    name.split('/').any(encoded)
}

fn resolved(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let digit = |i: usize| rest.get(i).and_then(|&byte| (byte as char).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((16 * high + low) as u8);
                text = &rest[2..];
            }
            _ => {
                out.push(*first);
                text = rest;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_utf8_stay_apart() {
        assert_eq!(shown(b"caf\xe9 50%.png"), "caf%E9 50%25.png");
        assert_eq!(shown(b"\xff\xfe"), "%FF%FE");
        assert_eq!(shown("café 50%.png".as_bytes()), "café 50%.png");
        assert_ne!(shown(b"\xe9"), shown(b"\xe8"));
    }

    #[test]
    fn encoded_names_are_told_from_those_of_servers() {
        assert!(is_encoded("photos/caf%E9.png") && is_encoded(&shown(b"\xff 50%.png")));
        for name in ["caf%C3%A9.png", "100%.png", "50%25.png", "café.png", "%zz"] {
            assert!(!is_encoded(name), "{name}");
        }
    }
}
