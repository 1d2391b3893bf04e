//! Watches with selectors: an object that begins to match is added, one that ceases to is deleted.

use super::{Item, Registry, Selectors};
use crate::api::{Kind, Status};

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

/// Changes to the objects of one kind that match selectors.
pub struct Watch {
    _private: (),
}

impl Watch {
    /// The next change. Cancel-safe. 410 (Expired) when this watch has fallen behind: list and watch anew.
    pub async fn next(&mut self) -> Result<WatchEvent, Status> {
        todo!()
    }

    /// All changes up to this revision were returned: the resourceVersion for a bookmark.
    pub fn revision(&self) -> u64 {
        todo!()
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
        let _ = (kind, namespace, selectors, from);
        todo!()
    }
}
