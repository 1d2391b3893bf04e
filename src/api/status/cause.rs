//! What is wrong with one field of an object.

use std::fmt;

use serde_json::{Map, Value};

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub reason: CauseReason,
    /// Upstream's error body, e.g. `Required value: must be set`; without the field.
    pub message: String,
    /// `spec.containers[0].image`; "" where no field is meant.
    pub field: String,
}

/// metav1 `CauseType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CauseReason {
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    NotFound,
    TooLong,
    TooMany,
    TypeInvalid,
    /// A disruption budget forbids it.
    DisruptionBudget,
    ResourceVersionTooLarge,
    /// Another writer owns the field.
    FieldManagerConflict,
    /// Nothing new comes into the namespace any more.
    NamespaceTerminating,
    /// A cause that is about no field; it has no word of its own on the wire.
    Other,
}

const CAUSES: &[(CauseReason, &str)] = &[
    (CauseReason::Required, "FieldValueRequired"),
    (CauseReason::Duplicate, "FieldValueDuplicate"),
    (CauseReason::Invalid, "FieldValueInvalid"),
    (CauseReason::NotSupported, "FieldValueNotSupported"),
    (CauseReason::Forbidden, "FieldValueForbidden"),
    (CauseReason::NotFound, "FieldValueNotFound"),
    (CauseReason::TooLong, "FieldValueTooLong"),
    (CauseReason::TooMany, "FieldValueTooMany"),
    (CauseReason::TypeInvalid, "FieldValueTypeInvalid"),
    (CauseReason::DisruptionBudget, "DisruptionBudget"),
    (CauseReason::ResourceVersionTooLarge, "ResourceVersionTooLarge"),
    (CauseReason::FieldManagerConflict, "FieldManagerConflict"),
    (CauseReason::NamespaceTerminating, "NamespaceTerminating"),
    (CauseReason::Other, ""),
];

impl CauseReason {
    pub fn as_str(self) -> &'static str {
        CAUSES.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }
}

/// Constructors, worded as upstream's `field.Error`. `value` is shown as JSON.
impl Cause {
    pub fn required(field: impl Into<String>, detail: &str) -> Cause {
        Cause::of(CauseReason::Required, field, body("Required value", None, detail))
    }
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: &str) -> Cause {
        Cause::of(CauseReason::Invalid, field, body("Invalid value", Some(value.into()), detail))
    }
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Cause {
        Cause::of(CauseReason::Duplicate, field, body("Duplicate value", Some(value.into()), ""))
    }
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Cause {
        Cause::of(CauseReason::NotFound, field, body("Not found", Some(value.into()), ""))
    }
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Cause {
        Cause::of(CauseReason::Forbidden, field, body("Forbidden", None, detail))
    }
    /// `supported` is listed in the order given.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Cause {
        let list = supported.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {list}") };
        Cause::of(CauseReason::NotSupported, field, body("Unsupported value", Some(value.into()), &detail))
    }
    pub fn too_long(field: impl Into<String>, bytes: usize) -> Cause {
        Cause::of(CauseReason::TooLong, field, format!("Too long: may not be more than {bytes} bytes"))
    }
    pub fn too_many(field: impl Into<String>, count: usize, limit: usize) -> Cause {
        Cause::of(CauseReason::TooMany, field, format!("Too many: {count}: must have at most {limit} items"))
    }
    fn of(reason: CauseReason, field: impl Into<String>, message: String) -> Cause {
        Cause { reason, message, field: field.into() }
    }
    pub(super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (key, text) in
            [("reason", self.reason.as_str()), ("message", &self.message), ("field", &self.field)]
        {
            if !text.is_empty() {
                map.insert(key.to_owned(), text.into());
            }
        }
        Value::Object(map)
    }

    pub(super) fn from_json(value: &Value) -> Cause {
        let field = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let word = field("reason");
        let reason = CAUSES.iter().find(|row| row.1 == word).map_or(CauseReason::Other, |row| row.0);
        Cause { reason, message: field("message"), field: field("field") }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

fn body(what: &str, value: Option<Value>, detail: &str) -> String {
    let mut text = what.to_owned();
    if let Some(value) = value {
        text.push_str(": ");
        text.push_str(&shorten(value.to_string()));
    }
    if !detail.is_empty() {
        text.push_str(": ");
        text.push_str(detail);
    }
    text
}

/// A message shows enough of a value to find it by, however long it is.
fn shorten(text: String) -> String {
    const LIMIT: usize = 1000;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or("")),
        None => text,
    }
}
