use serde_json::json;

use super::super::{IncludeObject, row};
use super::*;
use crate::api::{Kind, kinds, time};

fn cells(kind: &Kind, body: Value) -> Value {
    let mut object = Object::new(kind, "default", "web");
    object.set("/metadata/creationTimestamp", "2026-01-02T03:00:05Z");
    for (key, value) in body.as_object().unwrap() {
        object.set(&format!("/{key}"), value.clone());
    }
    let now = time::parse("2026-01-02T03:04:05Z").unwrap();
    row(kind, &object, now, IncludeObject::None)["cells"].clone()
}

#[test]
fn rows() {
    let pods = json!({"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}],
        "nodeSelector": {"disk": "ssd"}}});
    let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["b", "a"]}, {"key": "x", "operator": "DoesNotExist"}]});
    let shown = "app=web,tier in (a,b),!x";
    let spec = json!({"replicas": 3, "template": pods, "selector": selector});
    let of = |extra: Value| {
        let mut spec = spec.clone();
        for (key, value) in extra.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    };
    for (kind, body, expected) in [
        (
            kinds::DEPLOYMENT,
            json!({"spec": spec, "status": {"readyReplicas": 1, "updatedReplicas": 2}}),
            json!(["web", "1/3", 2, 0, "4m", "a,b", "x:1,y", shown]),
        ),
        (kinds::REPLICA_SET, json!({"spec": spec}), json!(["web", 3, 0, 0, "4m", "a,b", "x:1,y", shown])),
        (
            kinds::REPLICATION_CONTROLLER,
            json!({"spec": of(json!({"selector": {"b": "c", "a": "b"}})), "status": {"replicas": 2}}),
            json!(["web", 3, 2, 0, "4m", "a,b", "x:1,y", "a=b,b=c"]),
        ),
        (
            kinds::DAEMON_SET,
            json!({"spec": spec, "status": {"desiredNumberScheduled": 4}}),
            json!(["web", 4, 0, 0, 0, 0, "disk=ssd", "4m", "a,b", "x:1,y", shown]),
        ),
        (kinds::STATEFUL_SET, json!({"spec": spec}), json!(["web", "0/3", "4m", "a,b", "x:1,y"])),
        (
            kinds::JOB,
            json!({"spec": of(json!({"completions": 2})), "status": {
                "succeeded": 1, "startTime": "2026-01-02T03:01:05Z"}}),
            json!(["web", "Running", "1/2", "3m", "4m", "a,b", "x:1,y", shown]),
        ),
        (
            kinds::JOB,
            json!({"spec": of(json!({"parallelism": 3})), "status": {
                "conditions": [{"type": "Complete", "status": "True"}],
                "startTime": "2026-01-02T03:01:05Z", "completionTime": "2026-01-02T03:01:35Z"}}),
            json!(["web", "Complete", "0/1 of 3", "30s", "4m", "a,b", "x:1,y", shown]),
        ),
        (
            kinds::CRON_JOB,
            json!({"spec": {"schedule": "@daily", "suspend": true, "jobTemplate": {"spec": {"template": pods}}}}),
            json!(["web", "@daily", "<none>", "True", 0, "<none>", "4m", "a,b", "x:1,y", "<none>"]),
        ),
        (
            kinds::HORIZONTAL_POD_AUTOSCALER,
            json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1,
                "maxReplicas": 5, "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
                    {"type": "Pods", "pods": {"target": {"averageValue": "10"}}},
                    {"type": "External"}]},
                "status": {"currentMetrics": [{"resource": {"current": {"averageUtilization": 12}}}]}}),
            json!(["web", "Deployment/web", "cpu: 12%/80%, <unknown>/10 + 1 more...", "1", 5, 0, "4m"]),
        ),
        (
            kinds::POD_DISRUPTION_BUDGET,
            json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}}),
            json!(["web", "50%", "N/A", 1, "4m"]),
        ),
        (
            kinds::CONTROLLER_REVISION,
            json!({"metadata": {"name": "web", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": true}]},
                "revision": 7}),
            json!(["web", "statefulset.apps/db", 7, "<unknown>"]),
        ),
        (
            kinds::POD_TEMPLATE,
            json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": pods["spec"]}}),
            json!(["web", "a,b", "x:1,y", "a=b"]),
        ),
    ] {
        assert_eq!(cells(kind, body), expected, "{kind:?}");
    }
}
