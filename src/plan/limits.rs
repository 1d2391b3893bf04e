//! LimitRanges: what containers get that say nothing, and what is too little or too much. Words are upstream's.

use serde_json::{Map, Value};

use super::resources::{self, Amounts, amounts};
use crate::api::kinds::POD;
use crate::api::quantity::Quantity;
use crate::api::{Kind, Object};

/// Says in a pod what a LimitRange has set in it.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn limits<'a>(range: &'a Object, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    range.array_at("/spec/limits").iter().filter(move |limit| limit["type"] == kind)
}

/// Gives a pod's containers the range's default limits and requests. True if that changed something.
pub fn default(pod: &mut Object, range: &Object) -> bool {
    let mut said = Vec::new();
    for limit in limits(range, "Container") {
        for list in ["/spec/containers", "/spec/initContainers"] {
            let Some(Value::Array(containers)) = pod.at_mut(list) else { continue };
            let what = if list.ends_with("initContainers") { "init container" } else { "container" };
            for container in containers.iter_mut().filter_map(Value::as_object_mut) {
                let name = container.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
                let resources = container.entry("resources").or_insert_with(|| Map::new().into());
                for (table, defaults, word) in
                    [("requests", "defaultRequest", "request"), ("limits", "default", "limit")]
                {
                    let set = fill(resources, table, limit.get(defaults).and_then(Value::as_object));
                    if !set.is_empty() {
                        said.push(format!("{} {word} for {what} {name}", set.join(", ")));
                    }
                }
            }
        }
    }
    if said.is_empty() {
        return false;
    }
    let text = format!("LimitRanger plugin set: {}", said.join("; "));
    pod.set_annotation(ANNOTATION, &text);
    true
}

/// Sets what a container's resources leave out; returns the names, in order.
fn fill(resources: &mut Value, table: &str, defaults: Option<&Map<String, Value>>) -> Vec<String> {
    let (Some(defaults), Value::Object(resources)) = (defaults, resources) else { return Vec::new() };
    let known = |name: &str| resources.get(table).is_some_and(|amounts| amounts.get(name).is_some());
    let missing: Vec<String> = defaults.keys().filter(|name| !known(name)).cloned().collect();
    if !missing.is_empty() {
        let amounts = resources.entry(table).or_insert(Value::Null);
        if amounts.is_null() {
            *amounts = Map::new().into();
        }
        if let Value::Object(amounts) = amounts {
            for name in &missing {
                amounts.insert(name.clone(), defaults.get(name).cloned().unwrap_or_default());
            }
        }
    }
    missing
}

/// What an object asks for against the range, in upstream's order: containers first, then the pod.
pub fn violations(kind: &Kind, object: &Object, range: &Object) -> Vec<String> {
    let mut found = Vec::new();
    if kind == POD {
        for limit in limits(range, "Container") {
            let containers = object.array_at("/spec/containers").iter();
            for container in containers.chain(object.array_at("/spec/initContainers")) {
                let of = |table: &str| amounts(container.get("resources").and_then(|all| all.get(table)));
                check("Container", limit, &of("requests"), Some(&of("limits")), &mut found);
            }
        }
        for limit in limits(range, "Pod") {
            let of = |table: &str| resources::of_pod(object, table);
            check("Pod", limit, &of("requests"), Some(&of("limits")), &mut found);
        }
    } else {
        for limit in limits(range, "PersistentVolumeClaim") {
            let requests = amounts(object.at("/spec/resources/requests"));
            check("PersistentVolumeClaim", limit, &requests, None, &mut found);
        }
    }
    found
}

