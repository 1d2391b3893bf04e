//! What a Deployment says of itself: counts, and the conditions Available, Progressing and ReplicaFailure.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::Rollout;
use super::set::{Counts, Set};
use crate::api::{Object, time};
use crate::plan::control::Plan;

const PROGRESSING: &str = "Progressing";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

pub struct Conditions {
    list: Vec<Value>,
    now: String,
}

impl Conditions {
    pub fn of(deployment: &Object, now: SystemTime) -> Self {
        Self { list: deployment.array_at("/status/conditions").to_vec(), now: time::format(now) }
    }

    pub fn get(&self, kind: &str) -> Option<&Value> {
        self.list.iter().find(|condition| condition["type"] == kind)
    }

    fn is(&self, kind: &str, reason: &str) -> bool {
        self.get(kind).is_some_and(|condition| condition["reason"] == reason)
    }

    /// Sets a condition, unless it is so for that reason already.
    pub fn set(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let before = self.get(kind);
        if before.is_some_and(|before| before["status"] == status && before["reason"] == reason) {
            return;
        }
        self.renew(kind, status, reason, message);
    }

    /// Sets a condition as of now.
    fn renew(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let before = self.get(kind).filter(|before| before["status"] == status);
        let since = before.map_or(json!(self.now), |before| before["lastTransitionTime"].clone());
        self.remove(kind);
        self.list.push(json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastUpdateTime": self.now, "lastTransitionTime": since,
        }));
    }

    fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| condition["type"] != kind);
    }

    /// Tells of a pause, and of its end: the deadline counts from there.
    pub fn pause(&mut self, is_paused: bool) {
        if self.is(PROGRESSING, TIMED_OUT) {
            return;
        }
        match (is_paused, self.is(PROGRESSING, PAUSED)) {
            (true, false) => self.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned()),
            (false, true) => {
                self.set(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed".to_owned());
            }
            _ => {}
        }
    }
}

impl Rollout<'_> {
    fn all(&self) -> impl Iterator<Item = &Set> {
        self.new.iter().chain(&self.old)
    }

    fn sum(&self, count: fn(&Counts) -> i64) -> i64 {
        self.all().map(|set| count(&set.counts)).sum()
    }

    fn updated(&self) -> i64 {
        self.new.as_ref().map_or(0, |new| new.counts.all)
    }

    pub fn is_complete(&self) -> bool {
        [self.updated(), self.sum(|counts| counts.all), self.sum(|counts| counts.available)]
            == [self.bounds.replicas; 3]
    }

    /// More is new, ready or available, or less is old, than the status says.
    fn has_progressed(&self) -> bool {
        let before = |name: &str| self.deployment.i64_at(&format!("/status/{name}")).unwrap_or(0);
        let old = self.sum(|counts| counts.all) - self.updated();
        self.updated() > before("updatedReplicas")
            || old < before("replicas") - before("updatedReplicas")
            || self.sum(|counts| counts.ready) > before("readyReplicas")
            || self.sum(|counts| counts.available) > before("availableReplicas")
    }

    /// The condition Progressing, while there is a deadline, and ReplicaFailure.
    pub fn progress(&mut self, plan: &mut Plan) {
        let deadline = super::limited(self.deployment, "/spec/progressDeadlineSeconds");
        match deadline.and_then(|deadline| u64::try_from(deadline).ok()) {
            None => self.conditions.remove(PROGRESSING),
            Some(deadline) => self.hold_to(Duration::from_secs(deadline), plan),
        }
        let failure = self.all().find_map(|set| set.object.condition("ReplicaFailure"));
        let Some(failure) = failure.cloned() else { return self.conditions.remove("ReplicaFailure") };
        let text = |name: &str| failure[name].as_str().unwrap_or_default();
        self.conditions.set("ReplicaFailure", text("status"), text("reason"), text("message").to_owned());
    }

    fn hold_to(&mut self, deadline: Duration, plan: &mut Plan) {
        if self.sum(|counts| counts.all) == self.updated() && self.conditions.is(PROGRESSING, COMPLETE) {
            return;
        }
        let name = match self.new.as_ref() {
            Some(new) => format!("ReplicaSet \"{}\"", new.object.name()),
            None => format!("Deployment \"{}\"", self.deployment.name()),
        };
        if self.is_complete() {
            let message = format!("{name} has successfully progressed.");
            return self.conditions.set(PROGRESSING, "True", COMPLETE, message);
        }
        if self.has_progressed() {
            self.conditions.renew(
                PROGRESSING,
                "True",
                "ReplicaSetUpdated",
                format!("{name} is progressing."),
            );
        }
        let Some(condition) = self.conditions.get(PROGRESSING) else { return };
        if condition["reason"] == COMPLETE || condition["reason"] == TIMED_OUT {
            return;
        }
        let since = condition["lastUpdateTime"].as_str().and_then(time::parse);
        let Some(end) = since.and_then(|since| since.checked_add(deadline)) else { return };
        if end < self.now {
            let message = format!("{name} has timed out progressing.");
            self.conditions.set(PROGRESSING, "False", TIMED_OUT, message);
        } else {
            // Over only after it: a moment later, not again and again at it.
            plan.look_at(end + Duration::from_secs(1));
        }
    }

    pub fn status(&mut self) -> Value {
        let available = self.sum(|counts| counts.available);
        let (status, reason, message) = if available >= self.bounds.least() {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        self.conditions.set("Available", status, reason, message.to_owned());
        let wanted: i64 = self.all().map(|set| set.replicas).sum();
        let mut status = json!({
            "observedGeneration": self.deployment.generation(),
            "replicas": self.sum(|counts| counts.all),
            "updatedReplicas": self.updated(),
            "readyReplicas": self.sum(|counts| counts.ready),
            "availableReplicas": available,
            "unavailableReplicas": (wanted - available).max(0),
            "conditions": self.conditions.list,
        });
        if let Value::Object(fields) = &mut status {
            fields.retain(|_, field| *field != 0);
            fields.insert("terminatingReplicas".to_owned(), self.sum(|counts| counts.terminating).into());
            if let Some(collisions) = self.collisions {
                fields.insert("collisionCount".to_owned(), collisions.into());
            }
        }
        status
    }
}
