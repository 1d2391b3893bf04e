use serde_json::json;

use super::{created, once, spec, template};
use crate::api::kinds::*;

#[test]
fn defaults() {
    let (deployment, found) = created(DEPLOYMENT, json!({"spec": spec(json!({}))}));
    assert_eq!(found, [""; 0]);
    let mut pods = template();
    pods["spec"] = json!({
        "containers": [{"name": "a", "image": "x", "imagePullPolicy": "Always", "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
        "securityContext": {}, "terminationGracePeriodSeconds": 30});
    let expected = json!({
        "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "selector": {"matchLabels": {"app": "web"}}, "template": pods});
    assert_eq!(deployment.at("/spec"), Some(&expected));
    assert_eq!(deployment.at("/status"), Some(&json!({})));

    // What only pods get, not the templates of pods.
    let mut pods = template();
    pods["spec"]["hostNetwork"] = true.into();
    pods["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    pods["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": 1}});
    let (deployment, found) = created(DEPLOYMENT, json!({"spec": spec(json!({"template": pods}))}));
    assert_eq!(found, [""; 0]);
    let container = deployment.at("/spec/template/spec/containers/0").unwrap();
    assert_eq!(container["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    assert_eq!(container["resources"], json!({"limits": {"cpu": "1"}}));

    for (kind, spec, expected) in [
        (REPLICA_SET, spec(json!({})), json!({"/spec/replicas": 1, "/status": {"replicas": 0}})),
        (
            DAEMON_SET,
            spec(json!({})),
            json!({"/spec/revisionHistoryLimit": 10, "/spec/updateStrategy":
                {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}),
        ),
        (
            DAEMON_SET,
            spec(json!({"updateStrategy": {"type": "OnDelete"}})),
            json!({
            "/spec/updateStrategy": {"type": "OnDelete"}}),
        ),
        (
            STATEFUL_SET,
            spec(json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]})),
            json!({"/spec/podManagementPolicy": "OrderedReady", "/spec/replicas": 1,
                "/spec/updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "/spec/persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
                "/spec/volumeClaimTemplates/0/status/phase": "Pending",
                "/spec/volumeClaimTemplates/0/spec/volumeMode": "Filesystem"}),
        ),
        (
            REPLICATION_CONTROLLER,
            json!({"template": template()}),
            json!({"/spec/selector": {"app": "web"}, "/metadata/labels": {"app": "web"}, "/spec/replicas": 1}),
        ),
        (
            JOB,
            once(json!({})),
            json!({"/spec/parallelism": 1, "/spec/completions": 1, "/spec/backoffLimit": 6,
                "/spec/completionMode": "NonIndexed", "/spec/suspend": false,
                "/spec/podReplacementPolicy": "TerminatingOrFailed", "/metadata/labels": {"app": "web"},
                "/spec/selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "/spec/template/metadata/labels": {"app": "web", "controller-uid": "u", "job-name": "web",
                    "batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "web"}}),
        ),
        (
            CRON_JOB,
            json!({"schedule": "@daily", "jobTemplate": {"spec": once(json!({}))}}),
            json!({"/spec/concurrencyPolicy": "Allow", "/spec/suspend": false, "/spec/failedJobsHistoryLimit": 1,
                "/spec/successfulJobsHistoryLimit": 3,
                "/spec/jobTemplate/spec/template/spec/containers/0/imagePullPolicy": "Always"}),
        ),
        (
            HORIZONTAL_POD_AUTOSCALER,
            json!({"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3, "behavior": {
                "scaleDown": {"stabilizationWindowSeconds": 60}}}),
            json!({"/spec/minReplicas": 1, "/spec/metrics": [{"type": "Resource", "resource":
                    {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
                "/spec/behavior/scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max",
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
                "/spec/behavior/scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 15},
                    {"type": "Percent", "value": 100, "periodSeconds": 15}]}}),
        ),
        (POD_DISRUPTION_BUDGET, json!({"minAvailable": 1}), json!({"/status/disruptionsAllowed": 0})),
    ] {
        let (object, found) = created(kind, json!({"spec": spec}));
        assert_eq!(found, [""; 0], "{kind:?}");
        for (pointer, value) in expected.as_object().unwrap() {
            assert_eq!(object.at(pointer), Some(value), "{kind:?} {pointer}");
        }
    }
}
