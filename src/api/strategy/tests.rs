use serde_json::{Value, json};

use super::*;
use crate::api::kinds::*;

fn object(kind: &Kind, namespace: &str, name: &str, rest: Value) -> Object {
    let mut object = Object::new(kind, namespace, name);
    for (key, value) in rest.as_object().unwrap() {
        object.set(&format!("/{key}"), value.clone());
    }
    object
}

fn pod(spec: Value) -> Object {
    let mut pod =
        object(POD, "default", "web", json!({"spec": {"restartPolicy": "Always", "dnsPolicy": "Default"}}));
    for (key, value) in spec.as_object().unwrap() {
        pod.set(&format!("/spec/{key}"), value.clone());
    }
    POD.strategy.prepare_create(&mut pod);
    pod
}

fn messages(kind: &Kind, new: &Object, old: Option<&Object>) -> Vec<String> {
    validate(kind, new, old).iter().map(Cause::to_string).collect()
}

#[test]
fn metadata_is_checked() {
    let mut lease = object(LEASE, "", "A", json!({}));
    lease.set("/metadata/labels", json!({"a b": "x", "c": "-"}));
    lease.set("/metadata/finalizers", json!(["mine"]));
    let found = messages(LEASE, &lease, None);
    let starts = [
        "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain",
        "metadata.namespace: Required value",
        "metadata.labels: Invalid value: \"a b\": name part must",
        "metadata.labels: Invalid value: \"-\": a valid label",
        "metadata.finalizers[0]: Invalid value: \"mine\": name is neither",
    ];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
    let node = object(NODE, "x", "pi-1", json!({}));
    assert_eq!(messages(NODE, &node, None), ["metadata.namespace: Forbidden: not allowed on this type"]);
}

#[test]
fn what_a_client_left_out_is_carried_over() {
    let mut old = object(LEASE, "a", "b", json!({}));
    old.set("/metadata/uid", "u");
    old.set("/metadata/deletionTimestamp", "2026-01-02T03:04:05Z");
    old.set("/metadata/deletionGracePeriodSeconds", 30);
    let mut new = object(LEASE, "a", "b", json!({}));
    carry_metadata(&mut new, &old);
    assert_eq!(messages(LEASE, &new, Some(&old)), [""; 0]);
    new.set("/metadata/uid", "v");
    carry_metadata(&mut new, &old);
    assert_eq!(messages(LEASE, &new, Some(&old)), ["metadata.uid: Invalid value: \"v\": field is immutable"]);
}

#[test]
fn a_new_pod_gets_its_computed_defaults() {
    let pod = pod(json!({
        "hostNetwork": true,
        "volumes": [{"name": "scratch"}],
        "containers": [
            {"name": "a", "image": "registry:5000/busybox", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}},
            {"name": "b", "image": "busybox:1.36", "ports": [{"containerPort": 80}],
             "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}},
        ],
    }));
    assert_eq!(pod.str_at("/spec/containers/0/imagePullPolicy"), "Always");
    assert_eq!(pod.str_at("/spec/containers/1/imagePullPolicy"), "IfNotPresent");
    assert_eq!(pod.at("/spec/volumes/0/emptyDir"), Some(&json!({})));
    assert_eq!(pod.str_at("/spec/containers/0/resources/requests/memory"), "1Gi");
    assert_eq!(pod.i64_at("/spec/containers/1/ports/0/hostPort"), Some(80));
    assert_eq!(pod.at("/status"), Some(&json!({"phase": "Pending", "qosClass": "Guaranteed"})));
    assert_eq!(messages(POD, &pod, None), [""; 0]);
}

#[test]
fn qos_classes() {
    let class = |resources: Value| {
        pod(json!({"containers": [{"name": "a", "image": "b", "resources": resources}]}))
            .str_at("/status/qosClass")
            .to_owned()
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "1m"}})), "Burstable");
}

