//! What others may use: LimitRanges, ResourceQuotas, PriorityClasses, RuntimeClasses.

use serde_json::{Map, Value};

use super::shape::{list, ruled, text};
use super::{Strategy, metadata};
use crate::api::quantity::Quantity;
use crate::api::{Cause, Object, names};

pub struct LimitRangeStrategy;

impl Strategy for LimitRangeStrategy {
    fn prepare_create(&self, new: &mut Object) {
        default_limits(new);
    }

    fn prepare_update(&self, new: &mut Object, _old: &Object) {
        default_limits(new);
    }

    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let limits = new.array_at("/spec/limits");
        for (index, limit) in limits.iter().enumerate() {
            let field = format!("spec.limits[{index}]");
            let kind = text(limit, "type");
            if limits.iter().take(index).any(|other| text(other, "type") == kind) {
                causes.push(Cause::duplicate(format!("{field}.type"), kind));
            }
            limits_of_type(kind, limit, &field, &mut causes);
        }
        causes
    }
}

/// A container's default limit is the maximum, its default request the default limit or the minimum.
fn default_limits(range: &mut Object) {
    let Some(Value::Array(limits)) = range.at_mut("/spec/limits") else { return };
    for limit in limits.iter_mut().filter(|limit| text(limit, "type") == "Container") {
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let Some(amounts) = limit.get(from).and_then(Value::as_object).cloned() else { continue };
            let Value::Object(limit) = limit else { continue };
            let filled = limit.entry(to).or_insert_with(|| Map::new().into());
            if let Value::Object(filled) = filled {
                for (name, amount) in amounts {
                    filled.entry(name).or_insert(amount);
                }
            }
        }
    }
}

fn limits_of_type(kind: &str, limit: &Value, field: &str, causes: &mut Vec<Cause>) {
    const TABLES: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    if let Err(message) = names::is_label_key(kind) {
        causes.push(Cause::invalid(format!("{field}.type"), kind, &message));
    } else if !kind.contains('/') && !["Pod", "Container", "PersistentVolumeClaim"].contains(&kind) {
        let detail = "must be a standard limit type or fully qualified";
        causes.push(Cause::invalid(format!("{field}.type"), kind, detail));
    }
    let amounts = |table: &str| limit.get(table).and_then(Value::as_object).into_iter().flatten();
    let get = |table: &str, name: &str| Quantity::from_json(limit.get(table)?.get(name)?).ok();
    for table in ["default", "defaultRequest"] {
        if kind == "Pod" && amounts(table).next().is_some() {
            let detail = "may not be specified when `type` is 'Pod'";
            causes.push(Cause::forbidden(format!("{field}.{table}"), detail));
        }
    }
    if kind == "PersistentVolumeClaim" && get("min", "storage").or(get("max", "storage")).is_none() {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        causes.push(Cause::required(format!("{field}.limits"), detail));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (table, name) in
        TABLES.into_iter().flat_map(|table| amounts(table).map(move |(name, _)| (table, name)))
    {
        let compute = matches!(kind, "Pod" | "Container");
        ruled_resource(format!("{field}.{table}[{name}]"), name, compute, causes);
        if !seen.contains(&name.as_str()) {
            seen.push(name);
        }
    }
    for name in seen {
        let [max, min, default, request, ratio] = TABLES.map(|table| get(table, name));
        let mut ordered = |low: Option<Quantity>,
                           high: Option<Quantity>,
                           table: &str,
                           shown: Option<Quantity>,
                           what: [&str; 2]| {
            if let (Some(low), Some(high), Some(shown)) = (low, high, shown) {
                if low > high {
                    let detail = format!("{} {low} is greater than {} {high}", what[0], what[1]);
                    causes.push(Cause::invalid(
                        format!("{field}.{table}[{name}]"),
                        shown.to_string(),
                        &detail,
                    ));
                }
            }
        };
        ordered(min, max, "min", min, ["min value", "max value"]);
        ordered(min, request, "defaultRequest", request, ["min value", "default request value"]);
        ordered(request, max, "defaultRequest", request, ["default request value", "max value"]);
        ordered(
            request,
            default,
            "defaultRequest",
            request,
            ["default request value", "default limit value"],
        );
        ordered(min, default, "default", min, ["min value", "default value"]);
        ordered(default, max, "default", max, ["default value", "max value"]);
        if let Some(ratio) = ratio.filter(|ratio| ratio.milli() < 1000) {
            let field = format!("{field}.maxLimitRequestRatio[{name}]");
            causes.push(Cause::invalid(field, ratio.to_string(), &format!("ratio {ratio} is less than 1")));
        }
        if let (Some(ratio), Some(min), Some(max)) = (ratio, min, max) {
            let most = max.nanos() as f64 / min.nanos() as f64;
            if ratio.nanos() as f64 / 1e9 > most {
                let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
                let field = format!("{field}.maxLimitRequestRatio[{name}]");
                causes.push(Cause::invalid(field, ratio.to_string(), &detail));
            }
        }
    }
}

/// A resource's name: one that Kubernetes knows, or a qualified one.
fn ruled_resource(field: String, name: &str, compute: bool, causes: &mut Vec<Cause>) {
    if let Err(message) = names::is_label_key(name) {
        causes.push(Cause::invalid(field, name, &message));
    } else if !name.contains('/') && !name.starts_with("hugepages-") {
        match name {
            "cpu" | "memory" | "ephemeral-storage" => {}
            "storage" if !compute => {}
            _ if compute => {
                causes.push(Cause::invalid(field, name, "must be a standard resource for containers"));
            }
            _ if STANDARD.contains(&name) => {}
            _ => {
                let detail = "must be a standard resource type or fully qualified";
                causes.push(Cause::invalid(field, name, detail));
            }
        }
    }
}

/// What a quota may bound without naming a group.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// Those of them that are counted.
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
];

