//! What a node has been told of its pods, and what it says of them.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde_json::Value;

use super::Links;
use super::configs::{self, Reference};
use super::node::check_shape;
use crate::api::kinds::POD;
use crate::api::{Object, Status, object};
use crate::link::{HelloPod, PodRef, Put, Remove, ToAgent};
use crate::server::events;
use crate::server::registry::{Change, DeleteOptions, Item, WriteOptions};
use crate::store::Durability;
use crate::token::sha256;

/// A pod's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Name {
    pub(super) fn of(pod: &Object) -> Self {
        Self { namespace: pod.namespace().to_owned(), name: pod.name().to_owned(), uid: pod.uid().to_owned() }
    }
}

/// What a node was told last of each of its pods, by uid.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<String, Told>);

#[derive(Debug)]
struct Told {
    revision: u64,
    /// Of all but the status, which the node itself says; of that, only the conditions of readiness gates.
    digest: u64,
    /// The ConfigMaps and Secrets that the pod names.
    configs: Vec<Reference>,
}

fn digest(pod: &Object) -> u64 {
    let mut rest = pod.clone();
    let is_gate = |condition: &&Value| {
        let gates = pod.array_at("/spec/readinessGates").iter();
        gates.map(|gate| &gate["conditionType"]).any(|kind| *kind == condition["type"])
    };
    let gates: Vec<Value> = pod.array_at("/status/conditions").iter().filter(is_gate).cloned().collect();
    rest.remove("/status");
    rest.set("/status", gates);
    rest.remove("/metadata/resourceVersion");
    rest.remove("/metadata/managedFields");
    let mut first = [0; 8];
    first.copy_from_slice(&sha256(&rest.to_vec())[..8]);
    u64::from_be_bytes(first)
}

impl Known {
    /// What remains true of it after a reconnect: what the agent still has.
    pub(super) fn retain(&mut self, pods: &[HelloPod]) {
        self.0.retain(|uid, told| pods.iter().any(|pod| pod.uid == *uid && pod.revision == told.revision));
        for pod in pods {
            self.0.entry(pod.uid.clone()).or_insert_with(|| Told {
                revision: pod.revision,
                digest: 0,
                configs: Vec::new(),
            });
        }
    }

    pub(super) fn uids(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The message that brings the node up to date with the pod, if it needs one.
    fn put(&mut self, item: &Item, pod: &Object) -> Option<ToAgent> {
        let digest = digest(pod);
        if let Some(told) = self.0.get_mut(pod.uid()) {
            if told.revision == item.revision {
                told.digest = digest;
                // Nothing is known of them after a reconnect.
                told.configs = configs::named_by(pod);
            }
            if told.digest == digest {
                return None;
            }
        }
        let told = Told { revision: item.revision, digest, configs: configs::named_by(pod) };
        self.0.insert(pod.uid().to_owned(), told);
        let put = Put {
            kind: String::from("Pod"),
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            revision: item.revision,
        };
        // A node has no use for who owns what.
        let mut pod = pod.clone();
        pod.remove("/metadata/managedFields");
        Some(ToAgent::Put(put, object::with_resource_version(&pod.to_vec(), item.revision)))
    }

    /// The message that makes the node forget a pod. Sent even if nothing is known of it: what was told
    /// on an earlier link may have arrived.
    pub(super) fn remove(&mut self, uid: &str) -> ToAgent {
        self.0.remove(uid);
        ToAgent::Remove(Remove { kind: String::from("Pod"), uid: uid.to_owned() })
    }

    /// What the node's pods name.
    pub(super) fn configs(&self) -> impl Iterator<Item = &Reference> {
        self.0.values().flat_map(|told| &told.configs)
    }

    fn has(&self, uid: &str) -> bool {
        self.0.contains_key(uid)
    }
}

/// Writes of what a node says: it can say it again.
const SAID: WriteOptions = WriteOptions { durability: Durability::Lazy, ..WriteOptions::STATUS };
/// The most bytes of a status.
const MAX_STATUS: usize = 256 << 10;

impl Links {
    /// The node's pods as stored.
    pub(super) fn node_pods(&self, node: &str) -> Result<Vec<(Item, Object)>, Status> {
        self.take_pod_news()?;
        let names = self.index.lock().unwrap_or_else(PoisonError::into_inner).of(node);
        let mut pods = Vec::with_capacity(names.len());
        for name in names {
            let item = match self.registry.item(POD, &name.namespace, &name.name) {
                // It has gone since.
                Err(status) if status.code == 404 => continue,
                item => item?,
            };
            let pod = item.object()?;
            if pod.uid() == name.uid && pod.str_at("/spec/nodeName") == node {
                pods.push((item, pod));
            }
        }
        Ok(pods)
    }

    /// What all of a node's pods need for the node to be up to date.
    pub(super) fn compare_all(&self, node: &str, known: &mut Known) -> Result<Vec<ToAgent>, Status> {
        let pods = self.node_pods(node)?;
        let gone = known.uids().into_iter().filter(|uid| !pods.iter().any(|(_, pod)| pod.uid() == uid));
        let mut messages: Vec<ToAgent> =
            gone.collect::<Vec<_>>().iter().map(|uid| known.remove(uid)).collect();
        messages.extend(pods.iter().filter_map(|(item, pod)| known.put(item, pod)));
        Ok(messages)
    }

