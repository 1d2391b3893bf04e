//! One Kubernetes object: a JSON map with metadata accessors.
//!
//! Unknown fields survive a round trip. Paths are JSON pointers (RFC 6901): `/spec/nodeName`,
//! `/metadata/labels/app.kubernetes.io~1name`.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::time;

mod part;

pub use part::{LABELS, NO_ACCOUNT, PLACE, Wanted};

/// Why bytes or a value are no object.
#[derive(Debug)]
pub enum ObjectError {
    /// The bytes are not JSON.
    Parse { source: serde_json::Error },
    /// The JSON is not a map; `found` is what it is instead.
    NotMap { found: &'static str },
    /// `metadata` is there and is not a map.
    Metadata { found: &'static str },
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectError::Parse { .. } => write!(f, "failed to parse the object as JSON"),
            ObjectError::NotMap { found } => write!(f, "an object must be a JSON map, not {found}"),
            ObjectError::Metadata { found } => write!(f, "`metadata` must be a JSON map, not {found}"),
        }
    }
}

impl std::error::Error for ObjectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ObjectError::Parse { source } => Some(source),
            _ => None,
        }
    }
}

/// A Kubernetes object. Invariant: the value is a map.
#[derive(Clone, PartialEq)]
pub struct Object(Value);

/// How every text made by [`Object::to_vec`] begins.
const METADATA_FIRST: &[u8] = b"{\"metadata\":{";

impl Object {
    /// Parses JSON text. Of duplicate keys the last one counts.
    pub fn from_slice(text: &[u8]) -> Result<Object, ObjectError> {
        let value = serde_json::from_slice(text).map_err(|source| ObjectError::Parse { source })?;
        Object::from_value(value)
    }

    /// Takes a parsed value; a missing or null `metadata` becomes an empty map.
    pub fn from_value(value: Value) -> Result<Object, ObjectError> {
        let Value::Object(mut map) = value else {
            return Err(ObjectError::NotMap { found: type_name(&value) });
        };
        match map.get("metadata") {
            Some(Value::Object(_)) => {}
            None | Some(Value::Null) => {
                map.insert("metadata".to_owned(), Value::Object(Map::new()));
            }
            Some(other) => return Err(ObjectError::Metadata { found: type_name(other) }),
        }
        Ok(Object(Value::Object(map)))
    }

