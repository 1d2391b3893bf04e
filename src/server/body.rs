//! Request bodies: read within a bound, decoded by content type.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_TYPE;
use smol::Timer;

use crate::api::{Object, Status, protobuf, yaml};
use crate::http::body::{ReadError, read};

/// The most bytes of a request's body, as upstream.
pub const LIMIT: usize = 3 << 20;
/// The longest pause within a body.
const PATIENCE: Duration = Duration::from_secs(30);

/// The content types that [`decode`] takes.
pub const OBJECT_TYPES: &[&str] = &["application/json", YAML, protobuf::CONTENT_TYPE];
const YAML: &str = "application/yaml";

/// The whole body, at most [`LIMIT`] bytes.
pub async fn bytes(body: Incoming) -> Result<Bytes, Status> {
    // Told beforehand: refused without keeping a byte of it.
    if body.size_hint().lower() > LIMIT as u64 {
        discard(body).await;
        return Err(Status::request_entity_too_large(LIMIT));
    }
    read(body, LIMIT, PATIENCE).await.map_err(|error| match error {
        ReadError::TooLarge { limit } => Status::request_entity_too_large(limit),
        ReadError::TimedOut { .. } => Status::gateway_timeout(error.to_string()),
        ReadError::Receive { .. } => Status::bad_request(error.to_string()),
    })
}

/// Reads some of a body that nobody wants: a client that is cut off while it still sends may never
/// see the answer that says why.
async fn discard(mut body: Incoming) {
    const MOST: usize = 2 * LIMIT;
    let drain = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > MOST {
                break;
            }
        }
    };
    let late = async {
        Timer::after(Duration::from_secs(5)).await;
    };
    future::or(drain, late).await;
}

/// The media type of the body in lower case, without parameters; JSON when the client says nothing.
pub fn media_type(headers: &HeaderMap) -> String {
    let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match header.split(';').next().map(str::trim) {
        None | Some("") => String::from("application/json"),
        Some(media) => media.to_ascii_lowercase(),
    }
}

/// Decodes an object. The one place that knows the content types of objects.
///
/// # Errors
/// 415 for a content type that is not taken, 400 for what is no object.
pub fn object(media_type: &str, bytes: &[u8]) -> Result<Object, Status> {
    decode(media_type, bytes).map(|(object, _)| object)
}

/// The same, with the object's JSON text if the body had keys that may have come twice.
pub fn decode<'a>(media_type: &str, bytes: &'a [u8]) -> Result<(Object, Option<Cow<'a, [u8]>>), Status> {
    let text = match media_type {
        "application/json" => Cow::Borrowed(bytes),
        YAML => Cow::Owned(yaml(bytes)?),
        protobuf::CONTENT_TYPE => {
            let object = protobuf::decode(bytes).map_err(|error| Status::bad_request(error.to_string()))?;
            return Ok((object, None));
        }
        _ => return Err(Status::unsupported_media_type(OBJECT_TYPES)),
    };
    let object = Object::from_slice(&text).map_err(|error| Status::bad_request(crate::chain(&error)))?;
    Ok((object, Some(text)))
}

/// YAML as JSON text.
pub fn yaml(bytes: &[u8]) -> Result<Vec<u8>, Status> {
    /// Quotes and braces make it longer.
    const MOST: usize = 2 * LIMIT;
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))?;
    yaml::to_json(text, MOST).map_err(|error| Status::bad_request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn content_types() {
        let mut headers = HeaderMap::new();
        assert_eq!(media_type(&headers), "application/json");
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("Application/JSON; charset=utf-8"));
        assert_eq!(media_type(&headers), "application/json");
        assert!(object("application/json", b"{\"kind\":\"Pod\"}").is_ok());
        assert_eq!(object("application/json", b"[1]").unwrap_err().code, 400);
        assert_eq!(object("application/json", b"").unwrap_err().code, 400);
        assert_eq!(object("application/vnd.kubernetes.protobuf", b"k8s\0").unwrap_err().code, 400);
        let (pod, text) = decode("application/yaml", b"kind: Pod\nkind: Pod\n").unwrap();
        assert_eq!((pod.kind(), text.as_deref()), ("Pod", Some(&br#"{"kind":"Pod","kind":"Pod"}"#[..])));
        assert_eq!(object("application/yaml", b"kind: [").unwrap_err().code, 400);
        let refused = object("text/html", b"").unwrap_err();
        assert_eq!(refused.code, 415);
        assert!(
            refused
                .message
                .ends_with("application/json, application/yaml, application/vnd.kubernetes.protobuf")
        );
    }
}
