//! Sets of pods: ReplicaSet, ReplicationController, DaemonSet.

use serde_json::{Value, json};

use super::{
    PLAIN, Workload, counts, endless_template, immutable, int_or_percent, mismatch, not_negative,
    selected_template, value,
};
use crate::api::{Cause, Object};

pub static REPLICA_SET: Workload = Workload { status: Some(&["replicas"]), rules: replica_set, ..PLAIN };

pub static REPLICATION_CONTROLLER: Workload = Workload {
    status: Some(&["replicas"]),
    defaults: controller_defaults,
    rules: replication_controller,
    ..PLAIN
};

pub static DAEMON_SET: Workload = Workload {
    status: Some(&["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"]),
    defaults: |set| update_strategy(set, json!({"maxUnavailable": 1, "maxSurge": 0})),
    rules: daemon_set,
    ..PLAIN
};

const REPLICA_COUNTS: &[&str] = &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];

fn replica_set(new: &Object, old: Option<&Object>, causes: &mut Vec<Cause>) {
    not_negative(new, &["spec.replicas", "spec.minReadySeconds"], causes);
    selected_template(new, "deployment", causes); // upstream's word
    endless_template(new, old, "ReplicaSet", &[], causes);
    immutable(new, old, &["spec.selector"], causes);
    counts(new, REPLICA_COUNTS, causes);
}

/// Selector and labels are those of the template, where they are not given.
fn controller_defaults(controller: &mut Object) {
    let Some(labels) = controller.map_at("/spec/template/metadata/labels").cloned() else { return };
    for pointer in ["/spec/selector", "/metadata/labels"] {
        if controller.map_at(pointer).is_none_or(serde_json::Map::is_empty) {
            controller.set(pointer, labels.clone());
        }
    }
}

fn replication_controller(new: &Object, old: Option<&Object>, causes: &mut Vec<Cause>) {
    not_negative(new, &["spec.minReadySeconds", "spec.replicas"], causes);
    let labels = new.map_at("/spec/template/metadata/labels");
    match new.map_at("/spec/selector").filter(|selector| !selector.is_empty()) {
        None => causes.push(Cause::required("spec.selector", "")),
        Some(selector) => {
            if selector.iter().any(|(key, value)| labels.and_then(|labels| labels.get(key)) != Some(value)) {
                mismatch(new, causes);
            }
        }
    }
    endless_template(new, old, "ReplicationController", &[], causes);
    counts(new, REPLICA_COUNTS, causes);
}

/// RollingUpdate is the default of a set that updates its pods itself; it has defaults of its own.
pub fn update_strategy(set: &mut Object, rolling: Value) {
    if set.str_at("/spec/updateStrategy/type").is_empty() {
        set.set("/spec/updateStrategy/type", "RollingUpdate");
    }
    if set.str_at("/spec/updateStrategy/type") == "RollingUpdate"
        && value(set, "spec.updateStrategy.rollingUpdate").is_null()
    {
        set.set("/spec/updateStrategy/rollingUpdate", rolling);
    }
}

fn daemon_set(new: &Object, old: Option<&Object>, causes: &mut Vec<Cause>) {
    selected_template(new, "daemonset", causes);
    endless_template(new, old, "DaemonSet", &[], causes);
    not_negative(new, &["spec.minReadySeconds", "spec.revisionHistoryLimit"], causes);
    match new.str_at("/spec/updateStrategy/type") {
        "OnDelete" => {}
        "RollingUpdate" => rolling_update(new, causes),
        _ => {
            let strategy = value(new, "spec.updateStrategy").clone();
            let supported = &["RollingUpdate", "OnDelete"];
            causes.push(Cause::not_supported("spec.updateStrategy", strategy, supported));
        }
    }
    immutable(new, old, &["spec.selector"], causes);
    not_negative(
        new,
        &[
            "status.currentNumberScheduled",
            "status.numberMisscheduled",
            "status.desiredNumberScheduled",
            "status.numberReady",
            "status.observedGeneration",
            "status.updatedNumberScheduled",
            "status.numberAvailable",
            "status.numberUnavailable",
        ],
        causes,
    );
}

fn rolling_update(new: &Object, causes: &mut Vec<Cause>) {
    let [unavailable, surge] = ["spec.updateStrategy.rollingUpdate.maxUnavailable", SURGE]
        .map(|field| int_or_percent(new, field, true, causes).unwrap_or(0));
    if unavailable == 0 && surge == 0 {
        let field = "spec.updateStrategy.rollingUpdate.maxUnavailable";
        causes.push(Cause::required(field, "cannot be 0 when maxSurge is 0"));
    } else if unavailable > 0 && surge > 0 {
        let detail = "may not be set when maxUnavailable is non-zero";
        causes.push(Cause::invalid(SURGE, value(new, SURGE).clone(), detail));
    }
}

const SURGE: &str = "spec.updateStrategy.rollingUpdate.maxSurge";
