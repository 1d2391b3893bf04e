//! Deployments.

use serde_json::json;

use super::{
    PLAIN, Workload, counts, endless_template, immutable, int_or_percent, not_negative, selected_template,
    value,
};
use crate::api::{Cause, Object};

pub static DEPLOYMENT: Workload = Workload { defaults, rules, counts_annotations: true, ..PLAIN };

const ROLLING: &str = "spec.strategy.rollingUpdate";

fn defaults(deployment: &mut Object) {
    if deployment.str_at("/spec/strategy/type").is_empty() {
        deployment.set("/spec/strategy/type", "RollingUpdate");
    }
    if deployment.str_at("/spec/strategy/type") == "RollingUpdate" && value(deployment, ROLLING).is_null() {
        let quarter = json!({"maxUnavailable": "25%", "maxSurge": "25%"});
        deployment.set("/spec/strategy/rollingUpdate", quarter);
    }
}

fn rules(new: &Object, old: Option<&Object>, causes: &mut Vec<Cause>) {
    not_negative(new, &["spec.replicas"], causes);
    selected_template(new, "deployment", causes);
    endless_template(new, old, "ReplicaSet", &[], causes); // upstream's word
    strategy(new, causes);
    not_negative(
        new,
        &["spec.minReadySeconds", "spec.revisionHistoryLimit", "spec.progressDeadlineSeconds"],
        causes,
    );
    let least = new.i64_at("/spec/minReadySeconds").unwrap_or(0);
    if let Some(deadline) = new.i64_at("/spec/progressDeadlineSeconds").filter(|&deadline| deadline <= least)
    {
        let detail = "must be greater than minReadySeconds";
        causes.push(Cause::invalid("spec.progressDeadlineSeconds", deadline, detail));
    }
    immutable(new, old, &["spec.selector"], causes);
    counts(new, &["updatedReplicas", "readyReplicas", "availableReplicas"], causes);
    not_negative(new, &["status.unavailableReplicas", "status.terminatingReplicas"], causes);
}

fn strategy(new: &Object, causes: &mut Vec<Cause>) {
    if new.str_at("/spec/strategy/type") == "Recreate" {
        if !value(new, ROLLING).is_null() {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            causes.push(Cause::forbidden(ROLLING, detail));
        }
        return;
    }
    let field = format!("{ROLLING}.maxUnavailable");
    let unavailable = int_or_percent(new, &field, true, causes);
    let surge = int_or_percent(new, &format!("{ROLLING}.maxSurge"), false, causes);
    if (unavailable, surge) == (Some(0), Some(0)) {
        let detail = "may not be 0 when `maxSurge` is 0";
        causes.push(Cause::invalid(field.as_str(), value(new, &field).clone(), detail));
    }
}
