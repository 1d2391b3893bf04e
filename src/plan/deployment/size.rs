//! How many replicas each ReplicaSet of a Deployment is to have.

use std::cmp::Reverse;

use super::bounds::Bounds;
use super::set::Set;

/// The replicas that the new ReplicaSet may have while the old ones have theirs.
pub fn new_replicas(bounds: &Bounds, now: i64, all: i64) -> i64 {
    if bounds.is_recreate || now > bounds.replicas {
        return bounds.replicas;
    }
    now + (bounds.most() - all).min(bounds.replicas - now).max(0)
}

/// A step of a rolling update: the new one grows as far as there is room, then old ones shrink as far as what serves
/// allows, their pods that do not serve first.
pub fn roll(bounds: &Bounds, new: &mut Set, old: &mut [Set]) {
    let of_old: i64 = old.iter().map(|set| set.replicas).sum();
    new.resize(new_replicas(bounds, new.replicas, new.replicas + of_old), bounds);
    let missing = new.replicas - new.available();
    let room = new.replicas + of_old - bounds.least() - missing;
    if of_old == 0 || room <= 0 {
        return;
    }
    old.sort_by_cached_key(Set::age);
    let mut left = room;
    for set in old.iter_mut() {
        let fewer = (set.replicas - set.available()).min(left);
        if fewer > 0 {
            set.resize(set.replicas - fewer, bounds);
            left -= fewer;
        }
    }
    let available = new.available() + old.iter().map(Set::available).sum::<i64>();
    let mut left = available - bounds.least();
    for set in old.iter_mut() {
        let fewer = set.replicas.min(left);
        if fewer > 0 {
            set.resize(set.replicas - fewer, bounds);
            left -= fewer;
        }
    }
}

/// The Deployment was given another size, or is paused: its ReplicaSets grow or shrink in proportion.
pub fn spread(bounds: &Bounds, mut new: Option<&mut Set>, old: &mut [Set], status_replicas: i64) {
    let is_saturated = new.as_ref().is_some_and(|new| {
        new.replicas == bounds.replicas
            && new.desired() == Some(bounds.replicas)
            && new.counts.available == bounds.replicas
    });
    let active = |set: &&mut Set| set.replicas > 0;
    let count =
        new.iter().filter(|set| set.replicas > 0).count() + old.iter().filter(|set| set.replicas > 0).count();
    if count <= 1 {
        let latest = old.iter_mut().max_by_key(|set| (set.replicas > 0, set.age()));
        let one = match new {
            Some(new) if new.replicas > 0 || count == 0 => Some(new),
            _ => latest,
        };
        return one.into_iter().for_each(|one| one.resize(bounds.replicas, bounds));
    }
    if is_saturated {
        return old.iter_mut().filter(active).for_each(|set| set.resize(0, bounds));
    }
    if bounds.is_recreate {
        return;
    }
    let mut all: Vec<&mut Set> = old.iter_mut().chain(new.take()).filter(active).collect();
    let most = if bounds.replicas > 0 { bounds.most() } else { 0 };
    let more = most - all.iter().map(|set| set.replicas).sum::<i64>();
    // The largest first: it takes what rounding leaves. Of many alike the newer grow, the older shrink.
    all.sort_by_cached_key(|set| Reverse((set.replicas, set.age())));
    if more < 0 {
        all.sort_by_cached_key(|set| (Reverse(set.replicas), set.age()));
    }
    let mut added = 0;
    let mut sizes: Vec<i64> = Vec::new();
    for set in &all {
        let share = share(bounds, set, status_replicas);
        let share = if more > 0 { share.min(more - added) } else { share.max(more - added) };
        let share = if more == 0 { 0 } else { share };
        added += share;
        sizes.push(set.replicas + share);
    }
    if more != 0
        && let Some(first) = sizes.first_mut()
    {
        *first += more - added;
    }
    for (set, size) in all.into_iter().zip(sizes) {
        set.resize(size.max(0), bounds);
    }
}

/// By how much one of them grows or shrinks.
fn share(bounds: &Bounds, set: &Set, status_replicas: i64) -> i64 {
    if bounds.replicas == 0 {
        return -set.replicas;
    }
    let before = set.maximum().unwrap_or(status_replicas);
    if before <= 0 {
        return 0;
    }
    let doubled = set.replicas.saturating_mul(bounds.most()).saturating_mul(2);
    doubled.saturating_add(before) / before.saturating_mul(2) - set.replicas
}
