//! `Status`: how the API says that a request failed, and why.

use std::fmt;

use serde_json::{Map, Value, json};

use super::Kind;

/// Why a request failed, in one word; each stands for one HTTP code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    Timeout,
    /// No word that midge knows; upstream's is the empty string.
    Unknown,
}

/// The one table of reasons, their words and their codes (metav1 `StatusReason*`).
const REASONS: &[(Reason, &str, u16)] = &[
    (Reason::BadRequest, "BadRequest", 400),
    (Reason::Unauthorized, "Unauthorized", 401),
    (Reason::Forbidden, "Forbidden", 403),
    (Reason::NotFound, "NotFound", 404),
    (Reason::MethodNotAllowed, "MethodNotAllowed", 405),
    (Reason::NotAcceptable, "NotAcceptable", 406),
    (Reason::AlreadyExists, "AlreadyExists", 409),
    (Reason::Conflict, "Conflict", 409),
    (Reason::Gone, "Gone", 410),
    (Reason::Expired, "Expired", 410),
    (Reason::RequestEntityTooLarge, "RequestEntityTooLarge", 413),
    (Reason::UnsupportedMediaType, "UnsupportedMediaType", 415),
    (Reason::Invalid, "Invalid", 422),
    (Reason::TooManyRequests, "TooManyRequests", 429),
    (Reason::InternalError, "InternalError", 500),
    (Reason::ServiceUnavailable, "ServiceUnavailable", 503),
    (Reason::Timeout, "Timeout", 504),
    (Reason::Unknown, "", 500),
];

impl Reason {
    pub fn as_str(self) -> &'static str {
        REASONS.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    pub fn code(self) -> u16 {
        REASONS.iter().find(|row| row.0 == self).map_or(500, |row| row.2)
    }

    fn parse(word: &str) -> Reason {
        REASONS.iter().find(|row| row.1 == word).map_or(Reason::Unknown, |row| row.0)
    }
}

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
    pub fn type_invalid(field: impl Into<String>, value: impl Into<Value>, detail: &str) -> Cause {
        Cause::of(CauseReason::TypeInvalid, field, body("Invalid value", Some(value.into()), detail))
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
    fn to_json(&self) -> Value {
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
        text.push_str(&value.to_string());
    }
    if !detail.is_empty() {
        text.push_str(": ");
        text.push_str(detail);
    }
    text
}

/// What a Status is about (metav1 `StatusDetails`). Empty strings are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// The plural for most reasons, the kind for Invalid, as upstream has it.
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    /// 0 for none; else the `Retry-After` header says the same.
    pub retry_after_seconds: u32,
}

