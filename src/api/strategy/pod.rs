//! Pods.

use serde_json::{Value, json};

use super::{Strategy, keep_all_but_status, metadata, restore};
use crate::api::{Cause, Object, names};

mod container;
mod defaults;
mod ephemeral;
mod placement;
mod probe;
mod security;
pub mod template;
mod update;
mod volume;

pub use defaults::qos_class;
pub use ephemeral::validate as ephemeral_containers;
pub use update::same;

/// The pod's rules: computed defaults, a spec that hardly changes, a status that only the node writes.
pub struct PodStrategy;

impl Strategy for PodStrategy {
    fn prepare_create(&self, new: &mut Object) {
        defaults::apply(new);
        security::from_annotations(new);
        let class = qos_class(new);
        new.set("/status", json!({"phase": "Pending", "qosClass": class}));
        if !new.array_at("/spec/schedulingGates").is_empty() {
            let gated = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
            new.set("/status/conditions", gated);
        }
    }

    fn prepare_update(&self, new: &mut Object, old: &Object) {
        restore(new, old, "/status");
        defaults::apply(new);
    }

    fn prepare_status_update(&self, new: &mut Object, old: &Object) {
        keep_all_but_status(new, old);
        // The class follows from the spec; a node need not say it.
        restore(new, old, "/status/qosClass");
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        // What was stored under other rules can still be told of, changed and let go.
        let is_same = |old: &Object| {
            ["/spec", "/metadata/annotations"].iter().all(|pointer| old.at(pointer) == new.at(pointer))
        };
        if old.is_none_or(|old| !is_same(old)) {
            rules(new, &mut causes);
        }
        match old {
            Some(old) => update::validate(new, old, &mut causes),
            None if !new.array_at("/spec/ephemeralContainers").is_empty() => {
                causes.push(Cause::forbidden("spec.ephemeralContainers", "cannot be set on create"));
            }
            None => {}
        }
        causes
    }
}

/// What holds for every specification of a pod, a template's as well.
fn rules(pod: &Object, causes: &mut Vec<Cause>) {
    spec(pod, causes);
    volume::validate(pod, causes);
    container::validate(pod, causes);
    security::validate(pod, causes);
    tolerations(pod, causes);
    placement::validate(pod, causes);
}

fn spec(pod: &Object, causes: &mut Vec<Cause>) {
    const RESTART: &[&str] = &["Always", "OnFailure", "Never"];
    const DNS: &[&str] = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    for (field, supported) in [("restartPolicy", RESTART), ("dnsPolicy", DNS)] {
        match pod.str_at(&format!("/spec/{field}")) {
            // Defaulted by the schema: only a direct caller of this gets here with neither.
            "" => causes.push(Cause::required(format!("spec.{field}"), "")),
            value if supported.contains(&value) => {}
            value => causes.push(Cause::not_supported(format!("spec.{field}"), value, supported)),
        }
    }
    if let Some(seconds) = pod.i64_at("/spec/terminationGracePeriodSeconds").filter(|&seconds| seconds < 0) {
        let field = "spec.terminationGracePeriodSeconds";
        causes.push(Cause::invalid(field, seconds, "must be greater than or equal to 0"));
    }
    if let Some(seconds) = pod.i64_at("/spec/activeDeadlineSeconds") {
        if !(1..=i64::from(i32::MAX)).contains(&seconds) {
            let detail = "must be between 1 and 2147483647, inclusive";
            causes.push(Cause::invalid("spec.activeDeadlineSeconds", seconds, detail));
        }
    }
    type Check = fn(&str) -> Result<(), String>;
    let name_checks: [(&str, Check); 5] = [
        ("nodeName", names::is_dns_subdomain),
        ("serviceAccountName", names::is_dns_subdomain),
        ("hostname", names::is_dns_label),
        ("subdomain", names::is_dns_label),
        ("runtimeClassName", names::is_dns_subdomain),
    ];
    for (field, check) in name_checks {
        let value = pod.str_at(&format!("/spec/{field}"));
        if let (false, Err(message)) = (value.is_empty(), check(value)) {
            causes.push(Cause::invalid(format!("spec.{field}"), value, &message));
        }
    }
    metadata::labels("spec.nodeSelector", pod.at("/spec/nodeSelector"), causes);
    for (index, secret) in pod.array_at("/spec/imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            causes.push(Cause::required(format!("spec.imagePullSecrets[{index}].name"), ""));
        }
    }
    for (index, gate) in pod.array_at("/spec/readinessGates").iter().enumerate() {
        let kind = text(gate, "conditionType");
        if let Err(message) = names::is_label_key(kind) {
            let field = format!("spec.readinessGates[{index}].conditionType");
            causes.push(Cause::invalid(field, kind, &message));
        }
    }
    dns(pod, causes);
}

fn dns(pod: &Object, causes: &mut Vec<Cause>) {
    let servers = pod.array_at("/spec/dnsConfig/nameservers");
    if pod.str_at("/spec/dnsPolicy") == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        causes.push(Cause::required("spec.dnsConfig.nameservers", detail));
    }
    let addresses = servers.iter().enumerate().map(|(i, s)| (format!("spec.dnsConfig.nameservers[{i}]"), s));
    let aliases = pod.array_at("/spec/hostAliases").iter().enumerate();
    let none = &Value::Null;
    let aliases = aliases.map(|(i, a)| (format!("spec.hostAliases[{i}].ip"), a.get("ip").unwrap_or(none)));
    for (field, address) in addresses.chain(aliases) {
        let address = address.as_str().unwrap_or("");
        if address.parse::<std::net::IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(Cause::invalid(field, address, detail));
        }
    }
}

fn tolerations(pod: &Object, causes: &mut Vec<Cause>) {
    for (index, toleration) in pod.array_at("/spec/tolerations").iter().enumerate() {
        let field = format!("spec.tolerations[{index}]");
        let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
        let (value, effect) = (text(toleration, "value"), text(toleration, "effect"));
        if !key.is_empty() {
            if let Err(message) = names::is_label_key(key) {
                causes.push(Cause::invalid(format!("{field}.key"), key, &message));
            }
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and \
                          all keys\"";
            causes.push(Cause::invalid(format!("{field}.operator"), operator, detail));
        }
        match operator {
            "" | "Equal" => {
                if let Err(message) = names::is_label_value(value) {
                    causes.push(Cause::invalid(format!("{field}.operator"), value, &message));
                }
            }
            "Exists" if value.is_empty() => {}
            "Exists" => {
                let detail = "value must be empty when `operator` is 'Exists'";
                causes.push(Cause::invalid(format!("{field}.operator"), value, detail));
            }
            other => {
                causes.push(Cause::not_supported(format!("{field}.operator"), other, &["Equal", "Exists"]));
            }
        }
        if toleration.get("tolerationSeconds").is_some_and(|s| !s.is_null()) && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.push(Cause::invalid(format!("{field}.effect"), effect, detail));
        }
        if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            let supported = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
            causes.push(Cause::not_supported(format!("{field}.effect"), effect, supported));
        }
    }
}

/// A member of a map as text; "" when absent.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// A member of a map as a list; empty when absent.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a member is there: null is not.
pub fn has(value: &Value, key: &str) -> bool {
    value.get(key).is_some_and(|value| !value.is_null())
}
