//! A node's object: made when it joins, kept true while its link is up, marked when it stays away.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::Links;
use crate::api::kinds::{LEASE, NODE};
use crate::api::schema::{self, FieldValidation};
use crate::api::{Kind, Object, Status, time};
use crate::plan::node_lifecycle;
use crate::plan::volume::STORAGE_PATH;
use crate::server::config::Cidr;
use crate::server::events::{self, Type};
use crate::server::registry::{Change, DeleteOptions, WatchEvent, WriteOptions};
use crate::store::Durability;

const LEASES: &str = "kube-node-lease";
/// Labels that are the machine's, whatever a user writes into them.
const OWN_LABELS: [&str; 3] = ["kubernetes.io/arch", "kubernetes.io/os", "kubernetes.io/hostname"];
/// Labels that say where a user trusts a node to run things: a node can't give itself one, as upstream.
const RESTRICTED: &str = "node-restriction.kubernetes.io/";
/// The most conditions, addresses or taints that an agent may say.
const MAX_LIST: usize = 64;
/// What a link without a word for so long ends; seconds.
const LEASE_SECONDS: u32 = 40;

const fn write(durability: Durability) -> WriteOptions<'static> {
    WriteOptions { durability, ..WriteOptions::STATUS }
}

/// Whether the node is marked as one that nothing is known of.
pub(super) fn is_marked(node: &Object) -> bool {
    ready(node).is_some_and(|condition| condition["status"] == "Unknown")
}

fn ready(node: &Object) -> Option<&Value> {
    node.array_at("/status/conditions").iter().find(|condition| condition["type"] == "Ready")
}

impl Links {
    /// The node's object with its range of pod addresses. One that joins is made; `None`: it was deleted.
    pub(super) async fn ensure_node(&self, name: &str, joins: bool) -> Result<Option<Object>, Status> {
        let current = match self.registry.get(NODE, "", name) {
            Ok(node) if !node.str_at("/spec/podCIDR").is_empty() => return Ok(Some(node)),
            Ok(node) => Some(node),
            Err(status) if status.code == 404 && joins => None,
            Err(status) if status.code == 404 => return Ok(None),
            Err(status) => return Err(status),
        };
        // Two nodes that join at once must not get the same range.
        let mut taken = self.ranges.lock().await;
        let range = self.free_range(&mut taken)?;
        if range.is_none() {
            log::error!(
                "node {name}: no address range is left for its pods: {} is full",
                self.options.cluster_cidr
            );
        }
        let set = |node: &mut Object| {
            if let (Some(range), "") = (&range, node.str_at("/spec/podCIDR")) {
                node.set("/spec/podCIDR", range.as_str());
                node.set("/spec/podCIDRs", json!([range]));
            }
        };
        let options = write(Durability::Synced);
        let written = if current.is_some() {
            let change = |node: &mut Object| {
                set(node);
                Ok(Change::Write)
            };
            self.registry.modify(NODE, "", name, options, change).await
        } else {
            let mut node = Object::new(NODE, "", name);
            set(&mut node);
            self.registry.create(NODE, node, options).await
        };
        // The watch says it, too, but the next node may come first.
        if let (Ok(_), Some(range), Some(taken)) = (&written, range, &mut *taken) {
            taken.insert(range);
        }
        written.map(Some)
    }

    /// The first /24 of the cluster's range (or all of it, if it is smaller) that no node has.
    fn free_range(&self, taken: &mut Option<BTreeSet<String>>) -> Result<Option<String>, Status> {
        let taken = match taken {
            Some(taken) => taken,
            None => {
                let nodes = self.registry.all(NODE, None)?;
                let objects = nodes.items.iter().map(|item| item.object());
                let ranges = objects.map(|node| node.map(|node| node.str_at("/spec/podCIDR").to_owned()));
                taken.insert(ranges.collect::<Result<_, _>>()?)
            }
        };
        Ok(ranges(self.options.cluster_cidr)
            .map(|range| range.to_string())
            .find(|range| !taken.contains(range)))
    }

    /// Keeps what is known of the nodes' ranges true, whoever writes nodes.
    pub(super) async fn note_range(&self, event: &WatchEvent, node: &Object) {
        let mut taken = self.ranges.lock().await;
        match (event, &mut *taken) {
            (WatchEvent::Deleted(_), taken) => *taken = None,
            (_, Some(taken)) => drop(taken.insert(node.str_at("/spec/podCIDR").to_owned())),
            (_, None) => {}
        }
    }