pub struct ResourceQuotaStrategy;

impl Strategy for ResourceQuotaStrategy {
    fn prepare_create(&self, new: &mut Object) {
        new.set("/status", Map::new());
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (name, amount) in new.map_at("/spec/hard").into_iter().flatten() {
            let field = format!("spec.hard[{name}]");
            let huge = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
            if let Err(message) = names::is_label_key(name) {
                causes.push(Cause::invalid(field.as_str(), name.as_str(), &message));
            } else if !name.contains('/') && !huge && !STANDARD.contains(&name.as_str()) {
                let detail = "must be a standard resource for quota";
                causes.push(Cause::invalid(field.as_str(), name.as_str(), detail));
            }
            let Ok(amount) = Quantity::from_json(amount) else { continue };
            if amount.nanos() < 0 {
                let detail = "must be greater than or equal to 0";
                causes.push(Cause::invalid(field, amount.to_string(), detail));
            } else if COUNTED.contains(&name.as_str()) && amount.milli() % 1000 != 0 {
                causes.push(Cause::invalid(field, amount.to_string(), "must be an integer"));
            }
        }
        scopes(new, &mut causes);
        if let Some(old) = old {
            let pointer = "/spec/scopes";
            let has = |one: &Object, other: &Object| {
                one.array_at(pointer).iter().all(|scope| other.array_at(pointer).contains(scope))
            };
            if !has(new, old) || !has(old, new) {
                let value = Value::from(new.array_at(pointer));
                causes.push(Cause::invalid("spec.scopes", value, "field is immutable"));
            }
        }
        causes
    }
}

