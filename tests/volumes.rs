//! Volumes as kubectl's users have them, on a real containerd.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::eventually;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// A pod of one container, `main`, that runs `script`; `rest` goes over its specification.
fn pod(name: &str, script: &str, mounts: Value, rest: Value) -> String {
    let mut spec = json!({
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": mounts}],
    });
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": {"note": "a \"b\""}}, "spec": spec,
    })
    .to_string()
}

/// What the pod said, once it has ended well.
fn said(cluster: &Cluster, name: &str) -> String {
    cluster.phase(name, "Succeeded");
    cluster.kubectl(&format!("logs {name}")).success().stdout
}

fn volumes_folder(cluster: &Cluster, pod: &str) -> PathBuf {
    let uid = cluster.object(&format!("pod {pod}")).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    cluster.agents[0].folder.join("data/agent/pods").join(uid).join("volumes")
}

#[test]
fn files_of_objects_with_modes_groups_and_updates() {
    let cluster = Cluster::new("files").agent("pi-1").up();
    let before = cluster.agents[0].host.interfaces();
    let map =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"map"},"data":{"a":"one","b":"two"}}"#;
    cluster.apply(map).success();
    cluster.apply(&secret("secret", "key", "pst")).success();

    let look = "cd /v; for f in map/a secret/key all/deep/b all/labels all/limit; do \
                echo \"$f $(stat -L -c %a:%g $f) $(cat $f)\"; done; \
                grep -c \" /v/secret tmpfs ro\" /proc/mounts; touch map/x 2>/dev/null || echo read-only";
    let volumes = json!({
        "securityContext": {"fsGroup": 2000},
        "volumes": [
            {"name": "map", "configMap": {"name": "map", "defaultMode": 0o400}},
            {"name": "secret", "secret": {"secretName": "secret"}},
            {"name": "all", "projected": {"sources": [
                {"configMap": {"name": "map", "items": [{"key": "b", "path": "deep/b", "mode": 0o600}]}},
                {"configMap": {"name": "absent", "optional": true}},
                {"downwardAPI": {"items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "limit", "resourceFieldRef": {"containerName": "main", "resource": "requests.cpu", "divisor": "1m"}},
                ]}},
            ]}},
        ],
    });
    let mounts = json!([
        {"name": "map", "mountPath": "/v/map"},
        {"name": "secret", "mountPath": "/v/secret"},
        {"name": "all", "mountPath": "/v/all"},
    ]);
    cluster.apply(&pod("look", look, mounts, volumes)).success();
    assert_eq!(
        said(&cluster, "look"),
        "map/a 440:2000 one\nsecret/key 644:2000 pst\nall/deep/b 640:2000 two\nall/labels 644:2000 app=\"look\"\n\
         all/limit 644:2000 0\n1\nread-only\n"
    );

    // A running pod sees what changes, in one step; a pod that waits starts when it can.
    let script = "until [ -e /v/map/c ] && grep -q new /self/labels; do sleep 0.1; done; cat /v/map/a /v/map/c /v/sub; ls /v/map; ls /late";
    let volumes = json!({"volumes": [
        {"name": "map", "configMap": {"name": "map"}},
        {"name": "late", "secret": {"secretName": "late"}},
        {"name": "self", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]});
    let mounts = json!([
        {"name": "map", "mountPath": "/v/map"},
        {"name": "map", "mountPath": "/v/sub", "subPath": "a"},
        {"name": "late", "mountPath": "/late"},
        {"name": "self", "mountPath": "/self"},
    ]);
    cluster.apply(&pod("waits", script, mounts, volumes)).success();
    eventually("it says what it waits for", Duration::from_secs(15), || {
        let events = cluster.kubectl("describe pod waits").stdout;
        let wanted = "MountVolume.SetUp failed for volume \"late\" : secret \"late\" not found";
        (events.contains("FailedMount") && events.contains(wanted)).then_some(())
    });
    let waiting = cluster.object("pod waits").unwrap();
    assert_eq!(
        waiting["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating",
        "{waiting}"
    );
    cluster.apply(&secret("late", "x", "y")).success();
    cluster.phase("waits", "Running");
    let patch = r#"{"data":{"a":"three","b":null,"c":"four"}}"#;
    let mut command = cluster.kubectl_command("patch configmap map --type=merge -p");
    assert!(command.arg(patch).output().unwrap().status.success());
    cluster.kubectl("label pod waits state=new").success();
    // The subPath is of the content at its start, as upstream.
    assert_eq!(said(&cluster, "waits"), "threefouronea\nc\nx\n");

    for (source, field) in [
        (json!({"nfs": {"server": "a", "path": "/"}}), "spec.volumes[0].nfs"),
        (
            json!({"projected": {"sources": [{"clusterTrustBundle": {"path": "a"}}]}}),
            "spec.volumes[0].projected.sources[0].clusterTrustBundle",
        ),
    ] {
        let mut volume = source;
        volume["name"] = "v".into();
        let manifest = pod("refused", "true", json!([]), json!({"volumes": [volume]}));
        cluster.apply(&manifest).refused(1, &[field, "not supported by midge"]);
    }

    cluster.kubectl("delete pods --all --timeout=30s").success();
    cluster.agents[0].assert_nothing_left(&before);
    // What no pod names is not kept on the node.
    eventually("the node forgets them", Duration::from_secs(5), || {
        let configs = common::cluster::entries(&cluster.agents[0].folder.join("data/agent/configs"));
        configs.is_empty().then_some(())
    });
}

fn secret(name: &str, key: &str, value: &str) -> String {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}});
    secret.to_string()
}

