//! What becomes of a PersistentVolumeClaim: which volume it gets, or what it waits for. As upstream's volume
//! binder decides it; volumes are made by the class's provisioner, which is midge itself: a folder on the
//! node that the scheduler chose.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::node_selector::selects;
use crate::api::quantity::Quantity;
use crate::api::{Kind, Object, kinds};

/// The provisioner of class `local-path`. The second is k3s's, whose classes people bring along.
pub const PROVISIONERS: [&str; 2] = ["edge.midge.dev/local-path", "rancher.io/local-path"];
/// On a claim: the node that the scheduler chose for the first pod that uses it.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a volume: who made it.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On a node: the folder that local volumes are made in.
pub const STORAGE_PATH: &str = "edge.midge.dev/storage-path";
/// On a class: claims that name none get this one.
pub const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// What to do about one claim.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Nothing until something changes; this is its event.
    Wait { warning: bool, reason: &'static str, message: String },
    /// It names no class: give it this one.
    SetClass(String),
    /// Bind it and this volume to each other; repeated, it completes what was left half done.
    Bind(String),
    /// Make this volume, which is bound to the claim already.
    Provision(Box<Object>),
    /// Its volume is gone, and its data with it.
    Lost,
}

/// Everything that a decision looks at.
pub struct Cluster<'a> {
    pub classes: &'a [Object],
    pub volumes: &'a [Object],
    pub nodes: &'a [Object],
}

/// Decides for one claim. One that is bound on both sides gets [`Step::Bind`] as well.
pub fn claim(claim: &Object, cluster: &Cluster<'_>) -> Step {
    let failed = |message: String| Step::Wait { warning: true, reason: "FailedBinding", message };
    let named = claim.str_at("/spec/volumeName");
    if !named.is_empty() {
        return match cluster.volumes.iter().find(|volume| volume.name() == named) {
            Some(volume) if is_free(volume) || is_for(volume, claim) => Step::Bind(named.to_owned()),
            Some(_) => failed(format!("volume {named:?} already bound to a different claim.")),
            None if claim.str_at("/status/phase") == "Pending" => {
                failed(format!("volume {named:?} is not there"))
            }
            None => Step::Lost,
        };
    }
    if let Some(volume) = cluster.volumes.iter().find(|volume| is_for(volume, claim)) {
        return Step::Bind(volume.name().to_owned());
    }
    let Some(class_name) = claim.at("/spec/storageClassName").and_then(Value::as_str) else {
        let default = |class: &&Object| class.annotation(DEFAULT_CLASS) == Some("true");
        return match cluster.classes.iter().find(default) {
            Some(class) => Step::SetClass(class.name().to_owned()),
            None => {
                failed("no persistent volumes available for this claim and no storage class is set".into())
            }
        };
    };
    let class = cluster.classes.iter().find(|class| class.name() == class_name);
    let node = claim
        .annotation(SELECTED_NODE)
        .and_then(|name| cluster.nodes.iter().find(|node| node.name() == name));
    if class.is_some_and(waits_for_consumer) && node.is_none() {
        return Step::Wait {
            warning: false,
            reason: "WaitForFirstConsumer",
            message: "waiting for first consumer to be created before binding".into(),
        };
    }
    let fits = |volume: &&Object| suits(volume, claim) && node.is_none_or(|node| reaches(volume, node));
    if let Some(volume) = cluster.volumes.iter().filter(fits).min_by_key(|volume| capacity(volume)) {
        return Step::Bind(volume.name().to_owned());
    }
    let unprovisioned = |message: String| Step::Wait { warning: true, reason: "ProvisioningFailed", message };
    let Some(class) = class else {
        return match class_name {
            "" => failed("no persistent volumes available for this claim and no storage class is set".into()),
            _ => unprovisioned(format!("storageclass.storage.k8s.io {class_name:?} not found")),
        };
    };
    match (provisions(class), node) {
        (true, Some(node)) => Step::Provision(Box::new(provisioned(claim, class, node))),
        (true, None) => unprovisioned(format!(
            "storage class {class_name:?} has volumeBindingMode Immediate, and a folder needs a node: use WaitForFirstConsumer"
        )),
        (false, _) if class.str_at("/provisioner") == "kubernetes.io/no-provisioner" => {
            failed("no persistent volumes available for this claim and no storage class is set".into())
        }
        (false, _) => unprovisioned(format!(
            "nobody here makes volumes for the provisioner {:?} of storage class {class_name:?}",
            class.str_at("/provisioner")
        )),
    }
}

