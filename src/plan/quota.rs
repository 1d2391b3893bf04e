//! ResourceQuotas: what an object uses, which quotas count it, and whether there is room. Words are upstream's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::control::pods;
use super::resources::{self, add, amounts};
use crate::api::kinds::{
    CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, POD, REPLICATION_CONTROLLER, RESOURCE_QUOTA, SECRET, SERVICE,
};
use crate::api::quantity::Quantity;
use crate::api::{Kind, Object, strategy};

pub use super::resources::Amounts;

/// What classes of storage are counted by.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

/// What a quota allows.
pub fn hard(quota: &Object) -> Amounts {
    amounts(quota.at("/spec/hard"))
}

/// Whether objects of the kind use this resource of a quota.
pub fn tracks(kind: &Kind, resource: &str) -> bool {
    if resource.strip_prefix("count/").is_some_and(|counted| counted == kind.resource()) {
        return true;
    }
    if kind == POD {
        let part = resource.split_once('.').map_or(resource, |(_, part)| part);
        return resource == "pods"
            || ["requests.", "limits."].iter().any(|table| resource.starts_with(table)) && part != "storage"
            || matches!(resource, "cpu" | "memory" | "ephemeral-storage")
            || resource.starts_with("hugepages-");
    }
    if kind == SERVICE {
        return matches!(resource, "services" | "services.nodeports" | "services.loadbalancers");
    }
    if kind == PERSISTENT_VOLUME_CLAIM {
        return matches!(resource, "persistentvolumeclaims" | "requests.storage")
            || resource.contains(OF_CLASS);
    }
    [CONFIG_MAP, SECRET, REPLICATION_CONTROLLER, RESOURCE_QUOTA].contains(&kind) && resource == kind.plural
}

/// Whether every object of the kind counts as one of this resource, whatever it holds.
pub fn only_counts(kind: &Kind, resource: &str) -> bool {
    resource.starts_with("count/") || resource == kind.plural && kind != POD
}

/// What one object uses.
pub fn usage(kind: &Kind, object: &Object, now: SystemTime) -> Amounts {
    let one = Quantity::of(1);
    let mut used = BTreeMap::from([(format!("count/{}", kind.resource()), one)]);
    if kind == POD {
        if !has_ended(object, now) {
            used.insert("pods".to_owned(), one);
            of_pod(&resources::of_pod(object, "requests"), &resources::of_pod(object, "limits"), &mut used);
        }
        return used;
    }
    used.insert(kind.plural.to_owned(), one);
    if kind == SERVICE {
        if strategy::needs_node_ports(object) {
            let ports = i64::try_from(object.array_at("/spec/ports").len()).unwrap_or(i64::MAX);
            used.insert("services.nodeports".to_owned(), Quantity::of(ports));
        }
        if strategy::service_type(object) == "LoadBalancer" {
            used.insert("services.loadbalancers".to_owned(), one);
        }
    } else if kind == PERSISTENT_VOLUME_CLAIM {
        let class = object.str_at("/spec/storageClassName");
        let size = object.at("/spec/resources/requests/storage");
        if let Some(size) = size.and_then(|size| Quantity::from_json(size).ok()) {
            used.insert("requests.storage".to_owned(), size);
            if !class.is_empty() {
                used.insert(format!("{class}{OF_CLASS}requests.storage"), size);
            }
        }
        if !class.is_empty() {
            used.insert(format!("{class}{OF_CLASS}persistentvolumeclaims"), one);
        }
    }
    used
}

fn of_pod(requests: &Amounts, limits: &Amounts, used: &mut Amounts) {
    for (name, amount) in requests {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            used.insert(name.clone(), *amount);
        }
        used.insert(format!("requests.{name}"), *amount);
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            used.insert(format!("limits.{name}"), *amount);
        }
    }
}

/// Ended, or to be gone by now: a node that is lost must not keep others from taking its pods' place.
fn has_ended(pod: &Object, now: SystemTime) -> bool {
    let grace = pod.i64_at("/metadata/deletionGracePeriodSeconds");
    let grace = Duration::from_secs(grace.unwrap_or(0).clamp(0, 1 << 32).unsigned_abs());
    pods::has_ended(pod) || pod.deletion_timestamp().is_some_and(|gone| now > gone + grace)
}

