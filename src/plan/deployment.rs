//! Deployments: a ReplicaSet for each template, and rollouts from one to the next, as upstream's controller does them.
//!
//! One plan is one step of a rollout: the new ReplicaSet grows into the room there is and old ones shrink by what
//! serves in their place. Their statuses then change, and the next step is planned.

mod bounds;
mod set;
mod size;
mod status;
mod template;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use serde_json::{Value, json};

use super::control::{self, Action, Plan, Told};
use crate::api::kinds::REPLICA_SET;
use crate::api::{Object, Status};
use bounds::Bounds;
use set::{Counts, Set};
use status::Conditions;

/// A limit; the greatest number stands for none.
fn limited(object: &Object, pointer: &str) -> Option<i64> {
    object.i64_at(pointer).filter(|&limit| limit != i64::from(i32::MAX))
}

/// `found` are the ReplicaSets that the Deployment controls, and those of its namespace that nothing does; `taken`
/// tells whether there is a ReplicaSet by a name. `failure` is how the last attempt failed.
pub fn plan(
    deployment: &Object,
    found: Vec<Object>,
    taken: &dyn Fn(&str) -> bool,
    failure: Option<&Status>,
    now: SystemTime,
) -> Plan {
    let mut plan = Plan::default();
    let Some(selector) = control::selector(deployment) else { return plan };
    let mine = control::claim(deployment, &selector, found, &mut plan);
    let mut old: Vec<Set> = mine.into_iter().map(Set::found).collect();
    old.sort_by_cached_key(Set::age);
    let wanted = template::canonical(deployment.at("/spec/template").unwrap_or(&Value::Null));
    let is_new = |set: &Set| {
        set.object.at("/spec/template").is_some_and(|template| template::canonical(template) == wanted)
    };
    let new = old.iter().position(is_new).map(|index| old.remove(index));
    let bounds = Bounds::of(deployment);
    let mut rollout = Rollout {
        deployment,
        bounds,
        new,
        old,
        conditions: Conditions::of(deployment, now),
        collisions: deployment.i64_at("/status/collisionCount"),
        failure,
        now,
    };
    if deployment.deletion_timestamp().is_none() {
        rollout.go_on(&wanted, taken, &mut plan);
    }
    rollout.finish(&mut plan);
    plan
}

struct Rollout<'a> {
    deployment: &'a Object,
    bounds: Bounds,
    /// The ReplicaSet of the template as it is now.
    new: Option<Set>,
    /// The others, the oldest first.
    old: Vec<Set>,
    conditions: Conditions,
    collisions: Option<i64>,
    failure: Option<&'a Status>,
    now: SystemTime,
}

