//! Writes the scheduler's decisions down: nodes, conditions, events, and the end of pods that others need to go.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::{NAME, waits};
use crate::api::kinds::POD;
use crate::api::{Object, Reason, Status, time};
use crate::server::events::{self, Type};
use crate::server::registry::{Change, DeleteOptions, Registry, Subresource, WriteOptions};
use crate::store::Durability;

/// What becomes of a waiting pod.
pub(super) enum Verdict {
    Bind(String),
    Waits {
        message: String,
        /// Where room is made for it; empty: nowhere any more; None: as it is.
        nominated: Option<String>,
        /// Namespaces and names of the pods that go.
        victims: Vec<Box<str>>,
    },
}

impl Verdict {
    pub(super) fn waits(message: String) -> Self {
        Self::Waits { message, nominated: None, victims: Vec::new() }
    }
}

pub(super) fn condition(pod: &Object) -> Option<&Value> {
    pod.array_at("/status/conditions").iter().find(|condition| condition["type"] == "PodScheduled")
}

/// Returns the pod's revision and what was reported.
pub(super) async fn carry_out(
    registry: &Registry,
    pod: &Object,
    verdict: &Verdict,
) -> Result<(u64, String), Status> {
    let options = WriteOptions {
        subresource: Subresource::Internal,
        // A condition can be said again.
        durability: match verdict {
            Verdict::Bind(_) => Durability::Synced,
            Verdict::Waits { .. } => Durability::Lazy,
        },
        ..WriteOptions::DEFAULT
    };
    let (namespace, name) = (pod.namespace(), pod.name());
    let change = |current: &mut Object| {
        if current.uid() != pod.uid() || !waits(current) {
            return Err(Status::conflict(POD, name, "the pod is no longer waiting for a node"));
        }
        match verdict {
            Verdict::Bind(node) => {
                current.set("/spec/nodeName", node.as_str());
                current.remove("/status/nominatedNodeName");
                set_condition(current, json!({"type": "PodScheduled", "status": "True"}));
            }
            Verdict::Waits { message, nominated, .. } => {
                match nominated.as_deref() {
                    None => {}
                    Some("") => drop(current.remove("/status/nominatedNodeName")),
                    Some(node) => current.set("/status/nominatedNodeName", node),
                }
                set_condition(
                    current,
                    json!({
                        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message
                    }),
                );
            }
        }
        Ok(Change::Write)
    };
    if let Verdict::Waits { victims, nominated: Some(node), .. } = verdict {
        for victim in victims {
            end(registry, victim, node, pod).await?;
        }
    }
    let written = registry.modify(POD, namespace, name, options, change).await?;
    let (kind, reason, message) = match verdict {
        Verdict::Bind(node) => {
            (Type::Normal, "Scheduled", format!("Successfully assigned {namespace}/{name} to {node}"))
        }
        Verdict::Waits { message, .. } => (Type::Warning, "FailedScheduling", message.clone()),
    };
    tell(registry, &written, kind, reason, &message).await;
    Ok((written.resource_version().unwrap_or(0), message))
}

/// Ends a pod of a node, so that another fits there.
async fn end(registry: &Registry, victim: &str, node: &str, preemptor: &Object) -> Result<(), Status> {
    let Some((namespace, name)) = victim.split_once('/') else { return Ok(()) };
    let Ok(pod) = registry.get(POD, namespace, name) else { return Ok(()) };
    if pod.deletion_timestamp().is_some() || pod.str_at("/spec/nodeName") != node {
        return Ok(());
    }
    let mark = |current: &mut Object| {
        if current.uid() != pod.uid() {
            return Ok(Change::Keep);
        }
        set_condition(
            current,
            json!({
                "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                "message": format!("{NAME}: preempting to accommodate a higher priority pod"),
            }),
        );
        Ok(Change::Write)
    };
    let marking = WriteOptions { durability: Durability::Lazy, ..WriteOptions::STATUS };
    let deletion = DeleteOptions { uid: Some(pod.uid().to_owned()), ..DeleteOptions::default() };
    let ended = async {
        registry.modify(POD, namespace, name, marking, mark).await?;
        registry.delete(POD, namespace, name, deletion).await
    };
    match ended.await {
        Ok(_) => {
            let message = format!("Preempted by pod {} on node {node}", preemptor.uid());
            tell(registry, &pod, Type::Normal, "Preempted", &message).await;
            Ok(())
        }
        // It is gone, or another by its name.
        Err(status) if matches!(status.reason, Reason::NotFound | Reason::Conflict) => Ok(()),
        Err(status) => Err(status),
    }
}

async fn tell(registry: &Registry, pod: &Object, kind: Type, reason: &str, message: &str) {
    if let Err(status) = events::record(registry, pod, kind, reason, message, NAME).await {
        log::debug!("failed to record the event {reason} of {}/{}: {status}", pod.namespace(), pod.name());
    }
}

/// Puts the condition in the place of the one of its type. The time of its transition is kept while its
/// status stays.
pub(in crate::server) fn set_condition(pod: &mut Object, mut condition: Value) {
    let mut conditions = pod.array_at("/status/conditions").to_vec();
    let before = conditions.iter().position(|other| other["type"] == condition["type"]);
    let kept = before.map(|index| &conditions[index]).filter(|old| old["status"] == condition["status"]);
    condition["lastTransitionTime"] = kept
        .map(|old| old["lastTransitionTime"].clone())
        .unwrap_or_else(|| time::format(SystemTime::now()).into());
    match before {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
    pod.set("/status/conditions", conditions);
}
