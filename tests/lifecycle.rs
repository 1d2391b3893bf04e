//! A pod's way from its first init container to its last signal, as kubectl shows it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::cluster::{Cluster, IMAGE};
use common::command::eventually;
use serde_json::{Value, json};

/// A container that runs a script.
fn container(name: &str, script: &str) -> Value {
    json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script]})
}

fn pod(name: &str, containers: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 2, "restartPolicy": "Never", "containers": containers},
    })
}

/// A container that goes on until it is told to end.
const SERVES: &str = "trap 'exit 0' TERM; while true; do sleep 0.1; done";

fn condition(pod: &Value, kind: &str) -> String {
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default();
    format!("{} {}", found["status"].as_str().unwrap_or("-"), found["reason"].as_str().unwrap_or("-"))
}

fn events(cluster: &Cluster, pod: &str) -> String {
    cluster.kubectl(&format!("get events --field-selector involvedObject.name={pod}")).stdout
}

#[test]
fn init_containers_sidecars_and_how_pods_end() {
    let cluster = Cluster::new("lifecycle").agent("pi-1").up();
    let before = cluster.agents[0].host.interfaces();
    let mount = json!([{"name": "work", "mountPath": "/order"}]);

    let mut order =
        pod("order", json!([container("main", "echo m >> /order/log; tr -d '\\n' < /order/log")]));
    let mut sidecar = container("side", &format!("sleep 1; echo s >> /order/log; {SERVES}"));
    sidecar["restartPolicy"] = "Always".into();
    sidecar["startupProbe"] = json!({"exec": {"command": ["grep", "s", "/order/log"]}, "periodSeconds": 1});
    order["spec"]["initContainers"] =
        json!([container("a", "echo a >> /order/log"), sidecar, container("b", "echo b >> /order/log")]);
    order["spec"]["volumes"] = json!([{"name": "work", "emptyDir": {}}]);
    order["spec"]["containers"][0]["volumeMounts"] = mount.clone();
    for at in 0..3 {
        order["spec"]["initContainers"][at]["volumeMounts"] = mount.clone();
    }

    let mut fails = pod("fails", json!([container("main", "true")]));
    fails["spec"]["initContainers"] = json!([container("init", "exit 3")]);
    let mut crashes = pod("crashes", json!([container("main", "true")]));
    crashes["spec"]["initContainers"] = json!([container("init", "exit 1")]);
    crashes["spec"]["restartPolicy"] = "Always".into();
    let mut late = pod("late", json!([container("main", SERVES)]));
    late["spec"]["activeDeadlineSeconds"] = 3.into();
    let mut says = pod("says", json!([container("main", "echo first; echo last words; exit 5")]));
    says["spec"]["containers"][0]["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    // The sandbox's disk goes with a restart, the volume does not.
    let script = "echo >> /order/log; test $(wc -l < /order/log) = 3 && exit 1; exit 42";
    let mut again = pod("again", json!([container("main", script)]));
    again["spec"]["volumes"] = json!([{"name": "work", "emptyDir": {}}]);
    again["spec"]["containers"][0]["volumeMounts"] = mount;
    let main = &mut again["spec"]["containers"][0];
    main["restartPolicy"] = "Never".into();
    main["restartPolicyRules"] =
        json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let mut all = again.clone();
    all["spec"]["containers"][0]["restartPolicyRules"][0]["action"] = "RestartAllContainers".into();
    let refused = "spec.containers[0].restartPolicyRules[0].action: Forbidden: not supported by midge";
    cluster.apply(&all.to_string()).refused(1, &[refused]);
    for manifest in [order, fails, crashes, late, says, again] {
        cluster.apply(&manifest.to_string()).success();
    }

    let order = cluster.phase("order", "Succeeded");
    assert_eq!(cluster.kubectl("logs order -c main").stdout, "asbm\n");
    let inits = order["status"]["initContainerStatuses"].as_array().unwrap();
    for init in inits {
        assert_eq!(init["state"]["terminated"]["exitCode"], 0, "{init}");
    }
    assert_eq!((&inits[0]["ready"], &inits[2]["ready"]), (&json!(true), &json!(true)));
    let main = &order["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"];
    assert!(inits[1]["state"]["terminated"]["finishedAt"].as_str() >= main.as_str(), "{order}");
    assert_eq!(condition(&order, "Initialized"), "True PodCompleted");
    assert_eq!(order["status"]["observedGeneration"], order["metadata"]["generation"]);

    let fails = cluster.phase("fails", "Failed");
    assert_eq!(fails["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    let waiting = &fails["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
    assert_eq!(waiting, "PodInitializing");
    assert_eq!(condition(&fails, "Initialized"), "False ContainersNotInitialized");
    cluster.kubectl("get pod fails").success().says(&["Init:Error"]);

    let late = cluster.phase("late", "Failed");
    assert_eq!(late["status"]["reason"], "DeadlineExceeded");
    assert_eq!(late["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    assert!(events(&cluster, "late").contains("DeadlineExceeded"));

    let says = cluster.phase("says", "Failed");
    let message = &says["status"]["containerStatuses"][0]["state"]["terminated"]["message"];
    assert_eq!(message, "first\nlast words\n");

    let again = cluster.phase("again", "Failed");
    let main = &again["status"]["containerStatuses"][0];
    assert_eq!((&main["restartCount"], &main["state"]["terminated"]["exitCode"]), (&json!(2), &json!(1)));
    assert_eq!(main["lastState"]["terminated"]["exitCode"], 42);

    eventually("the init container backs off", Duration::from_secs(20), || {
        cluster.kubectl("get pod crashes").stdout.contains("Init:CrashLoopBackOff").then_some(())
    });
    cluster.kubectl("delete pod --all --timeout=30s").success();
    cluster.agents[0].assert_nothing_left(&before);
}

#[test]
fn hooks_probes_and_readiness_gates() {
    let cluster = Cluster::new("hooks").agent("pi-1").up();
    let before = cluster.agents[0].host.interfaces();
    let notes = cluster.agents[0].folder.join("notes");
    let exec = |script: &str| json!({"exec": {"command": ["sh", "-c", script]}});

    let script = "trap 'echo usr1 >> /notes/log; exit 0' USR1; while true; do sleep 0.1; done";
    let mut hooked = pod("hooked", json!([container("main", script), container("after", SERVES)]));
    hooked["spec"]["terminationGracePeriodSeconds"] = 20.into();
    hooked["spec"]["os"] = json!({"name": "linux"});
    hooked["spec"]["volumes"] =
        json!([{"name": "notes", "hostPath": {"path": notes, "type": "DirectoryOrCreate"}}]);
    let main = &mut hooked["spec"]["containers"][0];
    main["volumeMounts"] = json!([{"name": "notes", "mountPath": "/notes"}]);
    main["lifecycle"] = json!({
        "postStart": exec("echo start >> /notes/log; until grep -q go /notes/log; do sleep 0.1; done"),
        "preStop": exec("echo stop >> /notes/log"),
        "stopSignal": "SIGUSR1",
    });
    let mut refused = pod("refused", json!([container("main", &SERVES.replace("exit 0", "exit 4"))]));
    refused["spec"]["containers"][0]["lifecycle"] = json!({"postStart": exec("exit 1")});
    let mut sick = pod("sick", json!([container("main", SERVES)]));
    sick["spec"]["restartPolicy"] = "Always".into();
    let mut liveness = exec("exit 1");
    (liveness["periodSeconds"], liveness["failureThreshold"]) = (1.into(), 1.into());
    sick["spec"]["containers"][0]["livenessProbe"] = liveness;
    let mut gated = pod("gated", json!([container("main", SERVES)]));
    gated["spec"]["readinessGates"] = json!([{"conditionType": "example.org/lb"}]);
    for manifest in [&hooked, &refused, &sick, &gated] {
        cluster.apply(&manifest.to_string()).success();
    }
    let log = || std::fs::read_to_string(notes.join("log")).unwrap_or_default();

    // The hook holds up its container and the next one.
    eventually("the hook runs", Duration::from_secs(20), || log().contains("start").then_some(()));
    let held = cluster.object("pod hooked").unwrap();
    for status in held["status"]["containerStatuses"].as_array().unwrap() {
        assert_eq!(status["state"]["waiting"]["reason"], "ContainerCreating", "{status}");
    }
    std::fs::write(notes.join("log"), "go\n").unwrap();
    cluster.kubectl("wait --for=condition=Ready pod/hooked --timeout=20s").success();
    let statuses = cluster.object("pod hooked").unwrap()["status"]["containerStatuses"].take();
    assert_eq!((&statuses[0]["stopSignal"], &statuses[1]["stopSignal"]), (&json!("SIGUSR1"), &json!(null)));

    let refused = cluster.phase("refused", "Failed");
    assert_eq!(refused["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 4);
    assert!(events(&cluster, "refused").contains("FailedPostStartHook"));

    eventually("the sick container starts again", Duration::from_secs(20), || {
        let pod = cluster.object("pod sick")?;
        (pod["status"]["containerStatuses"][0]["restartCount"].as_i64()? >= 1).then_some(())
    });
    let sick = events(&cluster, "sick");
    assert!(sick.contains("Container main failed liveness probe, will be restarted"), "{sick}");

    let gated = eventually("its containers are ready", Duration::from_secs(20), || {
        let pod = cluster.object("pod gated")?;
        (condition(&pod, "ContainersReady") == "True -").then_some(pod)
    });
    assert_eq!(condition(&gated, "Ready"), "False ReadinessGatesNotReady");
    let patch = json!({"status": {"conditions": [{"type": "example.org/lb", "status": "True"}]}});
    let mut command = cluster.kubectl_command("patch pod gated --subresource=status -p");
    common::command::Answer::of(command.arg(patch.to_string())).success();
    cluster.kubectl("wait --for=condition=Ready pod/gated --timeout=20s").success();
    assert_eq!(condition(&cluster.object("pod gated").unwrap(), "example.org/lb"), "True -");

    cluster.kubectl("delete pod --all --timeout=30s").success();
    assert_eq!(log(), "go\nstop\nusr1\n");
    cluster.agents[0].assert_nothing_left(&before);
}
