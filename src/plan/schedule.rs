//! Which node a pod goes to. The filters, their order and their words are those of upstream's default scheduler,
//! and so is the score, least allocated.

use std::collections::BTreeMap;

use serde_json::Value;

use super::node_selector;
use crate::api::Object;

mod claim;
mod daemon;
mod requests;
mod taint;
#[cfg(test)]
mod tests;

pub use claim::Claim;
pub use daemon::Place;
use requests::Requests;
use taint::{Effect, Taint, Toleration};

/// What a pod asks of a node, in the units that the decision compares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    requests: Requests,
    selector: Vec<(String, String)>,
    /// What node affinity requires.
    affinity: Value,
    tolerations: Vec<Toleration>,
    ports: Vec<HostPort>,
    claims: Vec<Claim>,
}

/// What a pod requests of a resource: CPU in thousandths, everything else in whole units.
pub fn requested(pod: &Object, resource: &str) -> i64 {
    Requests::of(pod).amount(resource)
}

impl Pod {
    pub fn of(pod: &Object) -> Self {
        let selector = pod.map_at("/spec/nodeSelector").into_iter().flatten();
        let affinity = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
        let sidecars = pod.array_at("/spec/initContainers").iter();
        let sidecars = sidecars.filter(|container| container["restartPolicy"] == "Always");
        Self {
            requests: Requests::of(pod),
            selector: selector
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            affinity: pod.at(affinity).cloned().unwrap_or_default(),
            tolerations: pod.array_at("/spec/tolerations").iter().map(Toleration::of).collect(),
            ports: sidecars
                .chain(pod.array_at("/spec/containers"))
                .filter_map(|container| container["ports"].as_array())
                .flatten()
                .filter_map(HostPort::of)
                .collect(),
            claims: Vec::new(),
        }
    }

    /// With what is known of the claims that it mounts.
    pub fn with_claims(self, claims: Vec<Claim>) -> Self {
        Self { claims, ..self }
    }

    /// Whether a claim of its is bound only once the node is chosen.
    pub fn waits_for_volumes(&self) -> bool {
        self.claims.iter().any(|claim| matches!(claim, Claim::Waits { .. }))
    }

    fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|toleration| toleration.covers(taint))
    }
}

/// A port of the node itself that a pod takes.
#[derive(Clone, Debug, PartialEq)]
struct HostPort {
    port: i64,
    protocol: String,
    address: String,
}

impl HostPort {
    fn of(port: &Value) -> Option<Self> {
        let text = |key: &str| port[key].as_str().unwrap_or_default();
        Some(Self {
            port: port["hostPort"].as_i64().filter(|port| *port > 0)?,
            protocol: if text("protocol").is_empty() { "TCP" } else { text("protocol") }.to_owned(),
            address: text("hostIP").to_owned(),
        })
    }

    fn collides(&self, other: &Self) -> bool {
        let any = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.address) || any(&other.address) || self.address == other.address)
    }
}

/// What a node offers, less what its pods have taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    name: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    unschedulable: bool,
    /// What its pods may ask for in all; `pods` among it.
    allocatable: Requests,
    pods_allowed: i64,
    taken: Requests,
    pods: i64,
    ports: Vec<HostPort>,
}

