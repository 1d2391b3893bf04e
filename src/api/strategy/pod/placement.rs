//! Where a pod may go: affinity, spread constraints and scheduling gates.

use serde_json::Value;

use super::{list, text};
use crate::api::selector::LabelSelector;
use crate::api::{Cause, Object, names};

pub fn validate(pod: &Object, causes: &mut Vec<Cause>) {
    let none = &Value::Null;
    let affinity = pod.at("/spec/affinity").unwrap_or(none);
    for (side, term, preferred) in [
        ("nodeAffinity", node_term as Check, "preference"),
        ("podAffinity", pod_term, "podAffinityTerm"),
        ("podAntiAffinity", pod_term, "podAffinityTerm"),
    ] {
        let side_of = affinity.get(side).unwrap_or(none);
        let (required, soft) = (
            "requiredDuringSchedulingIgnoredDuringExecution",
            "preferredDuringSchedulingIgnoredDuringExecution",
        );
        let mut field = format!("spec.affinity.{side}.{required}");
        let mut terms = list(side_of, required);
        if let Some(selector) = side_of.get(required).filter(|selector| selector.is_object()) {
            field.push_str(".nodeSelectorTerms");
            terms = list(selector, "nodeSelectorTerms");
            if terms.is_empty() {
                causes.push(Cause::required(field.as_str(), "must have at least one node selector term"));
            }
        }
        for (index, one) in terms.iter().enumerate() {
            term(&format!("{field}[{index}]"), one, causes);
        }
        for (index, weighted) in list(side_of, soft).iter().enumerate() {
            let field = format!("spec.affinity.{side}.{soft}[{index}]");
            let weight = weighted.get("weight").and_then(Value::as_i64).unwrap_or(0);
            if !(1..=100).contains(&weight) {
                causes.push(Cause::invalid(format!("{field}.weight"), weight, "must be in the range 1-100"));
            }
            term(&format!("{field}.{preferred}"), weighted.get(preferred).unwrap_or(none), causes);
        }
    }
    spread(pod, causes);
    gates(pod, causes);
}

type Check = fn(&str, &Value, &mut Vec<Cause>);

/// A `NodeSelectorTerm`.
fn node_term(field: &str, term: &Value, causes: &mut Vec<Cause>) {
    for (part, of_fields) in [("matchExpressions", false), ("matchFields", true)] {
        for (index, requirement) in list(term, part).iter().enumerate() {
            let field = format!("{field}.{part}[{index}]");
            let (key, operator) = (text(requirement, "key"), text(requirement, "operator"));
            let (count, values) = (list(requirement, "values").len(), format!("{field}.values"));
            match operator {
                "In" | "NotIn" if of_fields && count != 1 => {
                    let detail =
                        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    causes.push(Cause::required(values, detail));
                }
                "In" | "NotIn" if count == 0 => {
                    let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                    causes.push(Cause::required(values, detail));
                }
                "In" | "NotIn" => {}
                "Exists" | "DoesNotExist" if !of_fields => {
                    if count > 0 {
                        let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                        causes.push(Cause::forbidden(values, detail));
                    }
                }
                "Gt" | "Lt" if !of_fields => {
                    if count != 1 {
                        let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                        causes.push(Cause::required(values, detail));
                    }
                }
                _ => {
                    let detail = "not a valid selector operator";
                    causes.push(Cause::invalid(format!("{field}.operator"), operator, detail));
                }
            }
            let field = format!("{field}.key");
            match names::is_label_key(key) {
                _ if of_fields && key == "metadata.name" => {}
                _ if of_fields => causes.push(Cause::invalid(field, key, "not a valid field selector key")),
                Ok(()) => {}
                Err(message) => causes.push(Cause::invalid(field, key, &message)),
            }
        }
    }
}

/// A `PodAffinityTerm`.
fn pod_term(field: &str, term: &Value, causes: &mut Vec<Cause>) {
    selector(field, term, "labelSelector", causes);
    selector(field, term, "namespaceSelector", causes);
    topology(field, term, causes);
}

fn selector(field: &str, of: &Value, name: &str, causes: &mut Vec<Cause>) {
    let Some(selector) = of.get(name).filter(|selector| !selector.is_null()) else { return };
    if let Err(status) = LabelSelector::from_json(selector) {
        causes.push(Cause::invalid(format!("{field}.{name}"), selector.clone(), &status.message));
    }
}

fn topology(field: &str, of: &Value, causes: &mut Vec<Cause>) {
    let (field, key) = (format!("{field}.topologyKey"), text(of, "topologyKey"));
    if key.is_empty() {
        causes.push(Cause::required(field, "can not be empty"));
    } else if let Err(message) = names::is_label_key(key) {
        causes.push(Cause::invalid(field, key, &message));
    }
}

fn spread(pod: &Object, causes: &mut Vec<Cause>) {
    let constraints = pod.array_at("/spec/topologySpreadConstraints");
    for (index, constraint) in constraints.iter().enumerate() {
        let field = format!("spec.topologySpreadConstraints[{index}]");
        let number = |name: &str| constraint.get(name).and_then(Value::as_i64);
        let skew = number("maxSkew").unwrap_or(0);
        if skew <= 0 {
            causes.push(Cause::invalid(format!("{field}.maxSkew"), skew, "must be greater than zero"));
        }
        topology(&field, constraint, causes);
        let when = text(constraint, "whenUnsatisfiable");
        if !matches!(when, "DoNotSchedule" | "ScheduleAnyway") {
            let supported = &["DoNotSchedule", "ScheduleAnyway"];
            causes.push(Cause::not_supported(format!("{field}.whenUnsatisfiable"), when, supported));
        }
        if let Some(domains) = number("minDomains") {
            let field = format!("{field}.minDomains");
            if domains <= 0 {
                causes.push(Cause::invalid(field.as_str(), domains, "must be greater than zero"));
            }
            if when != "DoNotSchedule" {
                let detail =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                causes.push(Cause::invalid(field, domains, &detail));
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let value = text(constraint, policy);
            if !matches!(value, "" | "Honor" | "Ignore") {
                let field = format!("{field}.{policy}");
                causes.push(Cause::not_supported(field, value, &["Honor", "Ignore"]));
            }
        }
        selector(&field, constraint, "labelSelector", causes);
        let same = |other: &&Value| {
            ["topologyKey", "whenUnsatisfiable"].iter().all(|key| text(other, key) == text(constraint, key))
        };
        if constraints.iter().take(index).any(|other| same(&other)) {
            let pair = format!("{{{}, {when}}}", text(constraint, "topologyKey"));
            causes.push(Cause::duplicate(format!("{field}.{{topologyKey, whenUnsatisfiable}}"), pair));
        }
    }
}

fn gates(pod: &Object, causes: &mut Vec<Cause>) {
    let gates = pod.array_at("/spec/schedulingGates");
    for (index, gate) in gates.iter().enumerate() {
        let (field, name) = (format!("spec.schedulingGates[{index}]"), text(gate, "name"));
        if let Err(message) = names::is_label_key(name) {
            causes.push(Cause::invalid(field.as_str(), name, &message));
        }
        if gates.iter().take(index).any(|other| text(other, "name") == name) {
            causes.push(Cause::duplicate(field, name));
        }
    }
    if !gates.is_empty() && !pod.str_at("/spec/nodeName").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        causes.push(Cause::forbidden("spec.nodeName", detail));
    }
}
