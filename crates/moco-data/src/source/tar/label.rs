//! What the label files of samples say.

use crate::source::table::BYTE_ORDER_MARK;
use serde::{Deserialize, Serialize};

/// What a label file says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Label {
    /// A class by its name.
    Class(String),
    /// The file says that there is no label: `null`, or nothing.
    None,
    /// Nothing that can be a class: what there is instead.
    Unusable(String),
}

/// What a label is by its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Whole,
    Fraction,
    Truth,
    Text,
}

impl Form {
    pub(super) fn of(text: &str) -> Form {
        match text {
            _ if text.parse::<i64>().is_ok() => Form::Whole,
            "true" | "false" => Form::Truth,
            _ if text.parse::<f64>().is_ok_and(f64::is_finite) => Form::Fraction,
            _ => Form::Text,
        }
    }

    /// The name of labels of this form, in the plural.
    pub(super) fn name(self) -> &'static str {
        match self {
            Form::Whole => "whole numbers",
            Form::Fraction => "fractions",
            Form::Truth => "true or false",
            Form::Text => "text",
        }
    }
}

impl Label {
    pub(super) fn unusable(reason: &str) -> Label {
        Label::Unusable(reason.into())
    }

    /// The label in a `.cls` file: its text. Nothing, `null` and `None` are no label.
    pub(super) fn of_cls(bytes: &[u8]) -> Label {
        let Ok(text) = str::from_utf8(bytes) else { return Label::unusable("no text in them") };
        match text.trim_start_matches('\u{feff}').trim() {
            "" | "null" | "None" => Label::None,
            text => Label::Class(number_as_whole(text)),
        }
    }

    /// The field `label`, else `cls`, of a `.json` file. `None` if it has neither, and so is no
    /// label file.
    pub(super) fn of_json(bytes: &[u8]) -> Option<Label> {
        use serde_json::Value;
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
            return Some(Label::unusable("no JSON in them"));
        };
        Some(match value.get("label").or_else(|| value.get("cls"))? {
            Value::Null => Label::None,
            Value::Bool(truth) => Label::Class(truth.to_string()),
            Value::Number(number) => Label::Class(number_as_whole(&number.to_string())),
            Value::String(text) if text.trim().is_empty() => Label::None,
            Value::String(text) => Label::Class(text.clone()),
            Value::Array(_) | Value::Object(_) => Label::unusable("a list or object as label"),
        })
    }
}

/// A number such as `3.0` or `3e0` as `3`; any other text as it is.
fn number_as_whole(text: &str) -> String {
    let whole = |value: &f64| value.fract() == 0.0 && value.abs() < 2f64.powi(53);
    let fraction = (Form::of(text) == Form::Fraction).then(|| text.parse::<f64>().ok()).flatten();
    fraction.filter(whole).map_or_else(|| text.into(), |value| (value as i64).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> Label {
        Label::Class(text.into())
    }

    #[test]
    fn a_cls_file_is_a_number_or_text() {
        let cases = [
            (" 12\n", class("12")),
            ("3.0", class("3")),
            ("0.5", class("0.5")),
            ("-1", class("-1")),
            ("true", class("true")),
            ("\u{feff}cat\r\n", class("cat")),
            ("nan", class("nan")),
            ("\n", Label::None),
            ("None", Label::None),
        ];
        for (text, expected) in cases {
            assert_eq!(Label::of_cls(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(Label::of_cls(b"\x80\x04K\x03."), Label::unusable("no text in them"));
    }

    #[test]
    fn a_json_file_has_a_field_for_it() {
        let cases = [
            (r#"{"label": 3, "cls": 4}"#, Some(class("3"))),
            (r#"{"cls": "cat"}"#, Some(class("cat"))),
            (r#"{"label": 2.0}"#, Some(class("2"))),
            (r#"{"label": 0.25}"#, Some(class("0.25"))),
            (r#"{"label": true}"#, Some(class("true"))),
            (r#"{"label": null}"#, Some(Label::None)),
            (r#"{"label": ""}"#, Some(Label::None)),
            (r#"{"label": [1]}"#, Some(Label::unusable("a list or object as label"))),
            (r#"{"caption": "x"}"#, None),
            ("[1]", None),
            ("{", Some(Label::unusable("no JSON in them"))),
        ];
        for (text, expected) in cases {
            assert_eq!(Label::of_json(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn labels_have_forms() {
        for (text, form) in [
            ("-7", Form::Whole),
            ("0.5", Form::Fraction),
            ("false", Form::Truth),
            ("True", Form::Text),
            ("inf", Form::Text),
            ("cat", Form::Text),
        ] {
            assert_eq!(Form::of(text), form, "{text}");
        }
    }
}
