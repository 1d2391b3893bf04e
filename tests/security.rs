//! What pods may do and as whom, in a whole cluster: each pod says what it finds, kubectl reads it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::cluster::{Cluster, IMAGE};
use common::command::eventually;
use common::image::{self, Image};
use serde_json::{Value, json};
use std::time::Duration;

/// An image whose user is a name.
const NAMED: &str = "localhost/named:1";

/// A cluster of one node that has [`NAMED`], and a seccomp profile of its own.
fn cluster(name: &str) -> Cluster {
    let mut cluster = Cluster::new(name);
    let machine = cluster.machine("pi-1", true);
    let passwd = "root:x:0:0:root:/:/bin/sh\nweb:x:101:102::/:/bin/sh\n";
    let named =
        Image::busybox(NAMED, &["sh"]).with_user("web", passwd, "root:x:0:\nweb:x:102:\nshop:x:500:web\n");
    let agent = machine.folder.join("data/agent");
    image::docker_archive(&agent.join("images/named.tar"), &[named], false);
    std::fs::create_dir_all(agent.join("seccomp/own")).unwrap();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    });
    std::fs::write(agent.join("seccomp/own/no-mkdir.json"), profile.to_string()).unwrap();
    cluster.agents.push(machine);
    cluster.start_agent(0);
    cluster.up()
}

