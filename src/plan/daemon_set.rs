//! DaemonSets: a pod on each node that it admits, as upstream's controller decides.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::control::revision::{self, HASH, History};
use super::control::{self, Action, Plan, Told, pods};
use super::disruption::scaled;
use super::schedule::{Node, Pod, Standing};
use crate::api::Object;
use crate::api::selector::LabelSelector;

mod template;
#[cfg(test)]
mod tests;

pub use template::target;

/// So many pods are created or deleted at once (upstream's BurstReplicas).
const BURST: usize = 250;
/// How many failed in a row before this pod: the pause before it is replaced doubles with each.
const FAILURES: &str = "edge.midge.dev/daemon-failures";
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// `found` and `revisions` are those that the set controls, and those of its namespace that nothing does.
pub fn plan(
    set: &Object,
    found: Vec<Object>,
    revisions: Vec<Object>,
    nodes: &[Node],
    now: SystemTime,
) -> Plan {
    let mut plan = Plan::default();
    let Ok(selector) = LabelSelector::from_json(set.at("/spec/selector").unwrap_or(&Value::Null)) else {
        return plan;
    };
    let mine = control::claim(set, &selector, found, &mut plan);
    let history = History::of(set, &selector, HASH, revisions, &mut plan);
    let hash = history.newest().and_then(|newest| newest.label(HASH)).unwrap_or_default();
    let template = template::pod(set, hash);
    let (wanted, node_name) = (Pod::of(&template), template.str_at("/spec/nodeName").to_owned());
    let places = nodes.iter().map(|node| (node.name(), node.standing(&wanted, &node_name))).collect();
    let mut daemons = Daemons {
        set,
        hash,
        min_ready: set.i64_at("/spec/minReadySeconds").unwrap_or(0),
        now,
        places,
        pods: BTreeMap::new(),
    };
    for pod in mine.iter().filter(|pod| !(pods::has_ended(pod) && pod.deletion_timestamp().is_some())) {
        daemons.pods.entry(target(pod)).or_default().push(pod);
    }
    for pods in daemons.pods.values_mut() {
        pods.sort_by_key(|pod| {
            (pod.str_at("/spec/nodeName").is_empty(), pod.creation_timestamp(), pod.name())
        });
    }
    if set.deletion_timestamp().is_none() {
        let mut changes = daemons.keep(&mut plan);
        if changes.is_empty() && set.str_at("/spec/updateStrategy/type") != "OnDelete" {
            changes = daemons.roll();
        }
        changes.carry_out(&template, &mut plan);
        let live = revision::labelled(&mine);
        history.clean_up(set, |one| one.label(HASH).is_some_and(|hash| live.contains(hash)), &mut plan);
    }
    let status = daemons.status(history.collisions, &mut plan);
    plan.set_status(set, status);
    plan
}

/// What is done at once.
#[derive(Default)]
struct Changes<'a> {
    ends: Vec<&'a Object>,
    /// Nodes that get a pod, and how many failed there.
    makes: Vec<(&'a str, u32)>,
}

impl Changes<'_> {
    fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.makes.is_empty()
    }

    fn carry_out(self, template: &Object, plan: &mut Plan) {
        let told = |verb| Told::usual(verb, "pod");
        for (node, failures) in self.makes.into_iter().take(control::burst(template, BURST)) {
            let mut pod = template.clone();
            template::bind(&mut pod, node);
            if failures > 0 {
                pod.set_annotation(FAILURES, &failures.to_string());
            }
            plan.actions.push(Action::Create(pod, told("Created")));
        }
        let ends = self.ends.into_iter().take(BURST);
        plan.actions.extend(ends.map(|pod| Action::Delete(pod.clone(), told("Deleted"))));
    }
}

struct Daemons<'a> {
    set: &'a Object,
    /// Of the newest revision.
    hash: &'a str,
    min_ready: i64,
    now: SystemTime,
    /// By node.
    places: BTreeMap<&'a str, Standing>,
    /// By the node that they are for, the oldest first; without those that have ended and are about to go.
    pods: BTreeMap<&'a str, Vec<&'a Object>>,
}

