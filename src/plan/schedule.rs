//! Which node a pod goes to. The filters, their order and their words are those of upstream's default scheduler,
//! and so are the scores and the choice of pods that must go for one.

use std::collections::BTreeMap;

use crate::api::Object;
use crate::plan::node_selector;

mod claim;
mod cluster;
mod daemon;
mod node;
mod pod;
mod preempt;
mod requests;
mod score;
mod taint;
mod tally;
mod terms;
#[cfg(test)]
mod tests;

pub use claim::Claim;
pub use cluster::Cluster;
pub use daemon::Standing;
pub use node::Node;
use node::{Place, Refusal, Room};
pub use pod::{Facts, Pod};
pub use preempt::{Budget, Preemption, preempt};
use requests::Requests;
pub use taint::{Effect, Taint, Toleration};
use tally::Tally;

/// What a pod requests of a resource: CPU in thousandths, everything else in whole units.
pub fn requested(pod: &Object, resource: &str) -> i64 {
    Requests::of(pod).amount(resource)
}

/// Where a pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To the node of this name.
    Bind(String),
    Unschedulable(Refused),
}

/// Why a pod fits nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Upstream's words: `0/3 nodes are available: 1 Insufficient memory, ….`
    pub message: String,
    /// Nodes where it might fit if other pods went.
    preemptible: Vec<String>,
    /// There are nodes: preemption is tried, and what comes of it told.
    pub has_nodes: bool,
}

/// Picks the best node among those that the pod fits on.
pub fn schedule(pod: &Pod, cluster: &Cluster) -> Decision {
    let total = cluster.nodes().count();
    let mut refused = Refused { has_nodes: total > 0, ..Refused::default() };
    if total == 0 {
        refused.message = "no nodes available to schedule pods".to_owned();
        return Decision::Unschedulable(refused);
    }
    let unusable = pod.claims.iter().find_map(|claim| match claim {
        Claim::Refused(reason) => Some(reason),
        _ => None,
    });
    if let Some(reason) = unusable {
        refused.message = format!("0/{total} nodes are available: {reason}.");
        return Decision::Unschedulable(refused);
    }
    let tally = Tally::new(pod, cluster);
    let only = node_selector::names(&pod.affinity);
    let mut fits = Vec::new();
    let mut reasons = Vec::new();
    for (node, place) in cluster.nodes() {
        let refusal = if only.as_ref().is_some_and(|only| !only.contains(&node.name.as_str())) {
            Some(Refusal::lasting("node(s) didn't satisfy plugin(s) [NodeAffinity]"))
        } else {
            let kept = with_kept(cluster, node, place, pod);
            node.refuse(kept.as_ref().unwrap_or(&place.room), pod).or_else(|| tally.refuse(node))
        };
        match refusal {
            None => fits.push((node, place)),
            Some(mut refusal) => {
                if refusal.preemptible {
                    refused.preemptible.push(node.name.clone());
                }
                reasons.append(&mut refusal.reasons);
            }
        }
    }
    match score::best(pod, cluster, &fits) {
        Some(node) => Decision::Bind(node.name.clone()),
        None => {
            refused.message = summary(total, reasons);
            Decision::Unschedulable(refused)
        }
    }
}

/// The room on a node together with what is kept there for other pods, if anything is.
fn with_kept(cluster: &Cluster, node: &Node, place: &Place, pod: &Pod) -> Option<Room> {
    let mut room: Option<Room> = None;
    if cluster.is_contended() {
        for other in cluster.ahead(&node.name, &pod.facts) {
            room.get_or_insert_with(|| place.room.clone()).take(other);
        }
    }
    room
}

/// Each reason with its count; sorted as texts, like upstream.
fn summary(nodes: usize, reasons: Vec<String>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut texts: Vec<_> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort_unstable();
    format!("0/{nodes} nodes are available: {}.", texts.join(", "))
}
