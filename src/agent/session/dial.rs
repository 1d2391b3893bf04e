//! From a server's address to a WebSocket.

use std::time::Duration;

use async_tungstenite::tungstenite::handshake::client::generate_key;
use async_tungstenite::tungstenite::handshake::derive_accept_key;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, header};

use super::identity::Identity;
use super::{Error, Options};
use crate::Executor;
use crate::api::Status;
use crate::http::client::{self, Client};
use crate::http::{Url, body};
use crate::link::{CONNECT_PATH, Closed, Connection, End, Patience, SUBPROTOCOL};
use crate::tls::{client_config_pinned, client_config_unverified};
use crate::token::sha256;

/// For each step: connect, request, upgrade.
const PATIENCE: Duration = Duration::from_secs(15);
/// The most bytes of a certificate or of a Status.
const MAX_ANSWER: usize = 64 << 10;

/// Why there is no link.
pub(super) enum Failure {
    /// It may work later.
    Passing(Error),
    /// It will not, as far as this server goes.
    Permanent(Error),
    /// The node's key is not taken any more.
    Revoked { message: String },
}

/// Dials one server. Nothing secret is sent before its certificate is known to be from the right CA.
pub(super) async fn connect(
    options: &Options,
    identity: &mut Identity,
    url: &Url,
    executor: &Executor,
) -> Result<Connection, Failure> {
    let ca = match &identity.ca {
        Some(ca) => ca.clone(),
        None => fetch_ca(options, url, executor).await?,
    };
    let server = url.to_string();
    let tls = client_config_pinned(&ca)
        .map_err(|source| Failure::Passing(Error::Certificate { server: server.clone(), source }))?;
    let mut client = Client::connect(url, tls, PATIENCE, executor).await.map_err(|source| match source {
        source @ client::Error::Untrusted { .. } => {
            Failure::Passing(Error::ChangedCa { server: server.clone(), source })
        }
        source => Failure::Passing(Error::Reach { source }),
    })?;
    let key = generate_key();
    let request = request(options, identity, &key)?;
    let response = client.send(request).await.map_err(reach)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(server, identity, response).await);
    }
    let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(header::HeaderValue::as_bytes);
    if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        let source = Closed::Protocol("a wrong Sec-WebSocket-Accept");
        return Err(Failure::Passing(Error::Link { server, source }));
    }
    let (io, ahead) = client.upgraded(response).await.map_err(reach)?;
    // Kept from here on: it is the one that the key is for.
    identity.ca = Some(ca);
    Ok(Connection::start(io, ahead, End::Agent, Patience::AGENT, executor).await)
}

fn reach(source: client::Error) -> Failure {
    Failure::Passing(Error::Reach { source })
}

/// The server's CA, checked against the token's hash.
async fn fetch_ca(options: &Options, url: &Url, executor: &Executor) -> Result<String, Failure> {
    let server = url.to_string();
    let tls = client_config_unverified()
        .map_err(|source| Failure::Passing(Error::Certificate { server: server.clone(), source }))?;
    let mut client = Client::connect(url, tls, PATIENCE, executor).await.map_err(reach)?;
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = http::Uri::from_static("/cacerts");
    let response = client.send(request).await.map_err(reach)?;
    let code = response.status().as_u16();
    if code != 200 {
        return Err(Failure::Passing(Error::NoMidge { server, code }));
    }
    let text = body::read(response.into_body(), MAX_ANSWER, PATIENCE)
        .await
        .map_err(|source| Failure::Passing(Error::Answer { server: server.clone(), source }))?;
    match options.token.as_ref().and_then(|token| token.ca_hash) {
        Some(hash) if hash != sha256(&text) => return Err(Failure::Permanent(Error::OtherCa { server })),
        Some(_) => {}
        None => log::warn!(
            "the join token pins no CA: whoever answers at {server} is trusted now. A whole token (K10…) does not need that"
        ),
    }
    String::from_utf8(text.into()).map_err(|_| {
        Failure::Passing(Error::Certificate {
            server: url.to_string(),
            source: crate::tls::Error::ParseAuthority,
        })
    })
}

fn request(options: &Options, identity: &Identity, key: &str) -> Result<Request<Full<Bytes>>, Failure> {
    let secret = match (&identity.key, &options.token) {
        (Some(key), _) => format!("node:{key}"),
        (None, Some(token)) => token.credential.reveal(),
        (None, None) => return Err(Failure::Permanent(Error::NoToken)),
    };
    let built = Request::get(CONNECT_PATH)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .header(header::AUTHORIZATION, format!("Bearer {secret}"))
        .header("midge-node", &options.node_name)
        .header("midge-version", crate::VERSION)
        .body(Full::new(Bytes::new()));
    // A token is visible ASCII and a node's name a DNS name: this does not fail.
    built.map_err(|_| Failure::Permanent(Error::NoToken))
}

/// What an answer that is no upgrade means.
async fn refused(server: String, identity: &Identity, response: Response<Incoming>) -> Failure {
    let code = response.status().as_u16();
    let body = body::read(response.into_body(), MAX_ANSWER, PATIENCE).await.unwrap_or_default();
    let message = match Status::from_slice(&body) {
        Some(status) => status.message,
        None => String::from("it gave no reason"),
    };
    // One line, whoever wrote it.
    let message: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    match code {
        401 if identity.key.is_some() => Failure::Revoked { message },
        400 | 401 | 403 | 409 => Failure::Permanent(Error::Refused { server, code, message }),
        _ => Failure::Passing(Error::Refused { server, code, message }),
    }
}
