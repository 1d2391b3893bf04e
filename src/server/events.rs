//! Event objects: what `kubectl describe` shows at its end. Repeated ones are counted, old ones expire.

use std::time::Duration;

use crate::Executor;
use crate::api::{Object, Status};
use crate::server::registry::Registry;
use std::sync::Arc;

/// How long an event is kept after it last happened.
pub const LIFETIME: Duration = Duration::from_secs(3600);
/// How many events are kept; the oldest go first.
pub const LIMIT: usize = 1000;

/// `Normal` and `Warning`: the types that Kubernetes knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Normal,
    Warning,
}

/// Records that something happened to `regarding`. The same reason and message about the same object
/// (by uid) counts up the event that is there. Lazy: an event may be lost with the process.
/// `source` is the component, such as `scheduler`.
pub async fn record(
    registry: &Registry,
    regarding: &Object,
    kind: Type,
    reason: &str,
    message: &str,
    source: &str,
) -> Result<(), Status> {
    let _ = (registry, regarding, kind, reason, message, source);
    todo!()
}

/// Stores an event that an agent made (`ToServer::Event`), with the same counting. `node` is who says so
/// and becomes its source's host.
pub async fn accept(registry: &Registry, event: Object, node: &str) -> Result<(), Status> {
    let _ = (registry, event, node);
    todo!()
}

/// Removes expired events until the task is dropped; sleeps until the next one expires.
pub fn expire(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    let _ = (registry, executor);
    todo!()
}
