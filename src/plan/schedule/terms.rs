//! What pods ask of each other: affinity terms and spread constraints.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::pod::{Facts, Labels, label_bit};
use crate::api::Object;
use crate::api::selector::LabelSelector;

/// A selector of pods, which is asked of every pod for every placement.
#[derive(Clone, Debug, PartialEq)]
struct Selector {
    selector: LabelSelector,
    /// Of the labels that a match must have.
    bits: u64,
}

impl Selector {
    fn matches(&self, labels: &Labels) -> bool {
        labels.has_bits(self.bits) && self.selector.matches_with(&|key| labels.get(key))
    }
}

/// A selector with the pod's own values of some keys in it. None matches nothing.
fn selector(of: &Value, labels: &Labels) -> Option<Selector> {
    let mut selector = of["labelSelector"].clone();
    if !selector.is_object() {
        return None;
    }
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in of[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some(value) = labels.get(key) else { continue };
            let more = json!({"key": key, "operator": operator, "values": [value]});
            match selector["matchExpressions"].as_array_mut() {
                Some(expressions) => expressions.push(more),
                None => selector["matchExpressions"] = json!([more]),
            }
        }
    }
    let selector = LabelSelector::from_json(&selector).ok()?;
    let bits = selector.equalities().fold(0, |bits, (key, value)| bits | label_bit(key, value));
    Some(Selector { selector, bits })
}

/// A `PodAffinityTerm`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    selector: Option<Selector>,
    namespaces: Vec<Box<str>>,
    /// Namespaces by their labels.
    selected: Option<LabelSelector>,
    pub key: Box<str>,
    /// Of a preferred one; less than 0: the pods rather keep apart.
    pub weight: i64,
}

impl Term {
    fn of(term: &Value, weight: i64, namespace: &str, labels: &Labels) -> Self {
        let named = term["namespaces"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut namespaces: Vec<Box<str>> = named.map(Box::from).collect();
        let selected = Some(&term["namespaceSelector"]).filter(|selector| selector.is_object());
        if namespaces.is_empty() && selected.is_none() {
            namespaces.push(namespace.into());
        }
        Self {
            selector: selector(term, labels),
            namespaces,
            selected: selected.and_then(|selector| LabelSelector::from_json(selector).ok()),
            key: term["topologyKey"].as_str().unwrap_or_default().into(),
            weight,
        }
    }

    /// Whether it is about a pod.
    pub(super) fn matches(&self, pod: &Facts, cluster: &Cluster) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
            && (self.namespaces.iter().any(|own| pod.is_in(own)) || self.selects_namespace(pod, cluster))
    }

    fn selects_namespace(&self, pod: &Facts, cluster: &Cluster) -> bool {
        self.selected.as_ref().is_some_and(|selector| match cluster.namespace(pod) {
            Some(labels) => selector.matches_with(&|key| labels.get(key)),
            None => selector.is_empty(),
        })
    }
}

/// A pod's affinity and anti-affinity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Terms {
    pub together: Vec<Term>,
    pub apart: Vec<Term>,
    pub preferred: Vec<Term>,
}

impl Terms {
    pub(super) fn of(pod: &Object, labels: &Labels) -> Option<Box<Self>> {
        pod.at("/spec/affinity")?;
        let namespace = pod.namespace();
        let list = |side: &str, which: &str| {
            pod.array_at(&format!("/spec/affinity/{side}/{which}DuringSchedulingIgnoredDuringExecution"))
        };
        let required = |side: &str| -> Vec<Term> {
            list(side, "required").iter().map(|term| Term::of(term, 0, namespace, labels)).collect()
        };
        let mut terms = Self {
            together: required("podAffinity"),
            apart: required("podAntiAffinity"),
            preferred: Vec::new(),
        };
        for (side, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            terms.preferred.extend(list(side, "preferred").iter().map(|weighted| {
                let weight = weighted["weight"].as_i64().unwrap_or(0).clamp(0, 100);
                Term::of(&weighted["podAffinityTerm"], sign * weight, namespace, labels)
            }));
        }
        (terms != Self::default()).then(|| Box::new(terms))
    }
}

/// A `TopologySpreadConstraint`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constraint {
    selector: Option<Selector>,
    /// Of upstream's default constraints: the pods of this owner.
    owner: u64,
    pub key: Box<str>,
    pub skew: i64,
    pub domains: i64,
    pub honors_affinity: bool,
    pub honors_taints: bool,
    /// `DoNotSchedule`.
    pub hard: bool,
}

impl Constraint {
    pub(super) fn of(constraint: &Value, labels: &Labels) -> Self {
        Self {
            selector: selector(constraint, labels),
            owner: 0,
            key: constraint["topologyKey"].as_str().unwrap_or_default().into(),
            skew: constraint["maxSkew"].as_i64().unwrap_or(1),
            domains: constraint["minDomains"].as_i64().unwrap_or(1),
            honors_affinity: constraint["nodeAffinityPolicy"] != "Ignore",
            honors_taints: constraint["nodeTaintsPolicy"] == "Honor",
            hard: constraint["whenUnsatisfiable"] != "ScheduleAnyway",
        }
    }

    /// Those of a pod without any of its own (upstream's `systemDefaultConstraints`).
    pub(super) fn usual(owner: u64) -> Vec<Self> {
        let of = |key: &str, skew: i64| Self {
            selector: None,
            owner,
            key: key.into(),
            skew,
            domains: 1,
            honors_affinity: true,
            honors_taints: false,
            hard: false,
        };
        vec![of("kubernetes.io/hostname", 3), of("topology.kubernetes.io/zone", 5)]
    }

    pub(super) fn is_usual(&self) -> bool {
        self.owner != 0
    }

    /// Whether a pod of the same namespace counts.
    pub(super) fn matches(&self, pod: &Facts) -> bool {
        if self.is_usual() {
            pod.owner == self.owner
        } else {
            self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
        }
    }
}