#[test]
fn empty_and_host_folders() {
    let mut cluster = Cluster::new("folders").agent("pi-1").up();
    let before = cluster.agents[0].host.interfaces();
    let host = cluster.agents[0].folder.join("host");
    std::fs::create_dir_all(host.join("dir")).unwrap();
    std::fs::write(host.join("file"), "of the host\n").unwrap();
    std::os::unix::fs::symlink("/etc", host.join("out")).unwrap();
    let at = |path: &str| host.join(path).to_str().unwrap().to_owned();

    let mounts = json!([
        {"name": "disk", "mountPath": "/disk"},
        {"name": "disk", "mountPath": "/logs", "subPathExpr": "$(NAME)/logs"},
        {"name": "memory", "mountPath": "/dev/shm"},
        {"name": "host", "mountPath": "/host", "readOnly": true},
        {"name": "file", "mountPath": "/etc/file"},
        {"name": "made", "mountPath": "/made"},
    ]);
    let volumes = json!({"volumes": [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": at(""), "type": "Directory"}},
        {"name": "file", "hostPath": {"path": at("file"), "type": "File"}},
        {"name": "made", "hostPath": {"path": at("made/deep"), "type": "DirectoryOrCreate"}},
    ], "restartPolicy": "OnFailure"});
    // It fails once: what is in its volumes stays.
    let script = "if [ -e /disk/twice ]; then cat /logs/said; exit 0; fi; \
        stat -c %a /disk /logs; echo said > /logs/said; cat /disk/web/logs/said; df -k /dev/shm | tail -1 | awk '{print $2}'; \
        dd if=/dev/zero of=/dev/shm/big bs=1M count=2 2>/dev/null || echo full; \
        cat /etc/file; touch /host/x 2>/dev/null || echo read-only; echo made > /made/by; touch /disk/twice; exit 1";
    let manifest = pod("web", script, mounts, volumes);
    let manifest = manifest
        .replace("\"name\":\"main\"", "\"name\":\"main\",\"env\":[{\"name\":\"NAME\",\"value\":\"web\"}]");
    cluster.apply(&manifest).success();
    assert_eq!(said(&cluster, "web"), "said\n");
    assert_eq!(
        cluster.kubectl("logs web --previous").success().stdout,
        "777\n777\nsaid\n1024\nfull\nof the host\nread-only\n"
    );
    assert_eq!(std::fs::read_to_string(host.join("made/deep/by")).unwrap(), "made\n");

    // What is not there, and what leads out.
    for (name, volume, mount, reason, message) in [
        (
            "nodir",
            json!({"hostPath": {"path": at("file"), "type": "Directory"}}),
            json!({}),
            "ContainerCreating",
            "hostPath type check failed: ",
        ),
        (
            "escapes",
            json!({"hostPath": {"path": at("")}}),
            json!({"subPath": "out/ssh"}),
            "CreateContainerConfigError",
            "failed to prepare subPath for volumeMount \"v\" of container \"main\"",
        ),
        (
            "noname",
            json!({"emptyDir": {}}),
            json!({"subPathExpr": "$(NOBODY)"}),
            "CreateContainerConfigError",
            "missing value for \"NOBODY\"",
        ),
    ] {
        let (mut volume, mut mount) = (volume, mount);
        volume["name"] = "v".into();
        (mount["name"], mount["mountPath"]) = ("v".into(), "/v".into());
        cluster.apply(&pod(name, "true", json!([mount]), json!({"volumes": [volume]}))).success();
        eventually(message, Duration::from_secs(15), || {
            let status = cluster.object(&format!("pod {name}"))?["status"].clone();
            let waiting = &status["containerStatuses"][0]["state"]["waiting"];
            let said = cluster.kubectl(&format!("describe pod {name}")).stdout;
            (waiting["reason"] == reason && said.contains(message)).then_some(())
        });
    }

    // A killed agent finds them again, and takes them away with their pods.
    let volumes = json!({"volumes": [{"name": "memory", "emptyDir": {"medium": "Memory"}}]});
    let mounts = json!([{"name": "memory", "mountPath": "/m", "subPath": "sub"}]);
    cluster.apply(&pod("stays", "echo kept > /m/file; sleep 1000", mounts, volumes)).success();
    cluster.phase("stays", "Running");
    let folder = volumes_folder(&cluster, "stays");
    cluster.agents[0].midge.as_mut().unwrap().kill();
    cluster.start_agent(0);
    let kept = || std::fs::read_to_string(folder.join("memory/sub/file")).unwrap_or_default();
    eventually("the file is there", Duration::from_secs(5), || (kept() == "kept\n").then_some(()));
    cluster.kubectl("delete pods --all --timeout=30s").success();
    cluster.agents[0].assert_nothing_left(&before);
}

