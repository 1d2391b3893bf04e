//! The media types and encodings of answers. Handlers answer in JSON; what a client wants instead is made
//! of that here, and only for a client that takes no JSON. Large answers are compressed.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_lite::stream;
use http_body_util::BodyExt;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request};

use super::accept::{self, Shape};
use super::compress::{self, Places, Share};
use super::query::Query;
use super::reply::{self, Reply};
use crate::api::{Reason, Status, protobuf};
use crate::http::{Body, body};

const YAML: &str = "application/yaml";
const PROTOBUF_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// Bytes of JSON that are made into protobuf at once, by all requests together: there, the length comes first.
const MOST: usize = 32 << 20;
/// Bytes of an answer that never has to wait for others.
const SMALL: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Json,
    /// JSON is YAML: it goes out as it is.
    Yaml,
    Protobuf,
}

/// What one request's client takes.
pub struct Wanted {
    media: Media,
    gzip: bool,
    watch: bool,
}

impl Wanted {
    /// Reads the request's `Accept`, and makes it ask for the same in JSON.
    pub fn take<B>(request: &mut Request<B>) -> Wanted {
        let query = Query::parse(request.uri().query().unwrap_or(""));
        let watch = query.switch("watch");
        let gzip = request.method() == Method::GET && !watch && compress::is_wanted(request.headers());
        let headers = request.headers_mut();
        let (media, json) = choose(headers);
        if let Some(json) = json.and_then(|json| HeaderValue::from_str(&json).ok()) {
            headers.insert(ACCEPT, json);
        }
        let _ = headers.remove(ACCEPT_ENCODING);
        Wanted { media, gzip, watch }
    }

    /// Gives an answer the form that the client wants.
    pub async fn dress(self, places: &Places, reply: Reply) -> Reply {
        let is_json = content_type(&reply) == reply::JSON;
        let reply = match self.media {
            _ if !is_json => reply,
            Media::Json => reply,
            Media::Yaml if self.watch => {
                reply::status(&Status::not_acceptable(&[reply::JSON, PROTOBUF_WATCH]))
            }
            Media::Yaml => typed(reply, YAML),
            Media::Protobuf if self.watch && reply.status().is_success() => {
                typed(reply.map(events), PROTOBUF_WATCH)
            }
            Media::Protobuf => whole(places, reply).await,
        };
        if self.gzip { compress::gzip(places, reply).await } else { reply }
    }
}

fn content_type(reply: &Reply) -> &str {
    reply.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn typed(mut reply: Reply, content_type: &'static str) -> Reply {
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// What to answer in, and the `Accept` of the same in JSON where that is not JSON.
fn choose(headers: &HeaderMap) -> (Media, Option<String>) {
    const ANY: &[Shape] = &[Shape::Plain, Shape::Table, Shape::Metadata, Shape::Discovery];
    let clauses = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accepted = clauses.collect::<Vec<&str>>().join(",");
    let names_another = [YAML, protobuf::CONTENT_TYPE].iter().any(|name| accepted.contains(name));
    if !names_another || accept::negotiate(Some(&accepted), ANY).is_some() {
        return (Media::Json, None);
    }
    for (media, name) in [(Media::Protobuf, protobuf::CONTENT_TYPE), (Media::Yaml, YAML)] {
        let json = accepted.replace(name, reply::JSON);
        if accept::negotiate(Some(&json), ANY).is_some() {
            return (media, Some(json));
        }
    }
    (Media::Json, None)
}

/// A whole answer in protobuf.
async fn whole(places: &Places, reply: Reply) -> Reply {
    let (mut parts, mut body) = reply.into_parts();
    let mut json = BytesMut::new();
    let mut share = places.share();
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => {
                json.extend_from_slice(&data);
                if json.len() > MOST {
                    let message =
                        "the answer is too large for protobuf: ask for less with the limit parameter";
                    return refused(&Status::new(Reason::RequestEntityTooLarge, message));
                }
                if json.len() > SMALL && !share.take(json.len() - share.bytes, MOST) {
                    let message = "too many large answers are made in protobuf, please try again later";
                    return refused(&Status::too_many_requests(message, 1));
                }
            }
            Ok(Err(_)) => {}
            Err(error) => return refused(&Status::internal(error)),
        }
    }
    let Ok(message) = protobuf::encode(&json) else {
        return refused(&Status::not_acceptable(&[reply::JSON, YAML]));
    };
    if share.bytes == 0 {
        return typed(Reply::from_parts(parts, body::full(message)), protobuf::CONTENT_TYPE);
    }
    // Until it is sent, it is there.
    parts.headers.remove(CONTENT_LENGTH);
    let pieces = stream::unfold((Bytes::from(message), share), |(mut rest, share): (Bytes, Share)| async {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok(piece), (rest, share)))
    });
    typed(Reply::from_parts(parts, body::stream(pieces)), protobuf::CONTENT_TYPE)
}

