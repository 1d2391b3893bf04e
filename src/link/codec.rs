//! Messages as bytes. Types 1 to 15 go to the server, 16 to 31 to the agent, 32 to 47 are streams'.

use std::fmt;

use miniserde::{Deserialize, Serialize, json};

use super::message::{MAX_HEADER, StreamRequest, ToAgent, ToServer};

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    Empty,
    /// The JSON header is larger than [`MAX_HEADER`].
    HeaderTooLarge,
    /// The header is not a JSON object of the message's shape.
    Header {
        message: &'static str,
    },
    /// A payload is missing.
    Payload {
        message: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty message"),
            Self::HeaderTooLarge => write!(f, "a message header of more than {MAX_HEADER} bytes"),
            Self::Header { message } => write!(f, "a malformed {message} message"),
            Self::Payload { message } => write!(f, "a {message} message without payload"),
        }
    }
}

impl std::error::Error for DecodeError {}

const HELLO: u8 = 1;
const KEY_SAVED: u8 = 2;
const NODE: u8 = 3;
const POD_STATUS: u8 = 4;
const POD_GONE: u8 = 5;
const EVENT: u8 = 6;
const TOKEN_ASK: u8 = 7;
const WELCOME: u8 = 16;
const PUT: u8 = 17;
const REMOVE: u8 = 18;
const SYNCED: u8 = 19;
const TOKEN: u8 = 20;
/// The kind of stream in a frame that opens one.
const LOG: u8 = 1;
const EXEC: u8 = 2;
const ATTACH: u8 = 3;
const PORT_FORWARD: u8 = 4;
const READ: u8 = 5;
const RECLAIM: u8 = 6;

impl ToServer {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => with_header(HELLO, hello, None),
            Self::KeySaved => vec![KEY_SAVED],
            Self::Node(object) => with_payload(NODE, object),
            Self::PodStatus(pod, status) => with_header(POD_STATUS, pod, Some(status)),
            Self::PodGone(pod) => with_header(POD_GONE, pod, None),
            Self::Event(object) => with_payload(EVENT, object),
            Self::TokenAsk(ask) => with_header(TOKEN_ASK, ask, None),
        }
    }

    /// `None` for a type that a newer version has.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let (&kind, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
        Ok(Some(match kind {
            HELLO => Self::Hello(header(rest, "Hello")?),
            KEY_SAVED => Self::KeySaved,
            NODE => Self::Node(payload(rest, "Node")?),
            POD_STATUS => {
                let (pod, status) = split(rest, "PodStatus")?;
                Self::PodStatus(pod, status)
            }
            POD_GONE => Self::PodGone(header(rest, "PodGone")?),
            EVENT => Self::Event(payload(rest, "Event")?),
            TOKEN_ASK => Self::TokenAsk(header(rest, "TokenAsk")?),
            _ => return Ok(None),
        }))
    }
}

impl ToAgent {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Welcome(welcome) => with_header(WELCOME, welcome, None),
            Self::Put(put, object) => with_header(PUT, put, Some(object)),
            Self::Remove(remove) => with_header(REMOVE, remove, None),
            Self::Synced => vec![SYNCED],
            Self::Token(token) => with_header(TOKEN, token, None),
        }
    }

    /// `None` for a type that a newer version has.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let (&kind, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
        Ok(Some(match kind {
            WELCOME => Self::Welcome(header(rest, "Welcome")?),
            PUT => {
                let (put, object) = split(rest, "Put")?;
                Self::Put(put, object)
            }
            REMOVE => Self::Remove(header(rest, "Remove")?),
            SYNCED => Self::Synced,
            TOKEN => Self::Token(header(rest, "Token")?),
            _ => return Ok(None),
        }))
    }
}