#[test]
fn a_bad_pod_is_refused_field_by_field() {
    let pod = pod(json!({
        "restartPolicy": "Sometimes",
        "volumes": [{"name": "v"}, {"name": "w", "emptyDir": {}, "hostPath": {"path": "/"}}],
        "tolerations": [{"operator": "Equal"}],
        "containers": [
            {"name": "a", "image": "", "ports": [{"containerPort": 70000}],
             "env": [{"name": "a=b"}, {"name": "c", "valueFrom": {}}]},
            {"name": "a", "image": "x", "volumeMounts": [{"name": "none", "mountPath": "/x"}],
             "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2", "gpu": "x"}}},
        ],
    }));
    let found = messages(POD, &pod, None);
    let starts = [
        "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        "spec.volumes[1].hostPath: Forbidden: may not specify more than 1 volume type",
        "spec.containers[0].image: Required value",
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name",
        "spec.containers[0].env[1].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`",
        "spec.containers[1].name: Duplicate value: \"a\"",
        "spec.containers[1].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        "spec.containers[1].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource",
        "spec.containers[1].resources.requests[gpu]: Invalid value: \"x\": quantities must match",
        "spec.containers[1].volumeMounts[0].name: Not found: \"none\"",
        "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
}

#[test]
fn a_flood_is_refused_before_it_is_looked_at() {
    let flood: Vec<Value> = (0..ITEMS_LIMIT).map(|_| json!({})).collect();
    let pod = pod(json!({"containers": [{"name": "a", "image": "b", "ports": flood}]}));
    assert_eq!(messages(POD, &pod, None), ["Too many: 5001: must have at most 5000 items"]);
}

#[test]
fn a_pods_spec_hardly_changes() {
    let old = pod(
        json!({"nodeName": "pi-1", "activeDeadlineSeconds": 9, "tolerations": [{"key": "a", "operator": "Exists"}],
        "containers": [{"name": "a", "image": "b:1"}]}),
    );
    let change = |pointer: &str, value: Value| {
        let mut new = old.clone();
        new.set(pointer, value);
        POD.strategy.prepare_update(&mut new, &old);
        messages(POD, &new, Some(&old))
    };
    assert_eq!(change("/spec/containers/0/image", json!("b:2")), [""; 0]);
    assert_eq!(change("/spec/tolerations/-", json!({"key": "b", "operator": "Exists"})), [""; 0]);
    assert_eq!(change("/spec/volumes", json!([])), [""; 0]);
    assert_eq!(change("/status/phase", json!("Failed")), [""; 0]);
    let moved = change("/spec/nodeName", json!("pi-2"));
    assert!(
        moved[0].starts_with("spec: Forbidden: pod updates may not change fields other than"),
        "{moved:?}"
    );
    assert!(moved[0].ends_with("\nchanged: spec.nodeName"), "{moved:?}");
    assert!(change("/spec/activeDeadlineSeconds", json!(10))[0].contains("less than or equal to previous"));
    assert!(change("/spec/tolerations", json!([]))[0].contains("existing toleration can not be modified"));
    assert_eq!(
        change("/spec/containers/-", json!({"name": "n", "image": "m"})),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
}

#[test]
fn a_status_update_keeps_the_rest() {
    let old = pod(json!({"containers": [{"name": "a", "image": "b:1"}]}));
    let mut new = old.clone();
    new.set("/spec/nodeName", "pi-9");
    new.set("/metadata/resourceVersion", "5");
    new.set("/status", json!({"phase": "Running"}));
    POD.strategy.prepare_status_update(&mut new, &old);
    assert_eq!(new.str_at("/spec/nodeName"), "");
    assert_eq!(new.resource_version(), Some(5));
    assert_eq!(new.at("/status"), Some(&json!({"phase": "Running", "qosClass": "BestEffort"})));
}

#[test]
fn secrets_keep_their_values_to_themselves() {
    let mut secret = object(SECRET, "a", "b", json!({"stringData": {"k": "value"}}));
    SECRET.strategy.prepare_create(&mut secret);
    assert_eq!(secret.str_at("/data/k"), "dmFsdWU=");
    assert_eq!((secret.str_at("/type"), secret.at("/stringData")), ("Opaque", None));
    let bad = object(SECRET, "a", "b", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "ses!"}}));
    assert_eq!(
        messages(SECRET, &bad, None),
        [
            "data[tls.crt]: Invalid value: illegal base64 data at input byte 3",
            "data[tls.key]: Required value"
        ]
    );
    let mut docker = object(SECRET, "a", "b", json!({"type": "kubernetes.io/dockerconfigjson"}));
    docker.set("/data/.dockerconfigjson", "c2VzYW1l");
    assert!(messages(SECRET, &docker, None)[0].contains("redacted"));
    let mut typed = secret.clone();
    typed.set("/type", "x/y");
    assert_eq!(messages(SECRET, &typed, Some(&secret)), ["type: Invalid value: \"x/y\": field is immutable"]);
}