    /// An object with nothing but its apiVersion, kind, namespace ("" for none) and name.
    pub fn new(kind: &super::Kind, namespace: &str, name: &str) -> Object {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), name.into());
        if !namespace.is_empty() {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        let mut map = Map::new();
        map.insert("apiVersion".to_owned(), kind.api_version().into());
        map.insert("kind".to_owned(), kind.kind.into());
        map.insert("metadata".to_owned(), Value::Object(metadata));
        Object(Value::Object(map))
    }

    /// Compact JSON that starts with `{"metadata":{`, so that [`with_resource_version`] can splice
    /// without parsing.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(512);
        text.extend_from_slice(b"{\"metadata\":");
        match self.at("/metadata") {
            // Writing JSON to memory can't fail: keys are strings, numbers are finite.
            Some(metadata @ Value::Object(_)) => drop(serde_json::to_writer(&mut text, metadata)),
            _ => text.extend_from_slice(b"{}"),
        }
        for (key, value) in self.as_map() {
            if key != "metadata" {
                text.push(b',');
                drop(serde_json::to_writer(&mut text, key));
                text.push(b':');
                drop(serde_json::to_writer(&mut text, value));
            }
        }
        text.push(b'}');
        text
    }

    pub fn as_value(&self) -> &Value {
        &self.0
    }

    pub fn as_map(&self) -> &Map<String, Value> {
        match &self.0 {
            Value::Object(map) => map,
            _ => unreachable!("an Object is a JSON map"),
        }
    }

    pub fn as_map_mut(&mut self) -> &mut Map<String, Value> {
        match &mut self.0 {
            Value::Object(map) => map,
            _ => unreachable!("an Object is a JSON map"),
        }
    }

    /// The value at a JSON pointer. A JSON null counts as absent, as in the Kubernetes API.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        if pointer.contains('~') {
            return self.0.pointer(pointer).filter(|value| !value.is_null());
        }
        // Nearly all pointers: nothing to unescape, which allocates.
        let mut tokens = pointer.split('/');
        if tokens.next() != Some("") {
            return None;
        }
        let found = tokens.try_fold(&self.0, |place, token| match place {
            Value::Object(map) => map.get(token),
            Value::Array(_) => place.pointer(&["/", token].concat()),
            _ => None,
        });
        found.filter(|value| !value.is_null())
    }

    pub fn at_mut(&mut self, pointer: &str) -> Option<&mut Value> {
        if pointer.is_empty() {
            return None; // the whole: it would let the map be replaced by something else
        }
        self.0.pointer_mut(pointer).filter(|value| !value.is_null())
    }

    /// The string at a pointer; "" when it is absent or no string.
    pub fn str_at(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or("")
    }

    pub fn i64_at(&self, pointer: &str) -> Option<i64> {
        self.at(pointer).and_then(Value::as_i64)
    }

    /// False when absent or no boolean.
    pub fn bool_at(&self, pointer: &str) -> bool {
        self.at(pointer).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The list at a pointer; empty when it is absent or no list.
    pub fn array_at(&self, pointer: &str) -> &[Value] {
        self.at(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub fn map_at(&self, pointer: &str) -> Option<&Map<String, Value>> {
        self.at(pointer).and_then(Value::as_object)
    }

    /// The string at a pointer as a time (RFC 3339).
    pub fn time_at(&self, pointer: &str) -> Option<SystemTime> {
        time::parse(self.str_at(pointer))
    }

    /// Sets the value at a pointer; maps on the way are created, and whatever is in the way and
    /// neither a map nor a list gives way to one. A list is entered by an existing index, `-`
    /// appends; other indices change nothing.
    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) {
        let Some(path) = pointer.strip_prefix('/') else { return };
        let mut place = &mut self.0;
        for token in path.split('/').map(unescape) {
            if let Value::Array(items) = place {
                if token == "-" {
                    items.push(Value::Null);
                }
                let index = if token == "-" { items.len() - 1 } else { token.parse().unwrap_or(usize::MAX) };
                match items.get_mut(index) {
                    Some(item) => place = item,
                    None => return,
                }
            } else {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                let Value::Object(map) = place else { return };
                place = map.entry(token).or_insert(Value::Null);
            }
        }
        *place = value.into();
    }

    /// Takes away the value at a pointer; later items of a list move up.
    pub fn remove(&mut self, pointer: &str) -> Option<Value> {
        let (parent, token) = pointer.rsplit_once('/')?;
        match self.0.pointer_mut(parent)? {
            Value::Object(map) => map.remove(&unescape(token)),
            Value::Array(items) => {
                let index = token.parse().ok().filter(|&index: &usize| index < items.len())?;
                Some(items.remove(index))
            }
            _ => None,
        }
    }

    pub fn api_version(&self) -> &str {
        self.str_at("/apiVersion")
    }
    pub fn kind(&self) -> &str {
        self.str_at("/kind")
    }
    pub fn name(&self) -> &str {
        self.str_at("/metadata/name")
    }
    pub fn namespace(&self) -> &str {
        self.str_at("/metadata/namespace")
    }
    pub fn uid(&self) -> &str {
        self.str_at("/metadata/uid")
    }
    /// 0 when absent.
    pub fn generation(&self) -> i64 {
        self.i64_at("/metadata/generation").unwrap_or(0)
    }
    /// None when absent, empty or no decimal number.
    pub fn resource_version(&self) -> Option<u64> {
        self.str_at("/metadata/resourceVersion").parse().ok()
    }
    pub fn creation_timestamp(&self) -> Option<SystemTime> {
        self.time_at("/metadata/creationTimestamp")
    }
    pub fn deletion_timestamp(&self) -> Option<SystemTime> {
        self.time_at("/metadata/deletionTimestamp")
    }
    pub fn labels(&self) -> Option<&Map<String, Value>> {
        self.map_at("/metadata/labels")
    }
    /// The value of one label; the key needs no escaping.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels()?.get(key)?.as_str()
    }
    pub fn annotations(&self) -> Option<&Map<String, Value>> {
        self.map_at("/metadata/annotations")
    }
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations()?.get(key)?.as_str()
    }
    pub fn set_label(&mut self, key: &str, value: &str) {
        self.set(&format!("/metadata/labels/{}", escape(key)), value);
    }
    pub fn set_annotation(&mut self, key: &str, value: &str) {
        self.set(&format!("/metadata/annotations/{}", escape(key)), value);
    }
    /// The condition of this type in `status`.
    pub fn condition(&self, kind: &str) -> Option<&Value> {
        self.array_at("/status/conditions").iter().find(|condition| condition["type"] == kind)
    }
    /// The status of the condition of this type: `True`, `False`, `Unknown`; "" when it is absent.
    pub fn condition_status(&self, kind: &str) -> &str {
        self.condition(kind).and_then(|condition| condition["status"].as_str()).unwrap_or("")
    }
    /// Puts a condition in the place of the one of its type. The time of its transition is kept while its status stays.
    pub fn set_condition(&mut self, mut condition: Value, now: SystemTime) {
        let mut conditions = self.array_at("/status/conditions").to_vec();
        let before = conditions.iter().position(|other| other["type"] == condition["type"]);
        let kept = before.map(|index| &conditions[index]).filter(|old| old["status"] == condition["status"]);
        let since = kept.map(|old| old["lastTransitionTime"].clone()).filter(Value::is_string);
        condition["lastTransitionTime"] = since.unwrap_or_else(|| time::format(now).into());
        match before {
            Some(index) => conditions[index] = condition,
            None => conditions.push(condition),
        }
        self.set("/status/conditions", conditions);
    }
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.array_at("/metadata/finalizers").iter().filter_map(Value::as_str)
    }
}

