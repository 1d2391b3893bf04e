//! StatefulSets: pods with names and claims of their own, made and ended in order, as upstream's controller decides.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::control::revision::{self, HASH, History};
use super::control::{self, Action, Plan, Told, pods};
use super::disruption::scaled;
use crate::api::Object;
use crate::api::kinds::POD;
use crate::api::selector::LabelSelector;

mod claim;
#[cfg(test)]
mod tests;

/// The label of the hash on revisions.
const REVISION_HASH: &str = "controller.kubernetes.io/hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// So many pods are created at once.
const BURST: usize = 500;

/// The number of a pod among those of the set by this name.
pub fn ordinal(set: &str, pod: &str) -> Option<i64> {
    let number = pod.strip_prefix(set)?.strip_prefix('-')?;
    number.parse().ok().filter(|ordinal: &i64| *ordinal >= 0 && ordinal.to_string() == number)
}

/// Whether a claim is one of the set's, by its name.
pub fn is_claim(set: &Object, claim: &str) -> bool {
    let templates = set.array_at("/spec/volumeClaimTemplates").iter();
    let mut templates = templates.filter_map(|template| template.pointer("/metadata/name")?.as_str());
    templates.any(|name| {
        let pod = claim.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
        pod.is_some_and(|pod| ordinal(set.name(), pod).is_some())
    })
}

/// `found` and `revisions` are those that the set controls, and those of its namespace that nothing does; `claims`
/// looks up a claim of its namespace.
pub fn plan(
    set: &Object,
    mut found: Vec<Object>,
    revisions: Vec<Object>,
    claims: &dyn Fn(&str) -> Option<Object>,
    now: SystemTime,
) -> Plan {
    let mut plan = Plan::default();
    let Ok(selector) = LabelSelector::from_json(set.at("/spec/selector").unwrap_or(&Value::Null)) else {
        return plan;
    };
    found.retain(|pod| ordinal(set.name(), pod.name()).is_some() || control::is_controlled_by(pod, set));
    let mine = control::claim(set, &selector, found, &mut plan);
    let history = History::of(set, &selector, REVISION_HASH, revisions, &mut plan);
    let Some(newest) = history.newest() else { return plan };
    let current = history.get(set.str_at("/status/currentRevision")).unwrap_or(newest);
    let mut replicas = Replicas {
        set,
        claims,
        now,
        start: set.i64_at("/spec/ordinals/start").unwrap_or(0),
        wanted: set.i64_at("/spec/replicas").unwrap_or(1).max(0),
        min_ready: set.i64_at("/spec/minReadySeconds").unwrap_or(0),
        ordered: set.str_at("/spec/podManagementPolicy") != "Parallel",
        current,
        newest,
        pods: BTreeMap::new(),
    };
    replicas.pods = mine.iter().filter_map(|pod| Some((ordinal(set.name(), pod.name())?, pod))).collect();
    if set.deletion_timestamp().is_none() {
        replicas.keep(&mut plan);
        let live = revision::labelled(&mine);
        let is_live = |one: &Object| one.name() == current.name() || live.contains(one.name());
        history.clean_up(set, is_live, &mut plan);
    }
    let status = replicas.status(history.collisions, &mut plan);
    plan.set_status(set, status);
    plan
}

/// Whether what comes after may be done as well.
#[derive(PartialEq)]
enum Go {
    On,
    Wait,
}

struct Replicas<'a> {
    set: &'a Object,
    claims: &'a dyn Fn(&str) -> Option<Object>,
    now: SystemTime,
    /// The first ordinal.
    start: i64,
    wanted: i64,
    min_ready: i64,
    ordered: bool,
    current: &'a Object,
    newest: &'a Object,
    /// By ordinal.
    pods: BTreeMap<i64, &'a Object>,
}