impl<'a> Daemons<'a> {
    fn on(&self, node: &str) -> &[&'a Object] {
        self.pods.get(node).map_or(&[], Vec::as_slice)
    }

    fn is_new(&self, pod: &Object) -> bool {
        pod.label(HASH) == Some(self.hash)
    }

    fn is_available(&self, pod: &Object) -> bool {
        pods::available_at(pod, self.min_ready).is_some_and(|at| at <= self.now)
    }

    /// One pod for each node.
    fn keep(&'a self, plan: &mut Plan) -> Changes<'a> {
        let mut changes = Changes::default();
        for (&node, place) in &self.places {
            let pods = self.on(node);
            match place {
                Standing::Goes => changes.ends.extend(staying(pods)),
                Standing::Runs if pods.is_empty() => changes.makes.push((node, 0)),
                Standing::Runs | Standing::Stays => self.keep_on(node, *place, plan, &mut changes),
            }
        }
        // Those that wait for a node that is gone. What ran there is not the set's to end.
        for (_, pods) in self.pods.iter().filter(|(node, _)| !self.places.contains_key(**node)) {
            changes.ends.extend(staying(pods).filter(|pod| pod.str_at("/spec/nodeName").is_empty()));
        }
        changes
    }

    fn keep_on(&'a self, node: &'a str, place: Standing, plan: &mut Plan, changes: &mut Changes<'a>) {
        let mut running = Vec::new();
        for pod in staying(self.on(node)) {
            let (warning, reason, word, end) = match pod.str_at("/status/phase") {
                "Failed" => (true, "FailedDaemonPod", "failed", "kill"),
                "Succeeded" => (false, "SucceededDaemonPod", "succeeded", "delete"),
                _ => {
                    running.push(pod);
                    continue;
                }
            };
            let mut failures = 0;
            if warning {
                let (before, at) = back_off(pod, self.now);
                if at > self.now {
                    plan.look_at(at);
                    continue;
                }
                failures = before.saturating_add(1);
            }
            let (namespace, name) = (pod.namespace(), pod.name());
            let message =
                format!("Found {word} daemon pod {namespace}/{name} on node {node}, will try to {end} it");
            plan.actions.push(Action::Event { warning, reason, message });
            changes.ends.push(pod);
            if self.on(node).len() == 1 && place == Standing::Runs {
                changes.makes.push((node, failures));
            }
        }
        let (new, old): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|pod| self.surge() > 0 && self.is_new(pod));
        // Of each sort all but the oldest.
        changes.ends.extend(new.iter().skip(1).chain(old.iter().skip(1)));
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!pods::is_ready(old) || self.is_available(new))
        {
            changes.ends.push(old);
        }
    }

    fn wanted(&self) -> i64 {
        let runs = self.places.values().filter(|place| **place == Standing::Runs);
        i64::try_from(runs.count()).unwrap_or(i64::MAX)
    }

    fn limit(&self, name: &str) -> i64 {
        let limit = self.set.at(&format!("/spec/updateStrategy/rollingUpdate/{name}"));
        limit.and_then(|limit| scaled(limit, self.wanted()).ok()).unwrap_or(0)
    }

    fn surge(&self) -> i64 {
        if self.set.str_at("/spec/updateStrategy/type") == "OnDelete" { 0 } else { self.limit("maxSurge") }
    }

    /// Replaces pods of older revisions.
    fn roll(&'a self) -> Changes<'a> {
        match self.surge() {
            0 => self.roll_in_place(),
            surge => self.roll_beside(surge),
        }
    }

    /// Ends old pods, to be made anew. What is not available goes at once.
    fn roll_in_place(&'a self) -> Changes<'a> {
        let mut changes = Changes::default();
        let mut room = self.limit("maxUnavailable").max(1);
        let mut available = Vec::new();
        for node in self.places.keys().filter(|node| self.pods.contains_key(*node)) {
            let (new, old) = self.split(node);
            match (&new[..], &old[..]) {
                ([], [old]) if self.is_available(old) => available.push(*old),
                ([new], []) if self.is_available(new) => {}
                ([], [old]) => {
                    changes.ends.push(old);
                    room -= 1;
                }
                // One that leaves, or too many.
                _ => room -= 1,
            }
        }
        changes.ends.extend(available.into_iter().take(usize::try_from(room).unwrap_or(0)));
        changes
    }

    /// Makes new pods beside old ones, which [`Daemons::keep`] ends once the new ones are available. What is not
    /// available gets one at once.
    fn roll_beside(&'a self, surge: i64) -> Changes<'a> {
        let mut changes = Changes::default();
        let mut room = surge;
        let mut available = Vec::new();
        for (&node, _) in self.places.iter().filter(|(_, place)| **place == Standing::Runs) {
            let (new, old) = self.split(node);
            match (&new[..], &old[..]) {
                ([], [old]) if self.is_available(old) => available.push((node, 0)),
                ([], [_]) => changes.makes.push((node, 0)),
                _ => room -= i64::from(new.len() + old.len() > 1),
            }
        }
        changes.makes.extend(available.into_iter().take(usize::try_from(room).unwrap_or(0)));
        changes
    }

    /// The pods on a node that stay: of the newest revision, and older ones.
    fn split(&'a self, node: &str) -> (Vec<&'a Object>, Vec<&'a Object>) {
        staying(self.on(node)).partition(|pod| self.is_new(pod))
    }

    fn status(&self, collisions: i64, plan: &mut Plan) -> Value {
        let [mut current, mut misplaced, mut ready, mut available, mut updated] = [0_i64; 5];
        for (&node, place) in &self.places {
            let Some(pod) = self.on(node).first() else { continue };
            if *place != Standing::Runs {
                misplaced += 1;
                continue;
            }
            current += 1;
            updated += i64::from(self.is_new(pod));
            if let Some(at) = pods::available_at(pod, self.min_ready) {
                ready += 1;
                if at <= self.now { available += 1 } else { plan.look_at(at) }
            }
        }
        // A new pod beside an old one becomes available as well.
        for pod in self.pods.values().flatten() {
            if let Some(at) = pods::available_at(pod, self.min_ready).filter(|at| *at > self.now) {
                plan.look_at(at);
            }
        }
        let wanted = self.wanted();
        let mut status = json!({
            "currentNumberScheduled": current, "numberMisscheduled": misplaced,
            "desiredNumberScheduled": wanted, "numberReady": ready, "observedGeneration": self.set.generation(),
        });
        for (name, count) in [
            ("updatedNumberScheduled", updated),
            ("numberAvailable", available),
            ("numberUnavailable", wanted - available),
            ("collisionCount", collisions),
        ] {
            if count != 0 {
                status[name] = json!(count);
            }
        }
        if let Some(conditions) = self.set.at("/status/conditions") {
            status["conditions"] = conditions.clone();
        }
        status
    }
}

fn staying<'a>(pods: &[&'a Object]) -> impl Iterator<Item = &'a Object> {
    pods.iter().copied().filter(|pod| pod.deletion_timestamp().is_none())
}

/// How many failed before a failed pod, and when it may be replaced.
fn back_off(pod: &Object, now: SystemTime) -> (u32, SystemTime) {
    let failures: u32 = pod.annotation(FAILURES).and_then(|text| text.parse().ok()).unwrap_or(0);
    // A pod of the future: the clock was set back, and waiting for it could take for ever.
    let made = pod.creation_timestamp().filter(|made| *made <= now);
    match (failures.checked_sub(1), made) {
        (Some(before), Some(made)) if made + 2 * LONGEST_PAUSE > now => {
            (failures, made + FIRST_PAUSE.saturating_mul(1 << before.min(10)).min(LONGEST_PAUSE))
        }
        _ => (0, now),
    }
}
