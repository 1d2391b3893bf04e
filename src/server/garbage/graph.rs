//! Who depends on whom: no more of it than what objects say of their owners.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::Object;
use crate::api::object::mentions;
use crate::plan::garbage::references;

/// The keys of dependents by the uid of their owner. The keys are those of the store, shared with it.
#[derive(Default)]
pub struct Graph(BTreeMap<Box<str>, Vec<Arc<str>>>);

impl Graph {
    pub fn dependents(&self, owner: &str) -> &[Arc<str>] {
        self.0.get(owner).map_or(&[], Vec::as_slice)
    }

    /// Every object that has an owner.
    pub fn keys(&self) -> impl Iterator<Item = Arc<str>> {
        self.0.values().flatten().cloned()
    }

    /// Takes note of what an object says of its owners now. True if it said something else before.
    pub fn change(&mut self, key: &Arc<str>, old: Option<&Object>, new: Option<&Object>) -> bool {
        let said = |object: Option<&Object>| object.map(|o| o.array_at("/metadata/ownerReferences").to_vec());
        if said(old).unwrap_or_default() == said(new).unwrap_or_default() {
            return false;
        }
        for owner in old.into_iter().flat_map(references) {
            if let Some(keys) = self.0.get_mut(owner.uid) {
                keys.retain(|known| known != key);
                if keys.is_empty() {
                    self.0.remove(owner.uid);
                }
            }
        }
        for owner in new.into_iter().flat_map(references) {
            let keys = self.0.entry(owner.uid.into()).or_default();
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        true
    }
}

/// Whether stored text may have owner references: what has none is not parsed.
pub fn mentions_owners(text: &[u8]) -> bool {
    mentions(text, "\"ownerReferences\":[")
}

/// Whether stored text may be of an owner that waits.
pub fn mentions_deletion(text: &[u8]) -> bool {
    mentions(text, "\"deletionTimestamp\":")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(uids: &[&str]) -> Object {
        let owners: Vec<_> = uids.iter().map(|uid| json!({"uid": uid, "name": "a", "kind": "K"})).collect();
        Object::from_value(json!({"metadata": {"ownerReferences": owners}})).unwrap()
    }

    #[test]
    fn it_forgets_what_is_gone() {
        let mut graph = Graph::default();
        let (a, b): (Arc<str>, Arc<str>) = ("pods/x/a".into(), "pods/x/b".into());
        assert!(graph.change(&a, None, Some(&owned(&["1", "2"]))));
        assert!(graph.change(&b, None, Some(&owned(&["1"]))));
        assert!(!graph.change(&a, Some(&owned(&["1", "2"])), Some(&owned(&["1", "2"]))));
        assert_eq!(graph.dependents("1"), [a.clone(), b.clone()]);
        assert!(graph.change(&a, Some(&owned(&["1", "2"])), Some(&owned(&["2"]))));
        assert_eq!(graph.dependents("1"), std::slice::from_ref(&b));
        graph.change(&a, Some(&owned(&["2"])), None);
        graph.change(&b, Some(&owned(&["1"])), None);
        assert!(graph.0.is_empty());
        assert!(mentions_owners(&owned(&["1"]).to_vec()));
        assert!(!mentions_owners(b"{\"metadata\":{\"name\":\"ownerReferences\"}}"));
    }
}