impl Rollout<'_> {
    fn go_on(&mut self, wanted: &Value, taken: &dyn Fn(&str) -> bool, plan: &mut Plan) {
        let is_paused = self.deployment.bool_at("/spec/paused");
        if self.has_deadline() {
            self.conditions.pause(is_paused);
        }
        let all = self.old.iter().chain(&self.new);
        let mut desired = all.filter(|set| set.replicas > 0).filter_map(Set::desired);
        // Recreate ends the old ones first, whatever their size.
        let ends = self.bounds.is_recreate && self.old.iter().any(|set| set.replicas > 0);
        let is_scaled = !ends && desired.any(|desired| desired != self.bounds.replicas);
        if is_paused || is_scaled {
            self.number(plan);
            let replicas = self.deployment.i64_at("/status/replicas").unwrap_or(0);
            size::spread(&self.bounds, self.new.as_mut(), &mut self.old, replicas);
            if is_paused {
                self.clean_up(plan);
            }
            return;
        }
        if self.bounds.is_recreate && self.end_old() {
            self.number(plan);
        } else {
            if self.new.is_none() {
                self.make(wanted, taken);
            }
            self.number(plan);
            match &mut self.new {
                Some(new) if self.bounds.is_recreate => new.resize(self.bounds.replicas, &self.bounds),
                Some(new) => size::roll(&self.bounds, new, &mut self.old),
                None => {}
            }
            if self.is_complete() {
                self.clean_up(plan);
            }
        }
        self.progress(plan);
    }

    fn has_deadline(&self) -> bool {
        limited(self.deployment, "/spec/progressDeadlineSeconds").is_some()
    }

    /// Gives the new ReplicaSet the newest revision, and the Deployment, too.
    fn number(&mut self, plan: &mut Plan) {
        let newest = self.old.iter().map(Set::revision).max().unwrap_or(0);
        let Some(new) = &mut self.new else { return };
        new.make_current(self.deployment, newest + 1);
        let revision = new.object.annotation(set::REVISION).unwrap_or_default();
        if self.deployment.annotation(set::REVISION) != Some(revision) {
            plan.note = Some((set::REVISION, revision.to_owned()));
        }
        let found = new.was.map(|_| new.object.name().to_owned());
        if let Some(name) = found
            && self.has_deadline()
            && self.conditions.get("Progressing").is_none()
        {
            let message = format!("Found new replica set \"{name}\"");
            self.conditions.set("Progressing", "True", "FoundNewReplicaSet", message);
        }
    }

    /// Plans the ReplicaSet of a new template. A name that another has is left to it.
    fn make(&mut self, wanted: &Value, taken: &dyn Fn(&str) -> bool) {
        let named = |collisions| {
            let hash = template::hash(wanted, collisions);
            (format!("{}-{hash}", self.deployment.name()), hash)
        };
        let (mut name, mut hash) = named(self.collisions);
        while taken(&name) {
            let collisions = self.collisions.map_or(1, |count| count.saturating_add(1));
            self.collisions = Some(collisions);
            (name, hash) = named(self.collisions);
        }
        let mut template = self.deployment.at("/spec/template").cloned().unwrap_or_default();
        if let Some(Value::Object(metadata)) = template.get_mut("metadata") {
            metadata.remove("creationTimestamp");
        }
        template["metadata"]["labels"][template::HASH] = hash.as_str().into();
        let deployment = self.deployment;
        let mut object = Object::new(REPLICA_SET, deployment.namespace(), &name);
        object.set("/metadata/labels", template["metadata"]["labels"].clone());
        object.set("/metadata/ownerReferences", json!([control::owner_reference(deployment)]));
        object.set("/spec/selector", set::with_label(deployment.at("/spec/selector"), template::HASH, &hash));
        object.set("/spec/template", template);
        let mut set = Set { object, counts: Counts::default(), was: None, replicas: 0, changed: true };
        let of_old = self.old.iter().map(|set| set.replicas).sum();
        set.object.set("/spec/replicas", 0);
        set.resize(size::new_replicas(&self.bounds, 0, of_old), &self.bounds);
        self.new = Some(set);
        if self.has_deadline() {
            match self.failure {
                None => {
                    let message = format!("Created new replica set \"{name}\"");
                    self.conditions.set("Progressing", "True", "NewReplicaSetCreated", message);
                }
                Some(failure) => {
                    let message = format!("Failed to create new replica set \"{name}\": {}", failure.message);
                    self.conditions.set("Progressing", "False", "ReplicaSetCreateError", message);
                }
            }
        }
    }

    /// Recreate: ends the old pods. True while some of them run.
    fn end_old(&mut self) -> bool {
        let mut runs = false;
        for set in &mut self.old {
            runs |= set.replicas > 0 || set.counts.all + set.counts.terminating > 0 || !set.is_observed();
            if set.replicas > 0 {
                set.resize(0, &self.bounds);
            }
        }
        runs
    }

    fn clean_up(&self, plan: &mut Plan) {
        let surplus = set::surplus(self.deployment, &self.old);
        plan.actions.extend(surplus.into_iter().map(|set| Action::Delete(set, Told::Nothing)));
    }

    /// Has the ReplicaSets written that are to change, and the status.
    fn finish(mut self, plan: &mut Plan) {
        let status = self.status();
        plan.set_status(self.deployment, status);
        if plan.note.is_some() && plan.status.is_none() {
            plan.status = self.deployment.at("/status").cloned();
        }
        // The new one first: what is to serve is there before other things go.
        for set in self.new.take().into_iter().chain(self.old).filter(|set| set.changed) {
            let (name, was) = (set.object.name(), set.was.unwrap_or(0));
            let verb = if set.replicas > was { "up" } else { "down" };
            let sized = format!("Scaled {verb} replica set {name} from {was} to {}", set.replicas);
            let done = (set.replicas != was).then_some(("ScalingReplicaSet", sized));
            plan.actions.push(match set.was {
                Some(_) => Action::Update(set.object, Told::Reasons { done, failed: None }),
                None => {
                    let failed = format!("Failed to create new replica set \"{name}\": {{}}");
                    let failed = Some(("ReplicaSetCreateError", failed));
                    Action::Create(set.object, Told::Reasons { done, failed })
                }
            });
        }
    }
}
