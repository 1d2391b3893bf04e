//! HorizontalPodAutoscalers (autoscaling/v2).

use serde_json::{Map, Value, json};

use super::{PLAIN, Workload, not_negative, selector, value};
use crate::api::quantity::Quantity;
use crate::api::strategy::pod::{has, list, text};
use crate::api::{Cause, Object};

pub static HORIZONTAL_POD_AUTOSCALER: Workload =
    Workload { template: "", status: Some(&["desiredReplicas"]), defaults, rules, ..PLAIN };

fn defaults(autoscaler: &mut Object) {
    if autoscaler.array_at("/spec/metrics").is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        autoscaler.set("/spec/metrics", vec![metric]);
    }
    if !value(autoscaler, "spec.behavior").is_null() {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let up = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [pods, percent]});
        let down = json!({"selectPolicy": "Max", "policies": [percent]});
        for (direction, rules) in [("scaleUp", up), ("scaleDown", down)] {
            for (field, default) in rules.as_object().into_iter().flatten() {
                let pointer = format!("/spec/behavior/{direction}/{field}");
                if autoscaler.at(&pointer).is_none() {
                    autoscaler.set(&pointer, default.clone());
                }
            }
        }
    }
}

fn rules(new: &Object, _: Option<&Object>, causes: &mut Vec<Cause>) {
    let least = new.i64_at("/spec/minReplicas");
    let most = new.i64_at("/spec/maxReplicas").unwrap_or(0);
    if let Some(least) = least.filter(|&least| least < 1) {
        causes.push(Cause::invalid("spec.minReplicas", least, "must be greater than or equal to 1"));
    }
    if most < 1 {
        causes.push(Cause::invalid("spec.maxReplicas", most, "must be greater than 0"));
    }
    if least.is_some_and(|least| most < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        causes.push(Cause::invalid("spec.maxReplicas", most, detail));
    }
    reference("spec.scaleTargetRef", value(new, "spec.scaleTargetRef"), causes);
    for (index, metric) in new.array_at("/spec/metrics").iter().enumerate() {
        self::metric(&format!("spec.metrics[{index}]"), metric, causes);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let field = format!("spec.behavior.{direction}");
        scaling(&field, value(new, &field), causes);
    }
    not_negative(new, &["status.currentReplicas", "status.desiredReplicas"], causes);
}

/// A `CrossVersionObjectReference`.
fn reference(field: &str, reference: &Value, causes: &mut Vec<Cause>) {
    for key in ["kind", "name"] {
        let (field, found) = (format!("{field}.{key}"), text(reference, key));
        if found.is_empty() {
            causes.push(Cause::required(field, ""));
        } else if matches!(found, "." | "..") {
            causes.push(Cause::invalid(field, found, &format!("may not be '{found}'")));
        } else if let Some(bad) = ["/", "%"].into_iter().find(|bad| found.contains(bad)) {
            causes.push(Cause::invalid(field, found, &format!("may not contain '{bad}'")));
        }
    }
}

/// The types of metrics, and the field of each.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
    ("External", "external"),
];

fn metric(field: &str, metric: &Value, causes: &mut Vec<Cause>) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        causes.push(Cause::required(format!("{field}.type"), "must specify a metric source type"));
    }
    let expected = SOURCES.iter().find(|row| row.0 == kind).map_or("", |row| row.1);
    if !expected.is_empty() && !has(metric, expected) {
        let detail = "must populate information for the given metric source";
        causes.push(Cause::required(format!("{field}.{expected}"), detail));
    }
    for (_, source) in SOURCES.iter().filter(|(_, source)| has(metric, source)) {
        let field = format!("{field}.{source}");
        if *source == expected {
            self::source(&field, source, &metric[*source], causes);
        } else {
            causes.push(Cause::forbidden(field, "must populate the given metric source only"));
        }
    }
}