/// A pod that runs `script` once.
fn pod(name: &str, script: &str, container: Value, spec: Value) -> Value {
    let mut main = json!({"name": "main", "image": IMAGE, "command": ["sh", "-c", script]});
    let mut all = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1});
    for (into, from) in [(&mut main, container), (&mut all, spec)] {
        for (key, value) in from.as_object().unwrap() {
            into[key.as_str()] = value.clone();
        }
    }
    if all.get("containers").is_none() {
        all["containers"] = json!([main]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": all})
}

fn apply(cluster: &Cluster, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    cluster.apply(&list.to_string()).success();
}

/// What the pod said, once it has ended.
#[track_caller]
fn said(cluster: &Cluster, name: &str) -> String {
    eventually(&format!("{name} has ended"), Duration::from_secs(40), || {
        let pod = cluster.object(&format!("pod {name}"))?;
        let phase = pod["status"]["phase"].as_str()?.to_owned();
        matches!(phase.as_str(), "Succeeded" | "Failed").then_some(())
    });
    cluster.kubectl(&format!("logs {name}")).success().stdout
}

/// Why its container waits.
#[track_caller]
fn waits(cluster: &Cluster, name: &str, reason: &str) -> String {
    eventually(&format!("{name} waits: {reason}"), Duration::from_secs(40), || {
        let pod = cluster.object(&format!("pod {name}"))?;
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        (waiting["reason"] == reason).then(|| waiting["message"].as_str().unwrap_or("").to_owned())
    })
}

#[test]
fn as_whom_and_with_what() {
    let cluster = cluster("security");
    let host = &cluster.agents[0].host;
    let before = host.interfaces();
    let none = || json!({});
    let id = "id -u; id -g; id -G; id -un";
    let context = |context: Value| json!({"securityContext": context});
    let seccomp = "grep ^Seccomp: /proc/self/status; exec 2>/dev/null; unshare -U true && echo unshared; mkdir /tmp/x && echo made";
    let profile = |kind: &str| context(json!({"seccompProfile": {"type": kind}}));
    let own = json!({"type": "Localhost", "localhostProfile": "own/no-mkdir.json"});
    let non_root = json!({"runAsNonRoot": true});
    let mut resources = json!({"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"memory": "32Mi"}});
    resources["limits"]["ephemeral-storage"] = "1Gi".into();
    let env = json!([
        {"name": "PLAIN", "value": "p"},
        {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
        {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "pass"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "no", "optional": true}}},
        {"name": "BOTH", "value": "$(ONE)-$(X_color)-$(PATH)"},
    ]);
    let env_from = json!([
        {"prefix": "X_", "configMapRef": {"name": "settings"}},
        {"secretRef": {"name": "nobody", "optional": true}},
    ]);
    apply(
        &cluster,
        &[
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"color": "green"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"pass": "word"}}),
            pod("named", id, json!({"image": NAMED}), none()),
            pod(
                "numbered",
                id,
                json!({"image": NAMED, "securityContext": {"runAsUser": 101, "runAsGroup": 7}}),
                json!({"securityContext": {"supplementalGroups": [9], "fsGroup": 8}}),
            ),
            pod(
                "strict",
                id,
                json!({"image": NAMED}),
                json!({"securityContext": {"supplementalGroupsPolicy": "Strict"}}),
            ),
            pod("unverified", id, json!({"image": NAMED, "securityContext": non_root}), none()),
            pod("root", id, json!({"securityContext": non_root}), none()),
            pod("confined", seccomp, profile("RuntimeDefault"), none()),
            pod("unconfined", seccomp, profile("Unconfined"), none()),
            pod("own-profile", seccomp, context(json!({"seccompProfile": own})), none()),
            pod(
                "read-only",
                "touch /x 2>&1; touch /proc/sys/kernel/hostname 2>&1; ls -l /proc/interrupts",
                context(json!({"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false})),
                none(),
            ),
            pod(
                "privileged",
                "ls -l /dev/kmsg; touch /proc/sys/kernel/hostname && echo writes; grep CapEff /proc/self/status",
                context(json!({"privileged": true})),
                none(),
            ),
            pod(
                "env",
                "echo $PLAIN $MEM $ONE $PASS $X_color ${NONE-unset} $BOTH; cat /proc/self/cgroup /proc/self/oom_score_adj",
                json!({"env": env, "envFrom": env_from, "resources": resources}),
                none(),
            ),
            pod("no-config", "true", json!({"envFrom": [{"configMapRef": {"name": "nobody"}}]}), none()),
            pod(
                "names",
                "hostname; cat /etc/hosts /etc/resolv.conf",
                none(),
                json!({
                    "hostname": "own", "subdomain": "db", "setHostnameAsFQDN": true,
                    "hostAliases": [{"ip": "192.0.2.9", "hostnames": ["nine.example"]}],
                    "dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"], "options": [{"name": "ndots", "value": "1"}]},
                }),
            ),
        ],
    );

    assert_eq!(said(&cluster, "named"), "101\n102\n102 500\nweb\n");
    assert_eq!(said(&cluster, "numbered"), "101\n7\n7 8 9 500\nweb\n");
    assert_eq!(said(&cluster, "strict"), "101\n102\n102\nweb\n");
    let uid = cluster.object("pod unverified").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_eq!(
        waits(&cluster, "unverified", "CreateContainerConfigError"),
        format!(
            "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root (pod: \
             \"unverified_default({uid})\", container: main)"
        )
    );
    let root = waits(&cluster, "root", "CreateContainerConfigError");
    assert!(root.starts_with("container has runAsNonRoot and image will run as root"), "{root}");

    assert_eq!(said(&cluster, "confined"), "Seccomp:\t2\nmade\n");
    assert_eq!(said(&cluster, "unconfined"), "Seccomp:\t0\nunshared\nmade\n");
    assert_eq!(said(&cluster, "own-profile"), "Seccomp:\t2\nunshared\n");
    let read_only = said(&cluster, "read-only");
    assert_eq!(read_only.matches("Read-only file system").count(), 2, "{read_only}");
    assert!(
        read_only.contains("crw-rw-rw-") && read_only.contains("1,   3"),
        "not masked: {read_only}"
    );
    let privileged = said(&cluster, "privileged");
    assert!(privileged.contains("/dev/kmsg") && privileged.contains("writes"), "{privileged}");
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let ours = own.lines().find(|line| line.starts_with("CapEff")).unwrap();
    assert!(privileged.contains(ours), "{privileged} {ours}");

    let env = said(&cluster, "env");
    assert!(env.starts_with("p 32 green word green unset green-green-$(PATH)\n"), "{env}");
    assert!(env.contains("/burstable/pod") || env.contains("0::/\n"), "{env}");
    assert_eq!(waits(&cluster, "no-config", "CreateContainerConfigError"), "configmap \"nobody\" not found");
    let names = said(&cluster, "names");
    assert!(
        names.starts_with("own.db.default.svc.cluster.local\n# Kubernetes-managed hosts file.\n"),
        "{names}"
    );
    assert!(names.contains("\town.db.default.svc.cluster.local\town\n"), "{names}");
    assert!(names.ends_with("192.0.2.9\tnine.example\nnameserver 192.0.2.53\noptions ndots:1\n"), "{names}");

    let refused = pod(
        "unsafe",
        "true",
        none(),
        json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
    );
    let answer = cluster.apply(&refused.to_string());
    assert!(
        answer.stderr.contains("spec.securityContext.sysctls[0].name: Forbidden: not supported"),
        "{}",
        answer.stderr
    );

    cluster.kubectl("delete pod --all --timeout=30s").success();
    cluster.agents[0].assert_nothing_left(&before);
}

