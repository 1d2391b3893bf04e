//! What a pod asks of a node.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::claim::Claim;
use super::requests::{Counted, Requests};
use super::taint::{Taint, Toleration};
use super::terms::{Constraint, Terms};
use crate::api::{Object, time};

/// Labels in one text: `key=value` in lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels {
    text: Box<str>,
    /// The [`label_bit`] of each.
    bits: u64,
}

/// One bit of 64: labels that lack a bit have no label with it.
pub(super) fn label_bit(key: &str, value: &str) -> u64 {
    1 << (digest(&format!("{key}={value}")) >> 58)
}

impl Labels {
    pub(super) fn of(labels: Option<&Map<String, Value>>) -> Self {
        let (mut text, mut bits) = (String::new(), 0);
        for (key, value) in labels.into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            bits |= label_bit(key, value);
            for part in [key, "=", value, "\n"] {
                text.push_str(part);
            }
        }
        Self { text: text.into(), bits }
    }

    pub(super) fn has_bits(&self, bits: u64) -> bool {
        self.bits & bits == bits
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.text.split('\n').find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }
}

/// What is kept of every pod on a node, and is all that other pods' placement needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Namespace and name, with a slash between.
    pub(super) key: Box<str>,
    pub(super) labels: Labels,
    pub(super) requests: Requests,
    pub(super) counted: Counted,
    pub(super) ports: Box<[HostPort]>,
    pub(super) priority: i64,
    /// Seconds since 1970.
    pub(super) started: u64,
    /// It is being deleted.
    pub(super) ends: bool,
    /// Of the uid of what controls it; 0: nothing does.
    pub(super) owner: u64,
    pub(super) terms: Option<Box<Terms>>,
}

impl Facts {
    pub fn of(pod: &Object) -> Self {
        let sidecars = pod.array_at("/spec/initContainers").iter();
        let sidecars = sidecars.filter(|container| container["restartPolicy"] == "Always");
        let started = pod.time_at("/status/startTime").or(pod.creation_timestamp());
        let owner =
            pod.array_at("/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true);
        let labels = Labels::of(pod.labels());
        Self {
            key: format!("{}/{}", pod.namespace(), pod.name()).into(),
            requests: Requests::of(pod),
            counted: Requests::counted(pod),
            ports: sidecars
                .chain(pod.array_at("/spec/containers"))
                .filter_map(|container| container["ports"].as_array())
                .flatten()
                .filter_map(HostPort::of)
                .collect(),
            priority: pod.i64_at("/spec/priority").unwrap_or(0),
            started: started.map_or(0, |at| time::unix(at).0.max(0) as u64),
            ends: pod.deletion_timestamp().is_some(),
            owner: owner.map_or(0, |owner| digest(owner["uid"].as_str().unwrap_or_default())),
            terms: Terms::of(pod, &labels),
            labels,
        }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn priority(&self) -> i64 {
        self.priority
    }

    pub(super) fn namespace(&self) -> &str {
        self.key.split('/').next().unwrap_or_default()
    }

    /// [`Facts::namespace`] is this one; asked of every pod for every placement.
    pub(super) fn is_in(&self, namespace: &str) -> bool {
        self.key.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('/'))
    }

    pub(super) fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
}

/// FNV-1a; never 0.
fn digest(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash | 1
}

/// A pod that waits for a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    pub(super) facts: Arc<Facts>,
    selector: Vec<(String, String)>,
    /// The required node affinity, a `NodeSelector`.
    pub(super) affinity: Value,
    /// Preferred terms of it, with their weights.
    pub(super) preferred: Vec<(i64, Value)>,
    tolerations: Vec<Toleration>,
    pub(super) claims: Vec<Claim>,
    pub(super) spread: Vec<Constraint>,
    pub(super) images: Vec<String>,
    /// It does not preempt.
    pub(super) yields: bool,
    pub(super) nominated: String,
}

impl Pod {
    pub fn of(pod: &Object) -> Self {
        let selector = pod.map_at("/spec/nodeSelector").into_iter().flatten();
        let at =
            |what: &str| format!("/spec/affinity/nodeAffinity/{what}DuringSchedulingIgnoredDuringExecution");
        let preferred = pod.array_at(&at("preferred")).iter();
        let containers = pod.array_at("/spec/initContainers").iter().chain(pod.array_at("/spec/containers"));
        let facts = Facts::of(pod);
        let spread = pod.array_at("/spec/topologySpreadConstraints").iter();
        let mut spread: Vec<Constraint> =
            spread.map(|constraint| Constraint::of(constraint, &facts.labels)).collect();
        if spread.is_empty() && facts.owner != 0 {
            spread = Constraint::usual(facts.owner);
        }
        Self {
            selector: selector
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            affinity: pod.at(&at("required")).cloned().unwrap_or_default(),
            preferred: preferred
                .map(|term| (term["weight"].as_i64().unwrap_or(0), term["preference"].clone()))
                .collect(),
            tolerations: pod.array_at("/spec/tolerations").iter().map(Toleration::of).collect(),
            claims: Vec::new(),
            spread,
            images: containers
                .map(|container| image(container["image"].as_str().unwrap_or_default()))
                .collect(),
            yields: pod.str_at("/spec/preemptionPolicy") == "Never",
            nominated: pod.str_at("/status/nominatedNodeName").to_owned(),
            facts: Arc::new(facts),
        }
    }

    pub fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    /// With what is known of the claims that it mounts.
    pub fn with_claims(self, claims: Vec<Claim>) -> Self {
        Self { claims, ..self }
    }

    /// Whether the cluster looks the same to both: they differ in their names only.
    pub fn resembles(&self, other: &Self) -> bool {
        let (one, two) = (&*self.facts, &*other.facts);
        one.owner != 0
            && one.owner == two.owner
            && one.namespace() == two.namespace()
            && one.labels == two.labels
            && one.terms == two.terms
            && self.claims.is_empty()
            && *other == Self { facts: other.facts.clone(), ..self.clone() }
            && (&one.requests, &one.ports, one.priority) == (&two.requests, &two.ports, two.priority)
    }

    /// Whether a claim of its is bound only once the node is chosen.
    pub fn waits_for_volumes(&self) -> bool {
        self.claims.iter().any(|claim| matches!(claim, Claim::Waits { .. }))
    }

    pub(super) fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|toleration| toleration.covers(taint))
    }

    /// Whether its node selector and its required affinity allow the node.
    pub(super) fn selects(&self, name: &str, labels: &std::collections::BTreeMap<String, String>) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && crate::plan::node_selector::selects(&self.affinity, name, labels)
    }
}

/// An image's name in full, as containerd has it: `busybox` is `docker.io/library/busybox:latest`.
pub(super) fn image(name: &str) -> String {
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let is_host = first.contains(['.', ':']) || first == "localhost";
    let mut full = match (is_host, first.is_empty()) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/library/{rest}"),
        (false, false) => format!("docker.io/{name}"),
    };
    if !rest.contains([':', '@']) {
        full.push_str(":latest");
    }
    full
}

/// A port of the node itself that a pod takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HostPort {
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

    pub(super) fn collides(&self, other: &Self) -> bool {
        let any = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.address) || any(&other.address) || self.address == other.address)
    }
}