/// Whether a quota is about this object: its scopes speak of pods only.
pub fn covers(quota: &Object, kind: &Kind, object: &Object) -> bool {
    let scopes = quota.array_at("/spec/scopes");
    let expressions = quota.array_at("/spec/scopeSelector/matchExpressions");
    if kind != POD {
        return scopes.is_empty() && expressions.is_empty();
    }
    scopes.iter().all(|scope| has_scope(object, scope.as_str().unwrap_or("")))
        && expressions.iter().all(|expression| {
            let scope = expression["scopeName"].as_str().unwrap_or("");
            if scope != "PriorityClass" {
                return has_scope(object, scope);
            }
            let class = object.str_at("/spec/priorityClassName");
            let named = || expression["values"].as_array().into_iter().flatten().any(|name| name == class);
            match expression["operator"].as_str().unwrap_or("") {
                "In" => !class.is_empty() && named(),
                "NotIn" => class.is_empty() || !named(),
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        })
}

fn has_scope(pod: &Object, scope: &str) -> bool {
    let terminating = pod.i64_at("/spec/activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0);
    let best_effort = strategy::qos_class(pod) == "BestEffort";
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => !pod.str_at("/spec/priorityClassName").is_empty(),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

fn crosses_namespaces(pod: &Object) -> bool {
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|names| !names.is_empty())
            || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|side| {
        let list = |name: &str| pod.array_at(&format!("/spec/affinity/{side}/{name}"));
        list("requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses)
            || list("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}

/// What a pod has to say in a namespace with such a quota, and does not.
pub fn unsaid(hard: &Amounts, pod: &Object) -> Option<String> {
    const REQUIRED: [&str; 6] =
        ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
    let mut parts = Vec::new();
    for resource in REQUIRED.into_iter().filter(|resource| hard.contains_key(*resource)) {
        let (table, name) = resource.split_once('.').unwrap_or(("requests", resource));
        let containers = pod.array_at("/spec/containers").iter().chain(pod.array_at("/spec/initContainers"));
        let silent: BTreeSet<&str> = containers
            .filter(|container| container.pointer(&format!("/resources/{table}/{name}")).is_none())
            .map(|container| container["name"].as_str().unwrap_or(""))
            .collect();
        if !silent.is_empty() {
            let names: Vec<&str> = silent.into_iter().collect();
            parts.push(format!("{resource} for: {}", names.join(",")));
        }
    }
    (!parts.is_empty()).then(|| format!("must specify {}", parts.join("; ")))
}

/// What does not fit any more, if `requested` comes to what is used. None if all of it fits.
pub fn exceeded(name: &str, hard: &Amounts, requested: &Amounts, used: &Amounts) -> Option<String> {
    let nothing = Quantity::of(0);
    let mut sum = used.clone();
    add(&mut sum, requested);
    let over = |resource: &&String| sum.get(*resource) > hard.get(*resource) && hard.contains_key(*resource);
    let names: Vec<&String> = requested.keys().filter(over).collect();
    if names.is_empty() {
        return None;
    }
    let list = |amounts: &Amounts| {
        let shown =
            names.iter().map(|name| format!("{name}={}", amounts.get(*name).copied().unwrap_or(nothing)));
        shown.collect::<Vec<_>>().join(",")
    };
    let (requested, used, hard) = (list(requested), list(used), list(hard));
    Some(format!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {hard}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    fn texts(amounts: &Amounts) -> Vec<String> {
        amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
    }

    fn pod(resources: Value) -> Object {
        object(json!({"spec": {"containers": [{"name": "a", "resources": resources}]}}))
    }

    #[test]
    fn what_objects_use() {
        let now = SystemTime::UNIX_EPOCH;
        let mut web = pod(json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1"}}));
        assert_eq!(
            texts(&usage(POD, &web, now)),
            [
                "count/pods=1",
                "cpu=100m",
                "limits.cpu=1",
                "memory=64Mi",
                "pods=1",
                "requests.cpu=100m",
                "requests.memory=64Mi"
            ]
        );
        web.set("/status/phase", "Succeeded");
        assert_eq!(texts(&usage(POD, &web, now)), ["count/pods=1"]);
        let service = object(json!({"spec": {"type": "NodePort", "ports": [{}, {}]}}));
        assert_eq!(
            texts(&usage(SERVICE, &service, now)),
            ["count/services=1", "services=1", "services.nodeports=2"]
        );
        let claim =
            object(json!({"spec": {"storageClassName": "a", "resources": {"requests": {"storage": "1Gi"}}}}));
        assert_eq!(
            texts(&usage(PERSISTENT_VOLUME_CLAIM, &claim, now)),
            [
                "a.storageclass.storage.k8s.io/persistentvolumeclaims=1",
                "a.storageclass.storage.k8s.io/requests.storage=1Gi",
                "count/persistentvolumeclaims=1",
                "persistentvolumeclaims=1",
                "requests.storage=1Gi",
            ]
        );
        assert!(tracks(POD, "requests.example.com/gpu") && !tracks(POD, "requests.storage"));
        assert!(tracks(CONFIG_MAP, "count/configmaps") && !tracks(CONFIG_MAP, "secrets"));
    }

    #[test]
    fn scopes() {
        let scoped = |spec: Value| object(json!({"spec": spec}));
        let (idle, busy) = (pod(json!({})), pod(json!({"requests": {"cpu": "1"}})));
        for (spec, idles, busys) in [
            (json!({}), true, true),
            (json!({"scopes": ["BestEffort"]}), true, false),
            (json!({"scopes": ["NotBestEffort", "NotTerminating"]}), false, true),
            (json!({"scopes": ["Terminating"]}), false, false),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "NotIn", "values": ["a"]}]}}),
                true,
                true,
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]}}),
                false,
                false,
            ),
        ] {
            let quota = scoped(spec.clone());
            assert_eq!((covers(&quota, POD, &idle), covers(&quota, POD, &busy)), (idles, busys), "{spec}");
        }
        assert!(!covers(&scoped(json!({"scopes": ["BestEffort"]})), SERVICE, &idle));
    }

    #[test]
    fn refusals() {
        let all = |value: Value| amounts(Some(&value));
        let hard = all(json!({"pods": "2", "limits.cpu": "1", "requests.memory": "1Gi"}));
        assert_eq!(
            unsaid(&hard, &pod(json!({}))).unwrap(),
            "must specify limits.cpu for: a; requests.memory for: a"
        );
        assert_eq!(
            exceeded(
                "q",
                &hard,
                &all(json!({"pods": "1", "limits.cpu": "600m"})),
                &all(json!({"pods": "2", "limits.cpu": "500m"}))
            )
            .unwrap(),
            "exceeded quota: q, requested: limits.cpu=600m,pods=1, used: limits.cpu=500m,pods=2, limited: limits.cpu=1,pods=2"
        );
        assert_eq!(exceeded("q", &hard, &all(json!({"pods": "1"})), &all(json!({"pods": "1"}))), None);
    }
}