fn scopes(quota: &Object, causes: &mut Vec<Cause>) {
    let mut all: Vec<&str> = Vec::new();
    let conflicts = |field: &str, scopes: &[&str], causes: &mut Vec<Cause>| {
        for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
            if pair.iter().all(|scope| scopes.contains(scope)) {
                causes.push(Cause::invalid(field, Value::from(scopes), "conflicting scopes"));
            }
        }
    };
    for scope in quota.array_at("/spec/scopes").iter().filter_map(Value::as_str) {
        scope_of_quota("spec.scopes", scope, quota, causes);
        all.push(scope);
    }
    conflicts("spec.scopes", &all, causes);
    let mut selected = Vec::new();
    for expression in quota.array_at("/spec/scopeSelector/matchExpressions") {
        let field = "spec.scopeSelector.matchExpressions";
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        let values = list(expression, "values");
        scope_of_quota(&format!("{field}.scopeName"), scope, quota, causes);
        if scope != "PriorityClass" && operator != "Exists" && SCOPES.contains(&scope) {
            let detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                 ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                 ResourceQuotaScopeCrossNamespacePodAffinity";
            causes.push(Cause::invalid(format!("{field}.operator"), operator, detail));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                causes.push(Cause::required(format!("{field}.values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail =
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                causes.push(Cause::invalid(format!("{field}.values"), values, detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                causes.push(Cause::invalid(
                    format!("{field}.operator"),
                    other,
                    "not a valid selector operator",
                ));
            }
        }
        selected.push(scope);
    }
    conflicts("spec.scopeSelector.matchExpressions", &selected, causes);
}

fn scope_of_quota(field: &str, scope: &str, quota: &Object, causes: &mut Vec<Cause>) {
    if !SCOPES.contains(&scope) {
        causes.push(Cause::invalid(field, scope, "unsupported scope"));
        return;
    }
    for name in quota.map_at("/spec/hard").into_iter().flatten().map(|(name, _)| name) {
        let compute = matches!(
            name.as_str(),
            "cpu" | "memory" | "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory"
        );
        let fits = name == "pods" || scope != "BestEffort" && compute;
        if !fits && STANDARD.contains(&name.as_str()) {
            let detail = "unsupported scope applied to resource";
            causes.push(Cause::invalid(field, scope, detail));
        }
    }
}

/// The highest that users may define; the system's are above it.
const HIGHEST: i64 = 1_000_000_000;
/// The classes that every cluster has.
pub const SYSTEM_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

pub struct PriorityClassStrategy;

impl Strategy for PriorityClassStrategy {
    fn prepare_create(&self, new: &mut Object) {
        if new.at("/value").is_none() {
            new.set("/value", 0);
        }
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let (name, value) = (new.name(), new.i64_at("/value").unwrap_or(0));
        if name.starts_with("system-") {
            let error = match SYSTEM_CLASSES.iter().find(|class| class.0 == name) {
                None => Some(format!("{name} is not a known system priority class")),
                Some(class) if class.1 != value => {
                    Some(format!("value of {name} PriorityClass must be {}", class.1))
                }
                Some(_) if new.bool_at("/globalDefault") => {
                    Some(format!("globalDefault of {name} PriorityClass must be false"))
                }
                Some(_) => None,
            };
            if let Some(error) = error {
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {error}"
                );
                causes.push(Cause::forbidden("metadata.name", &detail));
            }
        } else if value > HIGHEST {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            causes.push(Cause::forbidden("value", &detail));
        }
        let policy = new.str_at("/preemptionPolicy");
        let policies = ["Never", "PreemptLowerPriority"];
        if !policies.contains(&policy) {
            causes.push(Cause::not_supported("preemptionPolicy", policy, &policies));
        }
        if let Some(old) = old {
            if old.i64_at("/value").unwrap_or(0) != value {
                causes.push(Cause::forbidden("value", "may not be changed in an update."));
            }
            if old.str_at("/preemptionPolicy") != policy {
                causes.push(Cause::invalid("preemptionPolicy", policy, "field is immutable"));
            }
        }
        causes
    }
}

pub struct RuntimeClassStrategy;

impl Strategy for RuntimeClassStrategy {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        let handler = new.str_at("/handler");
        match handler {
            "" => causes.push(Cause::required("handler", "")),
            handler => ruled("handler".to_owned(), handler, names::is_dns_label, &mut causes),
        }
        if old.is_some_and(|old| old.str_at("/handler") != handler) {
            causes.push(Cause::invalid("handler", handler, "field is immutable"));
        }
        for (name, amount) in new.map_at("/overhead/podFixed").into_iter().flatten() {
            if Quantity::from_json(amount).is_ok_and(|amount| amount.nanos() < 0) {
                let field = format!("overhead.podFixed[{name}]");
                causes.push(Cause::invalid(field, amount.clone(), "must be greater than or equal to 0"));
            }
        }
        metadata::labels("scheduling.nodeSelector", new.at("/scheduling/nodeSelector"), &mut causes);
        causes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(strategy: &dyn Strategy, cases: &[(Value, &[&str])]) {
        for (rest, expected) in cases {
            let mut object = Object::from_value(json!({"metadata": {"name": "a"}})).unwrap();
            for (key, value) in rest.as_object().unwrap() {
                object.set(&format!("/{key}"), value.clone());
            }
            strategy.prepare_create(&mut object);
            let causes: Vec<_> =
                strategy.validate(&object, None).into_iter().map(|cause| cause.to_string()).collect();
            assert_eq!(causes, *expected, "{rest}");
        }
    }

    #[test]
    fn limit_ranges() {
        let limits = |limit: Value| json!({"spec": {"limits": [limit]}});
        check(
            &LimitRangeStrategy,
            &[
                (limits(json!({"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "100m"}})), &[]),
                (
                    limits(json!({"type": "Odd"})),
                    &[
                        "spec.limits[0].type: Invalid value: \"Odd\": must be a standard limit type or fully qualified",
                    ],
                ),
                (
                    limits(
                        json!({"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}, "default": {"cpu": "1"}}),
                    ),
                    &[
                        "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                        "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
                        "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
                    ],
                ),
                (
                    limits(json!({"type": "PersistentVolumeClaim"})),
                    &[
                        "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
                    ],
                ),
                (
                    limits(json!({"type": "Container", "max": {"gpu": "1"}})),
                    &[
                        "spec.limits[0].max[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
                        "spec.limits[0].default[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
                        "spec.limits[0].defaultRequest[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
                    ],
                ),
            ],
        );
        let mut range =
            Object::from_value(limits(json!({"type": "Container", "max": {"cpu": "1"}}))).unwrap();
        LimitRangeStrategy.prepare_create(&mut range);
        assert_eq!(range.str_at("/spec/limits/0/defaultRequest/cpu"), "1");
    }

    #[test]
    fn quotas() {
        check(
            &ResourceQuotaStrategy,
            &[
                (
                    json!({"spec": {"hard": {"pods": "2", "count/deployments.apps": "1", "limits.cpu": "1500m"}}}),
                    &[],
                ),
                (
                    json!({"spec": {"hard": {"gadgets": "1"}}}),
                    &[
                        "spec.hard[gadgets]: Invalid value: \"gadgets\": must be a standard resource for quota",
                    ],
                ),
                (
                    json!({"spec": {"hard": {"pods": "-1"}}}),
                    &["spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0"],
                ),
                (
                    json!({"spec": {"hard": {"pods": "100m"}}}),
                    &["spec.hard[pods]: Invalid value: \"100m\": must be an integer"],
                ),
                (
                    json!({"spec": {"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort", "X"]}}),
                    &[
                        "spec.scopes: Invalid value: \"X\": unsupported scope",
                        "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"X\"]: conflicting scopes",
                    ],
                ),
                (
                    json!({"spec": {"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}}),
                    &["spec.scopes: Invalid value: \"BestEffort\": unsupported scope applied to resource"],
                ),
            ],
        );
    }

    #[test]
    fn priority_classes() {
        let policy = "PreemptLowerPriority";
        check(
            &PriorityClassStrategy,
            &[
                (json!({"value": 5, "preemptionPolicy": policy}), &[]),
                (
                    json!({"value": 1_000_000_001, "preemptionPolicy": policy}),
                    &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
                ),
                (
                    json!({"metadata": {"name": "system-x"}, "preemptionPolicy": policy}),
                    &[
                        "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
                    ],
                ),
                (
                    json!({"preemptionPolicy": "x"}),
                    &[
                        "preemptionPolicy: Unsupported value: \"x\": supported values: \"Never\", \"PreemptLowerPriority\"",
                    ],
                ),
            ],
        );
    }
}
