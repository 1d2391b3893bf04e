//! midge: a Kubernetes cluster that fits on a small board.
//!
//! ```text
//! floor 3   main.rs  cli/              arguments → validated config → run
//! floor 2   server/                    HTTPS listener, API handlers, links, controllers' loops
//!           agent/                     link client, pod loop, probes, status, streams, figures, images,
//!                                      volumes, eviction
//! floor 1   store/                     registry: revisions, compare-and-swap, watch
//!           plan/                      pure decisions: schedule, pod, volume, eviction, garbage, quota, budgets
//!           containerd/  cni/          the node's runtime and network, spoken directly
//!           link/                      messages and streams on the WebSocket, both ends
//!           http/  tls/  token.rs      transport and trust
//! floor 0   api/                       Object, kinds table, schema, selectors, patches, apply, protobuf, Status
//!           sys/                       one small module per Linux interface
//! ```
//!
//! Imports go downward only; rooms on one floor do not import each other (`link` may use `http` and
//! `tls`, `tls` may use `token`). `just floors` checks it.

pub mod agent;
pub mod api;
pub mod cli;
pub mod cni;
pub mod containerd;
pub mod http;
pub mod link;
pub mod plan;
pub mod server;
pub mod store;
pub mod sys;
pub mod tls;
pub mod token;

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

/// The one executor of a process. It is passed on, never global: dropping a [`smol::Task`] that was
/// spawned on it cancels the task.
#[derive(Clone, Debug, Default)]
pub struct Executor(Arc<smol::Executor<'static>>);

impl Executor {
    /// Runs a future as a task. Boxed, so that the machinery of tasks is there once for each result, not for each
    /// future: it would be a twentieth of the program.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> smol::Task<T> {
        let future: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(future);
        self.0.spawn(future)
    }
}

impl Deref for Executor {
    type Target = smol::Executor<'static>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// The version of midge, as `midge version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An error and its sources in one line, `a: b: c`, for the log, events and status. `Display` of midge's
/// errors leaves the source out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