    /// Stores what an agent says of its node. Labels and taints that a user may change count only on joining.
    pub(super) async fn apply_node(&self, name: &str, said: &Object, now: SystemTime) -> Result<(), Status> {
        if said.name() != name {
            return Err(Status::bad_request("the agent spoke of another node"));
        }
        check_shape(NODE, said)?;
        let mut was_ready = true;
        let applied = self.registry.modify(NODE, "", name, write(Durability::Lazy), |node| {
            was_ready = ready(node).is_some_and(|condition| condition["status"] == "True");
            merge(node, said, now);
            Ok(Change::Write)
        });
        let node = match applied.await {
            // It was deleted: the link is about to be closed.
            Err(status) if status.code == 404 => return Ok(()),
            node => node?,
        };
        let is_ready = ready(&node).is_some_and(|condition| condition["status"] == "True");
        if is_ready != was_ready {
            let (reason, kind) =
                if is_ready { ("NodeReady", Type::Normal) } else { ("NodeNotReady", Type::Warning) };
            self.tell_of(&node, kind, reason, &format!("Node {name} status is now: {reason}")).await;
        }
        Ok(())
    }

    /// Marks a node whose agent stays away: every condition becomes Unknown, new pods go elsewhere.
    pub(super) async fn mark_away(&self, name: &str, why: &str, now: SystemTime) {
        let mut changed = false;
        let marked = self.registry.modify(NODE, "", name, write(Durability::Lazy), |node| {
            if is_marked(node) || self.connected(name) {
                return Ok(Change::Keep);
            }
            changed = true;
            mark(node, why, now);
            Ok(Change::Write)
        });
        match marked.await {
            Ok(node) if changed => {
                log::warn!("node {name} is not ready: {why}");
                let text = format!("Node {name} status is now: NodeNotReady: {why}");
                self.tell_of(&node, Type::Warning, "NodeNotReady", &text).await;
            }
            Ok(_) => {}
            Err(status) if status.code == 404 => {}
            Err(status) => log::error!("failed to mark node {name} as not ready: {}", status.message),
        }
    }

    async fn tell_of(&self, node: &Object, kind: Type, reason: &str, message: &str) {
        let told = events::record(&self.registry, node, kind, reason, message, "midge-server").await;
        if let Err(status) = told {
            log::debug!("failed to record an event: {}", status.message);
        }
    }

    /// Notes in memory that the node was heard of: its Lease, which never costs a write to disk.
    pub(super) async fn renew_lease(&self, node: &Object) {
        let now = time::format_micro(SystemTime::now());
        let name = node.name();
        let options = write(Durability::Memory);
        let renewed = self.registry.modify(LEASE, LEASES, name, options, |lease| {
            lease.set("/spec/renewTime", now.as_str());
            Ok(Change::Write)
        });
        let outcome = match renewed.await {
            Err(status) if status.code == 404 => {
                let mut lease = Object::new(LEASE, LEASES, name);
                lease.set(
                    "/metadata/ownerReferences",
                    json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node.uid()}]),
                );
                let spec =
                    json!({"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now});
                lease.set("/spec", spec);
                self.registry.create(LEASE, lease, options).await
            }
            renewed => renewed,
        };
        if let Err(status) = outcome {
            log::debug!("node {name}: failed to renew its lease: {}", status.message);
        }
    }

    pub(super) async fn delete_lease(&self, node: &str) {
        match self.registry.delete(LEASE, LEASES, node, DeleteOptions::default()).await {
            Err(status) if status.code != 404 => log::debug!("failed to delete a lease: {}", status.message),
            _ => {}
        }
    }
}

/// Refuses what is not of the kind's types: clients could not read lists with it in them.
pub(super) fn check_shape(kind: &Kind, object: &Object) -> Result<(), Status> {
    let problems = schema::validate(kind, object);
    problems.rejection(kind, object.name(), FieldValidation::Ignore).map_or(Ok(()), Err)
}

/// The /24s of a range, in order; a range smaller than that is one.
fn ranges(cluster: Cidr) -> impl Iterator<Item = Cidr> {
    let prefix = cluster.prefix.max(24);
    let count = 1_u32 << (prefix - cluster.prefix).min(24);
    let (first, step) = (u32::from(cluster.address), 1_u32 << (32 - u32::from(prefix)).min(31));
    (0..count).map(move |index| Cidr {
        address: Ipv4Addr::from(first.wrapping_add(index.wrapping_mul(step))),
        prefix,
    })
}

