//! Responses: JSON, text and Status errors.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::Value;

use crate::api::{Reason, Status};
use crate::http::{Body, body};

/// What a handler answers.
pub type Reply = Response<Body>;

pub const JSON: &str = "application/json";
pub const TEXT: &str = "text/plain; charset=utf-8";

/// A response with a body that is there already.
pub fn full(code: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
    with_body(code, content_type, body::full(bytes))
}

/// A response with any body.
pub fn with_body(code: StatusCode, content_type: &'static str, body: Body) -> Reply {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Objects change, and some are secret: no cache keeps them (as upstream).
    headers.insert(HeaderName::from_static("cache-control"), HeaderValue::from_static("no-cache, private"));
    response
}

/// 200 with JSON text.
pub fn json(bytes: impl Into<Bytes>) -> Reply {
    full(StatusCode::OK, JSON, bytes)
}

/// 200 with a JSON value.
pub fn value(value: &Value) -> Reply {
    json(value.to_string())
}

/// A failure, as upstream words it: the code in the status line, the rest in a Status object.
pub fn status(status: &Status) -> Reply {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = full(code, JSON, status.to_vec());
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status.reason == Reason::Unauthorized {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Adds `Warning: 299 - "text"` (RFC 7234 section 5.5), which kubectl prints.
pub fn warn(reply: &mut Reply, text: &str) {
    /// More warnings than anyone reads.
    const MOST: usize = 20;
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    let warnings = reply.headers().get_all("warning").iter().count();
    if warnings < MOST
        && let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\""))
    {
        reply.headers_mut().append("warning", value);
    }
}
