//! Writes the scheduler's decisions down: nodes, conditions, events, and the end of pods that others need to go.

use std::time::SystemTime;

use serde_json::json;

use super::{NAME, waits};
use crate::api::kinds::POD;
use crate::api::{Object, Status};
use crate::server::disrupt::disrupt;
use crate::server::events::{self, Type};
use crate::server::registry::{Change, Registry, Subresource, WriteOptions};
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
    let now = SystemTime::now();
    let change = |current: &mut Object| {
        if current.uid() != pod.uid() || !waits(current) {
            return Err(Status::conflict(POD, name, "the pod is no longer waiting for a node"));
        }
        match verdict {
            Verdict::Bind(node) => {
                current.set("/spec/nodeName", node.as_str());
                current.remove("/status/nominatedNodeName");
                current.set_condition(json!({"type": "PodScheduled", "status": "True"}), now);
            }
            Verdict::Waits { message, nominated, .. } => {
                match nominated.as_deref() {
                    None => {}
                    Some("") => drop(current.remove("/status/nominatedNodeName")),
                    Some(node) => current.set("/status/nominatedNodeName", node),
                }
                let condition = json!({
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message
                });
                current.set_condition(condition, now);
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
    let why = format!("{NAME}: preempting to accommodate a higher priority pod");
    if disrupt(registry, &pod, "PreemptionByScheduler", &why).await? {
        let message = format!("Preempted by pod {} on node {node}", preemptor.uid());
        tell(registry, &pod, Type::Normal, "Preempted", &message).await;
    }
    Ok(())
}

async fn tell(registry: &Registry, pod: &Object, kind: Type, reason: &str, message: &str) {
    if let Err(status) = events::record(registry, pod, kind, reason, message, NAME).await {
        log::debug!("failed to record the event {reason} of {}/{}: {status}", pod.namespace(), pod.name());
    }
}
