//! What wakes the pod loop. A wake says only "look again"; it is never lost and never counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::{Event, IntoNotification};

#[derive(Clone, Default)]
pub struct Wake(Arc<Inner>);

#[derive(Default)]
struct Inner {
    set: AtomicBool,
    event: Event,
}

impl Wake {
    /// Wakes the one who waits, now or at its next wait.
    pub fn wake(&self) {
        self.0.set.store(true, Ordering::SeqCst);
        self.0.event.notify(1.additional());
    }

    /// Waits for a wake. Cancel-safe: a wake that comes meanwhile is kept.
    pub async fn wait(&self) {
        loop {
            if self.0.set.swap(false, Ordering::SeqCst) {
                return;
            }
            let listener = self.0.event.listen();
            if self.0.set.swap(false, Ordering::SeqCst) {
                return;
            }
            listener.await;
        }
    }
}
