//! The features of a data set as Hugging Face's library writes them into a file, in their order.

use ::parquet::file::metadata::FileMetaData;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A column as Hugging Face describes it.
pub(super) struct Feature {
    /// The column's name; a field `b` of a struct `a` is `a.b`.
    pub name: String,
    /// The kind of what it holds, such as `Image` or `ClassLabel`.
    pub kind: String,
    /// Names of its classes.
    pub names: Option<Vec<String>>,
}

/// All features of a file, in the order in which they are written; none if it does not say.
pub(super) fn features(metadata: &FileMetaData) -> Vec<Feature> {
    let pairs = metadata.key_value_metadata().into_iter().flatten();
    let text = pairs.filter(|pair| pair.key == "huggingface").find_map(|pair| pair.value.as_ref());
    let Some(Ok(json)) = text.map(|text| serde_json::from_str::<Json>(text)) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    if let Some(features) = json.get("info").and_then(|info| info.get("features")) {
        collect(features, "", &mut all);
    }
    all
}

fn collect(fields: &Json, prefix: &str, all: &mut Vec<Feature>) {
    let Json::Object(fields) = fields else { return };
    for (name, value) in fields {
        let name = format!("{prefix}{name}");
        match value.get("_type") {
            Some(Json::Text(kind)) => {
                all.push(Feature {
                    name,
                    kind: kind.clone(),
                    names: value.get("names").map(texts),
                });
            }
            _ => collect(value, &format!("{name}."), all),
        }
    }
}

fn texts(list: &Json) -> Vec<String> {
    let text = |item: &Json| match item {
        Json::Text(text) => text.clone(),
        _ => String::new(),
    };
    match list {
        Json::List(items) => items.iter().map(text).collect(),
        _ => Vec::new(),
    }
}

/// JSON whose objects keep their order, which `serde_json`'s own do only if some crate of the
/// program asks for it.
#[derive(Debug, PartialEq)]
enum Json {
    Object(Vec<(String, Json)>),
    List(Vec<Json>),
    Text(String),
    Other,
}

impl Json {
    fn get(&self, name: &str) -> Option<&Json> {
        let Json::Object(fields) = self else { return None };
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.into()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_keep_the_order_in_which_they_are_written() {
        let text = r#"{"z": {"_type": "Image", "mode": null}, "n": {"b": {"_type": "Image"},
            "a": {"dtype": "int64", "_type": "Value"}}, "l": [{"_type": "Image"}],
            "c": {"names": ["x", "y"], "_type": "ClassLabel"}, "f": {"_type": "List", "length": -1}}"#;
        let mut all = Vec::new();
        collect(&serde_json::from_str(text).unwrap(), "", &mut all);
        let found: Vec<_> = all.iter().map(|f| (&*f.name, &*f.kind)).collect();
        let expected = [
            ("z", "Image"),
            ("n.b", "Image"),
            ("n.a", "Value"),
            ("c", "ClassLabel"),
            ("f", "List"),
        ];
        assert_eq!(found, expected);
        assert_eq!(all[3].names.as_deref().unwrap(), ["x", "y"]);
    }
}