impl StreamRequest {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Log(log) => with_header(LOG, log, None),
            Self::Exec(exec) => with_header(EXEC, exec, None),
            Self::Attach(attach) => with_header(ATTACH, attach, None),
            Self::PortForward(forward) => with_header(PORT_FORWARD, forward, None),
            Self::Read(read) => with_header(READ, read, None),
            Self::Reclaim(reclaim) => with_header(RECLAIM, reclaim, None),
        }
    }

    /// `None` for a kind that a newer version has.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let (&kind, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
        Ok(Some(match kind {
            LOG => Self::Log(header(rest, "Log")?),
            EXEC => Self::Exec(header(rest, "Exec")?),
            ATTACH => Self::Attach(header(rest, "Attach")?),
            PORT_FORWARD => Self::PortForward(header(rest, "PortForward")?),
            READ => Self::Read(header(rest, "Read")?),
            RECLAIM => Self::Reclaim(header(rest, "Reclaim")?),
            _ => return Ok(None),
        }))
    }
}

fn with_payload(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + payload.len());
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    bytes
}

fn with_header<T: Serialize>(kind: u8, header: &T, payload: Option<&[u8]>) -> Vec<u8> {
    // JSON escapes newlines inside strings, so that the first one ends the header.
    let header = json::to_string(header);
    let mut bytes = Vec::with_capacity(1 + header.len() + payload.map_or(0, |payload| 1 + payload.len()));
    bytes.push(kind);
    bytes.extend_from_slice(header.as_bytes());
    if let Some(payload) = payload {
        bytes.push(b'\n');
        bytes.extend_from_slice(payload);
    }
    bytes
}

fn payload(rest: &[u8], message: &'static str) -> Result<Vec<u8>, DecodeError> {
    if rest.is_empty() { Err(DecodeError::Payload { message }) } else { Ok(rest.to_vec()) }
}

fn split<T: Deserialize>(rest: &[u8], message: &'static str) -> Result<(T, Vec<u8>), DecodeError> {
    let end = rest.iter().position(|&b| b == b'\n').ok_or(DecodeError::Payload { message })?;
    Ok((header(&rest[..end], message)?, payload(&rest[end + 1..], message)?))
}

/// Parses a header. miniserde bounds neither size nor nesting, so both are looked at first.
fn header<T: Deserialize>(text: &[u8], message: &'static str) -> Result<T, DecodeError> {
    if text.len() > MAX_HEADER {
        return Err(DecodeError::HeaderTooLarge);
    }
    let malformed = DecodeError::Header { message };
    if text.first() != Some(&b'{') || nesting(text) > 8 {
        return Err(malformed);
    }
    let text = std::str::from_utf8(text).map_err(|_| malformed)?;
    json::from_str(text).map_err(|_| malformed)
}