/// Whether volumes of the class are made by midge.
pub fn provisions(class: &Object) -> bool {
    PROVISIONERS.contains(&class.str_at("/provisioner"))
}

/// Whether the scheduler chooses a node before the claim is bound.
pub fn waits_for_consumer(class: &Object) -> bool {
    class.str_at("/volumeBindingMode") == "WaitForFirstConsumer"
}

/// Whether the volume may be bound to the claim, on some node.
pub fn suits(volume: &Object, claim: &Object) -> bool {
    let modes = volume.array_at("/spec/accessModes");
    let asked = claim.at("/spec/resources/requests/storage").map_or(0, amount);
    is_free(volume)
        && volume.deletion_timestamp().is_none()
        && volume.str_at("/spec/storageClassName") == claim.str_at("/spec/storageClassName")
        && claim.array_at("/spec/accessModes").iter().all(|mode| modes.contains(mode))
        && capacity(volume) >= asked
}

/// Whether the volume can be used on the node.
pub fn reaches(volume: &Object, node: &Object) -> bool {
    let labels = node.labels().into_iter().flatten();
    let labels: BTreeMap<String, String> =
        labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    selects(affinity(volume), node.name(), &labels)
}

/// `spec.nodeAffinity.required`.
pub fn affinity(volume: &Object) -> &Value {
    volume.at("/spec/nodeAffinity/required").unwrap_or(&Value::Null)
}

/// Whether the volume is bound to the claim, or kept for one of its name.
pub fn is_for(volume: &Object, claim: &Object) -> bool {
    let uid = volume.str_at("/spec/claimRef/uid");
    volume.str_at("/spec/claimRef/namespace") == claim.namespace()
        && volume.str_at("/spec/claimRef/name") == claim.name()
        && (uid.is_empty() || uid == claim.uid())
}

fn is_free(volume: &Object) -> bool {
    volume.at("/spec/claimRef").is_none_or(Value::is_null)
}

fn capacity(volume: &Object) -> i64 {
    volume.at("/spec/capacity/storage").map_or(0, amount)
}

fn amount(value: &Value) -> i64 {
    Quantity::from_json(value).map_or(0, Quantity::value)
}

/// `spec.claimRef`.
pub fn reference(claim: &Object) -> Value {
    json!({
        "kind": "PersistentVolumeClaim", "apiVersion": "v1",
        "namespace": claim.namespace(), "name": claim.name(), "uid": claim.uid(),
    })
}

/// A folder on the node. Its name says whose data it has, since it may outlive the cluster.
fn provisioned(claim: &Object, class: &Object, node: &Object) -> Object {
    let kind: &Kind = kinds::PERSISTENT_VOLUME;
    let name = format!("pvc-{}", claim.uid());
    let storage = node.annotation(STORAGE_PATH).unwrap_or("/var/lib/midge/storage");
    let mut volume = Object::new(kind, "", &name);
    volume.set("/metadata/annotations", json!({PROVISIONED_BY: class.str_at("/provisioner")}));
    let hostname = node.label("kubernetes.io/hostname").unwrap_or(node.name());
    let expression = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [hostname]});
    volume.set(
        "/spec",
        json!({
            "accessModes": claim.at("/spec/accessModes"),
            "capacity": {"storage": claim.at("/spec/resources/requests/storage")},
            "claimRef": reference(claim),
            "storageClassName": class.name(),
            "persistentVolumeReclaimPolicy": class.str_at("/reclaimPolicy"),
            "volumeMode": "Filesystem",
            "local": {"path": format!("{storage}/{name}_{}_{}", claim.namespace(), claim.name())},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
        }),
    );
    volume
}

#[cfg(test)]
mod tests;
