use super::*;
use crate::api::kinds::{EVENT, KINDS, NODE, POD};
use crate::api::time;

fn cells(kind: &Kind, object: Value) -> Vec<Value> {
    let now = time::parse("2026-01-02T03:04:05Z").unwrap();
    let object = Object::from_value(object).unwrap();
    let table = render(kind, &[object], now, IncludeObject::None, json!({}), true);
    table["rows"][0]["cells"].as_array().unwrap().clone()
}

fn pod(spec: Value, status: Value) -> Vec<Value> {
    let metadata = json!({"name": "web", "creationTimestamp": "2026-01-02T03:00:05Z"});
    cells(POD, json!({"metadata": metadata, "spec": spec, "status": status}))
}

#[test]
fn durations() {
    for (seconds, text) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (7 * 3600 + 61, "7h1m"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400, "8d"),
        (730 * 86400, "2y"),
        (731 * 86400, "2y1d"),
    ] {
        assert_eq!(human_duration(Duration::from_secs(seconds)), text);
    }
}

#[test]
fn a_running_pod() {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "pi-1"});
    let status = json!({
        "phase": "Running", "podIP": "10.42.0.5", "podIPs": [{"ip": "10.42.0.5"}],
        "containerStatuses": [
            {"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}},
            {"name": "b", "ready": true, "restartCount": 3, "state": {"running": {}},
             "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-02T03:02:05Z"}}},
        ],
    });
    assert_eq!(
        pod(spec, status),
        ["web", "2/2", "Running", "3 (2m ago)", "4m", "10.42.0.5", "pi-1", "<none>", "<none>"]
    );
}

#[test]
fn what_a_pod_is_doing() {
    let spec = json!({
        "containers": [{"name": "a"}],
        "initContainers": [{"name": "side", "restartPolicy": "Always"}, {"name": "i"}],
    });
    let plain = json!({"containers": [{"name": "a"}]});
    let container =
        |state: Value| json!({"phase": "Running", "containerStatuses": [{"name": "a", "state": state}]});
    let init = |state: Value| {
        json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "side", "started": true, "ready": true, "state": {"running": {}}},
            {"name": "i", "state": state}]})
    };
    for (spec, status, expected) in [
        (&plain, json!({"phase": "Pending"}), ["0/1", "Pending"]),
        (&plain, container(json!({"waiting": {"reason": "CrashLoopBackOff"}})), ["0/1", "CrashLoopBackOff"]),
        (&plain, container(json!({"terminated": {"reason": "Completed"}})), ["0/1", "Completed"]),
        (&plain, container(json!({"terminated": {"exitCode": 3}})), ["0/1", "ExitCode:3"]),
        (&plain, container(json!({"terminated": {"exitCode": 137, "signal": 9}})), ["0/1", "Signal:9"]),
        (&plain, json!({"phase": "Failed", "reason": "Evicted"}), ["0/1", "Evicted"]),
        (&spec, init(json!({"running": {}})), ["1/2", "Init:1/2"]),
        (&spec, init(json!({"waiting": {"reason": "ErrImagePull"}})), ["1/2", "Init:ErrImagePull"]),
        (&spec, init(json!({"terminated": {"exitCode": 2, "reason": "Error"}})), ["1/2", "Init:Error"]),
        (&spec, init(json!({"terminated": {"exitCode": 0}})), ["1/2", "Pending"]),
    ] {
        assert_eq!(pod(spec.clone(), status)[1..3], expected);
    }
}

#[test]
fn a_pod_that_is_being_deleted() {
    let status = |phase: &str| {
        let metadata = json!({"deletionTimestamp": "2026-01-02T03:04:05Z"});
        cells(POD, json!({"metadata": metadata, "status": {"phase": phase}}))[2].clone()
    };
    assert_eq!(status("Running"), "Terminating");
    assert_eq!(status("Succeeded"), "Succeeded");
}

#[test]
fn a_node() {
    let node = json!({
        "metadata": {"name": "pi-1", "creationTimestamp": "2026-01-02T03:04:04Z",
            "labels": {"node-role.kubernetes.io/edge": "", "kubernetes.io/role": "agent"}},
        "spec": {"unschedulable": true},
        "status": {
            "conditions": [{"type": "Ready", "status": "Unknown"}],
            "addresses": [{"type": "InternalIP", "address": "192.168.1.7"}],
            "nodeInfo": {"kubeletVersion": "v1.37.0+midge0.1.0", "osImage": "Debian"},
        },
    });
    assert_eq!(
        cells(NODE, node),
        [
            "pi-1",
            "NotReady,SchedulingDisabled",
            "agent,edge",
            "1s",
            "v1.37.0+midge0.1.0",
            "192.168.1.7",
            "<none>",
            "Debian",
            "<unknown>",
            "<unknown>"
        ]
    );
}

#[test]
fn an_event() {
    let event = json!({
        "metadata": {"name": "web.1"}, "type": "Warning", "reason": "Failed", "message": "no image\n",
        "involvedObject": {"kind": "Pod", "name": "web"}, "eventTime": "2026-01-02T03:04:00.000000Z",
        "reportingComponent": "midge", "reportingInstance": "pi-1",
    });
    let cells = cells(EVENT, event);
    assert_eq!(cells[..4], ["5s", "Warning", "Failed", "pod/web"]);
    assert_eq!(cells[5..], [json!("midge, pi-1"), json!("no image"), json!("5s"), json!(1), json!("web.1")]);
}

#[test]
fn every_kind_renders_an_empty_object() {
    for kind in KINDS {
        assert_eq!(cells(kind, json!({})).len(), kind.columns.len());
    }
}
