//! What a loop does that fails: it says so once, waits, and starts over.

use std::time::Duration;

use crate::api::{Reason, Status};

/// How long a loop waits after a failure.
const PAUSE: Duration = Duration::from_secs(2);

/// The failures of one loop.
#[derive(Default)]
pub struct Failures {
    said: bool,
}

impl Failures {
    /// Says that it `failed to …`, unless it has failed ever since that was said, and waits. A watch that has fallen
    /// behind is no failure: the loop starts over at once.
    pub async fn rest(&mut self, what: &str, status: &Status) {
        if status.reason == Reason::Expired {
            return smol::future::yield_now().await;
        }
        if !std::mem::replace(&mut self.said, true) {
            log::warn!("failed to {what}: {status}");
        }
        smol::Timer::after(PAUSE).await;
    }

    /// It works: the next failure is a new one.
    pub fn end(&mut self) {
        self.said = false;
    }
}
