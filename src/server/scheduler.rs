//! The scheduler loop: gives pods without a node one. Woken by changes only.

use std::sync::Arc;

use crate::Executor;
use crate::server::registry::Registry;

/// Runs the loop until the task is dropped.
pub fn run(registry: Arc<Registry>, executor: &Executor) -> smol::Task<()> {
    let _ = (registry, executor);
    todo!()
}
