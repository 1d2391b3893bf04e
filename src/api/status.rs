//! `Status`: how the API says that a request failed, and why.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use super::Kind;

mod cause;

pub use cause::{Cause, CauseReason};

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
    /// `metadata.continue`: how a list that expired can go on all the same.
    pub token: Option<Box<str>>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    pub fn new(reason: Reason, message: impl Into<String>) -> Status {
        Status { code: reason.code(), reason, message: message.into(), details: None, token: None }
    }

    /// Whether one of its causes is for this reason.
    pub fn has_cause(&self, reason: CauseReason) -> bool {
        self.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
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
        let mut seen = BTreeSet::new();
        let texts: Vec<String> =
            causes.iter().map(Cause::to_string).filter(|text| seen.insert(text.clone())).collect();
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
        if let Some(token) = &self.token {
            status["metadata"]["continue"] = (&**token).into();
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
                causes: causes.map_or_else(Vec::new, |causes| causes.iter().map(Cause::from_json).collect()),
                retry_after_seconds: u32::try_from(retry).unwrap_or(u32::MAX),
            })
        });
        let token = Some(field("/metadata/continue")).filter(|token| !token.is_empty()).map(Into::into);
        Some(Status {
            code: code.unwrap_or(reason.code()),
            reason,
            message: field("/message"),
            details,
            token,
        })
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
