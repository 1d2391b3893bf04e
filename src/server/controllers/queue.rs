//! Which objects controllers are to look at, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::Status;

/// A controller, by its place in the table, and the key of one of its objects.
pub type Key = (usize, Arc<str>);

/// The pause after a first failure; it doubles, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(300);
/// What a change waits for at most while failures pause.
const SOON: Duration = Duration::from_secs(2);
/// Planning for one object takes at most one part in so many of the time: a thousand pods that become ready one
/// after the other are not counted a thousand times.
const SHARE: u32 = 10;

/// Each object is there at most once, and never while it is worked on.
#[derive(Default)]
pub struct Queue {
    due: BTreeSet<(Instant, Key)>,
    states: BTreeMap<Key, State>,
}

#[derive(Default)]
struct State {
    due: Option<Instant>,
    works: bool,
    /// Changes are looked at from then on.
    not_before: Option<Instant>,
    failures: u32,
    last: Option<Status>,
}

impl Queue {
    /// Has the object looked at, at `at` or sooner; after a failure a change waits for a moment, not for the whole pause.
    pub fn push(&mut self, key: &Key, at: Instant) {
        let state = self.states.entry(key.clone()).or_default();
        let at = state.not_before.map_or(at, |not_before| at.max(not_before));
        if state.due.is_some_and(|due| due <= at) {
            return;
        }
        if let Some(before) = state.due.replace(at) {
            self.due.remove(&(before, key.clone()));
        }
        if !state.works {
            self.due.insert((at, key.clone()));
        }
    }

    /// The object that is due longest. It is worked on until [`Queue::done`].
    pub fn pop(&mut self, now: Instant) -> Option<Key> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        let state = self.states.entry(key.clone()).or_default();
        (state.due, state.works) = (None, true);
        Some(key)
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How the last attempt failed.
    pub fn failure(&self, key: &Key) -> Option<&Status> {
        self.states.get(key)?.last.as_ref()
    }

    /// The work on an object has ended, at `now`; planning took `cost`. True for the first failure in a row.
    pub fn done(&mut self, key: &Key, outcome: Result<(), Status>, cost: Duration, now: Instant) -> bool {
        let Some(state) = self.states.get_mut(key) else { return false };
        state.works = false;
        let failed = outcome.is_err();
        let pause = if failed {
            state.failures = state.failures.saturating_add(1);
            SHORTEST.saturating_mul(1 << state.failures.min(13).saturating_sub(1)).min(LONGEST)
        } else {
            state.failures = 0;
            cost * (SHARE - 1)
        };
        state.last = outcome.err();
        state.not_before = (pause > Duration::from_millis(5)).then(|| now + pause.min(SOON));
        let changed = state.due.map(|due| state.not_before.map_or(due, |not_before| due.max(not_before)));
        let retry = failed.then(|| now + pause);
        state.due = changed.into_iter().chain(retry).min();
        match state.due {
            Some(at) => drop(self.due.insert((at, key.clone()))),
            None if state.not_before.is_none() => drop(self.states.remove(key)),
            None => {}
        }
        failed && self.states.get(key).is_some_and(|state| state.failures == 1)
    }

    /// The object is gone.
    pub fn forget(&mut self, key: &Key) {
        if let Some(due) = self.states.remove(key).and_then(|state| state.due) {
            self.due.remove(&(due, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_there_once_and_not_while_it_is_worked_on() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        let key: Key = (0, "a".into());
        queue.push(&key, later(9));
        queue.push(&key, now);
        queue.push(&key, later(3));
        assert_eq!((queue.next(), queue.due.len()), (Some(now), 1));
        assert_eq!(queue.pop(now), Some(key.clone()));
        queue.push(&key, now);
        assert_eq!(queue.pop(later(99)), None);
        queue.done(&key, Ok(()), Duration::ZERO, now);
        assert_eq!(queue.pop(now), Some(key.clone()));
        queue.done(&key, Ok(()), Duration::ZERO, now);
        assert!(queue.states.is_empty() && queue.due.is_empty());
    }

    #[test]
    fn failures_and_dear_plans_wait() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let key: Key = (0, "a".into());
        let mut pauses = Vec::new();
        let mut at = now;
        for attempt in 0..14 {
            if attempt == 0 {
                queue.push(&key, at);
            }
            let due = queue.next().unwrap();
            pauses.push((due - at).as_millis());
            at = due;
            queue.pop(at).unwrap();
            assert_eq!(queue.done(&key, Err(Status::internal("x")), Duration::ZERO, at), attempt == 0);
            assert!(queue.failure(&key).is_some());
        }
        assert_eq!(pauses[..4], [0, 100, 200, 400]);
        assert_eq!(pauses[13], 300_000);
        // A change does not wait that long.
        queue.push(&key, at);
        assert_eq!(queue.next(), Some(at + SOON));
        queue.pop(queue.next().unwrap()).unwrap();
        queue.done(&key, Ok(()), Duration::from_millis(20), at);
        queue.push(&key, at);
        assert_eq!(queue.next(), Some(at + Duration::from_millis(180)));
        queue.forget(&key);
        assert!(queue.states.is_empty() && queue.due.is_empty());
    }
}
