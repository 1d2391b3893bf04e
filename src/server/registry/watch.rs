//! Watches with selectors: an object that begins to match is added, one that ceases to is deleted.

use std::sync::Arc;

use super::{Item, Registry, Selectors};
use crate::api::object::{LABELS, NO_ACCOUNT};
use crate::api::{Kind, Object, Status};
use crate::store;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// After this revision, which must still be known (else 410).
    Revision(u64),
    /// With what is there now, as `Added`, then its changes (`resourceVersion` unset or 0).
    Now,
}

#[derive(Clone, Debug)]
pub enum WatchEvent {
    Added(Item),
    Modified(Item),
    /// The object as it last matched, at the revision of the change.
    Deleted(Item),
}

impl WatchEvent {
    /// The object, whatever happened to it.
    pub fn item(&self) -> &Item {
        match self {
            Self::Added(item) | Self::Modified(item) | Self::Deleted(item) => item,
        }
    }
}

/// Changes to the objects of one kind that match selectors.
pub struct Watch {
    /// What is there at the start, to be returned first.
    initial: std::vec::IntoIter<Item>,
    changes: store::Watch,
    started: u64,
    selectors: Selectors,
}

impl Watch {
    /// The next change. Cancel-safe. 410 (Expired) when this watch has fallen behind: list and watch anew.
    pub async fn next(&mut self) -> Result<WatchEvent, Status> {
        if let Some(event) = self.initial() {
            return Ok(event);
        }
        loop {
            let event = self.changes.next().await.map_err(|error| self.expired(&error))?;
            if let Some(event) = self.selectors.transition(event)? {
                return Ok(event);
            }
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Result<Option<WatchEvent>, Status> {
        if let Some(event) = self.initial() {
            return Ok(Some(event));
        }
        while let Some(event) = self.changes.try_next().map_err(|error| self.expired(&error))? {
            if let Some(event) = self.selectors.transition(event)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn initial(&mut self) -> Option<WatchEvent> {
        let item = self.initial.next();
        if item.is_none() {
            // A list that is used up keeps its memory.
            self.initial = Vec::new().into_iter();
        }
        item.map(WatchEvent::Added)
    }

    /// All changes up to this revision were returned: the resourceVersion for a bookmark.
    pub fn revision(&self) -> u64 {
        self.changes.revision()
    }

    fn expired(&self, error: &store::Error) -> Status {
        expired(self.started.max(self.changes.revision()), error)
    }
}

impl Registry {
    /// Errors: 410 when changes after the revision asked for are no longer known.
    pub fn watch(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        selectors: Selectors,
        from: From,
    ) -> Result<Watch, Status> {
        let (initial, started) = match from {
            From::Revision(revision) => (Vec::new(), revision),
            From::Now => {
                let list = self.list(kind, namespace, &selectors, &super::Page::default())?;
                (list.items, list.revision)
            }
        };
        let changes =
            self.store.watch(&kind.prefix(namespace), started).map_err(|error| expired(started, &error))?;
        Ok(Watch { initial: initial.into_iter(), changes, started, selectors })
    }
}

fn expired(revision: u64, error: &store::Error) -> Status {
    match error {
        store::Error::Compacted { oldest } => {
            Status::expired(format!("too old resource version: {revision} ({oldest})"))
        }
        other => Status::internal(other),
    }
}

impl Selectors {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether a stored object matches. Parses only what a name does not rule out.
    pub(super) fn match_stored(&self, key: &str, value: &[u8]) -> Result<bool, Status> {
        if self.is_empty() {
            return Ok(true);
        }
        if self.fields.name().is_some_and(|name| key.rsplit('/').next() != Some(name)) {
            return Ok(false);
        }
        let wanted = if self.fields.is_empty() { LABELS } else { NO_ACCOUNT };
        let object = Object::part(value, wanted).map_err(Status::internal)?;
        Ok(self.labels.matches(&object) && self.fields.matches(&object))
    }

    /// What a change of a key means to who watches with these selectors.
    fn transition(&self, event: store::Event) -> Result<Option<WatchEvent>, Status> {
        let revision = event.revision;
        let matching = |value: Option<Arc<[u8]>>| -> Result<Option<Item>, Status> {
            let Some(value) = value else { return Ok(None) };
            let matches = self.match_stored(&event.key, &value)?;
            Ok(matches.then_some(Item { revision, value }))
        };
        Ok(match (matching(event.old)?, matching(event.new)?) {
            (None, None) => None,
            (None, Some(new)) => Some(WatchEvent::Added(new)),
            (Some(_), Some(new)) => Some(WatchEvent::Modified(new)),
            (Some(old), None) => Some(WatchEvent::Deleted(old)),
        })
    }
}
