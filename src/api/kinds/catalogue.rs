//! The kinds that a server serves: the table's, and those that users define.

use std::sync::{Arc, PoisonError, RwLock};

use super::{COMPUTED, KINDS, Kind, VIEWS};

/// Every kind there is at the moment. The table's never change; defined kinds come and go while the
/// server runs.
#[derive(Default)]
pub struct Catalogue {
    defined: RwLock<Arc<[&'static Kind]>>,
}

impl Catalogue {
    /// By URL: group ("" for core), version, plural.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        let wanted = |kind: &&Kind| kind.group == group && kind.version == version && kind.plural == plural;
        self.served().into_iter().find(wanted)
    }

    /// By what an object says of itself.
    pub fn of(&self, api_version: &str, kind: &str) -> Option<&'static Kind> {
        self.stored().into_iter().find(|found| found.kind == kind && found.api_version() == api_version)
    }

    /// Every kind of which objects are stored.
    pub fn stored(&self) -> Vec<&'static Kind> {
        let defined = self.defined();
        KINDS.iter().chain(defined.iter()).copied().collect()
    }

    /// Every kind that can be asked for.
    pub fn served(&self) -> Vec<&'static Kind> {
        let defined = self.defined();
        KINDS.iter().chain(VIEWS).chain(COMPUTED).chain(defined.iter()).copied().collect()
    }

    /// Takes other defined kinds than before.
    pub fn define(&self, kinds: Vec<&'static Kind>) {
        *self.defined.write().unwrap_or_else(PoisonError::into_inner) = kinds.into();
    }

    fn defined(&self) -> Arc<[&'static Kind]> {
        self.defined.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
