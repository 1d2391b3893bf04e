use super::*;

fn object(value: Value) -> Object {
    Object::from_value(value).unwrap()
}

/// A claim of 1 GiB, with more in it.
fn asking(extra: Value) -> Object {
    let mut claim = json!({
        "metadata": {"name": "data", "namespace": "shop", "uid": "u1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"},
    });
    for (pointer, value) in extra.as_object().into_iter().flatten() {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        claim.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    object(claim)
}

fn volume(name: &str, spec: Value) -> Object {
    let mut all = json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "2Gi"}, "storageClassName": "manual"});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object(json!({"metadata": {"name": name}, "spec": all}))
}

fn class(name: &str, provisioner: &str, mode: &str) -> Object {
    object(json!({
        "metadata": {"name": name, "annotations": {DEFAULT_CLASS: "true"}},
        "provisioner": provisioner, "volumeBindingMode": mode, "reclaimPolicy": "Delete",
    }))
}

fn on(host: &str) -> Value {
    json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]}})
}

/// The step in short.
fn step(of: &Object, classes: &[Object], volumes: &[Object]) -> String {
    let node = |name: &str| {
        object(
            json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}, "annotations": {STORAGE_PATH: "/data"}}}),
        )
    };
    let nodes = [node("a"), node("b")];
    match claim(of, &Cluster { classes, volumes, nodes: &nodes }) {
        Step::Wait { reason, message, .. } => format!("{reason}: {message}"),
        Step::SetClass(class) => format!("class {class}"),
        Step::Bind(volume) => format!("bind {volume}"),
        Step::Provision(volume) => format!("make {}", volume.str_at("/spec/local/path")),
        Step::Lost => "lost".into(),
    }
}

#[test]
fn each_step() {
    let local = [class("local-path", PROVISIONERS[0], "WaitForFirstConsumer")];
    let manual = json!({"/spec/storageClassName": "manual"});
    let ours = |extra: Value| {
        let mut all = json!({"/spec/storageClassName": "local-path"});
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        asking(all)
    };
    let chosen = json!({"/metadata/annotations": {SELECTED_NODE: "b"}});
    let mine = json!({"claimRef": {"namespace": "shop", "name": "data", "uid": "u1"}});
    let earlier = json!({"claimRef": {"namespace": "shop", "name": "data", "uid": "u0"}});
    let kept = json!({"claimRef": {"namespace": "shop", "name": "data"}});
    let immediate = [class("local-path", PROVISIONERS[1], "Immediate")];
    for (claim, classes, volumes, expected) in [
        (asking(json!({})), &local[..], vec![], "class local-path"),
        (
            asking(json!({})),
            &[][..],
            vec![],
            "FailedBinding: no persistent volumes available for this claim and no storage class is set",
        ),
        (
            ours(json!({})),
            &local[..],
            vec![],
            "WaitForFirstConsumer: waiting for first consumer to be created before binding",
        ),
        (ours(chosen.clone()), &local[..], vec![], "make /data/pvc-u1_shop_data"),
        (
            ours(json!({"/metadata/annotations": {SELECTED_NODE: "gone"}})),
            &local[..],
            vec![],
            "WaitForFirstConsumer: waiting for first consumer to be created before binding",
        ),
        // What is there is taken before another is made.
        (
            ours(chosen.clone()),
            &local[..],
            vec![volume("v", json!({"storageClassName": "local-path"}))],
            "bind v",
        ),
        (
            ours(chosen.clone()),
            &local[..],
            vec![volume("v", json!({"storageClassName": "local-path", "nodeAffinity": on("a")}))],
            "make /data/pvc-u1_shop_data",
        ),
        (
            ours(json!({})),
            &immediate[..],
            vec![],
            "ProvisioningFailed: storage class \"local-path\" has volumeBindingMode Immediate, and a folder needs a node: use WaitForFirstConsumer",
        ),
        (
            asking(manual.clone()),
            &local[..],
            vec![],
            "ProvisioningFailed: storageclass.storage.k8s.io \"manual\" not found",
        ),
        (
            asking(manual.clone()),
            &[][..],
            vec![volume("big", json!({"capacity": {"storage": "9Gi"}})), volume("v", json!({}))],
            "bind v",
        ),
        (
            asking(manual.clone()),
            &[][..],
            vec![volume("small", json!({"capacity": {"storage": "1Mi"}}))],
            "ProvisioningFailed: storageclass.storage.k8s.io \"manual\" not found",
        ),
        (
            asking(manual.clone()),
            &[][..],
            vec![volume("ro", json!({"accessModes": ["ReadOnlyMany"]}))],
            "ProvisioningFailed: storageclass.storage.k8s.io \"manual\" not found",
        ),
        (
            asking(json!({"/spec/storageClassName": ""})),
            &local[..],
            vec![],
            "FailedBinding: no persistent volumes available for this claim and no storage class is set",
        ),
        // Half done, and done.
        (ours(json!({})), &local[..], vec![volume("v", mine.clone())], "bind v"),
        (ours(json!({})), &local[..], vec![volume("v", kept)], "bind v"),
        (
            asking(manual),
            &[][..],
            vec![volume("v", earlier.clone())],
            "ProvisioningFailed: storageclass.storage.k8s.io \"manual\" not found",
        ),
        (
            asking(json!({"/spec/volumeName": "v", "/status/phase": "Bound"})),
            &[][..],
            vec![volume("v", mine)],
            "bind v",
        ),
        (
            asking(json!({"/spec/volumeName": "v"})),
            &[][..],
            vec![volume("v", earlier)],
            "FailedBinding: volume \"v\" already bound to a different claim.",
        ),
        (
            asking(json!({"/spec/volumeName": "v"})),
            &[][..],
            vec![],
            "FailedBinding: volume \"v\" is not there",
        ),
        (asking(json!({"/spec/volumeName": "v", "/status/phase": "Bound"})), &[][..], vec![], "lost"),
    ] {
        assert_eq!(step(&claim, classes, &volumes), expected);
    }
}

#[test]
fn what_is_made_is_bound_to_its_claim_and_its_node() {
    let claim = asking(json!({"/spec/storageClassName": "local-path"}));
    let node = object(json!({"metadata": {"name": "a"}}));
    let made = provisioned(&claim, &class("local-path", PROVISIONERS[0], "WaitForFirstConsumer"), &node);
    assert!(is_for(&made, &claim));
    assert_eq!(made.at("/spec/nodeAffinity"), Some(&on("a")));
    assert_eq!(made.str_at("/spec/local/path"), "/var/lib/midge/storage/pvc-u1_shop_data");
    assert_eq!(made.str_at("/spec/persistentVolumeReclaimPolicy"), "Delete");
}