fn source(field: &str, kind: &str, source: &Value, causes: &mut Vec<Cause>) {
    let none = Value::Null;
    let of_resource = matches!(kind, "resource" | "containerResource");
    if of_resource {
        if text(source, "name").is_empty() {
            causes.push(Cause::required(format!("{field}.name"), "must specify a resource name"));
        }
        if kind == "containerResource" && text(source, "container").is_empty() {
            causes.push(Cause::required(format!("{field}.container"), "must specify a container"));
        }
    } else {
        if kind == "object" {
            let described = source.get("describedObject").unwrap_or(&none);
            reference(&format!("{field}.describedObject"), described, causes);
        }
        let metric = source.get("metric").unwrap_or(&none);
        if text(metric, "name").is_empty() {
            causes.push(Cause::required(format!("{field}.metric.name"), "must specify a metric name"));
        }
        let labels = metric.get("selector").unwrap_or(&none);
        selector::validate(&format!("{field}.metric.selector"), labels, causes);
    }
    let target = source.get("target").unwrap_or(&none);
    let field = format!("{field}.target");
    self::target(&field, target, causes);
    let (value, average) = (has(target, "value"), has(target, "averageValue"));
    let (missing, detail) = match kind {
        "resource" | "containerResource" => {
            let utilization = has(target, "averageUtilization");
            if utilization && average {
                let detail = "may not set both a target raw value and a target utilization";
                causes.push(Cause::forbidden(format!("{field}.averageValue"), detail));
            }
            (!utilization && !average, "must set either a target raw value or a target utilization")
        }
        "pods" => (!average, "must specify a positive target averageValue"),
        "object" => (!value && !average, "must set either a target value or averageValue"),
        _ => {
            if value && average {
                let detail = "may not set both a target value for metric and a per-pod target";
                causes.push(Cause::forbidden(format!("{field}.value"), detail));
            }
            (!value && !average, "must set either a target value for metric or a per-pod target")
        }
    };
    if missing {
        let key = if of_resource { "averageUtilization" } else { "averageValue" };
        causes.push(Cause::required(format!("{field}.{key}"), detail));
    }
}

fn target(field: &str, target: &Value, causes: &mut Vec<Cause>) {
    match text(target, "type") {
        "" => causes.push(Cause::required(format!("{field}.type"), "must specify a metric target type")),
        "Utilization" | "Value" | "AverageValue" => {}
        other => {
            let detail = "must be either Utilization, Value, or AverageValue";
            causes.push(Cause::invalid(format!("{field}.type"), other, detail));
        }
    }
    for key in ["value", "averageValue"] {
        let amount = target.get(key).and_then(|amount| Quantity::from_json(amount).ok());
        if let Some(amount) = amount.filter(|amount| amount.nanos() <= 0) {
            causes.push(Cause::invalid(format!("{field}.{key}"), amount.to_string(), "must be positive"));
        }
    }
    if let Some(percent) = number(target, "averageUtilization").filter(|&percent| percent < 1) {
        causes.push(Cause::invalid(format!("{field}.averageUtilization"), percent, "must be greater than 0"));
    }
}

fn scaling(field: &str, rules: &Value, causes: &mut Vec<Cause>) {
    if rules.as_object().is_none_or(Map::is_empty) {
        return;
    }
    let mut bounded = |field: String, value: i64, lowest: i64, least: &str, most: i64| {
        if value < lowest {
            causes.push(Cause::invalid(field, value, &format!("must be greater than {least}")));
        } else if value > most {
            causes.push(Cause::invalid(field, value, &format!("must be less than or equal to {most}")));
        }
    };
    if let Some(seconds) = number(rules, "stabilizationWindowSeconds") {
        bounded(format!("{field}.stabilizationWindowSeconds"), seconds, 0, "or equal to zero", 3600);
    }
    let policies = list(rules, "policies");
    for (index, policy) in policies.iter().enumerate() {
        for (key, most) in [("value", i64::MAX), ("periodSeconds", 1800)] {
            let field = format!("{field}.policies[{index}].{key}");
            bounded(field, number(policy, key).unwrap_or(0), 1, "zero", most);
        }
    }
    if policies.is_empty() {
        causes.push(Cause::required(format!("{field}.policies"), "must specify at least one Policy"));
    }
}

fn number(value: &Value, key: &str) -> Option<i64> {
    value.get(key).and_then(Value::as_i64)
}
