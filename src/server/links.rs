//! The agents' links, the server's end.
//!
//! ```text
//! GET /v1-midge/connect → Links::connect: authenticate → 101 → one task a link
//! store watch (pods, nodes) → Links::run → what differs → the node's link
//! ```

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};

use super::config::Cidr;
use super::registry::Registry;
use super::tokens::Tokens;
use crate::Executor;
use crate::api::status::Status;
use crate::http::Body;
use crate::http::server::Peer;
use crate::link::{Stream, StreamRequest};
use crate::store::Store;

/// What agents are told, and what their nodes get.
#[derive(Clone, Debug)]
pub struct Options {
    /// Each node gets a /24 of it.
    pub cluster_cidr: Cidr,
    pub cluster_dns: String,
    pub cluster_domain: String,
}

/// The links of one server.
pub struct Links {}

impl Links {
    pub fn new(
        options: Options,
        registry: Arc<Registry>,
        store: Arc<dyn Store>,
        tokens: Arc<Tokens>,
        executor: Executor,
    ) -> Arc<Links> {
        let _ = (options, registry, store, tokens, executor);
        todo!()
    }

    /// Keeps the nodes told and their conditions true; runs for as long as the server does.
    pub async fn run(self: Arc<Self>) {
        todo!()
    }

    /// Answers `GET /v1-midge/connect`: `101` and a link, or a Status that says why not.
    pub async fn connect(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let _ = (request, peer);
        todo!()
    }

    /// Opens a stream to a node, for instance a container's log.
    ///
    /// Errors: 503 when the node is not connected or has as many streams as it may.
    pub async fn open(&self, node: &str, request: &StreamRequest) -> Result<Stream, Status> {
        let _ = (node, request);
        todo!()
    }

    /// Whether the node's link is up.
    pub fn connected(&self, node: &str) -> bool {
        let _ = node;
        todo!()
    }

    /// Tells every agent that the server ends (they redial at once), and closes the links.
    pub async fn close(&self) {
        todo!()
    }
}
