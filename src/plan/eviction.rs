//! Which pod is ended when the node runs short, and what is said of it: as the kubelet's eviction does it.

use std::cmp::Reverse;
use std::fmt::Write;

use serde_json::Value;

use super::schedule::requested;
use crate::api::Object;
use crate::api::quantity::Quantity;

/// From here on a pod's priority is the system's: it is never evicted.
pub const CRITICAL: i64 = 2_000_000_000;
const STORAGE: &str = "ephemeral-storage";

/// A pod that may be ended. Usage and request are of the resource that lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub uid: String,
    pub priority: i64,
    pub usage: u64,
    pub request: u64,
}

/// A container's part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use<'a> {
    pub name: &'a str,
    pub usage: u64,
    pub request: u64,
}

/// The pod that goes: one that uses more than it requested before others, among those the one of the lowest
/// priority, among those the one that is furthest over its request. So BestEffort pods go first, and those that
/// keep to what they asked for last.
pub fn first(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().max_by_key(|candidate| {
        let over = i128::from(candidate.usage) - i128::from(candidate.request);
        (over > 0, Reverse(candidate.priority), over)
    })
}

/// Whether the pod may not be evicted, whatever it uses.
pub fn is_critical(pod: &Object) -> bool {
    priority(pod) >= CRITICAL || pod.annotation("kubernetes.io/config.mirror").is_some()
}

pub fn priority(pod: &Object) -> i64 {
    pod.i64_at("/spec/priority").unwrap_or(0)
}

/// What the pod requests of a resource, in whole units.
pub fn request(pod: &Object, resource: &str) -> u64 {
    u64::try_from(requested(pod, resource)).unwrap_or(0)
}

/// What the container `name` requests of a resource.
pub fn container_request(pod: &Object, name: &str, resource: &str) -> u64 {
    of_container(pod, name, "requests", resource).unwrap_or(0)
}

fn of_container(pod: &Object, name: &str, group: &str, resource: &str) -> Option<u64> {
    let mut containers =
        ["/spec/containers", "/spec/initContainers"].iter().flat_map(|list| pod.array_at(list));
    amount(containers.find(|container| container["name"] == name)?, group, resource)
}

fn amount(container: &Value, group: &str, resource: &str) -> Option<u64> {
    let amount = Quantity::from_json(container.get("resources")?.get(group)?.get(resource)?).ok()?;
    u64::try_from(amount.value()).ok()
}

/// Why a pod is ended when a resource lacks.
pub fn message(resource: &str, threshold: u64, available: u64, containers: &[Use<'_>]) -> String {
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        quantity(threshold),
        quantity(available)
    );
    for Use { name, usage, request } in containers.iter().filter(|each| each.usage > each.request) {
        let _ = write!(
            text,
            "Container {name} was using {}, request is {}, has larger consumption of {resource}. ",
            quantity(*usage),
            quantity(*request)
        );
    }
    text
}

/// Why a pod is ended that takes more disk than its limits allow; None while it does not. `containers`: bytes of each
/// one's files and logs; `pod`: those of all and of its emptyDirs.
pub fn over_limit(pod: &Object, containers: &[(&str, u64)], used: u64) -> Option<String> {
    let limits = pod.array_at("/spec/containers").iter().filter_map(|each| amount(each, "limits", STORAGE));
    let total = limits.reduce(u64::saturating_add);
    if let Some(total) = total.filter(|total| used > *total) {
        let total = quantity(total);
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
        ));
    }
    containers.iter().find_map(|(name, used)| {
        let limit = of_container(pod, name, "limits", STORAGE).filter(|limit| used > limit)?;
        let limit = quantity(limit);
        Some(format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". "))
    })
}

/// Bytes as Kubernetes writes them: `100Mi`, `1234Ki`, `17`.
pub fn quantity(bytes: u64) -> String {
    let text = if bytes % 1024 == 0 { format!("{}Ki", bytes / 1024) } else { bytes.to_string() };
    Quantity::parse(&text).map_or(text, |quantity| quantity.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn candidate(uid: &str, priority: i64, usage: u64, request: u64) -> Candidate {
        Candidate { uid: uid.into(), priority, usage, request }
    }

    #[test]
    fn the_kubelets_order() {
        for (first, candidates) in [
            // Over its request before under it, however large.
            ("over", vec![candidate("under", 0, 900, 1000), candidate("over", 0, 20, 10)]),
            // Priority before size.
            ("low", vec![candidate("high", 10, 900, 0), candidate("low", 0, 20, 10)]),
            // What is over, not what is used.
            ("hungry", vec![candidate("asked", 0, 900, 800), candidate("hungry", 0, 300, 0)]),
            // All keep to their requests: still the lowest priority, then the nearest to its request.
            (
                "near",
                vec![
                    candidate("far", 0, 10, 100),
                    candidate("near", 0, 90, 100),
                    candidate("high", 5, 99, 100),
                ],
            ),
        ] {
            assert_eq!(super::first(candidates).unwrap().uid, first);
        }
        assert_eq!(first(vec![]), None);
    }

    fn pod(spec: Value) -> Object {
        Object::from_value(json!({"kind": "Pod", "metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    #[test]
    fn upstreams_words() {
        let containers =
            [Use { name: "web", usage: 30 << 20, request: 0 }, Use { name: "calm", usage: 5, request: 9 }];
        assert_eq!(
            message("memory", 100 << 20, 50_000 << 10, &containers),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50000Ki. Container web was \
             using 30Mi, request is 0, has larger consumption of memory. "
        );
    }

    #[test]
    fn limits_of_storage() {
        let limited = pod(json!({"containers": [
            {"name": "a", "resources": {"limits": {"ephemeral-storage": "1Mi"}}},
            {"name": "b", "resources": {"limits": {"ephemeral-storage": "2Mi"}}},
        ]}));
        assert_eq!(over_limit(&limited, &[("a", 1 << 20), ("b", 0)], 3 << 20), None);
        assert_eq!(
            over_limit(&limited, &[("a", 0), ("b", 0)], (3 << 20) + 1).unwrap(),
            "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. "
        );
        assert_eq!(
            over_limit(&limited, &[("a", (1 << 20) + 1)], 2 << 20).unwrap(),
            "Container a exceeded its local ephemeral storage limit \"1Mi\". "
        );
        assert_eq!(
            over_limit(&pod(json!({"containers": [{"name": "a"}]})), &[("a", 1 << 40)], 1 << 40),
            None
        );
    }

    #[test]
    fn what_the_system_needs_stays() {
        assert!(is_critical(&pod(json!({"priority": 2_000_001_000}))));
        assert!(!is_critical(&pod(json!({"priority": 1_000_000_000}))));
        assert!(!is_critical(&pod(json!({}))));
    }
}
