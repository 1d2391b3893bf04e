//! The events of one container's probes, no more of them than the kubelet lets through.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use smol::channel::Sender;

use crate::agent::event::Event;

/// So many at once, then one in a while (client-go's EventSourceObjectSpamFilter).
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(300);
/// Longest message.
const MAX_MESSAGE: usize = 1024;

pub struct Events {
    sender: Sender<(String, Event)>,
    pod: String,
    container: String,
    allowance: Mutex<Allowance>,
}

struct Allowance {
    left: u32,
    since: Instant,
}

impl Events {
    pub fn new(sender: Sender<(String, Event)>, pod: &str, container: &str) -> Events {
        Events {
            sender,
            pod: pod.to_owned(),
            container: container.to_owned(),
            allowance: Mutex::new(Allowance { left: BURST, since: Instant::now() }),
        }
    }

    /// Returns whether it was sent.
    pub fn warn(&self, reason: &'static str, mut message: String) -> bool {
        log::debug!("pod {}: container {}: {message}", self.pod, self.container);
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        if !allowance.take(Instant::now()) {
            return false;
        }
        let end = (0..=MAX_MESSAGE.min(message.len())).rev().find(|&end| message.is_char_boundary(end));
        message.truncate(end.unwrap_or(0));
        let event = Event::warning(reason, message).of(&self.container);
        // A queue that is full has more of the same.
        self.sender.try_send((self.pod.clone(), event)).is_ok()
    }
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let refilled = now.duration_since(self.since).as_secs() / REFILL.as_secs();
        if refilled > 0 {
            let refilled = u32::try_from(refilled).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(refilled).min(BURST);
            self.since = now;
        }
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_rationed_and_short() {
        let (sender, receiver) = smol::channel::unbounded();
        let events = Events::new(sender, "uid", "web");
        let sent = (0..100).filter(|_| events.warn("Unhealthy", "ä".repeat(2000))).count();
        assert_eq!((sent, receiver.len()), (25, 25));
        let (uid, event) = receiver.try_recv().unwrap();
        assert_eq!((uid.as_str(), event.container.as_deref()), ("uid", Some("web")));
        assert_eq!(event.message, "ä".repeat(512));

        let mut allowance = events.allowance.lock().unwrap();
        let begin = allowance.since;
        for (seconds, allowed) in
            [(299, false), (301, true), (301, false), (1300, true), (1300, true), (1300, true), (1300, false)]
        {
            assert_eq!(allowance.take(begin + Duration::from_secs(seconds)), allowed, "{seconds}");
        }
    }
}
