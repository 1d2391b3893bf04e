//! What becomes of nodes that are not well, and of their pods: taints by condition, and evictions by taint, as upstream's
//! node lifecycle and taint eviction controllers decide.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::api::{Object, time};
use crate::plan::schedule::{Effect, Taint, Toleration};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// A node's annotation: `true` keeps its pods bound while it is away, `false` does not, whatever the server's flag says.
const KEEP_PODS: &str = "edge.midge.dev/keep-pods";
/// How long pods that do not say stay on a node that is away, in seconds.
const STAY: i64 = 300;
/// So often a further node of a zone begins to evict its pods (upstream's node-eviction-rate, 0.1 a second).
const USUAL: Duration = Duration::from_secs(10);
/// The same while most of a large zone is away (secondary-node-eviction-rate, 0.01 a second); of others none does.
const SLOW: Duration = Duration::from_secs(100);
/// A zone of more nodes is large (large-cluster-size-threshold).
const LARGE_ZONE: usize = 50;
/// Conditions, and the taint while they have that status.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// Whether a node works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ready,
    NotReady,
    /// Nothing is heard of it.
    Unreachable,
}

/// What counts of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub state: State,
    zone: String,
    /// What its annotation says.
    keeps_pods: Option<bool>,
    /// It has the taint that evicts pods since it is away.
    pub evicts: bool,
    /// Its taints are those that its conditions call for.
    is_true: bool,
    /// What evicts pods that do not tolerate it.
    pub taints: Vec<Taint>,
}

impl Node {
    pub fn of(node: &Object) -> Self {
        let label = |key: &str| node.label(key).unwrap_or_default();
        let all = node.array_at("/spec/taints").iter().filter_map(Taint::of);
        let taints: Vec<Taint> = all.filter(|taint| taint.effect == Effect::NoExecute).collect();
        let mut right = node.clone();
        taint(&mut right, None, SystemTime::UNIX_EPOCH);
        Self {
            state: state(node),
            zone: format!(
                "{}/{}",
                label("topology.kubernetes.io/region"),
                label("topology.kubernetes.io/zone")
            ),
            keeps_pods: node.annotation(KEEP_PODS).map(|value| value == "true"),
            evicts: taints.iter().any(|taint| matches!(&*taint.key, NOT_READY | UNREACHABLE)),
            is_true: right.at("/spec/taints") == node.at("/spec/taints"),
            taints,
        }
    }
}

fn state(node: &Object) -> State {
    match node.condition_status("Ready") {
        "True" => State::Ready,
        "Unknown" => State::Unreachable,
        _ => State::NotReady,
    }
}

/// When a node of each zone began to evict its pods last.
#[derive(Clone, Debug, Default)]
pub struct Pace(BTreeMap<String, Instant>);

impl Pace {
    /// Whether another node of the zone may begin; if not yet, when.
    fn begin(&mut self, zone: &str, interval: Duration, now: Instant) -> Result<(), Option<Instant>> {
        let due = self.0.get(zone).map(|last| last.checked_add(interval));
        match due {
            Some(due) if due.is_none_or(|due| due > now) => Err(due),
            _ => {
                self.0.insert(zone.to_owned(), now);
                Ok(())
            }
        }
    }
}

/// What is to be done about the nodes.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// Those whose taints are to be set, each with whether it is to evict its pods; None: as it does.
    pub nodes: Vec<(&'a str, Option<bool>)>,
    /// When another node may begin to evict its pods.
    pub again: Option<Instant>,
}

/// What is to be done about the nodes now. Those that begin to evict their pods are taken down in `pace`.
///
/// Where most nodes of a zone seem to be away, as where all of them everywhere do, it is likely the server that lost
/// its network: fewer are evicted then, or none (upstream's zone states). `keep_pods` counts for nodes that do not say.
pub fn changes<'a>(
    nodes: &'a BTreeMap<String, Node>,
    keep_pods: bool,
    pace: &mut Pace,
    now: Instant,
) -> Changes<'a> {
    let mut zones: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for node in nodes.values() {
        let (all, away) = zones.entry(&node.zone).or_default();
        *all += 1;
        *away += usize::from(node.state != State::Ready);
    }
    let nobody_left = zones.values().all(|(all, away)| all == away);
    pace.0.retain(|zone, _| zones.contains_key(zone.as_str()));
    let mut changes = Changes::default();
    for (name, node) in nodes {
        let (all, away) = zones.get(node.zone.as_str()).copied().unwrap_or_default();
        // Upstream's unhealthyZoneThreshold, 55 %. A zone that is away as a whole is evicted.
        let most = away < all && away > 2 && away * 100 >= all * 55;
        let evicts = if node.state == State::Ready || node.keeps_pods.unwrap_or(keep_pods) || nobody_left {
            Some(false)
        } else if node.evicts || most && all <= LARGE_ZONE {
            None
        } else {
            match pace.begin(&node.zone, if most { SLOW } else { USUAL }, now) {
                Ok(()) => Some(true),
                Err(due) => {
                    changes.again = changes.again.into_iter().chain(due).min();
                    None
                }
            }
        };
        if !node.is_true || evicts.is_some_and(|evicts| evicts != node.evicts) {
            changes.nodes.push((name.as_str(), evicts));
        }
    }
    changes
}

