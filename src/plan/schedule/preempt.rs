//! Preemption: which pods go so that a more important one fits (upstream's DefaultPreemption).

use std::cmp::Reverse;
use std::sync::Arc;

use super::cluster::Cluster;
use super::node::{Node, Place, Room};
use super::pod::{Facts, Pod};
use super::tally::Tally;
use super::{Refused, summary, with_kept};
use crate::api::Object;
use crate::api::selector::LabelSelector;

/// What a PodDisruptionBudget allows.
pub struct Budget {
    namespace: String,
    selector: Option<LabelSelector>,
    allowed: i64,
    /// Pods that are counted as gone.
    disrupted: Vec<String>,
}

impl Budget {
    pub fn of(budget: &Object) -> Self {
        let selector =
            budget.at("/spec/selector").and_then(|selector| LabelSelector::from_json(selector).ok());
        let disrupted = budget.map_at("/status/disruptedPods").into_iter().flatten();
        Self {
            namespace: budget.namespace().to_owned(),
            selector: selector.filter(|selector| !selector.is_empty()),
            allowed: budget.i64_at("/status/disruptionsAllowed").unwrap_or(0),
            disrupted: disrupted.map(|(name, _)| name.clone()).collect(),
        }
    }

    fn covers(&self, pod: &Facts) -> bool {
        let labels = |selector: &LabelSelector| selector.matches_with(&|key| pod.labels.get(key));
        self.namespace == pod.namespace()
            && self.selector.as_ref().is_some_and(labels)
            && !self.disrupted.iter().any(|name| name == pod.name())
    }
}

/// Which pods go, from which node.
#[derive(Clone, Debug, PartialEq)]
pub struct Preemption {
    pub node: String,
    /// Namespaces and names, with a slash between.
    pub victims: Vec<Box<str>>,
}

/// Makes room for a pod that fits nowhere. The error says why that can't be, in upstream's words.
///
/// # Errors
/// No node where pods that are less important could go.
pub fn preempt(
    pod: &Pod,
    cluster: &Cluster,
    refused: &Refused,
    budgets: &[Budget],
) -> Result<Preemption, String> {
    if pod.yields {
        return Err("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    let may_help = |name: &str| refused.preemptible.iter().any(|node| **node == *name);
    let lower = |other: &&Arc<Facts>| other.priority < pod.facts.priority;
    if let Some(place) = cluster.places.get(pod.nominated.as_str()).filter(|_| may_help(&pod.nominated))
        && place.pods.iter().filter(lower).any(|other| other.ends)
    {
        return Err("not eligible due to a terminating pod on the nominated node.".to_owned());
    }
    let mut tally = Tally::new(pod, cluster);
    let mut reasons = Vec::new();
    let mut best: Option<(Cost, Preemption)> = None;
    let mut helpless = cluster.nodes().count();
    for (node, place) in cluster.nodes().filter(|(node, _)| may_help(&node.name)) {
        helpless -= 1;
        match select(pod, cluster, &mut tally, (node, place), budgets) {
            Err(mut why) => reasons.append(&mut why),
            Ok((victims, violations)) => {
                let cost = cost(&victims, violations);
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    let victims = victims.iter().map(|victim| victim.key.clone()).collect();
                    best = Some((cost, Preemption { node: node.name.clone(), victims }));
                }
            }
        }
    }
    let total = cluster.nodes().count();
    reasons.extend((0..helpless).map(|_| "Preemption is not helpful for scheduling".to_owned()));
    best.map(|(_, preemption)| preemption).ok_or_else(|| summary(total, reasons))
}

/// Compared from the first field on: violated budgets, the most important victim, the sum of importance, how many, and
/// how long ago the longest-running of the most important ones started.
type Cost = (usize, i64, i128, usize, Reverse<u64>);

fn cost(victims: &[&Facts], violations: usize) -> Cost {
    let top = victims.iter().map(|victim| victim.priority).max().unwrap_or(i64::MIN);
    let sum = victims.iter().map(|victim| i128::from(victim.priority) + i128::from(i32::MAX) + 1).sum();
    let oldest = victims.iter().filter(|victim| victim.priority == top).map(|victim| victim.started).min();
    (violations, top, sum, victims.len(), Reverse(oldest.unwrap_or(0)))
}

/// The fewest pods of a node that must go, and how many of them against a budget.
fn select<'a>(
    pod: &Pod,
    cluster: &'a Cluster,
    tally: &mut Tally<'a>,
    (node, place): (&'a Node, &'a Place),
    budgets: &[Budget],
) -> Result<(Vec<&'a Facts>, usize), Vec<String>> {
    let mut victims: Vec<&Facts> =
        place.pods.iter().map(|other| &**other).filter(|other| other.priority < pod.facts.priority).collect();
    if victims.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".to_owned()]);
    }
    victims.sort_by_key(|victim| (Reverse(victim.priority), victim.started));
    let kept = with_kept(cluster, node, place, pod);
    let mut room: Room = kept.unwrap_or_else(|| place.room.clone());
    for victim in &victims {
        room.free(victim);
        tally.count(node, victim, -1);
    }
    tally.settle();
    let refusal = node.refuse(&room, pod).or_else(|| tally.refuse(node));
    let mut left: Vec<i64> = budgets.iter().map(|budget| budget.allowed).collect();
    let against: Vec<bool> = victims
        .iter()
        .map(|victim| {
            let covering = budgets.iter().zip(&mut left).filter(|(budget, _)| budget.covers(victim));
            covering.fold(false, |against, (_, left)| {
                *left -= 1;
                against || *left < 0
            })
        })
        .collect();
    let (mut go, mut violations) = (Vec::new(), 0);
    // Those that a budget protects may stay first, then the more important.
    for protected in [true, false] {
        for (victim, _) in victims.iter().zip(&against).filter(|(_, against)| **against == protected) {
            room.take(victim);
            tally.count(node, victim, 1);
            tally.settle();
            if refusal.is_none() && (node.refuse(&room, pod).is_some() || tally.refuse(node).is_some()) {
                room.free(victim);
                tally.count(node, victim, -1);
                go.push(*victim);
                violations += usize::from(protected);
            }
        }
    }
    for victim in &go {
        tally.count(node, victim, 1);
    }
    tally.settle();
    match refusal {
        Some(refusal) => Err(refusal.reasons),
        None => Ok((go, violations)),
    }
}
