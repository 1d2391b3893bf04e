//! Nodes, events and leases.

use serde_json::Value;

use super::Strategy;
use crate::api::{Cause, Object, names, quantity::Quantity};

/// A node brings its status along when it registers.
pub struct NodeStrategy;

impl Strategy for NodeStrategy {
    fn prepare_create(&self, _new: &mut Object) {}

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        taints(new, &mut causes);
        for table in ["capacity", "allocatable"] {
            for (name, amount) in new.map_at(&format!("/status/{table}")).into_iter().flatten() {
                if Quantity::from_json(amount).map_or(true, |amount| amount.nanos() < 0) {
                    let field = format!("status.{table}[{name}]");
                    causes.push(Cause::invalid(field, amount.clone(), "must be greater than or equal to 0"));
                }
            }
        }
        if let Some(old) = old {
            for field in ["podCIDR", "providerID"] {
                let pointer = format!("/spec/{field}");
                let was = old.str_at(&pointer);
                if !was.is_empty() && was != new.str_at(&pointer) {
                    let detail = format!("node updates may not change {field} except from \"\" to valid");
                    causes.push(Cause::forbidden(format!("spec.{field}"), &detail));
                }
            }
        }
        causes
    }
}

fn taints(node: &Object, causes: &mut Vec<Cause>) {
    let taints = node.array_at("/spec/taints");
    let text = |taint: &Value, key: &str| taint.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    for (index, taint) in taints.iter().enumerate() {
        let field = format!("spec.taints[{index}]");
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        if let Err(message) = names::is_label_key(&key) {
            causes.push(Cause::invalid(format!("{field}.key"), key.as_str(), &message));
        }
        if let Err(message) = names::is_label_value(&value) {
            causes.push(Cause::invalid(format!("{field}.value"), value, &message));
        }
        match effect.as_str() {
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            "" => causes.push(Cause::required(format!("{field}.effect"), "")),
            other => causes.push(Cause::not_supported(
                format!("{field}.effect"),
                other,
                &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            )),
        }
        let same = |other: &Value| text(other, "key") == key && text(other, "effect") == effect;
        if taints.iter().take(index).any(same) {
            let mut cause = Cause::duplicate(field, taint.clone());
            cause.message.push_str(": taints must be unique by key and effect pair");
            causes.push(cause);
        }
    }
}

/// An event lives in the namespace of what it is about; of a node in `default`.
pub struct EventStrategy;

impl Strategy for EventStrategy {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<Cause> {
        let about = new.str_at("/involvedObject/namespace");
        let fits = match about {
            "" => matches!(new.namespace(), "" | "default"),
            about => about == new.namespace(),
        };
        if fits {
            return Vec::new();
        }
        vec![Cause::invalid("involvedObject.namespace", about, "does not match event.namespace")]
    }
}

/// Durations and counts make sense.
pub struct LeaseStrategy;

impl Strategy for LeaseStrategy {
    fn validate(&self, new: &Object, _old: Option<&Object>) -> Vec<Cause> {
        let mut causes = Vec::new();
        if let Some(seconds) = new.i64_at("/spec/leaseDurationSeconds").filter(|&seconds| seconds <= 0) {
            causes.push(Cause::invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
        }
        if let Some(count) = new.i64_at("/spec/leaseTransitions").filter(|&count| count < 0) {
            let detail = "must be greater than or equal to 0";
            causes.push(Cause::invalid("spec.leaseTransitions", count, detail));
        }
        if new.at("/spec/holderIdentity").is_some_and(|holder| holder.as_str() == Some("")) {
            causes.push(Cause::invalid("spec.holderIdentity", "", "must not be empty"));
        }
        causes
    }
}
