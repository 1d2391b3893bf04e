//! Floor 2: the brain: HTTPS listener, API handlers, links, controllers.
//!
//! ```text
//! request → router → auth → handlers/ (get, list, write, patch, delete) ┐
//!                         → watch     (one cursor a watcher)            ├→ registry → store
//!                         → logs, remote, proxy, top (link streams)     ┘
//!                         → links     (the agents' WebSockets, tokens, node keys)
//! ```
//! Tasks: one per connection (`http::server`), one per link, one per controller loop (scheduler,
//! namespaces, garbage, disruption budgets, autoscalers, manifests, service accounts, definitions, volume claims, orphaned pods,
//! events' expiry). All live in structs that [`run`] owns: when it returns,
//! they are gone.

mod accept;
pub mod accounts;
mod admission;
pub mod attempts;
pub mod auth;
mod authorize;
mod autoscaler;
mod body;
mod claims;
mod compress;
pub mod config;
mod controllers;
mod definitions;
mod disrupt;
mod disruptions;
mod error;
pub mod events;
mod failures;
mod garbage;
mod handlers;
mod health;
pub mod kubeconfig;
mod lifecycle;
pub mod links;
mod logs;
mod manifests;
mod media;
mod metrics;
pub mod namespaces;
mod options;
pub mod orphans;
mod path;
mod proxy;
mod query;
pub mod registry;
mod remote;
mod render;
mod reply;
mod reviews;
mod router;
mod run;
pub mod scheduler;
mod services;
mod spdy;
mod token_api;
pub mod tokens;
mod top;
mod watch;
mod websocket;

use std::convert::Infallible;
use std::sync::Arc;

pub use config::Config;
pub use error::Error;
pub use run::{Ready, run};

use links::Links;
use registry::Registry;
use tokens::Tokens;

/// What every handler of one server shares.
pub struct State {
    pub executor: crate::Executor,
    pub registry: Arc<Registry>,
    pub links: Arc<Links>,
    pub tokens: Arc<Tokens>,
    pub admin: auth::Admin,
    pub access: authorize::Access,
    pub accounts: Arc<accounts::Accounts>,
    pub attempts: attempts::Attempts,
    /// The CA's certificate, as `/cacerts` serves it.
    pub certificate_pem: String,
    pub watchers: watch::Watchers,
    pub top: top::Top,
    pub requests: metrics::Requests,
    pub compressions: compress::Places,
    pub loops: health::Loops,
    /// Closed when the server ends: what would go on without an end (watches, followed logs, sessions) listens.
    pub closing: smol::channel::Receiver<Infallible>,
}
