//! What controllers see: the registry, and whose each object is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::{Kind, Object};
use crate::plan::control;
use crate::server::registry::{Item, Registry};

/// The registry with an index of controlled objects. Only keys are held, those of the store; whether an index entry is
/// true still is seen when the object is read.
pub struct World {
    registry: Arc<Registry>,
    /// Keys by the uid of the object that controls them.
    controlled: BTreeMap<Box<str>, BTreeSet<Arc<str>>>,
    /// Keys of those that nothing controls: they may be adopted.
    free: BTreeSet<Arc<str>>,
}

impl World {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, controlled: BTreeMap::new(), free: BTreeSet::new() }
    }

    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Takes note of a change of an object of a kind that is controlled.
    pub(super) fn note(&mut self, key: &Arc<str>, old: Option<&Object>, new: Option<&Object>) {
        fn uid(object: Option<&Object>) -> Option<Option<&str>> {
            object.map(|object| control::controller(object).and_then(|owner| owner["uid"].as_str()))
        }
        let (was, is) = (uid(old), uid(new));
        if was == is {
            return;
        }
        match was {
            Some(Some(uid)) => {
                if let Some(keys) = self.controlled.get_mut(uid) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.controlled.remove(uid);
                    }
                }
            }
            Some(None) => drop(self.free.remove(key)),
            None => {}
        }
        match is {
            Some(Some(uid)) => drop(self.controlled.entry(uid.into()).or_default().insert(key.clone())),
            Some(None) => drop(self.free.insert(key.clone())),
            None => {}
        }
    }

    /// The objects of a kind that `owner` controls, by name; with `adoptable` also those in its namespace that nothing
    /// controls: what [`control::claim`] takes.
    pub fn of(&self, kind: &'static Kind, owner: &Object, adoptable: bool) -> Vec<Object> {
        let prefix = kind.prefix(Some(owner.namespace()));
        let mine = self.controlled.get(owner.uid()).into_iter().flatten();
        let mine = mine.filter(|key| key.starts_with(&prefix));
        let start: Arc<str> = prefix.as_str().into();
        let free = self.free.range(start..).take_while(|key| adoptable && key.starts_with(&prefix));
        mine.chain(free).filter_map(|key| self.read(key)).collect()
    }

    pub(super) fn read(&self, key: &str) -> Option<Object> {
        let entry = self.registry.store().get(key)?;
        Item { revision: entry.revision, value: entry.value }.object().ok()
    }

    /// One object, if it is there.
    pub fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<Object> {
        self.registry.get(kind, namespace, name).ok()
    }
}