impl Replicas<'_> {
    /// Makes what is missing, then ends what is too much, then what is of an older revision.
    fn keep(&self, plan: &mut Plan) {
        let ordinals = self.start..self.start.saturating_add(self.wanted);
        let (mut made, most) = (0, control::burst(self.set, BURST));
        for ordinal in ordinals.clone() {
            let go = match self.pods.get(&ordinal) {
                Some(pod) => self.replica(ordinal, pod, plan),
                None if made >= most => break,
                None => {
                    made += 1;
                    self.make(ordinal, plan)
                }
            };
            if go == Go::Wait && self.ordered {
                return;
            }
        }
        let mut condemned: Vec<(i64, &Object)> = self
            .pods
            .iter()
            .filter(|(ordinal, _)| !ordinals.contains(ordinal))
            .map(|(at, pod)| (*at, *pod))
            .collect();
        condemned.sort_by_key(|(ordinal, _)| Reverse(*ordinal));
        for (ordinal, pod) in &condemned {
            claim::keep(self.set, *ordinal, Some(pod), self.claims, plan);
        }
        let first_unavailable =
            condemned.iter().rev().find(|(_, pod)| self.is_unavailable(pod)).map(|(at, _)| *at);
        for (ordinal, pod) in condemned {
            let leaves = pod.deletion_timestamp().is_some();
            if !leaves && (!self.ordered || self.is_available(pod) || first_unavailable == Some(ordinal)) {
                plan.actions.push(Action::Delete(pod.clone(), self.told("delete", pod.name())));
            }
            if self.ordered {
                return;
            }
        }
        if self.set.str_at("/spec/updateStrategy/type") != "OnDelete" {
            self.update(plan);
        }
    }

    /// Looks after a pod that is there.
    fn replica(&self, ordinal: i64, pod: &Object, plan: &mut Plan) -> Go {
        if pods::has_ended(pod) {
            if pod.deletion_timestamp().is_none() {
                plan.actions.push(Action::Delete(pod.clone(), self.told("delete", pod.name())));
            }
            return Go::Wait;
        }
        if pod.str_at("/status/phase") == "Pending" {
            claim::make(self.set, ordinal, self.claims, plan);
        }
        if self.ordered && self.is_unavailable(pod) {
            return Go::Wait;
        }
        claim::keep(self.set, ordinal, None, self.claims, plan);
        let mut named = pod.clone();
        self.name(ordinal, &mut named);
        if named != *pod {
            plan.actions.push(Action::Update(named, Told::Nothing));
        }
        Go::On
    }

    /// Makes a pod, unless a claim of its is about to go: the pod would lose its data again.
    fn make(&self, ordinal: i64, plan: &mut Plan) -> Go {
        if claim::make(self.set, ordinal, self.claims, plan) {
            let revision = if self.stays_behind(ordinal) { self.current } else { self.newest };
            let mut pod = control::from_template(POD, &revision::template(revision), self.set);
            pod.set("/metadata/name", format!("{}-{ordinal}", self.set.name()));
            pod.set(&format!("/metadata/labels/{HASH}"), revision.name());
            self.name(ordinal, &mut pod);
            pod.set("/spec/hostname", pod.name().to_owned());
            pod.set("/spec/subdomain", self.set.str_at("/spec/serviceName"));
            claim::mount(self.set, ordinal, &mut pod);
            let told = self.told("create", pod.name());
            plan.actions.push(Action::Create(pod, told));
        }
        Go::Wait
    }

    /// Whether the partition keeps an ordinal at the current revision.
    fn stays_behind(&self, ordinal: i64) -> bool {
        self.set.str_at("/spec/updateStrategy/type") != "OnDelete" && ordinal < self.start + self.partition()
    }

    fn partition(&self) -> i64 {
        self.set.i64_at("/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0)
    }

    /// The labels by which a pod is found.
    fn name(&self, ordinal: i64, pod: &mut Object) {
        let name = pod.name().to_owned();
        for (label, value) in [(POD_NAME, name), (POD_INDEX, ordinal.to_string())] {
            if pod.label(label) != Some(&value) {
                pod.set_label(label, &value);
            }
        }
    }

    /// Ends pods of an older revision, the highest ordinal first. What is unavailable already may go at once.
    fn update(&self, plan: &mut Plan) {
        let most = self.set.at("/spec/updateStrategy/rollingUpdate/maxUnavailable");
        let most = most.and_then(|most| scaled(most, self.wanted).ok()).unwrap_or(1).max(1);
        let end = self.start.saturating_add(self.wanted);
        let replicas = self.pods.range(self.start..end);
        let there = i64::try_from(replicas.clone().filter(|(_, pod)| !self.is_unavailable(pod)).count());
        let mut unavailable = self.wanted - there.unwrap_or(i64::MAX);
        for (_, pod) in replicas.rev().take_while(|(ordinal, _)| !self.stays_behind(**ordinal)) {
            // One that has ended was deleted above.
            let goes = pod.deletion_timestamp().is_some() || pods::has_ended(pod);
            if goes || pod.label(HASH) == Some(self.newest.name()) {
                continue;
            }
            if !self.is_unavailable(pod) {
                if unavailable >= most {
                    continue;
                }
                unavailable += 1;
            }
            plan.actions.push(Action::Delete((*pod).clone(), self.told("delete", pod.name())));
        }
    }

    fn told(&self, verb: &str, pod: &str) -> Told {
        let what = format!("{verb} Pod {pod} in StatefulSet {}", self.set.name());
        Told::Events { done: format!("{what} successful"), failed: format!("{what} failed error: {{}}") }
    }

    fn is_available(&self, pod: &Object) -> bool {
        is_ready(pod) && pods::available_at(pod, self.min_ready).is_some_and(|at| at <= self.now)
    }

    fn is_unavailable(&self, pod: &Object) -> bool {
        !self.is_available(pod) || pod.deletion_timestamp().is_some()
    }

    fn status(&self, collisions: i64, plan: &mut Plan) -> Value {
        let count = |holds: &dyn Fn(&Object) -> bool| self.pods.values().filter(|pod| holds(pod)).count();
        let of = |revision: &Object| {
            count(&|pod| pod.deletion_timestamp().is_none() && pod.label(HASH) == Some(revision.name()))
        };
        for pod in self.pods.values().filter(|pod| is_ready(pod)) {
            if let Some(at) = pods::available_at(pod, self.min_ready).filter(|at| *at > self.now) {
                plan.look_at(at);
            }
        }
        let (replicas, ready, updated) = (self.pods.len(), count(&is_ready), of(self.newest));
        let wanted = usize::try_from(self.wanted).unwrap_or(usize::MAX);
        let rolls = self.set.str_at("/spec/updateStrategy/type") != "OnDelete";
        let done = rolls && [replicas, ready, updated] == [wanted; 3];
        let current = if done { self.newest } else { self.current };
        let mut status = json!({
            "observedGeneration": self.set.generation(),
            "replicas": replicas,
            "availableReplicas": count(&|pod| self.is_available(pod)),
            "currentRevision": current.name(),
            "updateRevision": self.newest.name(),
            "collisionCount": collisions,
        });
        let counts =
            [("readyReplicas", ready), ("currentReplicas", of(current)), ("updatedReplicas", updated)];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            status[name] = json!(count);
        }
        if let Some(conditions) = self.set.at("/status/conditions") {
            status["conditions"] = conditions.clone();
        }
        status
    }
}

fn is_ready(pod: &Object) -> bool {
    pod.str_at("/status/phase") == "Running" && pods::is_ready(pod)
}
