//! Text that is safe where it stands, and pictures within the page.

use super::data::Picture;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Text as it may stand between tags or in a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

/// JSON as it may stand in a `script` element: nothing in it ends the element or begins a comment.
pub(super) fn json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A picture as an address that holds it.
pub(super) fn data_uri(picture: &Picture) -> String {
    format!("data:image/{};base64,{}", picture.format, STANDARD.encode(&picture.bytes))
}

/// Whole numbers below 65536 as base64 of two bytes each, the lower first.
pub(super) fn packed(values: impl IntoIterator<Item = u16>) -> String {
    let bytes: Vec<u8> = values.into_iter().flat_map(u16::to_le_bytes).collect();
    STANDARD.encode(bytes)
}

/// A number with as many digits as a reader wants.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    match () {
        () if !value.is_finite() => "no number".to_owned(),
        () if size == 0.0 => "0".to_owned(),
        () if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        () if size >= 100.0 => format!("{value:.0}"),
        () if size >= 10.0 => format!("{value:.1}"),
        () if size >= 1.0 => format!("{value:.2}"),
        () => format!("{value:.4}"),
    }
}

/// `1 image`, `2 images`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_become_neither_tags_nor_the_end_of_a_script() {
        let name = "</script><img src=x onerror='a()'>&\n";
        assert!(!escape(name).contains(['<', '>', '\'', '\n']));
        let text = json(&json!([name]));
        assert!(!text.contains(['<', '>', '&']));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!([name]));
    }

    #[test]
    fn digits_are_those_that_matter() {
        let text = [0.0, 1.0, 12.34, 1234.5, 0.01234, 1e-6, f64::NAN].map(number);
        assert_eq!(text, ["0", "1.00", "12.3", "1234", "0.0123", "1.00e-6", "no number"]);
    }
}
