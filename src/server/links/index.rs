//! Which pods are on which node: what a link that comes up is compared with, without a look at every pod.

use std::collections::{BTreeSet, HashMap};

use super::pods::Name;
use crate::api::Status;
use crate::api::kinds::POD;
use crate::api::object::PLACE;
use crate::server::registry::{From, Registry, Selectors, Watch, WatchEvent};

#[derive(Default)]
pub(super) struct Index {
    watch: Option<Watch>,
    nodes: HashMap<String, BTreeSet<Name>>,
}

impl Index {
    /// Takes in all that has happened up to now, and tells of each change which pod of which node it is about.
    /// Returns true when it began anew instead: then anything may have changed.
    pub(super) fn catch_up(
        &mut self,
        registry: &Registry,
        mut changed: impl FnMut(&str, Name),
    ) -> Result<bool, Status> {
        let mut anew = false;
        loop {
            let Some(watch) = &mut self.watch else {
                self.nodes.clear();
                self.watch = Some(registry.watch(POD, None, Selectors::default(), From::Now)?);
                anew = true;
                continue;
            };
            let event = match watch.try_next() {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(anew),
                Err(_) => {
                    // It has fallen behind.
                    self.watch = None;
                    continue;
                }
            };
            let Ok(pod) = event.item().part(PLACE) else { continue };
            let (node, name) = (pod.str_at("/spec/nodeName"), Name::of(&pod));
            if node.is_empty() {
                continue;
            }
            if !anew {
                changed(node, name.clone());
            }
            match event {
                WatchEvent::Deleted(_) => {
                    if let Some(names) = self.nodes.get_mut(node) {
                        names.remove(&name);
                        if names.is_empty() {
                            self.nodes.remove(node);
                        }
                    }
                }
                _ => match self.nodes.get_mut(node) {
                    Some(names) => drop(names.insert(name)),
                    None => drop(self.nodes.insert(node.to_owned(), BTreeSet::from([name]))),
                },
            }
        }
    }

    pub(super) fn of(&self, node: &str) -> Vec<Name> {
        self.nodes.get(node).into_iter().flatten().cloned().collect()
    }
}