/// How deep arrays and objects are nested at most.
fn nesting(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut string, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            _ if string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::super::message::{
        AttachRequest, ExecRequest, Hello, HelloPod, LogRequest, PodRef, PortForwardRequest, Put,
        ReadRequest, ReclaimRequest, Remove, TokenAsk, TokenGiven, Welcome,
    };
    use super::*;

    fn pod() -> PodRef {
        PodRef { uid: "u-1".into(), namespace: "default".into(), name: "we\"b\n".into() }
    }

    #[test]
    fn every_message_comes_back() {
        let pods = vec![HelloPod { uid: "a".into(), revision: u64::MAX, gone: true }];
        let hello = Hello { protocol: 1, version: "0.1.0".into(), boot_id: "b".into(), pods, tokens: None };
        for message in [
            ToServer::Hello(hello),
            ToServer::KeySaved,
            ToServer::Node(b"{}".to_vec()),
            ToServer::PodStatus(pod(), b"{\"phase\":\n\"Running\"}".to_vec()),
            ToServer::PodGone(pod()),
            ToServer::Event(b"{}".to_vec()),
            ToServer::TokenAsk(TokenAsk {
                uid: "u".into(),
                namespace: "n".into(),
                name: "p".into(),
                audience: String::new(),
                seconds: 3607,
            }),
        ] {
            assert_eq!(ToServer::decode(&message.encode()), Ok(Some(message)));
        }
        let welcome = Welcome {
            node_key: Some("secret".into()),
            node_uid: "n".into(),
            pod_cidr: "10.42.0.0/24".into(),
            cluster_dns: String::new(),
            cluster_domain: "cluster.local".into(),
            time: 1,
            server_version: "0.1.0".into(),
        };
        assert!(!format!("{welcome:?}").contains("secret"));
        let given = TokenGiven {
            uid: "u".into(),
            audience: "vault".into(),
            seconds: 600,
            token: Some("secret".into()),
            refused: None,
        };
        assert!(!format!("{given:?}").contains("secret"));
        // As an older agent says it.
        let hello = b"\x01{\"protocol\":1,\"version\":\"0.1.0\",\"boot_id\":\"b\",\"pods\":[]}";
        assert!(matches!(ToServer::decode(hello), Ok(Some(ToServer::Hello(Hello { tokens: None, .. })))));
        let put =
            Put { kind: "Pod".into(), namespace: "n".into(), name: "p".into(), uid: "u".into(), revision: 7 };
        for message in [
            ToAgent::Welcome(welcome),
            ToAgent::Put(put, b"{\"kind\":\"Pod\"}".to_vec()),
            ToAgent::Remove(Remove { kind: "Pod".into(), uid: "u".into() }),
            ToAgent::Synced,
            ToAgent::Token(given),
        ] {
            assert_eq!(ToAgent::decode(&message.encode()), Ok(Some(message)));
        }
        for request in [
            StreamRequest::Log(LogRequest { tail: Some(3), ..Default::default() }),
            StreamRequest::Exec(ExecRequest {
                command: vec!["a\nb".into()],
                tty: true,
                ..Default::default()
            }),
            StreamRequest::Attach(AttachRequest { stdin: true, ..Default::default() }),
            StreamRequest::PortForward(PortForwardRequest { port: 65535, ..Default::default() }),
            StreamRequest::Read(ReadRequest { path: "stats/summary".into() }),
            StreamRequest::Reclaim(ReclaimRequest { volume: "v".into(), path: "/data/v".into() }),
        ] {
            assert_eq!(StreamRequest::decode(&request.encode()), Ok(Some(request)));
        }
    }

    #[test]
    fn newer_types_and_fields_are_skipped() {
        assert_eq!(ToServer::decode(&[15, b'{']), Ok(None));
        assert_eq!(ToAgent::decode(b"\xff"), Ok(None));
        let bytes = b"\x12{\"kind\":\"Pod\",\"uid\":\"u\",\"later\":[{\"x\":1}]}";
        let remove = Remove { kind: "Pod".into(), uid: "u".into() };
        assert_eq!(ToAgent::decode(bytes), Ok(Some(ToAgent::Remove(remove))));
    }

    #[test]
    fn bad_bytes_are_errors() {
        assert_eq!(ToServer::decode(b""), Err(DecodeError::Empty));
        let malformed = Err(DecodeError::Header { message: "PodGone" });
        for text in [&b""[..], b"{", b"[]", b"{}", b"null", b"{\"uid\":1}", b"\xff\xfe", b"{\"uid\":\"a\"}x"]
        {
            let bytes = [b"\x05", text].concat();
            assert_eq!(ToServer::decode(&bytes), malformed, "{}", String::from_utf8_lossy(text));
        }
        let deep = [b"\x05{\"x\":", "[".repeat(100_000).as_bytes()].concat();
        assert_eq!(ToServer::decode(&deep), malformed);
        let large = [b"\x05{\"x\":\"", "x".repeat(MAX_HEADER).as_bytes(), b"\"}"].concat();
        assert_eq!(ToServer::decode(&large), Err(DecodeError::HeaderTooLarge));
        assert_eq!(ToServer::decode(b"\x03"), Err(DecodeError::Payload { message: "Node" }));
        assert_eq!(ToAgent::decode(b"\x11{}"), Err(DecodeError::Payload { message: "Put" }));
    }
}
