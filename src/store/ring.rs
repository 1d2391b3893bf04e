//! The last changes, in a ring that is bounded by count and bytes. A watcher holds a cursor into it, not a
//! queue: a slow watcher costs nothing, and one that falls out of the ring is told so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Entry, Error, Revision};

/// One change of one key. `old` is what was there before, `new` what is there since; a removal has no `new`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub revision: Revision,
    pub key: Arc<str>,
    pub old: Option<Arc<[u8]>>,
    /// The revision of `old`; 0 when there was nothing.
    pub before: Revision,
    pub new: Option<Arc<[u8]>>,
}

impl Event {
    /// What keeping this event costs, roughly: the old value is mostly shared with the event before.
    fn cost(&self) -> usize {
        let value = self.new.as_ref().or(self.old.as_ref()).map_or(0, |value| value.len());
        value + size_of::<Self>() + 32
    }
}

/// The history that watches read. Every backend owns one and pushes its changes in order.
pub struct Ring {
    inner: RwLock<Inner>,
    pushed: event_listener::Event,
    max_events: usize,
    max_bytes: usize,
}

struct Inner {
    events: VecDeque<Event>,
    bytes: usize,
    /// Changes up to this revision are not in the ring.
    oldest: Revision,
    newest: Revision,
}

impl Ring {
    /// An empty ring of a store whose last change so far was `revision`.
    pub fn new(revision: Revision, max_events: usize, max_bytes: usize) -> Self {
        let inner = Inner { events: VecDeque::new(), bytes: 0, oldest: revision, newest: revision };
        Self { inner: RwLock::new(inner), pushed: event_listener::Event::new(), max_events, max_bytes }
    }

    /// Adds changes, whose revisions grow, and wakes the watchers.
    pub fn push(&self, events: impl IntoIterator<Item = Event>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            inner.newest = event.revision;
            inner.bytes += event.cost();
            inner.events.push_back(event);
            // The newest event stays even if it alone is over the limit: otherwise no watch could ever see it.
            while inner.events.len() > 1
                && (inner.events.len() > self.max_events || inner.bytes > self.max_bytes)
            {
                if let Some(dropped) = inner.events.pop_front() {
                    inner.bytes -= dropped.cost();
                    inner.oldest = dropped.revision;
                }
            }
        }
        drop(inner);
        self.pushed.notify(usize::MAX);
    }

    /// A cursor after the revision `after`, for keys that begin with `prefix`.
    pub fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Result<Watch, Error> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        // A revision of the future is from another store, or from one that lost its file.
        if after < inner.oldest || after > inner.newest {
            return Err(Error::Compacted { oldest: inner.oldest });
        }
        drop(inner);
        Ok(Watch { ring: self.clone(), prefix: prefix.into(), cursor: after })
    }

    /// What the keys beginning with `prefix` that have changed since the revision `at` were then; none: not there.
    pub fn undo(&self, prefix: &str, at: Revision) -> Result<BTreeMap<Arc<str>, Option<Entry>>, Error> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if at < inner.oldest || at > inner.newest {
            return Err(Error::Compacted { oldest: inner.oldest });
        }
        let start = inner.events.partition_point(|event| event.revision <= at);
        let mut undone = BTreeMap::new();
        for event in inner.events.range(start..).filter(|event| event.key.starts_with(prefix)) {
            undone.entry(event.key.clone()).or_insert_with(|| {
                let value = event.old.clone()?;
                Some(Entry { key: event.key.clone(), revision: event.before, value })
            });
        }
        Ok(undone)
    }

    /// The first change to `prefix` after `cursor`, which moves past what does not concern it.
    fn after(&self, cursor: &mut Revision, prefix: &str) -> Result<Option<Event>, Error> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if *cursor < inner.oldest {
            return Err(Error::Compacted { oldest: inner.oldest });
        }
        let start = inner.events.partition_point(|event| event.revision <= *cursor);
        let found = inner.events.range(start..).find(|event| event.key.starts_with(prefix));
        *cursor = found.map_or(inner.newest, |event| event.revision);
        Ok(found.cloned())
    }
}

/// A cursor over a [`Ring`].
pub struct Watch {
    ring: Arc<Ring>,
    prefix: Box<str>,
    cursor: Revision,
}

impl Watch {
    /// The next change; waits for one. Cancel-safe: the cursor moves past a change only with its return.
    ///
    /// Errors: [`Error::Compacted`] once this watch has fallen out of the ring; it stays so.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            let pushed = self.ring.pushed.listen();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            pushed.await;
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Result<Option<Event>, Error> {
        self.ring.after(&mut self.cursor, &self.prefix)
    }

    /// Every change up to this revision that concerns this watch was returned: what a bookmark says.
    pub fn revision(&self) -> Revision {
        self.cursor
    }
}