fn merge(node: &mut Object, said: &Object, now: SystemTime) {
    // What was made on joining has no machine yet. From then on it has one, whatever the agent leaves out.
    let joins = node.at("/status/nodeInfo").is_none();
    if joins {
        node.set("/status/nodeInfo", json!({}));
    }
    let mut labels = node.labels().cloned().unwrap_or_default();
    for (key, value) in said.labels().into_iter().flatten() {
        let free = joins && !labels.contains_key(key) && !key.starts_with(RESTRICTED);
        if free || OWN_LABELS.contains(&key.as_str()) {
            labels.insert(key.clone(), value.clone());
        }
    }
    node.set("/metadata/labels", labels);
    if let Some(path) = said.annotation(STORAGE_PATH).filter(|path| path.starts_with('/')) {
        let mut annotations = node.annotations().cloned().unwrap_or_default();
        annotations.insert(STORAGE_PATH.to_owned(), path.into());
        node.set("/metadata/annotations", annotations);
    }
    let mut taints: Vec<Value> = node.array_at("/spec/taints").to_vec();
    if joins {
        for taint in said.array_at("/spec/taints").iter().take(MAX_LIST) {
            if !taints.iter().any(|own| own["key"] == taint["key"] && own["effect"] == taint["effect"]) {
                taints.push(taint.clone());
            }
        }
    }
    node_lifecycle::set_taints(node, taints);
    for field in ["capacity", "allocatable", "nodeInfo", "addresses", "images"] {
        let pointer = format!("/status/{field}");
        match said.at(&pointer) {
            Some(Value::Array(list)) => node.set(&pointer, list[..list.len().min(MAX_LIST)].to_vec()),
            Some(value) => node.set(&pointer, value.clone()),
            None => {}
        }
    }
    let mut conditions: Vec<Value> =
        said.array_at("/status/conditions").iter().take(MAX_LIST).cloned().collect();
    if !conditions.iter().any(|condition| condition["type"] == "Ready") {
        conditions.push(json!({
            "type": "Ready", "status": "True", "reason": "KubeletReady",
            "message": "the agent is connected and posts its status",
        }));
    }
    stamp(&mut conditions, node.array_at("/status/conditions"), now);
    node.set("/status/conditions", conditions);
    node_lifecycle::taint(node, None, now);
}

fn mark(node: &mut Object, why: &str, now: SystemTime) {
    let mut conditions: Vec<Value> = node.array_at("/status/conditions").to_vec();
    // Writing into what is no object would panic.
    conditions.retain(Value::is_object);
    if !conditions.iter().any(|condition| condition["type"] == "Ready") {
        conditions.push(json!({"type": "Ready"}));
    }
    for condition in &mut conditions {
        condition["status"] = "Unknown".into();
        condition["reason"] = "NodeStatusUnknown".into();
        condition["message"] = why.into();
    }
    // The heartbeat stays what it was: the last word.
    let heard: Vec<Value> =
        conditions.iter().map(|condition| condition["lastHeartbeatTime"].clone()).collect();
    stamp(&mut conditions, node.array_at("/status/conditions"), now);
    for (condition, heard) in conditions.iter_mut().zip(heard) {
        if !heard.is_null() {
            condition["lastHeartbeatTime"] = heard;
        }
    }
    node.set("/status/conditions", conditions);
    node_lifecycle::taint(node, None, now);
}

