//! gRPC over HTTP/2: length-prefixed messages and the status in the trailers
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use prost::Message;

use super::Code;

/// A byte for compression and four for the length.
const PREFIX: usize = 5;

/// The message with its prefix.
pub fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(PREFIX + length);
    buffer.put_u8(0);
    // Requests are our own: far from 4 GiB.
    buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    buffer.put(message.encode_to_vec().as_slice());
    buffer.freeze()
}

/// Why received bytes are not a message.
#[derive(Debug, PartialEq, Eq)]
pub enum BadFrame {
    Compressed,
    TooLarge,
}

/// Cuts the received bytes into messages of at most `limit` bytes.
pub struct Frames {
    buffer: BytesMut,
    limit: usize,
}

impl Frames {
    pub fn new(limit: usize) -> Frames {
        Frames { buffer: BytesMut::new(), limit }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message. A length past the limit is refused before its bytes are gathered, so the
    /// buffer holds at most `limit` and one pushed piece.
    pub fn next(&mut self) -> Result<Option<Bytes>, BadFrame> {
        if self.buffer.len() < PREFIX {
            return Ok(None);
        }
        // No encoding was offered in the request, so none may be used.
        if self.buffer[0] != 0 {
            return Err(BadFrame::Compressed);
        }
        let length = (&self.buffer[1..PREFIX]).get_u32() as usize;
        if length > self.limit {
            return Err(BadFrame::TooLarge);
        }
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // What is left of the allocation may be large, and streams live long.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }

    /// No part of a message is left over.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// A call's outcome.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Failed(Code, String),
}

/// The outcome in trailers, or in the headers of an answer that has no more than these. `None` when they
/// hold none.
pub fn outcome(headers: &HeaderMap) -> Option<Outcome> {
    let status = headers.get("grpc-status")?.to_str().ok()?;
    let Some(code) = code(status) else { return Some(Outcome::Ok) };
    let message =
        headers.get("grpc-message").map(|value| percent_decode(value.as_bytes())).unwrap_or_default();
    Some(Outcome::Failed(code, message))
}

fn code(status: &str) -> Option<Code> {
    Some(match status {
        "0" => return None,
        "1" => Code::Cancelled,
        "3" => Code::InvalidArgument,
        "4" => Code::DeadlineExceeded,
        "5" => Code::NotFound,
        "6" => Code::AlreadyExists,
        "7" => Code::PermissionDenied,
        "8" => Code::ResourceExhausted,
        "9" => Code::FailedPrecondition,
        "10" => Code::Aborted,
        "11" => Code::OutOfRange,
        "12" => Code::Unimplemented,
        "13" => Code::Internal,
        "14" => Code::Unavailable,
        "15" => Code::DataLoss,
        "16" => Code::Unauthenticated,
        _ => Code::Unknown,
    })
}

/// Wrong escapes stay as they are: the specification forbids losing the message over them.
fn percent_decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A') + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_messages_out_of_any_pieces() {
        let wire = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x01d";
        for piece in 1..wire.len() {
            let mut frames = Frames::new(3);
            let mut found = Vec::new();
            for bytes in wire.chunks(piece) {
                frames.push(bytes);
                while let Some(message) = frames.next().unwrap() {
                    found.push(message.to_vec());
                }
            }
            assert_eq!(found, [b"abc".to_vec(), vec![], b"d".to_vec()]);
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn refuses_what_is_too_large_before_it_arrives() {
        let mut frames = Frames::new(3);
        frames.push(b"\0\0\0\0\x04");
        assert_eq!(frames.next(), Err(BadFrame::TooLarge));
        let mut frames = Frames::new(3);
        frames.push(b"\x01\0\0\0\x01");
        assert_eq!(frames.next(), Err(BadFrame::Compressed));
    }

    #[test]
    fn reads_the_status() {
        let mut headers = HeaderMap::new();
        assert_eq!(outcome(&headers), None);
        headers.insert("grpc-status", "0".parse().unwrap());
        assert_eq!(outcome(&headers), Some(Outcome::Ok));
        headers.insert("grpc-status", "5".parse().unwrap());
        headers.insert("grpc-message", "100%25 gone: %E2%80%9Cx%e2%80%9d 5%zz%4".parse().unwrap());
        assert_eq!(outcome(&headers), Some(Outcome::Failed(Code::NotFound, "100% gone: “x” 5%zz%4".into())));
        headers.insert("grpc-status", "99".parse().unwrap());
        assert!(matches!(outcome(&headers), Some(Outcome::Failed(Code::Unknown, _))));
    }
}