/// `allowed`: the limits, for what has some.
fn check(kind: &str, limit: &Value, asked: &Amounts, allowed: Option<&Amounts>, found: &mut Vec<String>) {
    for (name, least) in amounts(limit.get("min")) {
        let start = format!("minimum {name} usage per {kind} is {least}");
        match (asked.get(&name), allowed.and_then(|allowed| allowed.get(&name))) {
            (None, _) => found.push(format!("{start}.  No request is specified")),
            (Some(amount), _) if *amount < least => found.push(format!("{start}, but request is {amount}")),
            (_, Some(amount)) if *amount < least => found.push(format!("{start}, but limit is {amount}")),
            _ => {}
        }
    }
    for (name, most) in amounts(limit.get("max")) {
        let start = format!("maximum {name} usage per {kind} is {most}");
        let request = asked.get(&name);
        match (allowed, allowed.and_then(|allowed| allowed.get(&name))) {
            (None, _) if request.is_none() => found.push(format!("{start}.  No request is specified")),
            (Some(_), None) => found.push(format!("{start}.  No limit is specified")),
            (_, Some(amount)) if *amount > most => found.push(format!("{start}, but limit is {amount}")),
            _ => found.extend(
                request
                    .filter(|amount| **amount > most)
                    .map(|amount| format!("{start}, but request is {amount}")),
            ),
        }
    }
    for (name, most) in amounts(limit.get("maxLimitRequestRatio")) {
        let start = format!("{name} max limit to request ratio per {kind} is {most}");
        let positive = |amounts: Option<&Amounts>| {
            amounts.and_then(|amounts| amounts.get(&name)).copied().filter(|amount| amount.nanos() != 0)
        };
        match (positive(Some(asked)), positive(allowed)) {
            (None, _) => found.push(format!("{start}, but no request is specified or request is 0")),
            (_, None) => found.push(format!("{start}, but no limit is specified or limit is 0")),
            (Some(request), Some(allowed)) => {
                let ratio = ratio(allowed, request);
                if ratio > most.nanos() as f64 / 1e9 {
                    found.push(format!("{start}, but provided ratio is {ratio:.6}"));
                }
            }
        }
    }
}

fn ratio(one: Quantity, other: Quantity) -> f64 {
    one.nanos() as f64 / other.nanos() as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::kinds::PERSISTENT_VOLUME_CLAIM;

    fn range(limit: Value) -> Object {
        Object::from_value(json!({"spec": {"limits": [limit]}})).unwrap()
    }

    fn pod(resources: Value) -> Object {
        Object::from_value(json!({"spec": {"containers": [{"name": "a", "resources": resources}]}})).unwrap()
    }

    #[test]
    fn defaults_are_set_and_told() {
        let range = range(
            json!({"type": "Container", "default": {"cpu": "1", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m"}}),
        );
        let mut web = pod(json!({"limits": {"memory": "32Mi"}}));
        assert!(default(&mut web, &range));
        let expected = json!({"limits": {"cpu": "1", "memory": "32Mi"}, "requests": {"cpu": "100m"}});
        assert_eq!(web.at("/spec/containers/0/resources"), Some(&expected));
        assert_eq!(
            web.annotation(ANNOTATION),
            Some("LimitRanger plugin set: cpu request for container a; cpu limit for container a")
        );
        assert!(!default(&mut web, &range));
    }

    #[test]
    fn bounds() {
        let container = |key: &str, value: &str| json!({"type": "Container", key: {"cpu": value}});
        for (limit, resources, expected) in [
            (container("max", "1"), json!({"limits": {"cpu": "1"}}), &[][..]),
            (
                container("max", "1"),
                json!({"limits": {"cpu": "2"}}),
                &["maximum cpu usage per Container is 1, but limit is 2"],
            ),
            (
                container("max", "1"),
                json!({}),
                &["maximum cpu usage per Container is 1.  No limit is specified"],
            ),
            (
                container("min", "1"),
                json!({}),
                &["minimum cpu usage per Container is 1.  No request is specified"],
            ),
            (
                container("min", "1"),
                json!({"requests": {"cpu": "500m"}}),
                &["minimum cpu usage per Container is 1, but request is 500m"],
            ),
            (
                container("maxLimitRequestRatio", "2"),
                json!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}),
                &["cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"],
            ),
            (
                json!({"type": "Pod", "max": {"memory": "1Gi"}}),
                json!({"limits": {"memory": "2Gi"}}),
                &["maximum memory usage per Pod is 1Gi, but limit is 2Gi"],
            ),
        ] {
            assert_eq!(violations(POD, &pod(resources), &range(limit.clone())), expected, "{limit}");
        }
        let claim = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        let limit = range(json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}));
        assert_eq!(
            violations(PERSISTENT_VOLUME_CLAIM, &Object::from_value(claim).unwrap(), &limit),
            ["maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"]
        );
    }
}
