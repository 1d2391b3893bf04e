//! Layers that are being fetched: each by one pull at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use smol::lock::{Mutex as AsyncMutex, MutexGuardArc};

#[derive(Default)]
pub struct Layers(Mutex<BTreeMap<String, Arc<AsyncMutex<()>>>>);

impl Layers {
    /// Waits until nobody else fetches the layer with this digest.
    pub async fn lock(&self, digest: &str) -> MutexGuardArc<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(digest.to_owned()).or_default().clone()
        };
        lock.lock_arc().await
    }
}
