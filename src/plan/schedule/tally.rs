//! Counts, by topology, of the pods that a pod is to be near, apart from or spread among.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::node::{Node, Place, Refusal};
use super::pod::{Facts, Pod};
use super::terms::{Constraint, Term};

/// What a lane counts.
enum Of<'a> {
    Spread(&'a Constraint),
    /// Pods that match all of the affinity terms.
    Together,
    Apart(&'a Term),
    /// Pods that want to be apart from this one.
    Kept,
}

struct Lane<'a> {
    key: &'a str,
    of: Of<'a>,
    /// The least count of a domain, for spreading.
    least: i64,
}

/// The counts for one pod. A domain that counts is in the map, even with nothing in it.
pub(super) struct Tally<'a> {
    pod: &'a Pod,
    cluster: &'a Cluster,
    lanes: Vec<Lane<'a>>,
    counts: BTreeMap<(usize, &'a str), i64>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(pod: &'a Pod, cluster: &'a Cluster) -> Self {
        let mut lanes = Vec::new();
        let mut lane = |key: &'a str, of| lanes.push(Lane { key, of, least: 0 });
        for constraint in pod.spread.iter().filter(|constraint| constraint.hard) {
            lane(&constraint.key, Of::Spread(constraint));
        }
        if let Some(terms) = &pod.facts.terms {
            terms.together.iter().for_each(|term| lane(&term.key, Of::Together));
            terms.apart.iter().for_each(|term| lane(&term.key, Of::Apart(term)));
        }
        let mut tally = Self { pod, cluster, lanes, counts: BTreeMap::new() };
        let own = tally.lanes.len();
        for (node, place) in cluster.nodes() {
            tally.open(node);
            if own == 0 && place.asking == 0 {
                continue;
            }
            let values = tally.values(node);
            for other in &place.pods {
                if own > 0 || other.terms.is_some() {
                    tally.count_at(node, &values, other, 1);
                }
            }
        }
        tally.settle();
        tally
    }

    /// Makes the node's domains known.
    fn open(&mut self, node: &'a Node) {
        for index in 0..self.lanes.len() {
            let Some(lane) = self.lanes.get(index) else { return };
            if let (Of::Spread(constraint), Some(value)) = (&lane.of, node.label(lane.key))
                && counts(self.pod, constraint, node)
            {
                self.counts.entry((index, value)).or_insert(0);
            }
        }
    }

    /// The node's domain in each lane.
    fn values(&self, node: &'a Node) -> Vec<Option<&'a str>> {
        self.lanes.iter().map(|lane| node.label(lane.key)).collect()
    }

    /// Counts a pod of a node in, or with -1 out.
    pub(super) fn count(&mut self, node: &'a Node, other: &'a Facts, by: i64) {
        let values = self.values(node);
        self.count_at(node, &values, other, by);
    }

    fn count_at(&mut self, node: &'a Node, values: &[Option<&'a str>], other: &'a Facts, by: i64) {
        let Self { pod, cluster, lanes, counts } = self;
        let facts = &*pod.facts;
        let mut together = None;
        for (index, (lane, value)) in lanes.iter().zip(values).enumerate() {
            let Some(value) = *value else { continue };
            let matches = match &lane.of {
                Of::Spread(constraint) => {
                    if !other.ends
                        && constraint.matches(other)
                        && other.is_in(facts.namespace())
                        && let Some(count) = counts.get_mut(&(index, value))
                        && self::counts(pod, constraint, node)
                    {
                        *count += by;
                    }
                    false
                }
                Of::Together => *together.get_or_insert_with(|| {
                    let terms = facts.terms.iter().flat_map(|terms| &terms.together);
                    terms.into_iter().all(|term| term.matches(other, cluster))
                }),
                Of::Apart(term) => term.matches(other, cluster),
                Of::Kept => false,
            };
            if matches {
                *counts.entry((index, value)).or_insert(0) += by;
            }
        }
        let Some(terms) = &other.terms else { return };
        for term in &terms.apart {
            let Some(value) = node.label(&term.key) else { continue };
            if term.matches(facts, cluster) {
                let known =
                    lanes.iter().position(|lane| matches!(lane.of, Of::Kept) && *lane.key == *term.key);
                let index = known.unwrap_or_else(|| {
                    lanes.push(Lane { key: &term.key, of: Of::Kept, least: 0 });
                    lanes.len() - 1
                });
                *counts.entry((index, value)).or_insert(0) += by;
            }
        }
    }

    /// Finds the least counts anew.
    pub(super) fn settle(&mut self) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let Of::Spread(constraint) = lane.of else { continue };
            let domains = self.counts.range((index, "")..(index + 1, ""));
            let (number, least) =
                domains.fold((0, i64::MAX), |(number, least), (_, count)| (number + 1, least.min(*count)));
            lane.least = if number < constraint.domains { 0 } else { least };
        }
    }

    fn at(&self, index: usize, value: &str) -> i64 {
        self.counts.get(&(index, value)).copied().unwrap_or(0)
    }

    /// Why the pod's relations to others keep it from a node.
    pub(super) fn refuse(&self, node: &Node) -> Option<Refusal> {
        let mut together = None;
        let mut apart = None;
        for (index, lane) in self.lanes.iter().enumerate() {
            let value = node.label(lane.key);
            match (&lane.of, value) {
                (Of::Spread(_), None) => {
                    let reason =
                        "node(s) didn't match pod topology spread constraints (missing required label)";
                    return Some(Refusal::lasting(reason));
                }
                (Of::Spread(constraint), Some(value)) => {
                    let own = i64::from(constraint.matches(&self.pod.facts));
                    if self.at(index, value) + own - lane.least > constraint.skew {
                        return Some(Refusal::passing(
                            "node(s) didn't match pod topology spread constraints",
                        ));
                    }
                }
                (Of::Together, None) => together = Some(false),
                (Of::Together, Some(value)) if self.at(index, value) <= 0 => {
                    together = together.or(Some(true));
                }
                (Of::Apart(_), Some(value)) if self.at(index, value) > 0 => {
                    apart = apart.or(Some("node(s) didn't match pod anti-affinity rules"));
                }
                (Of::Kept, Some(value)) if self.at(index, value) > 0 => {
                    apart = apart.or(Some("node(s) didn't satisfy existing pods anti-affinity rules"));
                }
                _ => {}
            }
        }
        match together {
            // The first of a group that is to be together may be anywhere.
            Some(true) if self.is_first() => {}
            Some(_) => return Some(Refusal::lasting("node(s) didn't match pod affinity rules")),
            None => {}
        }
        apart.map(Refusal::passing)
    }

    fn is_first(&self) -> bool {
        let of = |index: usize| self.lanes.get(index).is_some_and(|lane| matches!(lane.of, Of::Together));
        let none = self.counts.iter().all(|((index, _), count)| *count <= 0 || !of(*index));
        let mut terms = self.pod.facts.terms.iter().flat_map(|terms| &terms.together);
        none && terms.all(|term| term.matches(&self.pod.facts, self.cluster))
    }
}

/// Whether a node counts for a constraint of a pod.
pub(super) fn counts(pod: &Pod, constraint: &Constraint, node: &Node) -> bool {
    let all = |other: &Constraint| other.hard != constraint.hard || node.label(&other.key).is_some();
    (constraint.is_usual() || pod.spread.iter().all(all))
        && (!constraint.honors_affinity || pod.selects(&node.name, &node.labels))
        && (!constraint.honors_taints || node.repels(pod).is_none())
}

/// All pods on a place that may matter for the score.
pub(super) fn concerned<'a>(pod: &Pod, place: &'a Place) -> impl Iterator<Item = &'a Facts> {
    let prefers = pod.facts.terms.as_ref().is_some_and(|terms| !terms.preferred.is_empty());
    let any = prefers || place.asking > 0;
    place.pods.iter().take(if any { usize::MAX } else { 0 }).map(|other| &**other)
}
