//! How good the nodes are that a pod fits on: upstream's default scores with their weights. One differs: on slow links a
//! node that has the images wins over one that would have to pull them, however small they are.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::Cluster;
use super::node::{Node, Place};
use super::pod::Pod;
use super::tally::{concerned, counts};
use crate::plan::node_selector;

const MOST: i64 = 100;

/// A node that the pod fits on.
pub(super) type Fit<'a> = (&'a Node, &'a Place);

/// The best of the nodes; of equals the one with the fewest pods, then the first.
pub(super) fn best<'a>(pod: &Pod, cluster: &Cluster, fits: &[Fit<'a>]) -> Option<&'a Node> {
    if let [(only, _)] | [(only, _), ..] = fits
        && fits.len() == 1
    {
        return Some(*only);
    }
    let mut totals = vec![0; fits.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        totals.iter_mut().zip(scores).for_each(|(total, score)| *total += weight * score);
    };
    let of = |score: &dyn Fn(&Node, &Place) -> i64| -> Vec<i64> {
        fits.iter().map(|(node, place)| score(node, place)).collect()
    };
    let dislikes = of(&|node, _| node.dislikes(pod));
    add(3, share(dislikes).into_iter().map(|score| MOST - score).collect());
    if !pod.preferred.is_empty() {
        add(
            2,
            share(of(&|node, _| {
                let held = pod.preferred.iter();
                held.filter(|(_, term)| node_selector::matches(term, &node.name, &node.labels))
                    .map(|(weight, _)| weight)
                    .sum()
            })),
        );
    }
    let facts = &*pod.facts;
    add(
        1,
        of(&|node, place| {
            let counted = [0, 1].map(|index| place.room.counted[index].saturating_add(facts.counted[index]));
            node.allocatable.left(counted)
        }),
    );
    if !facts.requests.is_zero() {
        add(
            1,
            of(&|node, place| {
                let mut taken = place.room.taken.clone();
                taken.add(&facts.requests, 1);
                node.allocatable.balance(&taken)
            }),
        );
    }
    if let Some(scores) = spread(pod, cluster, fits) {
        add(2, scores);
    }
    if let Some(scores) = company(pod, cluster, fits) {
        add(2, scores);
    }
    let bytes = of(&|node, _| pod.images.iter().map(|image| node.bytes_of(image)).sum());
    add(1, share(bytes));
    let order = |index: &usize| (totals[*index], -fits[*index].1.room.pods, -(*index as i64));
    let best = (0..fits.len()).max_by_key(order)?;
    fits.get(best).map(|(node, _)| *node)
}

/// Of 100, each one's share of the largest.
fn share(scores: Vec<i64>) -> Vec<i64> {
    let most = scores.iter().copied().max().unwrap_or(0);
    scores.into_iter().map(|score| if most > 0 { score * MOST / most } else { 0 }).collect()
}

/// By constraints that need not hold (upstream's PodTopologySpread).
fn spread(pod: &Pod, cluster: &Cluster, fits: &[Fit<'_>]) -> Option<Vec<i64>> {
    let soft: Vec<_> = pod.spread.iter().filter(|constraint| !constraint.hard).collect();
    if soft.is_empty() {
        return None;
    }
    let mut found: BTreeMap<(usize, &str), i64> = BTreeMap::new();
    let mut domains: BTreeSet<(usize, &str)> = BTreeSet::new();
    for (index, constraint) in soft.iter().enumerate() {
        domains.extend(fits.iter().filter_map(|(node, _)| Some((index, node.label(&constraint.key)?))));
        for (node, place) in cluster.nodes() {
            let Some(value) = node.label(&constraint.key) else { continue };
            if place.pods.is_empty() || !counts(pod, constraint, node) {
                continue;
            }
            let matching = place.pods.iter().filter(|other| {
                // The cheap look first: owners are numbers.
                !other.ends && constraint.matches(other) && other.is_in(pod.facts.namespace())
            });
            let number = matching.count() as i64;
            if number > 0 {
                *found.entry((index, value)).or_insert(0) += number;
            }
        }
    }
    let weights: Vec<f64> = (0..soft.len())
        .map(|index| ((domains.range((index, "")..(index + 1, "")).count() + 2) as f64).ln())
        .collect();
    let raw = fits.iter().map(|(node, _)| {
        let mut sum = 0.0;
        for ((index, constraint), weight) in soft.iter().enumerate().zip(&weights) {
            match node.label(&constraint.key) {
                Some(value) => {
                    let number = found.get(&(index, value)).copied().unwrap_or(0);
                    sum += number as f64 * weight + (constraint.skew - 1) as f64;
                }
                None if constraint.is_usual() => {}
                None => return None,
            }
        }
        Some(sum.round() as i64)
    });
    let raw: Vec<Option<i64>> = raw.collect();
    let most = raw.iter().flatten().copied().max().unwrap_or(0);
    let least = raw.iter().flatten().copied().min().unwrap_or(0);
    let score = |raw: Option<i64>| match raw {
        None => 0,
        Some(_) if most == 0 => MOST,
        Some(raw) => MOST * (most + least - raw) / most,
    };
    Some(raw.into_iter().map(score).collect())
}

/// By preferences for other pods, the pod's and theirs (upstream's InterPodAffinity).
fn company(pod: &Pod, cluster: &Cluster, fits: &[Fit<'_>]) -> Option<Vec<i64>> {
    let mut points: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let own = pod.facts.terms.as_ref();
    for (node, place) in cluster.nodes() {
        for other in concerned(pod, place) {
            let mine = own.into_iter().flat_map(|terms| &terms.preferred);
            let mine = mine.filter(|term| term.matches(other, cluster));
            let theirs = other.terms.as_ref();
            let preferred = theirs.into_iter().flat_map(|terms| &terms.preferred);
            let preferred = preferred.filter(|term| term.matches(&pod.facts, cluster));
            // What must be together counts, too, with upstream's hardPodAffinityWeight.
            let must = theirs.into_iter().flat_map(|terms| &terms.together);
            let must = must.filter(|term| term.matches(&pod.facts, cluster)).map(|term| (term, 1));
            for (term, weight) in mine.chain(preferred).map(|term| (term, term.weight)).chain(must) {
                if let Some(value) = node.label(&term.key) {
                    *points.entry((&term.key, value)).or_insert(0) += weight;
                }
            }
        }
    }
    if points.is_empty() {
        return None;
    }
    let raw = |node: &Node| -> i64 {
        points
            .iter()
            .filter(|((key, value), _)| node.label(key) == Some(*value))
            .map(|(_, points)| points)
            .sum()
    };
    let raw: Vec<i64> = fits.iter().map(|(node, _)| raw(node)).collect();
    let (least, most) = (raw.iter().copied().min()?, raw.iter().copied().max()?);
    Some(
        raw.into_iter()
            .map(|raw| if most > least { MOST * (raw - least) / (most - least) } else { 0 })
            .collect(),
    )
}
