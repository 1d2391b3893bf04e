//! One ReplicaSet of a Deployment, as it is and as it shall be, and the revisions that they stand for.

use std::time::SystemTime;

use serde_json::{Map, Value};

use super::bounds::Bounds;
use crate::api::Object;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
/// What a ReplicaSet does not take over from its Deployment.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.revision",
];
/// So long a history is kept.
const HISTORY_LENGTH: usize = 2000;

/// What a ReplicaSet's status counts.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub all: i64,
    pub ready: i64,
    pub available: i64,
    pub terminating: i64,
}

pub struct Set {
    pub object: Object,
    pub counts: Counts,
    /// The replicas it was found with; None: it is to be made.
    pub was: Option<i64>,
    /// Its replicas as planned.
    pub replicas: i64,
    pub changed: bool,
}

impl Set {
    pub fn found(object: Object) -> Self {
        let replicas = object.i64_at("/spec/replicas").unwrap_or(1);
        let count = |pointer| object.i64_at(pointer).unwrap_or(0).max(0);
        let counts = Counts {
            all: count("/status/replicas"),
            ready: count("/status/readyReplicas"),
            available: count("/status/availableReplicas"),
            terminating: count("/status/terminatingReplicas"),
        };
        Self { object, counts, was: Some(replicas), replicas, changed: false }
    }

    /// Whether its status is that of what it is asked for now.
    pub fn is_observed(&self) -> bool {
        self.object.generation() <= self.object.i64_at("/status/observedGeneration").unwrap_or(0)
    }

    /// The pods that serve and stay: those that are to go do not count, even where the status does not say so yet.
    pub fn available(&self) -> i64 {
        self.counts.available.min(self.replicas)
    }

    /// When it was made, by name where that is the same.
    pub fn age(&self) -> (Option<SystemTime>, String) {
        (self.object.creation_timestamp(), self.object.name().to_owned())
    }

    fn number(&self, annotation: &str) -> Option<i64> {
        self.object.annotation(annotation)?.parse().ok()
    }

    pub fn revision(&self) -> i64 {
        self.number(REVISION).unwrap_or(0)
    }

    /// The replicas that its Deployment had when it was last sized.
    pub fn desired(&self) -> Option<i64> {
        self.number(DESIRED)
    }

    /// The most replicas that its Deployment might have then.
    pub fn maximum(&self) -> Option<i64> {
        self.number(MAXIMUM).filter(|&maximum| maximum > 0)
    }

    fn note(&mut self, annotation: &str, value: &str) {
        if self.object.annotation(annotation) != Some(value) {
            self.object.set_annotation(annotation, value);
            self.changed = true;
        }
    }

    pub fn resize(&mut self, replicas: i64, bounds: &Bounds) {
        if self.replicas != replicas {
            self.replicas = replicas;
            self.object.set("/spec/replicas", replicas);
            self.changed = true;
        }
        self.note(DESIRED, &bounds.replicas.to_string());
        self.note(MAXIMUM, &(bounds.replicas + bounds.surge).to_string());
    }

    /// Makes it the one that stands for what the Deployment asks for now.
    pub fn make_current(&mut self, deployment: &Object, revision: i64) {
        let taken = deployment.annotations().into_iter().flatten();
        for (key, value) in taken.filter(|(key, _)| !OWN.contains(&key.as_str())) {
            self.note(key, value.as_str().unwrap_or_default());
        }
        let before = self.revision();
        if before < revision {
            let had = self.object.annotation(REVISION).map(str::to_owned);
            self.note(REVISION, &revision.to_string());
            if let Some(had) = had.filter(|had| !had.is_empty()) {
                let history = self.object.annotation(HISTORY).unwrap_or_default();
                let mut revisions: Vec<&str> = history.split(',').filter(|one| !one.is_empty()).collect();
                revisions.push(&had);
                while revisions.len() > 1 && revisions.join(",").len() > HISTORY_LENGTH {
                    revisions.remove(0);
                }
                let history = revisions.join(",");
                self.note(HISTORY, &history);
            }
        }
        let wait = deployment.i64_at("/spec/minReadySeconds").unwrap_or(0);
        if self.object.i64_at("/spec/minReadySeconds").unwrap_or(0) != wait {
            self.object.set("/spec/minReadySeconds", wait);
            self.changed = true;
        }
    }
}

/// The old ReplicaSets that the history has no room for, by revision: those with neither pods nor news to tell.
pub fn surplus(deployment: &Object, old: &[Set]) -> Vec<Object> {
    let Some(limit) = super::limited(deployment, "/spec/revisionHistoryLimit") else { return Vec::new() };
    let mut old: Vec<&Set> = old.iter().filter(|set| set.object.deletion_timestamp().is_none()).collect();
    old.sort_by_cached_key(|set| (set.revision(), set.age()));
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    let at_rest =
        |set: &&&Set| set.replicas == 0 && set.was == Some(0) && set.counts.all == 0 && set.is_observed();
    old.iter().take(surplus).filter(at_rest).map(|set| set.object.clone()).collect()
}

/// A selector with one label more.
pub fn with_label(selector: Option<&Value>, key: &str, value: &str) -> Value {
    let mut selector = selector.cloned().filter(Value::is_object).unwrap_or_else(|| Map::new().into());
    selector["matchLabels"][key] = value.into();
    selector
}