impl Node {
    pub fn of(node: &Object) -> Self {
        let labels = node.labels().into_iter().flatten();
        let mut taints: Vec<_> = node.array_at("/spec/taints").iter().filter_map(Taint::of).collect();
        // What upstream's node lifecycle controller writes down as a taint is read from the condition here.
        let ready = node.array_at("/status/conditions").iter().find(|condition| condition["type"] == "Ready");
        match ready.and_then(|condition| condition["status"].as_str()) {
            Some("True") => {}
            Some("Unknown") => taints.push(Taint::unreachable()),
            _ => taints.push(Taint::not_ready()),
        }
        let allocatable = node.at("/status/allocatable").unwrap_or(&Value::Null);
        Self {
            name: node.name().to_owned(),
            labels: labels
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            taints,
            unschedulable: node.bool_at("/spec/unschedulable"),
            pods_allowed: requests::amount(&allocatable["pods"]),
            allocatable: Requests::of_list(allocatable),
            ..Self::default()
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the room that a pod on this node needs. A pod that has ended takes none.
    pub fn take(&mut self, pod: &Pod) {
        self.taken.add(&pod.requests);
        self.pods += 1;
        self.ports.extend(pod.ports.iter().cloned());
    }

    /// Why the pod cannot go here: the reasons of the first filter that refuses it. Empty if it can.
    fn refuse(&self, pod: &Pod) -> Vec<String> {
        if self.unschedulable && !pod.tolerates(&Taint::unschedulable()) {
            return vec!["node(s) were unschedulable".to_owned()];
        }
        let repels = |taint: &&Taint| taint.effect != Effect::PreferNoSchedule && !pod.tolerates(taint);
        if let Some(taint) = self.taints.iter().find(repels) {
            return vec![format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value)];
        }
        if !self.is_selected_by(pod) {
            return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
        }
        if pod.ports.iter().any(|port| self.ports.iter().any(|taken| taken.collides(port))) {
            return vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
        }
        let mut reasons = Vec::new();
        if self.pods >= self.pods_allowed {
            reasons.push("Too many pods".to_owned());
        }
        let short = pod.requests.exceeds(&self.allocatable, &self.taken);
        reasons.extend(short.into_iter().map(|resource| format!("Insufficient {resource}")));
        if reasons.is_empty() {
            let refused = pod.claims.iter().find_map(|claim| claim.refuse(&self.name, &self.labels));
            reasons.extend(refused.map(str::to_owned));
        }
        reasons
    }

    fn is_selected_by(&self, pod: &Pod) -> bool {
        pod.selector.iter().all(|(key, value)| self.labels.get(key) == Some(value))
            && node_selector::selects(&pod.affinity, &self.name, &self.labels)
    }

    /// How good the node is for the pod: larger is better.
    fn score(&self, pod: &Pod) -> Score {
        let disliked = |taint: &&Taint| taint.effect == Effect::PreferNoSchedule && !pod.tolerates(taint);
        Score {
            disliked: -(self.taints.iter().filter(disliked).count() as i64),
            room: self.taken.room_after(&pod.requests, &self.allocatable),
            pods: -self.pods,
        }
    }
}

/// Compared from the first field on.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    disliked: i64,
    /// Thousandths of the node that stay free.
    room: i64,
    pods: i64,
}

/// Where a pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To the node of this name.
    Bind(String),
    /// Nowhere; upstream's words: `0/3 nodes are available: 1 Insufficient memory, ….`
    Unschedulable(String),
}

/// Picks the node with the most room left among those that the pod fits on; of equals, the first.
pub fn schedule(pod: &Pod, nodes: &[Node]) -> Decision {
    if nodes.is_empty() {
        return Decision::Unschedulable("no nodes available to schedule pods".to_owned());
    }
    let refused = pod.claims.iter().find_map(|claim| match claim {
        Claim::Refused(reason) => Some(reason),
        _ => None,
    });
    if let Some(reason) = refused {
        return Decision::Unschedulable(format!("0/{} nodes are available: {reason}.", nodes.len()));
    }
    let mut best: Option<(&Node, Score)> = None;
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for node in nodes {
        let refused = node.refuse(pod);
        if refused.is_empty() {
            let score = node.score(pod);
            if best.as_ref().is_none_or(|(_, best)| score > *best) {
                best = Some((node, score));
            }
        }
        for reason in refused {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    if let Some((node, _)) = best {
        return Decision::Bind(node.name.clone());
    }
    // Sorted as texts with their counts, like upstream.
    let mut texts: Vec<_> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort_unstable();
    Decision::Unschedulable(format!("0/{} nodes are available: {}.", nodes.len(), texts.join(", ")))
}
