//! gzip of large answers: for those that say they take it, from the size on where upstream does it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_lite::stream;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, VARY};

use super::reply::Reply;
use crate::http::{Body, body};

/// Answers of fewer bytes are sent as they are, as upstream.
const LEAST: usize = 128 << 10;
/// Answers that are compressed at once; each takes half a megabyte. Others go out as they are.
const MOST: usize = 8;
/// Compressed bytes that are sent at once.
const PIECE: usize = 8 << 10;

/// What all large answers take together: how many are being compressed, and the bytes of those that are made as
/// a whole.
#[derive(Default)]
pub struct Places {
    compressed: Arc<AtomicUsize>,
    gathered: Arc<AtomicUsize>,
}

/// The bytes of one answer that is made as a whole, until it is dropped.
pub struct Share {
    gathered: Arc<AtomicUsize>,
    pub bytes: usize,
}

impl Share {
    /// Whether there are so many bytes more for it, of `most` for all.
    pub fn take(&mut self, bytes: usize, most: usize) -> bool {
        self.bytes += bytes;
        self.gathered.fetch_add(bytes, Ordering::Relaxed) + bytes <= most
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gathered.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Place(Arc<AtomicUsize>);

impl Places {
    /// For an answer that is made as a whole.
    pub fn share(&self) -> Share {
        Share { gathered: self.gathered.clone(), bytes: 0 }
    }

    fn take(&self) -> Option<Place> {
        let place = Place(self.compressed.clone());
        (self.compressed.fetch_add(1, Ordering::Relaxed) < MOST).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a client takes gzip.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let header = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    header.split(',').any(|clause| {
        let (name, quality) = clause.split_once(';').unwrap_or((clause, ""));
        let refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        name.trim() == "gzip" && !refused
    })
}

/// Compresses an answer if it is large, and no text that is read as it comes (a log).
pub async fn gzip(places: &Places, reply: Reply) -> Reply {
    let headers = reply.headers();
    let is_text = headers.get(CONTENT_TYPE).is_none_or(|value| value.as_bytes().starts_with(b"text/"));
    let is_small = reply.body().size_hint().upper().is_some_and(|most| most < LEAST as u64);
    if is_small || is_text || reply.status() != StatusCode::OK || headers.contains_key(CONTENT_ENCODING) {
        return reply;
    }
    let Some(place) = places.take() else { return reply };
    let (mut parts, mut body) = reply.into_parts();
    let (mut pieces, mut size) = (VecDeque::new(), 0);
    while size < LEAST {
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                size += data.len();
                pieces.push_back(data);
            }
            Some(Err(error)) => {
                let pieces = pieces.into_iter().map(Ok).chain([Err(error)]);
                return Reply::from_parts(parts, body::stream(stream::iter(pieces)));
            }
            None => {
                let pieces: Vec<Bytes> = pieces.into();
                return Reply::from_parts(parts, body::full(pieces.concat()));
            }
        }
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let compressed = Compressed { encoder: Some(encoder), pieces, body, _place: place };
    let stream =
        stream::unfold(
            compressed,
            |mut compressed| async move { Some((compressed.next().await?, compressed)) },
        );
    Reply::from_parts(parts, body::stream(stream))
}

struct Compressed {
    /// None once the end is written.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// What was read to see how much there is.
    pieces: VecDeque<Bytes>,
    body: Body,
    _place: Place,
}

impl Compressed {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let mut encoder = self.encoder.take()?;
        loop {
            let piece = match self.pieces.pop_front() {
                Some(piece) => piece,
                None => match self.body.frame().await {
                    Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                    Some(Err(error)) => return Some(Err(error)),
                    None => return Some(encoder.finish().map(Bytes::from)),
                },
            };
            if let Err(error) = encoder.write_all(&piece) {
                return Some(Err(error));
            }
            if encoder.get_ref().len() >= PIECE {
                let piece = std::mem::take(encoder.get_mut());
                self.encoder = Some(encoder);
                return Some(Ok(piece.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn reply(pieces: Vec<Vec<u8>>) -> Reply {
        let pieces = stream::iter(pieces.into_iter().map(|piece| Ok(Bytes::from(piece))));
        super::super::reply::with_body(StatusCode::OK, "application/json", body::stream(pieces))
    }

    #[test]
    fn who_takes_it() {
        for (accepted, expected) in
            [("gzip", true), ("deflate, gzip;q=0.5", true), ("gzip;q=0", false), ("br", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(is_wanted(&headers), expected, "{accepted}");
        }
    }

    #[test]
    fn large_answers_only_and_not_too_many() {
        smol::block_on(async {
            let places = Places::default();
            let small = gzip(&places, reply(vec![b"[".to_vec(), b"]".to_vec()])).await;
            assert!(!small.headers().contains_key(CONTENT_ENCODING));
            assert_eq!(small.into_body().collect().await.unwrap().to_bytes(), "[]");
            let pieces: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 10_000]).collect();
            let mut open = Vec::new();
            for _ in 0..MOST {
                let large = gzip(&places, reply(pieces.clone())).await;
                assert_eq!(large.headers()[CONTENT_ENCODING], "gzip");
                open.push(large);
            }
            let one_more = gzip(&places, reply(pieces.clone())).await;
            assert!(!one_more.headers().contains_key(CONTENT_ENCODING));
            let body = open.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap();
            assert_eq!(text, pieces.concat());
            assert!(gzip(&places, reply(pieces)).await.headers().contains_key(CONTENT_ENCODING));
        });
    }
}
