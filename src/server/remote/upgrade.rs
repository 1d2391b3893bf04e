//! From a request to the connection below it: what the two ends agree to speak.

use std::future::Future;
use std::time::Duration;

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use bytes::Bytes;
use futures_lite::future;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use smol::Timer;

use crate::api::Status;
use crate::http::{Io, body, unwrap_upgraded};
use crate::server::handlers::Call;
use crate::server::reply::Reply;

const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
/// How long a client may take to read the answer to its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    WebSocket,
    Spdy,
}

/// What both ends speak.
pub(super) struct Agreed {
    pub(super) wire: Wire,
    /// One of those that were offered to [`agree`]; empty for a WebSocket without a subprotocol.
    pub(super) protocol: &'static str,
    accept: String,
    upgrade: OnUpgrade,
}

/// Chooses the wire the client asks for, and the first of its protocols that is among those of that wire.
///
/// # Errors
/// 400 for a request that is no upgrade, or one to nothing that is known here.
pub(super) fn agree(
    call: &Call<'_>,
    websocket: &[&'static str],
    spdy: &[&'static str],
) -> Result<Agreed, Status> {
    let upgrade = call.upgrade.clone().ok_or_else(required)?;
    let (wire, protocol, accept) = choose(call.headers, websocket, spdy)?;
    Ok(Agreed { wire, protocol, accept, upgrade })
}

fn required() -> Status {
    Status::bad_request("Upgrade request required")
}

fn choose(
    headers: &HeaderMap,
    websocket: &[&'static str],
    spdy: &[&'static str],
) -> Result<(Wire, &'static str, String), Status> {
    let has = |name, wanted: &str| words(headers, name).any(|word| word.eq_ignore_ascii_case(wanted));
    if !has(header::CONNECTION, "upgrade") {
        return Err(required());
    }
    if has(header::UPGRADE, "websocket") {
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
        if key.len() != 24 || !has(header::SEC_WEBSOCKET_VERSION, "13") {
            return Err(Status::bad_request("this is no WebSocket handshake of version 13"));
        }
        let protocol = first(words(headers, header::SEC_WEBSOCKET_PROTOCOL), websocket)?;
        return Ok((Wire::WebSocket, protocol, derive_accept_key(key)));
    }
    if has(header::UPGRADE, "SPDY/3.1") {
        let protocol = first(words(headers, HeaderName::from_static(STREAM_PROTOCOL)), spdy)?;
        return Ok((Wire::Spdy, protocol, String::new()));
    }
    Err(required())
}

/// The parts of a header's values between commas.
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// A client that names no protocol gets the one named "", if there is one.
fn first<'h>(asked: impl Iterator<Item = &'h str>, known: &[&'static str]) -> Result<&'static str, Status> {
    let asked: Vec<&str> = asked.take(16).collect();
    let named = if asked.is_empty() { &[""][..] } else { &asked };
    let mut matching = named.iter().filter_map(|asked| known.iter().find(|known| *known == asked));
    matching.next().copied().ok_or_else(|| {
        Status::bad_request(format!(
            "unable to negotiate protocol: client supports {asked:?}, server accepts {known:?}"
        ))
    })
}

impl Agreed {
    /// The `101`; once the client has it, `session` has the connection, and what was read past the request.
    /// It ends with the server at the latest.
    pub(super) fn begin<F>(
        self,
        call: &Call<'_>,
        session: impl FnOnce(Io, Bytes) -> F + Send + 'static,
    ) -> Reply
    where
        F: Future<Output = ()> + Send,
    {
        let (upgrade, closing) = (self.upgrade, call.state.closing.clone());
        let serve = async move {
            let late = async {
                Timer::after(PATIENCE).await;
                None
            };
            let upgraded = future::or(async { upgrade.await.ok() }, late).await;
            let Some((io, ahead)) = upgraded.and_then(unwrap_upgraded) else { return };
            let closing = async {
                let _ = closing.recv().await;
            };
            future::or(Box::pin(session(io, ahead)), closing).await;
        };
        // Detached: its stop is `closing`.
        call.state.executor.spawn(serve).detach();
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        let (wire, name) = match self.wire {
            Wire::WebSocket => ("websocket", header::SEC_WEBSOCKET_PROTOCOL),
            Wire::Spdy => ("SPDY/3.1", HeaderName::from_static(STREAM_PROTOCOL)),
        };
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(wire));
        if !self.protocol.is_empty() {
            headers.insert(name, HeaderValue::from_static(self.protocol));
        }
        if let (Wire::WebSocket, Ok(accept)) = (&self.wire, HeaderValue::try_from(self.accept)) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_agreed() {
        let (websocket, spdy) = (&["v5", "v4", ""][..], &["v4", "v3"][..]);
        let ask = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            choose(&headers, websocket, spdy).map(|(wire, protocol, _)| (wire, protocol)).map_err(|e| e.code)
        };
        let socket = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        let with = |protocol| [&socket[..], &[("sec-websocket-protocol", protocol)]].concat();
        assert_eq!(ask(&with("v9, v4,v5")), Ok((Wire::WebSocket, "v4")));
        assert_eq!(ask(&socket), Ok((Wire::WebSocket, "")));
        assert_eq!(ask(&with("v9")), Err(400));
        assert_eq!(ask(&socket[..2]), Err(400));
        assert_eq!(ask(&[]), Err(400));
        let old = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        let both = [&old[..], &[(STREAM_PROTOCOL, "v5"), (STREAM_PROTOCOL, "v3, v4")]].concat();
        assert_eq!(ask(&both), Ok((Wire::Spdy, "v3")));
        assert_eq!(ask(&old), Err(400));
    }
}