/// Times of conditions are the server's: a board may have no clock. A condition that says the same keeps
/// them, so that the object stays the same and is not written.
fn stamp(conditions: &mut [Value], before: &[Value], now: SystemTime) {
    let now = time::format(now);
    for condition in conditions.iter_mut().filter(|condition| condition.is_object()) {
        let old = before.iter().find(|old| old["type"] == condition["type"]);
        let same = |field: &str| old.is_some_and(|old| old[field] == condition[field]);
        let same_status = same("status");
        let same_text = same("reason") && same("message");
        let time = |field: &str, keep: bool| match old.filter(|_| keep) {
            Some(old) if old[field].is_string() => old[field].clone(),
            _ => Value::from(now.as_str()),
        };
        let (transition, heartbeat) =
            (time("lastTransitionTime", same_status), time("lastHeartbeatTime", same_status && same_text));
        condition["lastTransitionTime"] = transition;
        condition["lastHeartbeatTime"] = heartbeat;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn ranges_of_a_cluster() {
        let list =
            |text: &str| ranges(text.parse().unwrap()).map(|range| range.to_string()).collect::<Vec<_>>();
        assert_eq!(list("10.42.0.0/23"), ["10.42.0.0/24", "10.42.1.0/24"]);
        assert_eq!(list("10.42.0.0/26"), ["10.42.0.0/26"]);
        assert_eq!(list("10.42.0.0/16").len(), 256);
        assert_eq!(ranges("0.0.0.0/0".parse().unwrap()).count(), 1 << 24);
    }

    #[test]
    fn pressure_taints() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let said = |status: &str| {
            object(json!({"metadata": {"name": "pi"}, "status": {"nodeInfo": {}, "conditions": [
                {"type": "MemoryPressure", "status": status}, {"type": "DiskPressure", "status": "False"},
            ]}}))
        };
        let own = json!({"key": "gpu", "effect": "NoSchedule"});
        let mut node = object(json!({"metadata": {"name": "pi"}, "spec": {"taints": [own]}}));
        merge(&mut node, &said("True"), now);
        let keys = |node: &Object| -> Vec<String> {
            let taints = node.array_at("/spec/taints").iter();
            taints.map(|taint| taint["key"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(keys(&node), ["gpu", "node.kubernetes.io/memory-pressure"]);
        // The time of the first one stays.
        let before = node.clone();
        merge(&mut node, &said("True"), now + Duration::from_secs(99));
        assert_eq!(node, before);
        merge(&mut node, &said("False"), now);
        assert_eq!(keys(&node), ["gpu"]);
    }

    #[test]
    fn users_labels_and_taints_stay() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let said = object(json!({
            "metadata": {"name": "pi", "labels": {"kubernetes.io/arch": "arm64", "zone": "cellar"}},
            "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]},
            "status": {"nodeInfo": {"kernelVersion": "6.1"}, "capacity": {"cpu": "4"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]},
        }));
        let mut node = object(json!({"metadata": {"name": "pi", "labels": {"zone": "attic"}}}));
        merge(&mut node, &said, now);
        assert_eq!(node.label("kubernetes.io/arch"), Some("arm64"));
        assert_eq!(node.label("zone"), Some("attic"));
        assert_eq!(node.array_at("/spec/taints").len(), 1);
        // Said again: the same object, not written.
        let before = node.clone();
        merge(&mut node, &said, now + Duration::from_secs(99));
        assert_eq!(node, before);
        // A user's changes stay.
        node.set("/metadata/labels/kubernetes.io~1arch", "amd64");
        node.set("/metadata/labels/zone", "roof");
        node.remove("/spec/taints");
        merge(&mut node, &said, now);
        assert_eq!(node.label("kubernetes.io/arch"), Some("arm64"));
        assert_eq!(node.label("zone"), Some("roof"));
        assert_eq!(node.at("/spec/taints"), None);

        // What never says what machine it is joins once all the same.
        let mute = object(
            json!({"metadata": {"name": "x", "labels": {"node-restriction.kubernetes.io/safe": ""}},
            "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}]}}),
        );
        let mut other = object(json!({"metadata": {"name": "x"}}));
        merge(&mut other, &mute, now);
        other.remove("/spec/taints");
        merge(&mut other, &mute, now);
        assert_eq!(
            (other.at("/spec/taints"), other.label("node-restriction.kubernetes.io/safe")),
            (None, None)
        );
        let mut damaged = object(json!({"metadata": {"name": "x"}, "status": {"conditions": [7, "x", []]}}));
        mark(&mut damaged, "no word", now);
        assert!(is_marked(&damaged));

        let later = now + Duration::from_secs(60);
        mark(&mut node, "no word", later);
        assert!(is_marked(&node));
        let ready = &node.array_at("/status/conditions")[0];
        assert_eq!(ready["reason"], "NodeStatusUnknown");
        assert_eq!(ready["lastHeartbeatTime"], time::format(now).as_str());
        assert_eq!(ready["lastTransitionTime"], time::format(later).as_str());
        assert_eq!(node.array_at("/spec/taints")[0]["key"], node_lifecycle::UNREACHABLE);
        merge(&mut node, &said, later);
        assert!(!is_marked(&node));
        assert_eq!(node.at("/spec/taints"), None);
    }
}