/// A failed request: an error whose text is what kubectl prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    pub reason: Reason,
    pub message: String,
    pub details: Option<Box<Details>>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    pub fn new(reason: Reason, message: impl Into<String>) -> Status {
        Status { code: reason.code(), reason, message: message.into(), details: None }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Status {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: kind.group.to_owned(),
            kind: kind.plural.to_owned(),
            ..Details::default()
        }));
        self
    }

    pub fn not_found(kind: &Kind, name: &str) -> Status {
        let message = format!("{} \"{name}\" not found", kind.resource());
        Status::new(Reason::NotFound, message).about(kind, name)
    }
    /// 404 for a path that nothing serves.
    pub fn no_such_resource() -> Status {
        let mut status = Status::new(Reason::NotFound, "the server could not find the requested resource");
        status.details = Some(Box::default());
        status
    }
    pub fn already_exists(kind: &Kind, name: &str) -> Status {
        let message = format!("{} \"{name}\" already exists", kind.resource());
        Status::new(Reason::AlreadyExists, message).about(kind, name)
    }
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        Status::new(Reason::Conflict, message).about(kind, name)
    }
    /// 409 for a write that expected another revision.
    pub fn modified(kind: &Kind, name: &str) -> Status {
        Status::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }
    pub fn invalid(kind: &Kind, name: &str, causes: Vec<Cause>) -> Status {
        let mut texts = Vec::with_capacity(causes.len());
        for text in causes.iter().map(Cause::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list =
            if let [only] = texts.as_slice() { only.clone() } else { format!("[{}]", texts.join(", ")) };
        let whose = if kind.group.is_empty() {
            kind.kind.to_owned()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        let mut status = Status::new(Reason::Invalid, format!("{whose} \"{name}\" is invalid: {list}"));
        status.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: kind.group.to_owned(),
            kind: kind.kind.to_owned(),
            causes,
            ..Details::default()
        }));
        status
    }
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(Reason::BadRequest, message)
    }
    /// Upstream says no more than `Unauthorized`; a longer message names the way out.
    pub fn unauthorized(message: impl Into<String>) -> Status {
        Status::new(Reason::Unauthorized, message)
    }
    pub fn forbidden(message: impl Into<String>) -> Status {
        Status::new(Reason::Forbidden, message)
    }
    /// 410 for a resource version or continue token that is too old.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(Reason::Expired, message)
    }
    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        let mut status = Status::new(Reason::MethodNotAllowed, message);
        status.details = Some(Box::default());
        status
    }
    pub fn not_acceptable(accepted: &[&str]) -> Status {
        let list = accepted.join(", ");
        Status::new(Reason::NotAcceptable, format!("only the following media types are accepted: {list}"))
    }
    pub fn unsupported_media_type(accepted: &[&str]) -> Status {
        let list = accepted.join(", ");
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {list}"
        );
        Status::new(Reason::UnsupportedMediaType, message)
    }
    pub fn request_entity_too_large(limit: usize) -> Status {
        Status::new(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {limit}"))
    }
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let mut status = Status::new(Reason::TooManyRequests, message);
        status.details = Some(Box::new(Details { retry_after_seconds, ..Details::default() }));
        status
    }
    pub fn internal(message: impl fmt::Display) -> Status {
        let why = message.to_string();
        let mut status = Status::new(Reason::InternalError, format!("Internal error occurred: {why}"));
        let cause = Cause { reason: CauseReason::Other, message: why, field: String::new() };
        status.details = Some(Box::new(Details { causes: vec![cause], ..Details::default() }));
        status
    }
    pub fn service_unavailable(message: impl Into<String>) -> Status {
        Status::new(Reason::ServiceUnavailable, message)
    }
    pub fn gateway_timeout(message: impl Into<String>) -> Status {
        Status::new(Reason::Timeout, format!("Timeout: {}", message.into()))
    }

    /// Seconds for the `Retry-After` header.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.details.as_ref().map(|details| details.retry_after_seconds).filter(|&seconds| seconds > 0)
    }

    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if self.reason != Reason::Unknown {
            status["reason"] = self.reason.as_str().into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_json();
        }
        status
    }

    pub fn to_vec(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }

    /// The client's side. None when the bytes are no Status.
    pub fn from_slice(text: &[u8]) -> Option<Status> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let field = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
        if field("/kind") != "Status" {
            return None;
        }
        let reason = Reason::parse(&field("/reason"));
        let code = value.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let retry = value.pointer("/details/retryAfterSeconds").and_then(Value::as_u64).unwrap_or(0);
        let causes = value.pointer("/details/causes").and_then(Value::as_array);
        let details = value.get("details").map(|_| {
            Box::new(Details {
                name: field("/details/name"),
                group: field("/details/group"),
                kind: field("/details/kind"),
                uid: field("/details/uid"),
                causes: causes.map_or_else(Vec::new, |causes| causes.iter().map(cause_from_json).collect()),
                retry_after_seconds: u32::try_from(retry).unwrap_or(u32::MAX),
            })
        });
        Some(Status { code: code.unwrap_or(reason.code()), reason, message: field("/message"), details })
    }
}

impl Details {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (key, text) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !text.is_empty() {
                map.insert(key.to_owned(), text.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            map.insert("causes".to_owned(), self.causes.iter().map(Cause::to_json).collect());
        }
        if self.retry_after_seconds > 0 {
            map.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        Value::Object(map)
    }
}

fn cause_from_json(value: &Value) -> Cause {
    let field = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let word = field("reason");
    let reason = CAUSES.iter().find(|row| row.1 == word).map_or(CauseReason::Other, |row| row.0);
    Cause { reason, message: field("message"), field: field("field") }
}

/// The body of a request that has nothing else to say, such as a finished delete.
pub fn success(kind: &Kind, name: &str, uid: &str) -> Value {
    let details = Details {
        name: name.to_owned(),
        group: kind.group.to_owned(),
        kind: kind.plural.to_owned(),
        uid: uid.to_owned(),
        ..Details::default()
    };
    json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success", "details": details.to_json()})
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{LEASE, POD};
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        assert_eq!(Status::not_found(POD, "web").message, "pods \"web\" not found");
        assert_eq!(
            Status::already_exists(LEASE, "x").message,
            "leases.coordination.k8s.io \"x\" already exists"
        );
        let one = Cause::required("spec.containers", "");
        let two = Cause::invalid("spec.a", "b\"", "must be c");
        let status = Status::invalid(POD, "web", vec![one.clone(), two, one]);
        assert_eq!(
            status.message,
            "Pod \"web\" is invalid: [spec.containers: Required value, \
             spec.a: Invalid value: \"b\\\"\": must be c]"
        );
        assert_eq!(
            Cause::not_supported("f", 3, &["a", "b"]).message,
            "Unsupported value: 3: supported values: \"a\", \"b\""
        );
    }

    #[test]
    fn a_status_survives_the_wire() {
        for status in [
            Status::invalid(POD, "web", vec![Cause::too_many("spec.x", 3, 2)]),
            Status::too_many_requests("slow down", 3),
            Status::expired("too old resource version: 1 (7)"),
            Status::internal("the disk is full"),
        ] {
            assert_eq!(Status::from_slice(&status.to_vec()), Some(status));
        }
        assert_eq!(Status::from_slice(b"{\"kind\":\"Pod\"}"), None);
    }
}
