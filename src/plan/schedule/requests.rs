//! Amounts of resources.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::Object;
use crate::api::quantity::Quantity;

/// Amounts by resource: CPU in thousandths, everything else in whole units (bytes).
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Requests(BTreeMap<String, i64>);

/// What a container without requests counts as when nodes are compared (upstream's
/// `DefaultMilliCPURequest` and `DefaultMemoryRequest`), so that such pods spread, too.
const UNSAID: [(&str, i64); 2] = [("cpu", 100), ("memory", 200 << 20)];

/// A quantity's whole units; 0 for none.
pub(super) fn amount(value: &Value) -> i64 {
    Quantity::from_json(value).map_or(0, Quantity::value)
}

impl Requests {
    /// A resource list, such as a container's requests.
    pub(super) fn of_list(list: &Value) -> Self {
        let list = list.as_object().into_iter().flatten();
        let amounts = list.filter(|(name, _)| *name != "pods").map(|(name, value)| {
            let cpu = || Quantity::from_json(value).map_or(0, Quantity::milli);
            (name.clone(), if name == "cpu" { cpu() } else { amount(value) })
        });
        Self(amounts.collect())
    }

    /// What a pod needs at once (upstream's `PodRequests`): its containers and sidecars together, or, if that is
    /// more, an init container together with the sidecars started before it; and its overhead.
    pub(super) fn of(pod: &Object) -> Self {
        let of = |container: &Value| Self::of_list(&container["resources"]["requests"]);
        let mut running = Self::default();
        for container in pod.array_at("/spec/containers") {
            running.add(&of(container));
        }
        let (mut sidecars, mut starting) = (Self::default(), Self::default());
        for container in pod.array_at("/spec/initContainers") {
            let mut now = of(container);
            if container["restartPolicy"] == "Always" {
                running.add(&now);
                sidecars.add(&now);
                now = sidecars.clone();
            } else {
                now.add(&sidecars);
            }
            starting.raise(&now);
        }
        running.raise(&starting);
        // The pod's own requests, where it has them, stand for its containers'.
        let own = Self::of_list(pod.at("/spec/resources/requests").unwrap_or(&Value::Null));
        running.0.extend(own.0);
        running.add(&Self::of_list(pod.at("/spec/overhead").unwrap_or(&Value::Null)));
        running
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Raises every amount to at least `other`'s.
    fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }

    pub(super) fn amount(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The resources of which less is left than this asks for.
    pub(super) fn exceeds(&self, allocatable: &Self, taken: &Self) -> Vec<&str> {
        let short = |name: &str, amount: i64| {
            amount > 0 && amount > allocatable.amount(name).saturating_sub(taken.amount(name))
        };
        self.0.iter().filter(|(name, amount)| short(name, **amount)).map(|(name, _)| name.as_str()).collect()
    }

    /// Of what is allocatable, how many thousandths are free once `more` is taken as well: CPU's and memory's
    /// mean.
    pub(super) fn room_after(&self, more: &Self, allocatable: &Self) -> i64 {
        let share = |(name, unsaid): (&str, i64)| {
            let all = i128::from(allocatable.amount(name));
            let asked = match more.amount(name) {
                0 => unsaid,
                amount => amount,
            };
            let free = all - i128::from(self.amount(name)) - i128::from(asked);
            if all <= 0 { 0 } else { (free * 1000 / all).clamp(0, 1000) as i64 }
        };
        UNSAID.into_iter().map(share).sum::<i64>() / UNSAID.len() as i64
    }
}