/// Sets a node's taints by its conditions; others stay. `evicts`: whether its pods are to go while it is away, None: as
/// it is.
pub fn taint(node: &mut Object, evicts: Option<bool>, now: SystemTime) {
    let mut taints = node.array_at("/spec/taints").to_vec();
    let has = |taints: &[Value], key: &str, effect: &str| {
        taints.iter().any(|taint| taint["key"] == key && taint["effect"] == effect)
    };
    let evicts =
        evicts.unwrap_or_else(|| [NOT_READY, UNREACHABLE].iter().any(|key| has(&taints, key, "NoExecute")));
    let mut wanted = vec![(UNSCHEDULABLE, "NoSchedule", node.bool_at("/spec/unschedulable"))];
    for (condition, when, key) in TAINTS {
        let holds = node.condition_status(condition) == when;
        wanted.push((key, "NoSchedule", holds));
        if condition == "Ready" {
            wanted.push((key, "NoExecute", holds && evicts));
        }
    }
    for (key, effect, is_wanted) in wanted {
        if !is_wanted {
            taints.retain(|taint| !(taint["key"] == key && taint["effect"] == effect));
        } else if !has(&taints, key, effect) {
            taints.push(json!({"key": key, "effect": effect, "timeAdded": time::format(now)}));
        }
    }
    set_taints(node, taints);
}

pub fn set_taints(node: &mut Object, taints: Vec<Value>) {
    if taints.is_empty() {
        node.remove("/spec/taints");
    } else {
        node.set("/spec/taints", taints);
    }
}

/// Gives a new pod the time to stay on a node that is away, unless it says itself (upstream's DefaultTolerationSeconds).
pub fn tolerate(pod: &mut Object) {
    let mut tolerations = pod.array_at("/spec/tolerations").to_vec();
    for key in [NOT_READY, UNREACHABLE] {
        let says = |toleration: &Value| {
            let text = |name: &str| toleration.get(name).and_then(Value::as_str).unwrap_or_default();
            (text("key") == key || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
        };
        if !tolerations.iter().any(says) {
            let stays =
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": STAY});
            tolerations.push(stays);
        }
    }
    pod.set("/spec/tolerations", tolerations);
}

/// When a pod must go from a node with these taints, each with when it was first seen; `since` is when the pod was. None:
/// it may stay. The time that it tolerates runs by a clock that nobody sets, and anew after a restart.
pub fn eviction(pod: &Object, taints: &[(Taint, Instant)], since: Instant) -> Option<Instant> {
    let tolerations = pod.array_at("/spec/tolerations");
    let due = |(taint, seen): &(Taint, Instant)| {
        let from = since.max(*seen);
        let Some(toleration) = tolerations.iter().find(|one| Toleration::of(one).covers(taint)) else {
            return Some(from);
        };
        let seconds = toleration["tolerationSeconds"].as_i64()?;
        from.checked_add(Duration::from_secs(seconds.max(0).unsigned_abs()))
    };
    taints.iter().filter_map(due).min()
}

/// What an unreachable node's pod has to say; None: it does already.
pub fn lost(pod: &Object, now: SystemTime) -> Option<Object> {
    let mut conditions = pod.array_at("/status/conditions").iter();
    let at = conditions.position(|one| one["type"] == "Ready" && one["status"] == "True")?;
    let mut lost = pod.clone();
    lost.set(&format!("/status/conditions/{at}/status"), "False");
    lost.set(&format!("/status/conditions/{at}/lastTransitionTime"), time::format(now));
    Some(lost)
}

#[cfg(test)]
mod tests;