#[test]
fn mounts_are_seen_on_the_other_side_when_that_is_asked_for() {
    let cluster = Cluster::new("propagation").agent("pi-1").up();
    let before = cluster.agents[0].host.interfaces();
    let host = cluster.agents[0].folder.join("shared");
    std::fs::create_dir_all(host.join("inner")).unwrap();
    common::command::run("mount", ["-t", "tmpfs", "none", host.to_str().unwrap()]);
    let gone = Unmount(host.clone());
    let manifest = |name: &str, propagation: &str| {
        let volumes = json!({"volumes": [{"name": "v", "hostPath": {"path": host}}]});
        let mounts = json!([{"name": "v", "mountPath": "/v", "mountPropagation": propagation}]);
        let script = "until [ -e /v/inner/file ]; do sleep 0.1; done; echo seen";
        pod(name, script, mounts, volumes)
    };
    common::command::run("mount", ["--make-private", host.to_str().unwrap()]);
    cluster.apply(&manifest("private", "HostToContainer")).success();
    eventually("a private mount is refused", Duration::from_secs(15), || {
        let said = cluster.kubectl("describe pod private").stdout;
        said.contains("but it is not a shared or slave mount").then_some(())
    });
    common::command::run("mount", ["--make-shared", host.to_str().unwrap()]);
    cluster.kubectl("delete pod private --timeout=20s").success();
    cluster.apply(&manifest("sees", "HostToContainer")).success();
    cluster.apply(&manifest("blind", "None")).success();
    cluster.phase("sees", "Running");
    cluster.phase("blind", "Running");
    std::fs::create_dir_all(host.join("inner")).unwrap();
    common::command::run("mount", ["-t", "tmpfs", "none", host.join("inner").to_str().unwrap()]);
    let inner = Unmount(host.join("inner"));
    std::fs::write(host.join("inner/file"), "").unwrap();
    assert_eq!(said(&cluster, "sees"), "seen\n");
    assert_eq!(cluster.object("pod blind").unwrap()["status"]["phase"], "Running");

    // What a container mounts is seen on the node.
    let give = "mkdir /v/given; mount -t tmpfs none /v/given; touch /v/given/file; sleep 1000";
    let gives = manifest("gives", "Bidirectional")
        .replace("until [ -e /v/inner/file ]; do sleep 0.1; done; echo seen", give);
    cluster.apply(&gives).refused(1, &["available only to privileged containers"]);
    let gives =
        gives.replace("\"name\":\"main\"", "\"name\":\"main\",\"securityContext\":{\"privileged\":true}");
    cluster.apply(&gives).success();
    let given = host.join("given/file");
    eventually("the node sees it", Duration::from_secs(20), || given.exists().then_some(()));
    let given = Unmount(host.join("given"));
    cluster.kubectl("delete pods --all --timeout=30s").success();
    drop((given, inner, gone));
    cluster.agents[0].assert_nothing_left(&before);
}

#[test]
fn a_pod_that_fills_its_empty_folder_is_evicted() {
    let cluster = Cluster::new("full").agent("pi-1").up();
    let before = cluster.agents[0].host.interfaces();
    let volumes = json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]});
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    let fill = "dd if=/dev/zero of=/v/file bs=1M count=2; sleep 1000";
    cluster.apply(&pod("fills", fill, mounts.clone(), volumes.clone())).success();
    cluster.apply(&pod("modest", "echo x > /v/file; sleep 1000", mounts, volumes)).success();
    let status = cluster.phase("fills", "Failed")["status"].clone();
    assert_eq!(status["reason"], "Evicted", "{status}");
    assert_eq!(status["message"], "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");
    assert_eq!(cluster.object("pod modest").unwrap()["status"]["phase"], "Running");
    cluster.kubectl("delete pods --all --timeout=30s").success();
    cluster.agents[0].assert_nothing_left(&before);
}

/// Unmounts, whatever became of the test.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = midge::sys::mount::unmount(&self.0);
    }
}