#[test]
fn immutable_means_it() {
    let old = object(CONFIG_MAP, "a", "b", json!({"data": {"k": "v"}, "immutable": true}));
    let new = object(CONFIG_MAP, "a", "b", json!({"data": {"k": "w"}}));
    assert_eq!(
        messages(CONFIG_MAP, &new, Some(&old)),
        [
            "immutable: Forbidden: field is immutable when `immutable` is set",
            "data: Forbidden: field is immutable when `immutable` is set"
        ]
    );
    assert_eq!(messages(CONFIG_MAP, &old, Some(&old)), [""; 0]);
    let both =
        object(CONFIG_MAP, "a", "b", json!({"data": {"k/": "", "x": ""}, "binaryData": {"x": "AA=="}}));
    assert_eq!(messages(CONFIG_MAP, &both, None).len(), 2);
}

#[test]
fn namespaces_nodes_events_leases() {
    let mut namespace = object(NAMESPACE, "", "a", json!({"status": {"phase": "Terminating"}}));
    NAMESPACE.strategy.prepare_create(&mut namespace);
    assert_eq!(namespace.str_at("/status/phase"), "Active");
    assert_eq!(namespace.str_at("/spec/finalizers/0"), "kubernetes");
    assert_eq!(namespace.label("kubernetes.io/metadata.name"), Some("a"));
    assert!(!messages(NAMESPACE, &object(NAMESPACE, "", "a.b", json!({})), None).is_empty());

    let old = object(NODE, "", "n", json!({"spec": {"podCIDR": "10.42.0.0/24"}}));
    let taint = json!({"key": "a", "effect": "NoSchedule"});
    let new = object(NODE, "", "n", json!({"spec": {"taints": [taint, taint]}}));
    let found = messages(NODE, &new, Some(&old));
    assert!(found[0].ends_with("taints must be unique by key and effect pair"), "{found:?}");
    assert!(
        found[1].starts_with("spec.podCIDR: Forbidden: node updates may not change podCIDR"),
        "{found:?}"
    );

    let about = |namespace| object(EVENT, namespace, "e", json!({"involvedObject": {"name": "n"}}));
    assert_eq!(messages(EVENT, &about("default"), None), [""; 0]);
    assert!(messages(EVENT, &about("other"), None)[0].ends_with("does not match event.namespace"));

    let lease = object(LEASE, "a", "b", json!({"spec": {"leaseDurationSeconds": 0}}));
    assert_eq!(
        messages(LEASE, &lease, None),
        ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]
    );
}