/// Bytes of a large message that are sent at once.
const PIECE: usize = 64 << 10;

fn refused(status: &Status) -> Reply {
    let reply = reply::status(status);
    match protobuf::encode(&status.to_vec()) {
        Ok(message) => typed(reply.map(|_| body::full(message)), protobuf::CONTENT_TYPE),
        Err(_) => reply,
    }
}

/// A watch's lines of JSON as frames of protobuf.
fn events(lines: Body) -> Body {
    let frames = stream::unfold((lines, BytesMut::new()), |(mut lines, mut buffer)| async move {
        loop {
            if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1);
                let event = protobuf::watch_event(&line).map(Bytes::from).map_err(io::Error::other);
                return Some((event, (lines, buffer)));
            }
            match lines.frame().await? {
                Ok(frame) => buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Err(error) => return Some((Err(error), (lines, buffer))),
            }
        }
    });
    body::stream(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> (Media, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        choose(&headers)
    }

    #[test]
    fn large_messages_share_what_there_is() {
        let list = |bytes: usize| {
            let text = format!(
                r#"{{"kind":"ConfigMapList","apiVersion":"v1","items":[{{"data":{{"a":"{}"}}}}]}}"#,
                "x".repeat(bytes)
            );
            reply::json(text)
        };
        smol::block_on(async {
            let places = Places::default();
            let open = [whole(&places, list(20 << 20)).await, whole(&places, list(11 << 20)).await];
            assert!(open.iter().all(|reply| reply.status() == 200));
            assert_eq!(whole(&places, list(2 << 20)).await.status(), 429);
            assert_eq!(whole(&places, list(SMALL / 2)).await.status(), 200);
            assert_eq!(whole(&places, list(MOST)).await.status(), 413);
            let [first, _] = open;
            let sent = first.into_body().collect().await.unwrap().to_bytes();
            assert!(sent.len() > 20 << 20);
            assert_eq!(whole(&places, list(2 << 20)).await.status(), 200);
        });
    }

    #[test]
    fn json_is_preferred_where_it_is_taken() {
        assert_eq!(choose(&HeaderMap::new()), (Media::Json, None));
        for accept in [
            "application/json",
            "*/*",
            "application/vnd.kubernetes.protobuf,application/json",
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            "text/html",
            "application/yaml;as=Nothing;v=v1;g=meta.k8s.io",
        ] {
            assert_eq!(chosen(accept), (Media::Json, None), "{accept}");
        }
        for (accept, media, json) in [
            ("application/yaml", Media::Yaml, "application/json"),
            ("application/vnd.kubernetes.protobuf", Media::Protobuf, "application/json"),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Media::Protobuf,
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            ),
            ("text/html,application/yaml;q=0.5", Media::Yaml, "text/html,application/json;q=0.5"),
        ] {
            assert_eq!(chosen(accept), (media, Some(json.to_owned())), "{accept}");
        }
    }
}
