//! Who may have a link.

use std::time::{Instant, SystemTime};

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request};
use smol::Timer;

use super::Links;
use crate::api::kinds::NODE;
use crate::api::{Status, names};
use crate::http::server::Peer;
use crate::link::{SUBPROTOCOL, works_with};
use crate::server::tokens::Refusal;
use crate::token::Credential;

/// A request that becomes a link.
pub(super) struct Admitted {
    pub(super) node: String,
    /// The pending key that the agent is to save; none for one that came with its key.
    pub(super) new_key: Option<String>,
    /// For Sec-WebSocket-Accept.
    pub(super) accept: String,
    pub(super) peer: Peer,
}

/// What an agent shows.
enum Shown {
    Key(String),
    Token(Credential),
}

/// A secret of so many characters is not found by trying.
const LONG: usize = 16;

impl Shown {
    /// Whether it may be a guess at a short token of the server's configuration.
    fn guessable(&self) -> bool {
        matches!(self, Self::Token(Credential::Server { secret }) if secret.len() < LONG)
    }
}

impl Links {
    /// Errors: 400 malformed or a version that does not work together, 401 wrong key or token, 409 the name
    /// is taken, 429 too many failures.
    pub(super) async fn admit(&self, request: &Request<Incoming>, peer: Peer) -> Result<Admitted, Status> {
        let address = peer.address.ip();
        let headers = request.headers();
        let accept = websocket(request.method(), headers)?;
        let node = text(headers, "midge-node").to_owned();
        names::is_dns_subdomain(&node).map_err(|why| {
            Status::bad_request(format!("the node name is not usable: {why}; choose one with --node-name"))
        })?;
        let version = text(headers, "midge-version");
        if !works_with(version) {
            return Err(Status::bad_request(format!(
                "this server is midge {}, the agent is {}: they may be one minor version apart at most",
                crate::VERSION,
                version.chars().take(32).collect::<String>()
            )));
        }
        let shown = shown(headers)?;
        if shown.guessable() && self.attempts.crowded(address) {
            return Err(Status::too_many_requests("too many failed attempts from this address: wait", 5));
        }
        match self.authenticate(&node, &shown).await {
            Ok(new_key) => Ok(Admitted { node, new_key, accept, peer }),
            Err(status) if status.code == 401 => {
                let failure = self.attempts.failed(address, Instant::now());
                let (count, why) = (failure.count, &status.message);
                if failure.tell {
                    log::warn!("{address}: node {node} was refused ({count} of late): {why}");
                }
                Timer::after(failure.delay).await;
                Err(status)
            }
            Err(status) => {
                log::warn!("{address}: node {node} was refused: {}", status.message);
                Err(status)
            }
        }
    }

    /// A new pending key for a node that joins, nothing for one that has its key.
    async fn authenticate(&self, node: &str, shown: &Shown) -> Result<Option<String>, Status> {
        match shown {
            Shown::Key(key) => match self.key(node) {
                Some((_, record)) if record.is(key) => {
                    // The agent saved it, even if it could not say so.
                    if record.pending {
                        self.settle_key(node, key).await?;
                    }
                    Ok(None)
                }
                // The same for a name that is taken and one that is not: nobody has proved anything yet.
                _ => Err(Status::unauthorized(format!(
                    "the key is not that of node {node}: the node was deleted from the cluster, or another machine \
                     has joined with its name since"
                ))),
            },
            Shown::Token(credential) => {
                let now = SystemTime::now();
                let refused = |why: Refusal| Status::unauthorized(why.to_string());
                for _ in 0..8 {
                    let key = self.key(node);
                    // A use is one node; one that tries again before its key is saved is the same one.
                    let paid = key.as_ref().is_some_and(|(_, key)| key.pending && key.is_paid_by(credential));
                    // First: who has no valid token learns nothing about names.
                    match self.tokens.verify(credential, now) {
                        Err(Refusal::UsedUp) if paid => {}
                        verified => verified.map_err(refused)?,
                    }
                    let revision = match key {
                        Some((_, key)) if !key.pending => return Err(taken(node)),
                        key => key.map(|(revision, _)| revision),
                    };
                    if !paid {
                        self.tokens.spend(credential, now).await.map_err(refused)?;
                    }
                    if let Some(key) = self.make_key(node, credential, revision).await? {
                        return Ok(Some(key));
                    }
                }
                Err(Status::conflict(NODE, node, "several machines are joining with this name"))
            }
        }
    }
}

fn taken(node: &str) -> Status {
    Status::conflict(
        NODE,
        node,
        &format!(
            "another machine has joined with this name. If it is gone for good, or this is the same machine set up \
             anew: `kubectl delete node {node}`. Otherwise choose another name with --node-name"
        ),
    )
}

/// Checks that a request asks for our WebSocket (RFC 6455 section 4.2.1), and answers its key.
fn websocket(method: &Method, headers: &HeaderMap) -> Result<String, Status> {
    let has = |name: header::HeaderName, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted)))
    };
    if method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    let key = text(headers, "sec-websocket-key");
    let asked = has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13")
        && key.len() == 24;
    if !asked {
        return Err(Status::bad_request("this path takes WebSockets of midge agents only"));
    }
    if !has(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(Status::bad_request(format!("this server speaks {SUBPROTOCOL} and the agent does not")));
    }
    Ok(derive_accept_key(key.as_bytes()))
}

/// `Authorization: Bearer node:<key>` or a token's credential.
fn shown(headers: &HeaderMap) -> Result<Shown, Status> {
    let bearer = text(headers, "authorization").strip_prefix("Bearer ").unwrap_or("").trim();
    if let Some(key) = bearer.strip_prefix("node:") {
        return Ok(Shown::Key(key.chars().take(128).collect()));
    }
    let malformed = |_| Status::unauthorized("no node key and no join token that could be one");
    bearer.parse().map(Shown::Token).map_err(malformed)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}