impl fmt::Debug for Object {
    /// Kind and name only: an object may hold secrets, and logs and panics print what is Debug.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({} {}/{})", self.kind(), self.namespace(), self.name())
    }
}

/// Adds the resource version to an object's stored text (which starts with `{"metadata":{` and holds
/// none). Text of another shape is returned as it is.
pub fn with_resource_version(stored: &[u8], revision: u64) -> Vec<u8> {
    let Some(rest) = stored.strip_prefix(METADATA_FIRST) else { return stored.to_vec() };
    let mut text = Vec::with_capacity(stored.len() + 44);
    text.extend_from_slice(METADATA_FIRST);
    text.extend_from_slice(format!("\"resourceVersion\":\"{revision}\"").as_bytes());
    if rest.first() != Some(&b'}') {
        text.push(b',');
    }
    text.extend_from_slice(rest);
    text
}

/// A key as a pointer's token (RFC 6901 section 3).
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Whether stored text has these words in it, wherever: what has not need not be parsed.
pub fn mentions(stored: &[u8], words: &str) -> bool {
    std::str::from_utf8(stored).is_ok_and(|text| text.contains(words))
}

/// A pointer's token, unescaped (RFC 6901 section 4).
fn unescape(token: &str) -> String {
    if !token.contains('~') {
        return token.to_owned();
    }
    token.replace("~1", "/").replace("~0", "~")
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn metadata_comes_first_and_the_version_is_spliced_in() {
        let pod = object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "z": [1]}));
        let text = pod.to_vec();
        assert_eq!(text, br#"{"metadata":{"name":"a"},"apiVersion":"v1","kind":"Pod","z":[1]}"#);
        let again = Object::from_slice(&with_resource_version(&text, 7)).unwrap();
        assert_eq!((again.resource_version(), again.name()), (Some(7), "a"));
        let empty = with_resource_version(&object(json!({})).to_vec(), 8);
        assert_eq!(empty, br#"{"metadata":{"resourceVersion":"8"}}"#);
    }

    #[test]
    fn set_creates_parents_and_enters_lists() {
        let mut pod = object(json!({"spec": {"containers": [{"name": "a"}]}}));
        pod.set("/spec/containers/0/image", "busybox");
        pod.set("/metadata/labels/example.org~1x", "y");
        pod.set("/spec/containers/9/image", "lost");
        pod.set("/status/conditions", json!([]));
        pod.set("/status/conditions/-", json!({"type": "Ready"}));
        assert_eq!(pod.str_at("/spec/containers/0/image"), "busybox");
        assert_eq!(pod.label("example.org/x"), Some("y"));
        assert_eq!(pod.array_at("/spec/containers").len(), 1);
        assert_eq!(pod.str_at("/status/conditions/0/type"), "Ready");
        assert_eq!(pod.remove("/metadata/labels/example.org~1x"), Some(json!("y")));
        pod.set_annotation("example.org/a~b", "z");
        assert_eq!(pod.annotation("example.org/a~b"), Some("z"));
        assert_eq!(pod.remove("/spec/containers/3"), None);
    }

    #[test]
    fn conditions_change_their_time_with_their_status() {
        let mut pod = object(json!({}));
        assert_eq!((pod.condition("Ready"), pod.condition_status("Ready")), (None, ""));
        let mut set = |status: &str, reason: &str, at: u64| {
            let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(at);
            pod.set_condition(json!({"type": "Ready", "status": status, "reason": reason}), now);
            let ready = pod.condition("Ready").unwrap();
            (ready["reason"].clone(), ready["lastTransitionTime"].clone())
        };
        assert_eq!(set("True", "A", 1), (json!("A"), json!("1970-01-01T00:00:01Z")));
        assert_eq!(set("True", "B", 2), (json!("B"), json!("1970-01-01T00:00:01Z")));
        assert_eq!(set("False", "C", 3), (json!("C"), json!("1970-01-01T00:00:03Z")));
        assert_eq!((pod.array_at("/status/conditions").len(), pod.condition_status("Ready")), (1, "False"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(matches!(Object::from_slice(b"{"), Err(ObjectError::Parse { .. })));
        assert!(matches!(Object::from_slice(b"[]"), Err(ObjectError::NotMap { .. })));
        assert!(matches!(Object::from_slice(br#"{"metadata":3}"#), Err(ObjectError::Metadata { .. })));
    }
}
