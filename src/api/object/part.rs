//! Reads a part of an object's text: what is not wanted is skipped, not parsed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{Object, ObjectError};

/// Whether a field of `metadata`, `spec` or `status` is wanted.
pub type Wanted = fn(section: &str, field: &str) -> bool;

/// All but the account of who owns which field, which is half of a stored object.
pub const NO_ACCOUNT: Wanted = |section, field| section != "metadata" || field != "managedFields";

/// Which pod it is, and where.
pub const PLACE: Wanted = |section, field| {
    matches!((section, field), ("metadata", "name" | "namespace" | "uid") | ("spec", "nodeName"))
};

/// What label selectors ask for.
pub const LABELS: Wanted = |section, field| (section, field) == ("metadata", "labels");

impl Object {
    /// [`Object::from_slice`] of what is wanted; of all if one of the sections is no map.
    pub fn part(text: &[u8], wanted: Wanted) -> Result<Object, ObjectError> {
        let part = Part { section: "", wanted };
        match part.deserialize(&mut serde_json::Deserializer::from_slice(text)) {
            Ok(map) => Object::from_value(Value::Object(map)),
            Err(_) => Object::from_slice(text),
        }
    }
}

struct Part<'s> {
    /// "" for the whole.
    section: &'s str,
    wanted: Wanted,
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if self.section.is_empty() && matches!(key.as_str(), "metadata" | "spec" | "status") {
                let part = fields.next_value_seed(Part { section: &key, wanted: self.wanted })?;
                map.insert(key, Value::Object(part));
            } else if self.section.is_empty() || (self.wanted)(self.section, &key) {
                map.insert(key, fields.next_value()?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wanted_is_left_out() {
        let text = br#"{"metadata":{"managedFields":[{"a":{}}],"name":"a"},"kind":"Pod","spec":{"nodeName":"n","x":[1]}}"#;
        let whole = Object::from_slice(text).unwrap();
        assert!(Object::part(text, |_, _| true).unwrap() == whole);
        let mut lean = whole.clone();
        lean.remove("/metadata/managedFields");
        assert!(Object::part(text, NO_ACCOUNT).unwrap() == lean);
        let node = Object::part(text, |section, field| (section, field) == ("spec", "nodeName")).unwrap();
        assert_eq!(node.as_value().to_string(), r#"{"kind":"Pod","metadata":{},"spec":{"nodeName":"n"}}"#);
        let odd = Object::part(br#"{"spec":"x","status":{"a":1}}"#, |_, _| false).unwrap();
        assert_eq!(odd.str_at("/spec"), "x");
        for wrong in [&b"[]"[..], b"{", br#"{"metadata":3}"#] {
            assert!(Object::part(wrong, NO_ACCOUNT).is_err());
        }
    }
}
