//! Amounts of resources.

use serde_json::Value;

use crate::api::Object;
use crate::api::quantity::Quantity;

/// Amounts by resource: CPU in thousandths, everything else in whole units (bytes). Most pods ask for CPU and memory
/// only.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Requests {
    cpu: i64,
    memory: i64,
    others: Vec<(Box<str>, i64)>,
}

/// What a container without requests counts as when nodes are compared (upstream's
/// `DefaultMilliCPURequest` and `DefaultMemoryRequest`), so that such pods spread, too.
const UNSAID: [i64; 2] = [100, 200 << 20];
/// The resources that nodes are compared by.
const COMPARED: [&str; 2] = ["cpu", "memory"];

/// A quantity's whole units; 0 for none.
pub(super) fn amount(value: &Value) -> i64 {
    Quantity::from_json(value).map_or(0, Quantity::value)
}

/// CPU and memory of a pod for comparing nodes.
pub(super) type Counted = [i64; 2];

impl Requests {
    /// A resource list, such as a container's requests.
    pub(super) fn of_list(list: &Value) -> Self {
        let mut requests = Self::default();
        for (name, value) in list.as_object().into_iter().flatten().filter(|(name, _)| *name != "pods") {
            let cpu = || Quantity::from_json(value).map_or(0, Quantity::milli);
            *requests.slot(name) = if name == "cpu" { cpu() } else { amount(value) };
        }
        requests
    }

    /// What a pod needs at once (upstream's `PodRequests`): its containers and sidecars together, or, if that is
    /// more, an init container together with the sidecars started before it; and its overhead.
    pub(super) fn of(pod: &Object) -> Self {
        Self::of_pod(pod, false)
    }

    /// CPU and memory, with what containers that do not say count as.
    pub(super) fn counted(pod: &Object) -> Counted {
        let requests = Self::of_pod(pod, true);
        [requests.cpu, requests.memory]
    }

    fn of_pod(pod: &Object, unsaid: bool) -> Self {
        let of = |container: &Value| {
            let list = &container["resources"]["requests"];
            let mut requests = Self::of_list(list);
            for (name, unsaid) in COMPARED.into_iter().zip(UNSAID).filter(|_| unsaid) {
                if list[name].is_null() {
                    *requests.slot(name) = unsaid;
                }
            }
            requests
        };
        let mut running = Self::default();
        for container in pod.array_at("/spec/containers") {
            running.add(&of(container), 1);
        }
        let (mut sidecars, mut starting) = (Self::default(), Self::default());
        for container in pod.array_at("/spec/initContainers") {
            let mut now = of(container);
            if container["restartPolicy"] == "Always" {
                running.add(&now, 1);
                sidecars.add(&now, 1);
                now = sidecars.clone();
            } else {
                now.add(&sidecars, 1);
            }
            starting.raise(&now);
        }
        running.raise(&starting);
        // The pod's own requests, where it has them, stand for its containers'.
        let own = Self::of_list(pod.at("/spec/resources/requests").unwrap_or(&Value::Null));
        own.each(&mut |name, amount| {
            if amount > 0 {
                *running.slot(name) = amount;
            }
        });
        running.add(&Self::of_list(pod.at("/spec/overhead").unwrap_or(&Value::Null)), 1);
        running
    }

    fn slot(&mut self, name: &str) -> &mut i64 {
        match name {
            "cpu" => &mut self.cpu,
            "memory" => &mut self.memory,
            _ => {
                let at = self.others.iter().position(|(other, _)| **other == *name).unwrap_or_else(|| {
                    self.others.push((name.into(), 0));
                    self.others.len() - 1
                });
                &mut self.others[at].1
            }
        }
    }

    fn each(&self, visit: &mut dyn FnMut(&str, i64)) {
        visit("cpu", self.cpu);
        visit("memory", self.memory);
        self.others.iter().for_each(|(name, amount)| visit(name, *amount));
    }

    /// Adds so many times `other`.
    pub(super) fn add(&mut self, other: &Self, times: i64) {
        other.each(&mut |name, amount| {
            let sum = self.slot(name);
            *sum = sum.saturating_add(amount.saturating_mul(times));
        });
    }

    /// Raises every amount to at least `other`'s.
    fn raise(&mut self, other: &Self) {
        other.each(&mut |name, amount| {
            let most = self.slot(name);
            *most = (*most).max(amount);
        });
    }

    pub(super) fn amount(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            _ => self.others.iter().find(|(other, _)| **other == *name).map_or(0, |(_, amount)| *amount),
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.cpu == 0 && self.memory == 0
    }

    /// The resources of which less is left than this asks for.
    pub(super) fn exceeds(&self, allocatable: &Self, taken: &Self) -> Vec<String> {
        let mut short = Vec::new();
        self.each(&mut |name, amount| {
            if amount > 0 && amount > allocatable.amount(name).saturating_sub(taken.amount(name)) {
                short.push(format!("Insufficient {name}"));
            }
        });
        short
    }

    /// Whether this asks for more than there could ever be.
    pub(super) fn is_beyond(&self, allocatable: &Self) -> bool {
        let mut beyond = false;
        self.each(&mut |name, amount| beyond |= amount > 0 && amount > allocatable.amount(name));
        beyond
    }

    /// Of 100, how much of CPU and memory stays free with so much counted (upstream's LeastAllocated).
    pub(super) fn left(&self, counted: Counted) -> i64 {
        let free = |all: i64, taken: i64| {
            let free = i128::from(all) - i128::from(taken);
            if all <= 0 || free < 0 { 0 } else { (free * 100 / i128::from(all)) as i64 }
        };
        (free(self.cpu, counted[0]) + free(self.memory, counted[1])) / 2
    }

    /// Of 100, how evenly CPU and memory are in use (upstream's BalancedAllocation).
    pub(super) fn balance(&self, taken: &Self) -> i64 {
        let share = |all: i64, taken: i64| if all <= 0 { 1.0 } else { (taken as f64 / all as f64).min(1.0) };
        let apart = (share(self.cpu, taken.cpu) - share(self.memory, taken.memory)).abs() / 2.0;
        ((1.0 - apart) * 100.0) as i64
    }
}