#[test]
fn volumes_and_their_mounts_are_checked() {
    let item = |item: Value| json!([{"name": "v", "configMap": {"name": "a", "items": [item]}}]);
    let field = |item: Value| json!([{"name": "v", "downwardAPI": {"items": [item]}}]);
    let projected = |source: Value| json!([{"name": "v", "projected": {"sources": [source]}}]);
    for (volumes, wanted) in [
        (item(json!({"key": "a", "path": "b/c", "mode": 0o777})), ""),
        (item(json!({"path": "b"})), "spec.volumes[0].configMap.items[0].key: Required value"),
        (
            item(json!({"key": "a", "path": "/b"})),
            "items[0].path: Invalid value: \"/b\": must be a relative path",
        ),
        (item(json!({"key": "a", "path": "a/../b"})), "must not contain '..'"),
        (item(json!({"key": "a", "path": "..b"})), "must not start with '..'"),
        (item(json!({"key": "a", "path": "b", "mode": 512})), "items[0].mode: Invalid value: 512"),
        (
            json!([{"name": "v", "secret": {"secretName": "a", "defaultMode": -1}}]),
            "secret.defaultMode: Invalid value",
        ),
        (json!([{"name": "v", "hostPath": {"path": "/a/../b"}}]), "hostPath.path: Invalid value"),
        (
            json!([{"name": "v", "hostPath": {"path": "/a", "type": "Folder"}}]),
            "hostPath.type: Unsupported value: \"Folder\"",
        ),
        (json!([{"name": "v", "emptyDir": {"sizeLimit": "-1"}}]), "emptyDir.sizeLimit: Forbidden"),
        (field(json!({"path": "a", "fieldRef": {"fieldPath": "metadata.labels['a']"}})), ""),
        (
            field(json!({"path": "a", "fieldRef": {"fieldPath": "status.podIP"}})),
            "fieldPath: Unsupported value",
        ),
        (field(json!({"path": "a"})), "one of fieldRef and resourceFieldRef is required"),
        (
            field(json!({"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}})),
            "resourceFieldRef.containerName: Required",
        ),
        (projected(json!({"secret": {"name": "a"}})), ""),
        (projected(json!({"secret": {}})), "projected.sources[0].secret.name: Required"),
        (projected(json!({})), "projected.sources[0]: Required value: must specify a volume type"),
        (json!([{"name": "v", "projected": {}}]), "projected.sources: Required"),
    ] {
        let found = messages(
            POD,
            &pod(json!({"volumes": volumes, "containers": [{"name": "a", "image": "x"}]})),
            None,
        );
        match wanted {
            "" => assert_eq!(found, [""; 0]),
            wanted => assert!(found.len() == 1 && found[0].contains(wanted), "{wanted}: {found:?}"),
        }
    }
    for (mount, privileged, wanted) in [
        (json!({"mountPropagation": "HostToContainer"}), false, ""),
        (json!({"mountPropagation": "Bidirectional"}), true, ""),
        (json!({"mountPropagation": "Bidirectional"}), false, "available only to privileged containers"),
        (json!({"mountPropagation": "Both"}), true, "mountPropagation: Unsupported value: \"Both\""),
        (json!({"recursiveReadOnly": "Enabled", "readOnly": true}), false, ""),
        (json!({"recursiveReadOnly": "Enabled"}), false, "may only be specified when readOnly is true"),
        (
            json!({"recursiveReadOnly": "IfPossible", "readOnly": true, "mountPropagation": "HostToContainer"}),
            false,
            "may only be specified when mountPropagation is None",
        ),
        (json!({"recursiveReadOnly": "Yes"}), false, "recursiveReadOnly: Unsupported value"),
    ] {
        let mut entry = json!({"name": "v", "mountPath": "/v"});
        entry.as_object_mut().unwrap().extend(mount.as_object().unwrap().clone());
        let container = json!({"name": "a", "image": "x", "volumeMounts": [entry], "securityContext": {"privileged": privileged}});
        let found = messages(
            POD,
            &pod(json!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [container]})),
            None,
        );
        match wanted {
            "" => assert_eq!(found, [""; 0]),
            wanted => assert!(found.len() == 1 && found[0].contains(wanted), "{wanted}: {found:?}"),
        }
    }
}

#[test]
fn what_is_too_much_is_refused_at_once() {
    let nested = |depth: usize| {
        let text = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        Object::from_slice(text.as_bytes()).unwrap()
    };
    assert_eq!(check_bounds(&nested(99)), None);
    assert!(check_bounds(&nested(100)).unwrap().to_string().contains("nested at most 100 deep"));
    assert!(is_readable(&nested(119)) && !is_readable(&nested(120)));
    let of = |value| check_bounds(&Object::from_value(value).unwrap()).map(|cause| cause.to_string());
    assert_eq!(of(json!({"a": vec![1; 5000], "k".repeat(4096): 1})), None);
    assert!(of(json!({"a": vec![1; 2501], "b": vec![1; 2500]})).unwrap().contains("5000"));
    assert!(of(json!({"k".repeat(4097): 1})).unwrap().contains("no longer than 4096 bytes"));
}