    /// What one changed pod needs.
    pub(super) fn compare(
        &self,
        node: &str,
        known: &mut Known,
        name: &Name,
    ) -> Result<Option<ToAgent>, Status> {
        let item = match self.registry.item(POD, &name.namespace, &name.name) {
            Ok(item) => item,
            Err(status) if status.code == 404 => {
                return Ok(known.has(&name.uid).then(|| known.remove(&name.uid)));
            }
            Err(status) => return Err(status),
        };
        let pod = item.object()?;
        if pod.uid() != name.uid || pod.str_at("/spec/nodeName") != node {
            return Ok(known.has(&name.uid).then(|| known.remove(&name.uid)));
        }
        Ok(known.put(&item, &pod))
    }

    /// Stores a status. What is no longer there, or another node's, is passed over.
    pub(super) async fn apply_status(&self, node: &str, pod: &PodRef, status: &[u8]) -> Result<(), Status> {
        if status.len() > MAX_STATUS {
            return Err(Status::bad_request(format!("a status of {} bytes is too large", status.len())));
        }
        let status: Value = serde_json::from_slice(status)
            .map_err(|error| Status::bad_request(format!("a status that is not JSON: {error}")))?;
        if !status.is_object() {
            return Err(Status::bad_request("a status that is no object"));
        }
        let applied = self.registry.modify(POD, &pod.namespace, &pod.name, SAID, |current| {
            if current.uid() != pod.uid || current.str_at("/spec/nodeName") != node {
                return Ok(Change::Keep);
            }
            let mut status = status.clone();
            keep_servers_part(current, &mut status);
            current.set("/status", status);
            check_shape(POD, current)?;
            Ok(Change::Write)
        });
        match applied.await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }

    /// The pod has ended on its node: the object goes. Returns whether the node is to be told that nothing is left.
    pub(super) async fn apply_gone(&self, node: &str, pod: &PodRef) -> Result<bool, Status> {
        let current = match self.registry.get(POD, &pod.namespace, &pod.name) {
            Err(status) if status.code == 404 => return Ok(true),
            current => current?,
        };
        if current.uid() != pod.uid || current.str_at("/spec/nodeName") != node {
            return Ok(true);
        }
        if current.deletion_timestamp().is_none() {
            // The agent ended it for a deletion that this registry does not know of.
            log::warn!("node {node} ended pod {}/{} that is not being deleted", pod.namespace, pod.name);
            return Ok(true);
        }
        let options =
            DeleteOptions { grace_seconds: Some(0), uid: Some(pod.uid.clone()), ..DeleteOptions::default() };
        match self.registry.delete(POD, &pod.namespace, &pod.name, options).await {
            // The watch tells the node.
            Ok(_) => Ok(false),
            Err(status) if matches!(status.code, 404 | 409) => Ok(true),
            Err(status) => Err(status),
        }
    }
}

impl Links {
    /// Stores an event, if it is about the node itself or a pod of its. Of what it is about, only the
    /// reference counts.
    pub(super) async fn accept_event(&self, node: &str, mut event: Object) -> Result<(), Status> {
        let about = |field: &str| event.str_at(&format!("/involvedObject/{field}")).to_owned();
        let (kind, name, uid) = (about("kind"), about("name"), about("uid"));
        let allowed = match kind.as_str() {
            "Node" => name == node,
            "Pod" => match self.registry.get(POD, &about("namespace"), &name) {
                Ok(pod) => pod.uid() == uid && pod.str_at("/spec/nodeName") == node,
                // It may be gone by now: nobody is told of it any more.
                Err(status) if status.code == 404 => return Ok(()),
                Err(status) => return Err(status),
            },
            _ => false,
        };
        if !allowed {
            return Err(Status::forbidden("an event about what is not this node's"));
        }
        let fields = ["apiVersion", "kind", "namespace", "name", "uid", "resourceVersion", "fieldPath"];
        let texts = fields.map(|field| (field, about(field)));
        let reference: serde_json::Map<String, Value> = texts
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(field, text)| (field.to_owned(), text.into()))
            .collect();
        event.set("/involvedObject", reference);
        events::accept(&self.registry, event, node).await
    }
}

/// The agent says the whole status, but for what is the server's: the QoS class, the scheduler's condition and
/// those of which it says nothing (readiness gates).
fn keep_servers_part(current: &Object, status: &mut Value) {
    if let Some(class) = current.at("/status/qosClass") {
        status["qosClass"] = class.clone();
    }
    if !status["conditions"].is_array() {
        status["conditions"] = Value::Array(Vec::new());
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    for own in current.array_at("/status/conditions") {
        let said = conditions.iter().position(|condition| condition["type"] == own["type"]);
        match said {
            Some(at) if own["type"] == "PodScheduled" => {
                conditions.remove(at);
                conditions.push(own.clone());
            }
            Some(_) => {}
            None => conditions.push(own.clone()),
        }
    }
}
