//! What a pod's claims allow: where their volumes are, or could be.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::Object;
use crate::plan::node_selector::selects;
use crate::plan::volume::{self, Cluster};

/// One claim of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// No node will do until something changes, for this reason.
    Refused(String),
    /// Its volume can be used on the nodes that this selects (a `NodeSelector`; null selects all).
    Bound(Value),
    /// It is bound once a node is chosen: to one of these volumes, by their selectors, or to a new one. `chosen`: which
    /// node that is, for all pods that use it.
    Waits { is_provisioned: bool, volumes: Vec<Value>, chosen: Option<String> },
}

impl Claim {
    /// The claim `name` of a pod; None: there is none of this name. Of the nodes, `cluster` has the one that was chosen
    /// for the claim.
    pub fn of(name: &str, claim: Option<&Object>, cluster: &Cluster<'_>) -> Claim {
        let refused = |text: String| Claim::Refused(text);
        let Some(claim) = claim else {
            return refused(format!("persistentvolumeclaim {name:?} not found"));
        };
        if claim.deletion_timestamp().is_some() {
            return refused(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        let volume_name = claim.str_at("/spec/volumeName");
        match claim.str_at("/status/phase") {
            "Bound" => match cluster.volumes.iter().find(|volume| volume.name() == volume_name) {
                Some(volume) => Claim::Bound(volume::affinity(volume).clone()),
                None => refused(format!("persistentvolume {volume_name:?} not found")),
            },
            "Lost" => refused(format!(
                "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume_name:?}"
            )),
            _ => {
                let class = claim.str_at("/spec/storageClassName");
                match cluster.classes.iter().find(|known| known.name() == class && !class.is_empty()) {
                    Some(class) if volume::waits_for_consumer(class) && volume_name.is_empty() => {
                        let suiting = cluster.volumes.iter().filter(|volume| volume::suits(volume, claim));
                        let suiting: Vec<&Object> = suiting.collect();
                        let is_provisioned = volume::provisions(class);
                        let chosen = claim.annotation(volume::SELECTED_NODE).unwrap_or_default();
                        let chosen = cluster.nodes.iter().find(|node| node.name() == chosen);
                        // One that is gone, or has no volume left, is chosen anew.
                        let chosen = chosen.filter(|node| {
                            is_provisioned || suiting.iter().any(|volume| volume::reaches(volume, node))
                        });
                        Claim::Waits {
                            is_provisioned,
                            volumes: suiting.iter().map(|volume| volume::affinity(volume).clone()).collect(),
                            chosen: chosen.map(|node| node.name().to_owned()),
                        }
                    }
                    _ => refused("pod has unbound immediate PersistentVolumeClaims".to_owned()),
                }
            }
        }
    }

    /// Why it can't be used on a node.
    pub(super) fn refuse(&self, node: &str, labels: &BTreeMap<String, String>) -> Option<&'static str> {
        match self {
            Claim::Refused(_) => None, // said of the pod, not of a node
            Claim::Bound(selector) => (!selects(selector, node, labels))
                .then_some("node(s) didn't match PersistentVolume's node affinity"),
            Claim::Waits { is_provisioned, volumes, chosen } => {
                let found = *is_provisioned || volumes.iter().any(|selector| selects(selector, node, labels));
                let found = found && chosen.as_ref().is_none_or(|chosen| chosen == node);
                (!found).then_some("node(s) didn't find available persistent volumes to bind")
            }
        }
    }
}
