//! StatefulSets.

use serde_json::{Value, json};

use super::{
    PLAIN, Workload, counts, endless_template, int_or_percent, not_negative, pod, selected_template, sets,
    value,
};
use crate::api::{Cause, Object, strategy};

pub static STATEFUL_SET: Workload = Workload {
    status: Some(&["replicas", "availableReplicas"]),
    defaults: |set| {
        sets::update_strategy(set, json!({"partition": 0}));
        claims(set);
    },
    rules,
    ..PLAIN
};

const CLAIMS: &str = "/spec/volumeClaimTemplates";

/// Claims that are made from the templates start as every claim does.
fn claims(set: &mut Object) {
    for index in 0..set.array_at(CLAIMS).len() {
        for (field, value) in
            [("apiVersion", "v1"), ("kind", "PersistentVolumeClaim"), ("status/phase", "Pending")]
        {
            let pointer = format!("{CLAIMS}/{index}/{field}");
            if set.str_at(&pointer).is_empty() {
                set.set(&pointer, value);
            }
        }
    }
}

/// What an update may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn rules(new: &Object, old: Option<&Object>, causes: &mut Vec<Cause>) {
    let policy = new.str_at("/spec/podManagementPolicy");
    if !matches!(policy, "OrderedReady" | "Parallel") {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        causes.push(Cause::invalid("spec.podManagementPolicy", policy, detail));
    }
    update_strategy(new, causes);
    not_negative(
        new,
        &["spec.replicas", "spec.minReadySeconds", "spec.ordinals.start", "spec.revisionHistoryLimit"],
        causes,
    );
    selected_template(new, "statefulset", causes);
    let claims = new.array_at(CLAIMS).iter();
    let claims: Vec<&str> = claims.filter_map(|claim| claim.pointer("/metadata/name")?.as_str()).collect();
    endless_template(new, old, "StatefulSet", &claims, causes);
    if let Some(old) = old {
        let mut expected = old.clone();
        for field in CHANGEABLE {
            strategy::restore(&mut expected, new, &format!("/spec/{field}"));
        }
        if !pod::same(value(new, "spec"), value(&expected, "spec")) {
            let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
                          'template', 'updateStrategy', 'revisionHistoryLimit', \
                          'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            causes.push(Cause::forbidden("spec", detail));
        }
    }
    counts(new, &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"], causes);
}

fn update_strategy(new: &Object, causes: &mut Vec<Cause>) {
    let strategy: &Value = value(new, "spec.updateStrategy");
    let field = "spec.updateStrategy.rollingUpdate";
    match new.str_at("/spec/updateStrategy/type") {
        "OnDelete" => {
            if let Some(rolling) = new.at("/spec/updateStrategy/rollingUpdate") {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                causes.push(Cause::invalid(field, rolling.clone(), detail));
            }
        }
        "RollingUpdate" => {
            not_negative(new, &["spec.updateStrategy.rollingUpdate.partition"], causes);
            let field = format!("{field}.maxUnavailable");
            if int_or_percent(new, &field, true, causes) == Some(0) {
                causes.push(Cause::invalid(field.as_str(), value(new, &field).clone(), "cannot be 0"));
            }
        }
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            causes.push(Cause::invalid("spec.updateStrategy", strategy.clone(), detail));
        }
    }
}
