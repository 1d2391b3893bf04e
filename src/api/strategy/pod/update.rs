//! What an update of a pod may change: hardly anything, since the containers are running.

use serde_json::Value;

use super::{list, text};
use crate::api::{Cause, Object};

const ONLY: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
                    additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be \
                    set to 1 if it was previously negative)";

pub fn validate(new: &Object, old: &Object, causes: &mut Vec<Cause>) {
    for kind in ["containers", "initContainers"] {
        let pointer = format!("/spec/{kind}");
        if new.array_at(&pointer).len() != old.array_at(&pointer).len() {
            let detail = "pod updates may not add or remove containers";
            causes.push(Cause::forbidden(format!("spec.{kind}"), detail));
            return;
        }
    }
    deadline(new, old, causes);
    tolerations(new, old, causes);
    gates(new, old, causes);

    let nothing = Value::Null;
    let mut expected = old.clone();
    for kind in ["containers", "initContainers"] {
        for (index, container) in new.array_at(&format!("/spec/{kind}")).iter().enumerate() {
            expected.set(&format!("/spec/{kind}/{index}/image"), text(container, "image"));
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        let pointer = format!("/spec/{field}");
        expected.set(&pointer, new.at(&pointer).unwrap_or(&nothing).clone());
    }
    let grace = "/spec/terminationGracePeriodSeconds";
    if old.i64_at(grace).is_some_and(|was| was < 0) && new.i64_at(grace) == Some(1) {
        expected.set(grace, 1);
    }
    let (new, expected) = (new.at("/spec").unwrap_or(&nothing), expected.at("/spec").unwrap_or(&nothing));
    let mut changed = Vec::new();
    differences("spec", new, expected, &mut changed);
    if !changed.is_empty() {
        causes.push(Cause::forbidden("spec", &format!("{ONLY}\nchanged: {}", changed.join(", "))));
    }
}

fn deadline(new: &Object, old: &Object, causes: &mut Vec<Cause>) {
    let (pointer, field) = ("/spec/activeDeadlineSeconds", "spec.activeDeadlineSeconds");
    match (new.i64_at(pointer), old.i64_at(pointer)) {
        (Some(now), Some(was)) if now > was => {
            causes.push(Cause::invalid(field, now, "must be less than or equal to previous value"));
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            causes.push(Cause::invalid(field, Value::Null, detail));
        }
        _ => {}
    }
}

/// Every old toleration is still there, in its place among the old ones; only its seconds may differ.
fn tolerations(new: &Object, old: &Object, causes: &mut Vec<Cause>) {
    let bare = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Value::Object(map) = &mut toleration {
            map.remove("tolerationSeconds");
        }
        toleration
    };
    let kept: Vec<Value> = new.array_at("/spec/tolerations").iter().map(bare).collect();
    let spec = old.at("/spec").unwrap_or(&Value::Null);
    if !list(spec, "tolerations").iter().all(|toleration| kept.iter().any(|now| same(now, &bare(toleration))))
    {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        causes.push(Cause::forbidden("spec.tolerations", detail));
    }
}

fn gates(new: &Object, old: &Object, causes: &mut Vec<Cause>) {
    let pointer = "/spec/schedulingGates";
    let is_new = |gate: &&Value| !old.array_at(pointer).iter().any(|was| was["name"] == gate["name"]);
    for gate in new.array_at(pointer).iter().filter(is_new) {
        let detail =
            format!("only deletion is allowed, but found new scheduling gate '{}'", text(gate, "name"));
        causes.push(Cause::forbidden("spec.schedulingGates", &detail));
    }
}

/// Equal as Go sees it: null, absent and empty are one.
pub fn same(one: &Value, other: &Value) -> bool {
    let mut changed = Vec::new();
    differences("", one, other, &mut changed);
    changed.is_empty()
}

/// The paths that differ, as deep as both sides have the same shape.
fn differences(path: &str, new: &Value, old: &Value, changed: &mut Vec<String>) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let keys = new.keys().chain(old.keys().filter(|key| !new.contains_key(*key)));
            for key in keys {
                let (new, old) = (new.get(key).unwrap_or(&Value::Null), old.get(key).unwrap_or(&Value::Null));
                differences(&format!("{path}.{key}"), new, old, changed);
            }
        }
        (Value::Array(new), Value::Array(old)) if new.len() == old.len() => {
            for (index, (new, old)) in new.iter().zip(old).enumerate() {
                differences(&format!("{path}[{index}]"), new, old, changed);
            }
        }
        _ if new == old || (is_nothing(new) && is_nothing(old)) => {}
        _ => changed.push(path.to_owned()),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
