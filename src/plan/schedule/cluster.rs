//! What the scheduler knows of the cluster: the nodes and few facts of every pod on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{Node, Place};
use super::pod::{Facts, Labels, Pod};
use crate::api::Object;

/// Kept up to date by changes; nothing of it is read anew for a decision.
#[derive(Default)]
pub struct Cluster {
    pub(super) places: BTreeMap<Box<str>, Place>,
    /// The node of each pod that has one.
    pods: BTreeMap<Box<str>, Box<str>>,
    /// The labels of namespaces.
    namespaces: BTreeMap<Box<str>, Labels>,
    /// Pods that wait until others have made room for them, and where.
    nominated: BTreeMap<Box<str>, (Box<str>, Arc<Facts>)>,
}

impl Cluster {
    /// Takes note of a node. False: nothing that counts here has changed.
    pub fn set_node(&mut self, node: &Object) -> bool {
        let node = Node::of(node);
        let place = self.places.entry(node.name.as_str().into()).or_default();
        let changed = place.node.as_ref() != Some(&node);
        place.node = Some(node);
        changed
    }

    pub fn remove_node(&mut self, name: &str) {
        if let Some(place) = self.places.get_mut(name) {
            place.node = None;
            if place.pods.is_empty() {
                self.places.remove(name);
            }
        }
    }

    pub fn set_namespace(&mut self, namespace: &Object) {
        self.namespaces.insert(namespace.name().into(), Labels::of(namespace.labels()));
    }

    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    pub(super) fn namespace(&self, of: &Facts) -> Option<&Labels> {
        self.namespaces.get(of.namespace())
    }

    /// Puts a pod onto its node, in the place of what was known of it. False: it is known just so.
    pub fn place(&mut self, node: &str, pod: Arc<Facts>) -> bool {
        if self.pods.get(&pod.key).is_some_and(|at| **at == *node)
            && self.places.get(node).is_some_and(|place| place.pods.contains(&pod))
        {
            return false;
        }
        self.remove(&pod.key);
        self.nominated.remove(&pod.key);
        self.pods.insert(pod.key.clone(), node.into());
        let place = self.places.entry(node.into()).or_default();
        place.room.take(&pod);
        place.asking += usize::from(pod.terms.is_some());
        place.pods.push(pod);
        true
    }

    /// Takes a pod off its node. False: it was on none.
    pub fn remove(&mut self, key: &str) -> bool {
        let Some(node) = self.pods.remove(key) else { return false };
        if let Some(place) = self.places.get_mut(&node)
            && let Some(at) = place.pods.iter().position(|pod| *pod.key == *key)
        {
            let pod = place.pods.swap_remove(at);
            place.room.free(&pod);
            place.asking -= usize::from(pod.terms.is_some());
            if place.pods.is_empty() && place.node.is_none() {
                self.places.remove(&node);
            }
        }
        true
    }

    /// A pod that was deleted to make room goes soon.
    pub fn end(&mut self, key: &str) {
        let Some(place) = self.pods.get(key).and_then(|node| self.places.get_mut(node)) else { return };
        for pod in place.pods.iter_mut().filter(|pod| *pod.key == *key) {
            *pod = Arc::new(Facts { ends: true, ..(**pod).clone() });
        }
    }

    /// Keeps what others free on a node for a pod, from those that are no more important. None: no longer.
    pub fn nominate(&mut self, pod: &Pod, node: Option<&str>) {
        match node {
            Some(node) => {
                drop(self.nominated.insert(pod.facts.key.clone(), (node.into(), pod.facts.clone())))
            }
            None => self.forget(&pod.facts.key),
        }
    }

    /// A pod no longer waits.
    pub fn forget(&mut self, key: &str) {
        self.nominated.remove(key);
    }

    /// The nodes that are there, with what is on them and kept for pods that are at least as important.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Node, &Place)> {
        self.places.values().filter_map(|place| Some((place.node.as_ref()?, place)))
    }

    /// The pods for which room is kept on a node that this one may not take.
    pub(super) fn ahead<'a>(&'a self, node: &'a str, pod: &'a Facts) -> impl Iterator<Item = &'a Facts> {
        let ahead = self.nominated.iter().filter(move |(key, (at, other))| {
            **at == *node && **key != pod.key && other.priority >= pod.priority
        });
        ahead.map(|(_, (_, other))| &**other)
    }

    pub(super) fn is_contended(&self) -> bool {
        !self.nominated.is_empty()
    }
}
