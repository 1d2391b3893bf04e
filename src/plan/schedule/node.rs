//! What a node offers, and why a pod can't go there.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::pod::{Facts, HostPort, Pod, image};
use super::requests::{Counted, Requests, amount};
use super::taint::{Effect, Taint};
use crate::api::Object;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) taints: Vec<Taint>,
    unschedulable: bool,
    pub(super) allocatable: Requests,
    pods_allowed: i64,
    /// Images by name, with their bytes.
    images: Vec<(Box<str>, i64)>,
}

/// What the pods on a node have taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    pub taken: Requests,
    pub counted: Counted,
    pub pods: i64,
    ports: Vec<HostPort>,
}

impl Room {
    pub(super) fn take(&mut self, pod: &Facts) {
        self.change(pod, 1);
        self.ports.extend(pod.ports.iter().cloned());
    }

    pub(super) fn free(&mut self, pod: &Facts) {
        self.change(pod, -1);
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(at);
            }
        }
    }

    fn change(&mut self, pod: &Facts, by: i64) {
        self.taken.add(&pod.requests, by);
        for (sum, amount) in self.counted.iter_mut().zip(pod.counted) {
            *sum = sum.saturating_add(amount.saturating_mul(by));
        }
        self.pods += by;
    }
}

/// Why a pod can't go to a node.
#[derive(Debug)]
pub(super) struct Refusal {
    pub reasons: Vec<String>,
    /// It may be able to once other pods go.
    pub preemptible: bool,
}

impl Refusal {
    pub(super) fn lasting(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], preemptible: false }
    }

    pub(super) fn passing(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], preemptible: true }
    }
}

impl Node {
    pub fn of(node: &Object) -> Self {
        let labels = node.labels().into_iter().flatten();
        let mut taints: Vec<_> = node.array_at("/spec/taints").iter().filter_map(Taint::of).collect();
        // The taint that says so may come later than the condition.
        let state = match node.condition_status("Ready") {
            "True" => None,
            "Unknown" => Some(Taint::unreachable()),
            _ => Some(Taint::not_ready()),
        };
        taints.extend(state.filter(|state| !taints.contains(state)));
        let allocatable = node.at("/status/allocatable").unwrap_or(&Value::Null);
        let mut images = Vec::new();
        for known in node.array_at("/status/images") {
            let bytes = known["sizeBytes"].as_i64().unwrap_or(0).max(1);
            let names = known["names"].as_array().into_iter().flatten().filter_map(Value::as_str);
            images.extend(names.map(|name| (image(name).into_boxed_str(), bytes)));
        }
        Self {
            name: node.name().to_owned(),
            labels: labels
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            taints,
            unschedulable: node.bool_at("/spec/unschedulable"),
            pods_allowed: amount(&allocatable["pods"]),
            allocatable: Requests::of_list(allocatable),
            images,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    pub(super) fn bytes_of(&self, image: &str) -> i64 {
        self.images.iter().find(|(name, _)| **name == *image).map_or(0, |(_, bytes)| *bytes)
    }

    pub(super) fn repels(&self, pod: &Pod) -> Option<&Taint> {
        let repels = |taint: &&Taint| taint.effect != Effect::PreferNoSchedule && !pod.tolerates(taint);
        self.taints.iter().find(repels)
    }

    pub(super) fn dislikes(&self, pod: &Pod) -> i64 {
        let disliked = |taint: &&Taint| taint.effect == Effect::PreferNoSchedule && !pod.tolerates(taint);
        self.taints.iter().filter(disliked).count() as i64
    }

    /// The reasons of the first filter that refuses the pod, but for what it asks of other pods.
    pub(super) fn refuse(&self, room: &Room, pod: &Pod) -> Option<Refusal> {
        if self.unschedulable && !pod.tolerates(&Taint::unschedulable()) {
            return Some(Refusal::lasting("node(s) were unschedulable"));
        }
        if let Some(taint) = self.repels(pod) {
            let reason = format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value);
            return Some(Refusal::lasting(reason));
        }
        if !pod.selects(&self.name, &self.labels) {
            return Some(Refusal::lasting("node(s) didn't match Pod's node affinity/selector"));
        }
        let facts = &pod.facts;
        if facts.ports.iter().any(|port| room.ports.iter().any(|taken| taken.collides(port))) {
            return Some(Refusal::passing("node(s) didn't have free ports for the requested pod ports"));
        }
        let mut reasons = facts.requests.exceeds(&self.allocatable, &room.taken);
        if room.pods >= self.pods_allowed {
            reasons.push("Too many pods".to_owned());
        }
        if !reasons.is_empty() {
            let preemptible = self.pods_allowed > 0 && !facts.requests.is_beyond(&self.allocatable);
            return Some(Refusal { reasons, preemptible });
        }
        let refused = pod.claims.iter().find_map(|claim| claim.refuse(&self.name, &self.labels));
        refused.map(Refusal::lasting)
    }
}

/// A node and the pods on it. One that is not there has none of its own, but may have pods.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub node: Option<Node>,
    pub room: Room,
    pub pods: Vec<Arc<Facts>>,
    /// How many of them ask something of other pods.
    pub asking: usize,
}
