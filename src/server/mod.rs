//! Floor 2: the brain: HTTPS listener, API handlers, links, controllers.
//!
//! ```text
//! request → router → auth → handlers/ (get, list, write, patch, delete) ┐
//!                         → watch     (one cursor a watcher)            ├→ registry → store
//!                         → logs      (link streams)                    ┘
//!                         → links     (the agents' WebSockets, tokens, node keys)
//! ```
//! Tasks: one per connection (`http::server`), one per link, one per controller loop (scheduler,
//! namespaces, events' expiry). All live in structs that [`run`] owns: when it returns, they are gone.

pub mod config;
pub mod events;
pub mod links;
pub mod namespaces;
pub mod registry;
pub mod scheduler;
pub mod tokens;

use std::sync::Arc;

pub use config::Config;

use crate::Executor;
use links::Links;
use registry::Registry;

/// What every handler and controller of one server shares.
pub struct State {
    pub config: Config,
    pub executor: Executor,
    pub registry: Arc<Registry>,
    pub links: Arc<Links>,
}