#[test]
fn what_the_containers_of_a_pod_share() {
    let cluster = cluster("share");
    let host = &cluster.agents[0].host;
    let before = host.interfaces();
    let container =
        |name: &str, script: &str| json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script]});
    let first = "echo hello > /dev/shm/x; exec sleep 4242";
    let second =
        "until cat /dev/shm/x 2>/dev/null; do sleep 0.1; done; sleep 0.2; ps; echo end; exec sleep 1000";
    let port = json!([{"containerPort": 8080, "hostPort": 18080}]);
    let mut web =
        container("web", "mkdir /www; echo by port > /www/index.html; exec httpd -f -p 8080 -h /www");
    web["ports"] = port;
    apply(
        &cluster,
        &[
            pod(
                "apart",
                "",
                json!({}),
                json!({"containers": [container("one", first), container("two", second)]}),
            ),
            pod(
                "together",
                "",
                json!({}),
                json!({
                    "containers": [container("one", first), container("two", second)], "shareProcessNamespace": true,
                }),
            ),
            pod("web", "", json!({}), json!({"containers": [web]})),
            pod(
                "host",
                "ps | wc -l; readlink /proc/self/ns/ipc",
                json!({}),
                json!({"hostPID": true, "hostIPC": true}),
            ),
        ],
    );
    let log = |name: &str, wanted: &str| {
        eventually(&format!("{name} says {wanted}"), Duration::from_secs(40), || {
            let log = cluster.kubectl(&format!("logs {name} -c two")).stdout;
            log.contains(wanted).then_some(log)
        })
    };
    let apart = log("apart", "\nend\n");
    assert!(apart.starts_with("hello\n") && !apart.contains("sleep 4242"), "{apart}");
    let together = log("together", "\nend\n");
    assert!(together.starts_with("hello\n") && together.contains("sleep 4242"), "{together}");
    assert!(together.contains("pod-pause"), "{together}");

    let processes = said(&cluster, "host");
    let own = std::fs::read_link("/proc/self/ns/ipc").unwrap();
    assert!(processes.contains(own.to_str().unwrap()), "{processes}");
    assert!(processes.lines().next().unwrap().trim().parse::<usize>().unwrap() > 10, "{processes}");

    // A host port, from another machine.
    let address = &host.address;
    let ask = format!("printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 2 {address} 18080");
    cluster.phase("web", "Running");
    eventually("the host port answers", Duration::from_secs(20), || {
        let output = cluster.server.host.command("sh").args(["-c", &ask]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).ends_with("by port\n").then_some(())
    });

    cluster.kubectl("delete pod --all --timeout=30s").success();
    cluster.agents[0].assert_nothing_left(&before);
}
