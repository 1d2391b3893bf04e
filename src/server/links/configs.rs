//! ConfigMaps and Secrets: a node is sent those that its pods name, and no others.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Links;
use crate::api::kinds::{CONFIG_MAP, SECRET};
use crate::api::{Kind, Object, Status};
use crate::link::{Put, Remove, ToAgent};

/// The key of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) is_secret: bool,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Reference {
    fn kind(&self) -> &'static Kind {
        if self.is_secret { SECRET } else { CONFIG_MAP }
    }
}

/// What the node was told on this link. An entry without anything is of one that does not exist.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<Reference, Option<Version>>);

#[derive(Clone, Debug, PartialEq)]
struct Version {
    uid: String,
    revision: u64,
}

impl Told {
    pub(super) fn has(&self, reference: &Reference) -> bool {
        self.0.contains_key(reference)
    }

    /// The messages after which the node has nothing but what `needed` says.
    pub(super) fn release(&mut self, needed: impl Fn(&Reference) -> bool) -> Vec<ToAgent> {
        let mut messages = Vec::new();
        self.0.retain(|reference, version| {
            let keep = needed(reference);
            if let (false, Some(version)) = (keep, version) {
                messages.push(remove(reference, version));
            }
            keep
        });
        messages
    }
}

fn remove(reference: &Reference, version: &Version) -> ToAgent {
    ToAgent::Remove(Remove { kind: reference.kind().kind.to_owned(), uid: version.uid.clone() })
}

impl Links {
    /// The messages that bring the node up to date with one that it needs.
    pub(super) fn compare_config(
        &self,
        told: &mut Told,
        reference: &Reference,
    ) -> Result<Vec<ToAgent>, Status> {
        let before = told.0.get(reference).cloned().flatten();
        let item = match self.registry.item(reference.kind(), &reference.namespace, &reference.name) {
            Ok(item) => item,
            Err(status) if status.code == 404 => {
                told.0.insert(reference.clone(), None);
                return Ok(before.iter().map(|version| remove(reference, version)).collect());
            }
            Err(status) => return Err(status),
        };
        if before.as_ref().is_some_and(|before| before.revision == item.revision) {
            return Ok(Vec::new());
        }
        let version = Version { uid: item.object()?.uid().to_owned(), revision: item.revision };
        let put = Put {
            kind: reference.kind().kind.to_owned(),
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            uid: version.uid.clone(),
            revision: item.revision,
        };
        // One that was made anew under the same name takes the place of the other.
        told.0.insert(reference.clone(), Some(version));
        Ok(vec![ToAgent::Put(put, item.json())])
    }
}

/// What a pod names: in volumes, in the environment of its containers, and for its images.
pub(super) fn named_by(pod: &Object) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut add = |is_secret: bool, name: Option<&Value>| {
        let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) else { return };
        let reference = Reference { is_secret, namespace: pod.namespace().to_owned(), name: name.to_owned() };
        if !found.contains(&reference) {
            found.push(reference);
        }
    };
    for volume in pod.array_at("/spec/volumes") {
        add(false, volume.pointer("/configMap/name"));
        add(true, volume.pointer("/secret/secretName"));
        for source in list(volume, "/projected/sources") {
            add(false, source.pointer("/configMap/name"));
            add(true, source.pointer("/secret/name"));
        }
    }
    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        for container in pod.array_at(&format!("/spec/{kind}")) {
            for source in list(container, "/envFrom") {
                add(false, source.pointer("/configMapRef/name"));
                add(true, source.pointer("/secretRef/name"));
            }
            for variable in list(container, "/env") {
                add(false, variable.pointer("/valueFrom/configMapKeyRef/name"));
                add(true, variable.pointer("/valueFrom/secretKeyRef/name"));
            }
        }
    }
    for secret in pod.array_at("/spec/imagePullSecrets") {
        add(true, secret.get("name"));
    }
    found
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_names_them_in_many_places() {
        let pod = Object::from_value(json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {
                "volumes": [
                    {"name": "a", "configMap": {"name": "a"}},
                    {"name": "b", "secret": {"secretName": "b"}},
                    {"name": "c", "projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "d"}}]}},
                    {"name": "e", "emptyDir": {}},
                ],
                "containers": [{
                    "envFrom": [{"configMapRef": {"name": "e"}}, {"secretRef": {"name": "f"}}],
                    "env": [{"name": "A", "value": "x"}, {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "a"}}}],
                }],
                "initContainers": [{"env": [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "g"}}}]}],
                "ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "h"}}, {"secretRef": {"name": ""}}]}],
                "imagePullSecrets": [{"name": "i"}],
            },
        }));
        let found = named_by(&pod.unwrap());
        let names = |is_secret| {
            let mine = found.iter().filter(|reference| reference.is_secret == is_secret);
            let mut names: Vec<&str> = mine.map(|reference| reference.name.as_str()).collect();
            names.sort_unstable();
            names.concat()
        };
        assert_eq!((names(false), names(true)), ("ace".into(), "bdfghi".into()));
        assert!(found.iter().all(|reference| reference.namespace == "shop"));
    }
}
