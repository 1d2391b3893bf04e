//! ConfigMaps, Secrets and the volumes of claims: a node is sent those that its pods name, and no others.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Links;
use crate::api::kinds::{CONFIG_MAP, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, SECRET};
use crate::api::{Kind, Object, Status};
use crate::link::{Put, Remove, ToAgent};
use crate::server::registry::Item;

/// The key of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) of: Of,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What it is that a pod names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    ConfigMap,
    Secret,
    /// The node is sent the volume that the claim is bound to, under the claim's name.
    Claim,
}

impl Of {
    pub(super) const ALL: [Of; 3] = [Of::ConfigMap, Of::Secret, Of::Claim];

    pub(super) fn kind(self) -> &'static Kind {
        match self {
            Of::ConfigMap => CONFIG_MAP,
            Of::Secret => SECRET,
            Of::Claim => PERSISTENT_VOLUME_CLAIM,
        }
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
    ToAgent::Remove(Remove { kind: reference.of.kind().kind.to_owned(), uid: version.uid.clone() })
}

impl Links {
    /// The messages that bring the node up to date with one that it needs.
    pub(super) fn compare_config(
        &self,
        told: &mut Told,
        reference: &Reference,
    ) -> Result<Vec<ToAgent>, Status> {
        let before = told.0.get(reference).cloned().flatten();
        let item = match self.sent_for(reference) {
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
        let mut object = item.object()?;
        // A node has no use for who owns what.
        object.remove("/metadata/managedFields");
        let version = Version { uid: object.uid().to_owned(), revision: item.revision };
        let put = Put {
            kind: reference.of.kind().kind.to_owned(),
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            uid: version.uid.clone(),
            revision: item.revision,
        };
        // One that was made anew under the same name takes the place of the other.
        told.0.insert(reference.clone(), Some(version));
        Ok(vec![ToAgent::Put(put, object.to_vec())])
    }

    fn sent_for(&self, reference: &Reference) -> Result<Item, Status> {
        let item = self.registry.item(reference.of.kind(), &reference.namespace, &reference.name)?;
        match reference.of {
            Of::Claim => self.registry.item(PERSISTENT_VOLUME, "", item.object()?.str_at("/spec/volumeName")),
            _ => Ok(item),
        }
    }
}

/// What a pod names: in volumes, in the environment of its containers, and for its images.
pub(super) fn named_by(pod: &Object) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut add = |of: Of, name: Option<&Value>| {
        let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) else { return };
        let reference = Reference { of, namespace: pod.namespace().to_owned(), name: name.to_owned() };
        if !found.contains(&reference) {
            found.push(reference);
        }
    };
    for volume in pod.array_at("/spec/volumes") {
        add(Of::ConfigMap, volume.pointer("/configMap/name"));
        add(Of::Secret, volume.pointer("/secret/secretName"));
        add(Of::Claim, volume.pointer("/persistentVolumeClaim/claimName"));
        for source in list(volume, "/projected/sources") {
            add(Of::ConfigMap, source.pointer("/configMap/name"));
            add(Of::Secret, source.pointer("/secret/name"));
        }
    }
    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        for container in pod.array_at(&format!("/spec/{kind}")) {
            for source in list(container, "/envFrom") {
                add(Of::ConfigMap, source.pointer("/configMapRef/name"));
                add(Of::Secret, source.pointer("/secretRef/name"));
            }
            for variable in list(container, "/env") {
                add(Of::ConfigMap, variable.pointer("/valueFrom/configMapKeyRef/name"));
                add(Of::Secret, variable.pointer("/valueFrom/secretKeyRef/name"));
            }
        }
    }
    for secret in pod.array_at("/spec/imagePullSecrets") {
        add(Of::Secret, secret.get("name"));
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
                    {"name": "f", "persistentVolumeClaim": {"claimName": "j"}},
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
        let names = |of| {
            let mine = found.iter().filter(|reference| reference.of == of);
            let mut names: Vec<&str> = mine.map(|reference| reference.name.as_str()).collect();
            names.sort_unstable();
            names.concat()
        };
        assert_eq!(Of::ALL.map(names), ["ace", "bdfghi", "j"]);
        assert!(found.iter().all(|reference| reference.namespace == "shop"));
    }
}
